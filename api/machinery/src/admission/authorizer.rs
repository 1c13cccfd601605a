//! `authorizer`: expressions ask what a user may do.

use std::any::Any;
use std::sync::Arc;

use api_cel::{Declarations, Outcome, OwnFunction, OwnValue, Type, Value, fail};

use crate::rbac::Action;
use crate::validate::names;

pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
const DECISION: &str = "kubernetes.authorization.Decision";

/// Whose rights are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Who makes the request.
    Requester,
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// Decides who may do what.
pub trait Authority: Send + Sync {
    fn decide(&self, subject: &Subject, action: &Action<'_>) -> Decision;
}

/// The resource that a request is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requested<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

#[derive(Clone)]
struct Authorizer {
    authority: Arc<dyn Authority>,
    subject: Subject,
}

#[derive(Clone, Default)]
struct Resource {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Clone)]
enum Own {
    Authorizer(Authorizer),
    Path(Authorizer, String),
    Group(Authorizer, String),
    Resource(Authorizer, Resource),
    Decision(Decision),
}

impl OwnValue for Own {
    fn type_of(&self) -> Type {
        Type::object(match self {
            Self::Authorizer(_) => AUTHORIZER,
            Self::Path(..) => PATH_CHECK,
            Self::Group(..) => GROUP_CHECK,
            Self::Resource(..) => RESOURCE_CHECK,
            Self::Decision(_) => DECISION,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The value of `authorizer`.
#[must_use]
pub fn value<'a>(authority: &Arc<dyn Authority>) -> Value<'a> {
    own(Own::Authorizer(requester(authority)))
}

/// The value of `authorizer.requestResource`.
#[must_use]
pub fn request_resource<'a>(authority: &Arc<dyn Authority>, asked: Requested<'_>) -> Value<'a> {
    let resource = Resource {
        group: asked.group.to_owned(),
        resource: asked.resource.to_owned(),
        subresource: asked.subresource.to_owned(),
        namespace: asked.namespace.to_owned(),
        name: asked.name.to_owned(),
    };
    own(Own::Resource(requester(authority), resource))
}

fn requester(authority: &Arc<dyn Authority>) -> Authorizer {
    Authorizer { authority: Arc::clone(authority), subject: Subject::Requester }
}

fn own<'a>(own: Own) -> Value<'a> {
    Value::Own(Arc::new(own))
}

/// Overloads: `[target] name(params) -> result`, the types by their last names.
const OVERLOADS: &[(&str, &str)] = &[
    ("authorizer_path", "[Authorizer] path(string) -> PathCheck"),
    ("authorizer_group", "[Authorizer] group(string) -> GroupCheck"),
    ("authorizer_serviceaccount", "[Authorizer] serviceAccount(string, string) -> Authorizer"),
    ("groupcheck_resource", "[GroupCheck] resource(string) -> ResourceCheck"),
    ("resourcecheck_subresource", "[ResourceCheck] subresource(string) -> ResourceCheck"),
    ("resourcecheck_namespace", "[ResourceCheck] namespace(string) -> ResourceCheck"),
    ("resourcecheck_name", "[ResourceCheck] name(string) -> ResourceCheck"),
    ("authorizer_fieldselector", "[ResourceCheck] fieldSelector(string) -> ResourceCheck"),
    ("authorizer_labelselector", "[ResourceCheck] labelSelector(string) -> ResourceCheck"),
    ("pathcheck_check", "[PathCheck] check(string) -> Decision"),
    ("resourcecheck_check", "[ResourceCheck] check(string) -> Decision"),
    ("decision_errored", "[Decision] errored() -> bool"),
    ("decision_error", "[Decision] error() -> string"),
    ("decision_allowed", "[Decision] allowed() -> bool"),
    ("decision_reason", "[Decision] reason() -> string"),
];

/// Adds the functions.
pub(super) fn declare(mut declarations: Declarations) -> Declarations {
    for (id, signature) in OVERLOADS {
        let mut full = (*signature).to_owned();
        for name in [AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION] {
            let short = name.rsplit('.').next().unwrap_or(name);
            full = full.replace(&format!("[{short}]"), &format!("[{name}]"));
            full = full.replace(&format!("-> {short}"), &format!("-> {name}"));
        }
        let id: &'static str = id;
        let run: OwnFunction = Arc::new(move |args| call(id, args));
        declarations =
            declarations.function(id, &full, run).expect("the signatures are well-formed");
    }
    declarations
}

fn call<'v>(id: &str, args: &[Value<'v>]) -> Outcome<'v> {
    let unfit = || fail("no such overload");
    let Some((Value::Own(target), rest)) = args.split_first() else { return unfit() };
    let Some(target) = target.as_any().downcast_ref::<Own>() else { return unfit() };
    let mut texts: Vec<&str> = Vec::with_capacity(rest.len());
    for one in rest {
        let Value::String(text) = one else { return unfit() };
        texts.push(text);
    }
    match (target, texts.as_slice()) {
        (Own::Authorizer(of), texts) => of_authorizer(id, of, texts),
        (Own::Group(of, group), [resource]) => {
            if resource.trim().is_empty() {
                return fail("resource must not be empty");
            }
            let resource = Resource {
                group: group.clone(),
                resource: (*resource).to_owned(),
                ..Resource::default()
            };
            Ok(own(Own::Resource(of.clone(), resource)))
        }
        (Own::Resource(of, resource), [text]) => Ok(own(of_resource(id, (of, resource), text))),
        (Own::Path(of, path), [verb]) => {
            let action = Action { verb, path, ..Action::default() };
            Ok(own(Own::Decision(of.authority.decide(&of.subject, &action))))
        }
        (Own::Decision(decision), []) => Ok(match id {
            "decision_allowed" => Value::Bool(decision.allowed),
            "decision_reason" => Value::string(decision.reason.as_str()),
            "decision_errored" => Value::Bool(false),
            _ => Value::string(""),
        }),
        _ => unfit(),
    }
}

fn of_authorizer<'v>(id: &str, of: &Authorizer, texts: &[&str]) -> Outcome<'v> {
    match (id, texts) {
        ("authorizer_path", [path]) => {
            if path.trim().is_empty() {
                return fail("path must not be empty");
            }
            Ok(own(Own::Path(of.clone(), (*path).to_owned())))
        }
        ("authorizer_group", [group]) => Ok(own(Own::Group(of.clone(), (*group).to_owned()))),
        ("authorizer_serviceaccount", [namespace, name]) => {
            if !names::subdomain_1123(name).is_empty() {
                return fail("Invalid service account name");
            }
            if !names::label_1123(namespace).is_empty() {
                return fail("Invalid service account namespace");
            }
            let subject = Subject::ServiceAccount {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            Ok(own(Own::Authorizer(Authorizer { subject, ..of.clone() })))
        }
        _ => fail("no such overload"),
    }
}

fn of_resource(id: &str, (of, resource): (&Authorizer, &Resource), text: &str) -> Own {
    let mut next = resource.clone();
    match id {
        "resourcecheck_subresource" => text.clone_into(&mut next.subresource),
        "resourcecheck_namespace" => text.clone_into(&mut next.namespace),
        "resourcecheck_name" => text.clone_into(&mut next.name),
        "resourcecheck_check" => {
            let action = Action {
                verb: text,
                is_resource: true,
                group: &resource.group,
                resource: &resource.resource,
                subresource: &resource.subresource,
                namespace: &resource.namespace,
                name: &resource.name,
                ..Action::default()
            };
            return Own::Decision(of.authority.decide(&of.subject, &action));
        }
        // Roles do not look at selectors.
        _ => {}
    }
    Own::Resource(of.clone(), next)
}
