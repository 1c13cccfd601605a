//! Names and types that policies' expressions may use.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use api_cel::{Declarations, NoObjects, Provider, Type, Value};
use parking_lot::RwLock;

use super::{authorizer, types};

/// The type of `variables`: its fields are the variables that were compiled so far.
const VARIABLES: &str = "kubernetes.variables";
/// Types that mutations make objects of.
const OBJECT: &str = "Object";
const JSON_PATCH: &str = "JSONPatch";

/// Object types with upstream's fields.
const FIELDS: &[(&str, &[(&str, &str)])] = &[
    (
        "kubernetes.AdmissionRequest",
        &[
            ("kind", "kubernetes.GroupVersionKind"),
            ("resource", "kubernetes.GroupVersionResource"),
            ("subResource", "string"),
            ("requestKind", "kubernetes.GroupVersionKind"),
            ("requestResource", "kubernetes.GroupVersionResource"),
            ("requestSubResource", "string"),
            ("name", "string"),
            ("namespace", "string"),
            ("operation", "string"),
            ("userInfo", "kubernetes.UserInfo"),
            ("dryRun", "bool"),
            ("options", "dyn"),
        ],
    ),
    (
        "kubernetes.GroupVersionKind",
        &[("group", "string"), ("version", "string"), ("kind", "string")],
    ),
    (
        "kubernetes.GroupVersionResource",
        &[("group", "string"), ("version", "string"), ("resource", "string")],
    ),
    (
        "kubernetes.UserInfo",
        &[("username", "string"), ("uid", "string"), ("groups", "strings"), ("extra", "extra")],
    ),
    (
        "kubernetes.Namespace",
        &[
            ("metadata", "kubernetes.NamespaceMetadata"),
            ("spec", "kubernetes.NamespaceSpec"),
            ("status", "kubernetes.NamespaceStatus"),
        ],
    ),
    ("kubernetes.NamespaceSpec", &[("finalizers", "strings")]),
    ("kubernetes.NamespaceStatus", &[("conditions", "conditions"), ("phase", "string")]),
    (
        "kubernetes.NamespaceCondition",
        &[
            ("status", "string"),
            ("type", "string"),
            ("lastTransitionTime", "timestamp"),
            ("message", "string"),
            ("reason", "string"),
        ],
    ),
    (
        "kubernetes.NamespaceMetadata",
        &[
            ("name", "string"),
            ("generateName", "string"),
            ("namespace", "string"),
            ("labels", "texts"),
            ("annotations", "texts"),
            ("UID", "string"),
            ("creationTimestamp", "timestamp"),
            ("deletionGracePeriodSeconds", "int"),
            ("deletionTimestamp", "timestamp"),
            ("generation", "int"),
            ("resourceVersion", "string"),
            ("finalizers", "strings"),
        ],
    ),
];

static BY_NAME: LazyLock<HashMap<&str, HashMap<&str, Type>>> = LazyLock::new(|| {
    let fields = |fields: &'static [(&str, &str)]| {
        fields.iter().map(|(name, of)| (*name, type_of(of))).collect()
    };
    FIELDS.iter().map(|(name, list)| (*name, fields(list))).collect()
});

fn type_of(word: &str) -> Type {
    match word {
        "string" => Type::String,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "dyn" => Type::Dyn,
        "timestamp" => Type::Timestamp,
        "strings" => Type::list(Type::String),
        "texts" => Type::map(Type::String, Type::String),
        "extra" => Type::map(Type::String, Type::list(Type::String)),
        "conditions" => Type::list(Type::object("kubernetes.NamespaceCondition")),
        name => Type::object(name),
    }
}

/// What there is besides the library.
static BASE: LazyLock<Declarations> = LazyLock::new(|| {
    authorizer::declare(Declarations::kubernetes(Arc::new(NoObjects)))
        .variable("namespaceObject", Type::object("kubernetes.Namespace"))
        .variable("request", Type::object("kubernetes.AdmissionRequest"))
});

/// The object types of one policy.
#[derive(Debug, Default)]
pub(super) struct ObjectTypes {
    /// Whether objects may be made that mutate.
    patches: bool,
    variables: Arc<RwLock<BTreeMap<String, Type>>>,
}

impl Provider for ObjectTypes {
    fn has_type(&self, name: &str) -> bool {
        name == VARIABLES
            || BY_NAME.contains_key(name)
            || self.patches && (name == JSON_PATCH || is_object(name))
            || types::has_type(name)
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        if object == VARIABLES {
            return self.variables.read().get(field).cloned();
        }
        if let Some(fields) = BY_NAME.get(object) {
            return fields.get(field).cloned();
        }
        match (object, field) {
            (JSON_PATCH, "op" | "from" | "path") => Some(Type::String),
            (JSON_PATCH, "value") => Some(Type::Dyn),
            // Upstream declares all of them, and these without a type.
            (JSON_PATCH, _) => Some(Type::object("")),
            _ if is_object(object) => Some(Type::Dyn),
            _ => types::field(object, field),
        }
    }

    fn property(&self, object: &str, field: &str) -> Option<Arc<str>> {
        types::property(object, field)
    }
}

fn is_object(name: &str) -> bool {
    name.strip_prefix(OBJECT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What `object`, `oldObject` and `params` are; dynamic unless types are checked.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) object: Type,
    /// Nothing for policies without a kind of parameters.
    pub(super) params: Option<Type>,
    pub(super) has_variables: bool,
}

/// The declarations of one policy, for its several kinds of expressions.
#[derive(Debug)]
pub(super) struct Environment {
    variables: Arc<RwLock<BTreeMap<String, Type>>>,
    pub(super) full: Declarations,
    /// Without the authorizer: messages.
    pub(super) plain: Declarations,
    /// With the types of mutations.
    pub(super) patching: Declarations,
}

impl Environment {
    pub(super) fn new(given: &Given) -> Self {
        let variables = Arc::<RwLock<BTreeMap<String, Type>>>::default();
        let types = |patches| {
            Arc::new(ObjectTypes { patches, variables: Arc::clone(&variables) })
                as Arc<dyn Provider>
        };
        let mut plain = BASE
            .clone()
            .provided_by(types(false))
            .variable("object", given.object.clone())
            .variable("oldObject", given.object.clone());
        if let Some(params) = &given.params {
            plain = plain.variable("params", params.clone());
        }
        if given.has_variables {
            plain = plain.variable("variables", Type::object(VARIABLES));
        }
        let full = plain
            .clone()
            .variable("authorizer", Type::object(authorizer::AUTHORIZER))
            .variable("authorizer.requestResource", Type::object(authorizer::RESOURCE_CHECK));
        let escape: api_cel::OwnFunction = Arc::new(escape_key);
        let patching = full
            .clone()
            .provided_by(types(true))
            .function(
                "string_jsonpatch_escapeKey_string",
                "jsonpatch.escapeKey(string) -> string",
                escape,
            )
            .expect("the signature is well-formed");
        Self { variables, full, plain, patching }
    }

    /// Makes a variable known to the expressions that are compiled from now on.
    pub(super) fn add_variable(&self, name: &str, of: Option<&Type>) {
        let of = of.map_or(Type::Dyn, kept);
        self.variables.write().insert(name.to_owned(), of);
    }
}

/// What is kept of the type of a variable: objects and what only functions look into are dynamic.
fn kept(of: &Type) -> Type {
    match of {
        Type::Any
        | Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => of.clone(),
        Type::List(one) => Type::list(kept(one)),
        Type::Map(key, value) => Type::map(kept(key), kept(value)),
        _ => Type::Dyn,
    }
}

fn escape_key<'v>(args: &[Value<'v>]) -> api_cel::Outcome<'v> {
    match args {
        [Value::String(key)] => Ok(Value::string(key.replace('~', "~0").replace('/', "~1"))),
        _ => api_cel::fail("no such overload"),
    }
}
