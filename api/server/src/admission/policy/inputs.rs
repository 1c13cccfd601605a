//! What expressions see of a request.

use std::sync::Arc;

use api_machinery::admission::Inputs;
use api_machinery::admission::authorizer::{Authority, Decision, Requested, Subject};
use api_machinery::rbac::Action;
use api_machinery::{Object, ResourceInfo, Status, kinds};
use serde_json::{Value, json};

use super::super::{Attributes, Operation};
use crate::authn::User;
use crate::authz;
use crate::handlers::scale_of;
use crate::state::Server;

/// A request with what is around it.
pub(super) struct Surroundings<'a> {
    pub(super) attributes: &'a Attributes<'a>,
    /// A Namespace is in itself here.
    pub(super) namespace: String,
    /// The namespace that the object is in, when there is one.
    pub(super) namespace_object: Option<Object>,
    namespace_value: Option<Value>,
    authority: Option<Arc<dyn Authority>>,
}

/// What a user may do, as this server decides it.
struct Decider {
    server: Arc<Server>,
    user: User,
}

impl Authority for Decider {
    fn decide(&self, subject: &Subject, action: &Action<'_>) -> Decision {
        let verdict = match subject {
            Subject::Requester => authz::authorize(&self.server, &self.user, action),
            Subject::ServiceAccount { namespace, name } => {
                let user = User {
                    name: format!("system:serviceaccount:{namespace}:{name}"),
                    groups: vec![
                        "system:serviceaccounts".to_owned(),
                        format!("system:serviceaccounts:{namespace}"),
                    ],
                    ..User::default()
                };
                authz::authorize(&self.server, &user, action)
            }
        };
        Decision { allowed: verdict.allowed, reason: verdict.reason }
    }
}

impl<'a> Surroundings<'a> {
    /// Looks for the namespace: in the cache first; what that does not know may be new.
    pub(super) async fn of(attributes: &'a Attributes<'a>) -> Result<Self, Status> {
        let server = attributes.server;
        let is_namespace = attributes.kind.group.is_empty() && attributes.kind.kind == "Namespace";
        let namespace = if is_namespace { attributes.name } else { attributes.namespace };
        let mut namespace_object = None;
        if !is_namespace && !namespace.is_empty() {
            let info = kinds::find("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
            let key = server.storage.key(info, "", namespace);
            namespace_object = match server.caches.of(info).get(&key) {
                Some(version) => Some(version.object()?),
                None => server.storage.get(info, "", namespace).await?.map(|found| found.object),
            };
        }
        let own = server.policies.server.get().and_then(std::sync::Weak::upgrade);
        let user = attributes.user;
        let authority = own.map(|server| -> Arc<dyn Authority> {
            Arc::new(Decider { server, user: user.clone() })
        });
        Ok(Self {
            attributes,
            namespace: namespace.to_owned(),
            namespace_value: namespace_object.as_ref().map(shown_namespace),
            namespace_object,
            authority,
        })
    }

    pub(super) fn operation(&self) -> &'static str {
        match self.attributes.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }

    pub(super) fn is_of_namespaces(&self) -> bool {
        self.attributes.kind.plural == "namespaces" && self.attributes.kind.group.is_empty()
    }

    /// Upstream's 404 when the object's namespace is not there.
    pub(super) fn check_namespace(&self) -> Result<(), Status> {
        let is_missing = !self.is_of_namespaces()
            && !self.namespace.is_empty()
            && self.namespace_object.is_none();
        if is_missing {
            let resource = api_machinery::status::Grouped::new("", "namespaces");
            return Err(Status::not_found(&resource, &self.namespace));
        }
        Ok(())
    }

    /// Whether the request's body is a Scale, which the registry keeps in a workload.
    pub(super) fn is_scale(&self) -> bool {
        self.attributes.subresource == "scale"
    }

    /// An object as the request's kind has it.
    pub(super) fn shown(&self, object: &Object) -> Value {
        if self.is_scale() { scale_of(object) } else { Value::Object(object.0.clone()) }
    }

    /// `request`.
    pub(super) fn request(&self) -> Value {
        let Attributes { kind: info, subresource, user, name, .. } = *self.attributes;
        let kind = if self.is_scale() {
            json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
        } else {
            json!({"group": info.group, "version": info.version, "kind": info.kind})
        };
        let resource =
            json!({"group": info.group, "version": info.version, "resource": info.plural});
        let options_kind = match self.attributes.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
        };
        let options = match self.attributes.notes {
            Some(notes) => notes.options(options_kind),
            None => json!({"kind": options_kind, "apiVersion": "meta.k8s.io/v1"}),
        };
        let mut request = json!({
            "uid": "",
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "operation": self.operation(),
            "userInfo": user_info(user),
            "object": null,
            "oldObject": null,
            "dryRun": self.attributes.dry_run,
            "options": options,
        });
        for (key, value) in [
            ("subResource", subresource),
            ("requestSubResource", subresource),
            ("name", name),
            ("namespace", self.namespace.as_str()),
        ] {
            if !value.is_empty() {
                request[key] = value.into();
            }
        }
        request
    }

    /// What `authorizer.requestResource` is about.
    fn requested(&self) -> Requested<'_> {
        let Attributes { kind, subresource, name, .. } = *self.attributes;
        Requested {
            group: kind.group,
            resource: kind.plural,
            subresource,
            namespace: &self.namespace,
            name,
        }
    }

    /// All that an expression may ask for.
    pub(super) fn inputs<'i>(
        &'i self,
        object: Option<&'i Value>,
        old: Option<&'i Value>,
        (params, request): (Option<&'i Value>, &'i Value),
    ) -> Inputs<'i> {
        Inputs {
            object,
            old,
            params,
            request,
            namespace: self.namespace_value.as_ref(),
            authority: self.authority.as_ref(),
            requested: self.requested(),
        }
    }
}

/// Whether a match in another version of the resource can be served: objects are not converted.
pub(super) fn check_version(own: &ResourceInfo, matched: &ResourceInfo) -> Result<(), String> {
    if std::ptr::eq(own, matched) {
        return Ok(());
    }
    Err(format!(
        "failed to convert object version: conversion to {} is not implemented",
        matched.api_version()
    ))
}

fn user_info(user: &User) -> Value {
    let mut out = json!({});
    for (key, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            out[key] = value.as_str().into();
        }
    }
    if !user.groups.is_empty() {
        out["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

/// `namespaceObject` has fewer fields than a Namespace.
fn shown_namespace(namespace: &Object) -> Value {
    let mut shown = namespace.clone();
    for path in [
        &["apiVersion"][..],
        &["kind"],
        &["metadata", "ownerReferences"],
        &["metadata", "managedFields"],
        &["metadata", "selfLink"],
    ] {
        shown.remove(path);
    }
    Value::Object(shown.0)
}
