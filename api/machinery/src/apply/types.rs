//! What server-side apply must know of a type: what is merged, what is replaced as a whole, and
//! which fields tell the items of a list apart.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::custom::CustomNode;
use super::path::PathElement;
use crate::custom::Schema as CustomSchema;
use crate::schema::{Field, Kind, ListType, Presence, Schema, Shape, Special, TypeId};

/// The type of a node.
#[derive(Clone, Debug)]
pub enum NodeType {
    /// A built-in type.
    Message(TypeId),
    /// A built-in type that is merged here although it is replaced as a whole elsewhere.
    Granular(TypeId),
    /// A list that is a field of a built-in type.
    List(&'static Field),
    /// A map that is a field of a built-in type.
    Map {
        field: &'static Field,
        is_atomic: bool,
    },
    Scalar(Scalar),
    /// A level of the schema of a custom kind.
    Custom(CustomNode),
    /// No schema: maps are merged, lists are replaced, as the values say.
    Deduced,
    /// No schema, and replaced as a whole.
    Opaque,
}

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Number,
    Flag,
    Any,
}

/// How the value of a node is walked.
#[derive(Debug)]
pub(super) enum Form<'a> {
    Scalar(Scalar),
    List(ListForm<'a>),
    Map(MapForm),
}

#[derive(Debug)]
pub(super) struct ListForm<'a> {
    pub(super) items: Items<'a>,
    pub(super) element: NodeType,
}

/// How items of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Items<'a> {
    /// Not at all.
    Atomic,
    ByValue,
    ByKeys(&'a [String]),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MapForm {
    pub(super) is_atomic: bool,
}

/// A child of a map or struct.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) node: NodeType,
    /// A field of a struct, not an entry of a map.
    pub(super) is_named: bool,
}

/// Structs that are replaced as a whole (upstream's `+structType=atomic`).
const ATOMIC_STRUCTS: [&str; 27] = [
    "api.admissionregistration.v1.MatchResources",
    "api.admissionregistration.v1.NamedRuleWithOperations",
    "api.admissionregistration.v1.ParamKind",
    "api.admissionregistration.v1.ParamRef",
    "api.admissionregistration.v1.Variable",
    "api.autoscaling.v1.CrossVersionObjectReference",
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.EndpointAddress",
    "api.core.v1.EndpointPort",
    "api.core.v1.FileKeySelector",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ObjectReference",
    "api.core.v1.ResourceFieldSelector",
    "api.core.v1.ScopeSelector",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.SecretReference",
    "api.core.v1.TopologySelectorTerm",
    "api.core.v1.TypedLocalObjectReference",
    "api.discovery.v1.EndpointPort",
    "api.networking.v1.ServiceBackendPort",
    "api.rbac.v1.RoleRef",
    "api.rbac.v1.Subject",
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
    "apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Which types are among [`ATOMIC_STRUCTS`].
static IS_ATOMIC: LazyLock<Vec<bool>> = LazyLock::new(|| {
    let types = Schema::get().types().iter();
    types.map(|ty| ATOMIC_STRUCTS.contains(&ty.name.as_str())).collect()
});

/// Fields that are merged although their type is replaced as a whole elsewhere.
const GRANULAR_FIELDS: [(&str, &str); 1] = [("api.core.v1.PersistentVolumeSpec", "claimRef")];

/// Maps that are replaced as a whole (upstream's `+mapType=atomic`).
const ATOMIC_MAPS: [(&str, &str); 4] = [
    ("api.core.v1.PodSpec", "nodeSelector"),
    ("api.core.v1.ReplicationControllerSpec", "selector"),
    ("api.core.v1.ServiceSpec", "selector"),
    ("api.node.v1.Scheduling", "nodeSelector"),
];

impl NodeType {
    /// Whole objects of a custom kind.
    #[must_use]
    pub fn custom_object(schema: &Arc<CustomSchema>) -> Self {
        Self::Custom(CustomNode::root(schema))
    }

    /// How a value of this type is walked; without a schema the value decides.
    pub(super) fn form(&self, value: Option<&Value>) -> Form<'_> {
        match self {
            Self::Message(id) => message_form(*id),
            Self::Custom(node) => node.form(),
            Self::Granular(_) => Form::Map(MapForm { is_atomic: false }),
            Self::List(field) => {
                let items = match field.list_type {
                    Some(ListType::Set) => Items::ByValue,
                    Some(ListType::Map) => Items::ByKeys(&field.list_map_keys),
                    Some(ListType::Atomic) | None => Items::Atomic,
                };
                Form::List(ListForm { items, element: of_kind(field.kind) })
            }
            Self::Map { is_atomic, .. } => Form::Map(MapForm { is_atomic: *is_atomic }),
            Self::Scalar(scalar) => Form::Scalar(*scalar),
            Self::Deduced | Self::Opaque => match value {
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                    Form::Scalar(Scalar::Any)
                }
                Some(Value::Array(_)) => {
                    Form::List(ListForm { items: Items::Atomic, element: self.clone() })
                }
                Some(Value::Object(_) | Value::Null) | None => {
                    Form::Map(MapForm { is_atomic: matches!(self, Self::Opaque) })
                }
            },
        }
    }

    /// The type of a child of a map or struct; `None` when the struct has no such field.
    pub(super) fn child(&self, name: &str) -> Option<Child> {
        match self {
            Self::Message(id) | Self::Granular(id) => message_child(*id, name),
            Self::Custom(node) => node.child(name),
            Self::Map { field, .. } => Some(Child { node: of_kind(field.kind), is_named: false }),
            Self::Deduced | Self::Opaque => Some(Child { node: self.clone(), is_named: false }),
            Self::List(_) | Self::Scalar(_) => None,
        }
    }
}

fn message_form(id: TypeId) -> Form<'static> {
    let ty = Schema::get().of(id);
    match ty.special {
        Special::Quantity | Special::IntOrString | Special::Time | Special::MicroTime => {
            Form::Scalar(Scalar::Any)
        }
        Special::Duration => Form::Scalar(Scalar::Text),
        Special::Items => {
            Form::List(ListForm { items: Items::Atomic, element: NodeType::Scalar(Scalar::Text) })
        }
        Special::AnyJson | Special::RawExtension => Form::Map(MapForm { is_atomic: true }),
        Special::None => {
            let is_atomic = IS_ATOMIC.get(id.0 as usize).copied().unwrap_or_default();
            Form::Map(MapForm { is_atomic })
        }
    }
}

fn message_child(id: TypeId, name: &str) -> Option<Child> {
    let schema = Schema::get();
    let ty = schema.of(id);
    let named = |node| Some(Child { node, is_named: true });
    if let Some(field) = schema.field(id, name) {
        let place = (ty.name.as_str(), field.json.as_str());
        return named(match field.shape {
            Shape::One if GRANULAR_FIELDS.contains(&place) => match of_kind(field.kind) {
                NodeType::Message(id) => NodeType::Granular(id),
                other => other,
            },
            Shape::One => of_kind(field.kind),
            Shape::List => NodeType::List(field),
            Shape::Map => NodeType::Map { field, is_atomic: ATOMIC_MAPS.contains(&place) },
        });
    }
    if ty.has_type_meta && matches!(name, "apiVersion" | "kind") {
        return named(NodeType::Scalar(Scalar::Text));
    }
    None
}

fn of_kind(kind: Kind) -> NodeType {
    match kind {
        Kind::String | Kind::Bytes => NodeType::Scalar(Scalar::Text),
        Kind::Int32 | Kind::Int64 | Kind::Double => NodeType::Scalar(Scalar::Number),
        Kind::Bool => NodeType::Scalar(Scalar::Flag),
        Kind::Message(id) => match Schema::get().of(id).special {
            Special::AnyJson | Special::RawExtension => NodeType::Opaque,
            _ => NodeType::Message(id),
        },
    }
}

impl ListForm<'_> {
    /// Whether an item has a key of its own, without a look at its value: false is not known.
    pub(super) fn has_key(&self, item: &Value) -> bool {
        match (self.items, item) {
            (Items::ByKeys(names), Value::Object(map)) => {
                names.iter().any(|name| map.contains_key(name))
            }
            _ => false,
        }
    }

    /// What tells an item from the others of its list.
    pub(super) fn element_of(&self, item: &Value) -> Result<PathElement, String> {
        match self.items {
            Items::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            Items::ByValue => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => {
                    Err("not supported: associative list with lists as elements".to_owned())
                }
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null"
                        .to_owned())
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    Ok(PathElement::Value(item.clone()))
                }
            },
            Items::ByKeys(names) => self.key_of(names, item),
        }
    }

    fn key_of(&self, names: &[String], item: &Value) -> Result<PathElement, String> {
        let map = match item {
            Value::Object(map) => map,
            Value::Null => {
                return Err("associative list with keys may not have a null element".to_owned());
            }
            _ => {
                return Err("associative list with keys may not have non-map elements".to_owned());
            }
        };
        let mut fields: Vec<(String, Value)> = Vec::with_capacity(names.len());
        for name in names {
            let value = map.get(name).cloned().or_else(|| key_default(&self.element, name));
            if let Some(value) = value {
                fields.push((name.clone(), value));
            }
        }
        if fields.is_empty() && !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        fields.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(PathElement::Key(fields))
    }
}

/// What a key field is when an item leaves it out: upstream's schema names the zero of every
/// scalar that Go always writes, and TCP.
fn key_default(element: &NodeType, name: &str) -> Option<Value> {
    if let NodeType::Custom(node) = element {
        return node.key_default(name);
    }
    let NodeType::Message(id) = element else { return None };
    let schema = Schema::get();
    let field = schema.field(*id, name)?;
    if name == "protocol" && field.presence == Presence::DropZero {
        return Some("TCP".into());
    }
    let is_local_reference = schema.of(*id).name == "api.core.v1.LocalObjectReference";
    if field.presence != Presence::KeepZero && !is_local_reference {
        return None;
    }
    match field.kind {
        Kind::String => Some("".into()),
        Kind::Int32 | Kind::Int64 => Some(0.into()),
        Kind::Bool => Some(false.into()),
        Kind::Bytes | Kind::Double | Kind::Message(_) => None,
    }
}
