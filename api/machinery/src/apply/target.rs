//! What is written to: the type of the object, the subresource, and the fields that its writes
//! cannot set.

use serde_json::{Value, json};

use super::set::Set;
use super::types::NodeType;
use crate::decode::{self, Expected, FieldValidation};
use crate::kinds::{self, ResourceInfo};
use crate::{Object, Status, convert, defaults};

/// What a write through a resource or subresource is about.
#[derive(Clone, Debug)]
pub struct Target {
    pub api_version: String,
    pub kind: String,
    pub node: NodeType,
    /// Empty for the resource itself.
    pub subresource: String,
    /// The fields that its writes cannot set, nor what is below them.
    pub reset: Set,
    /// Of a built-in resource.
    pub info: Option<&'static ResourceInfo>,
}

/// What writes through a built-in resource or subresource cannot set, as upstream's strategies say.
fn reset_of(info: &ResourceInfo, subresource: &str) -> Set {
    let fields: &[&[&str]] = match (info.kind, subresource) {
        ("CertificateSigningRequest", "") => &[&["spec"], &["status"]],
        ("CertificateSigningRequest", "status") => &[&["spec"], &["status", "conditions"]],
        ("CertificateSigningRequest", "approval") => &[&["spec"], &["status", "certificate"]],
        ("Pod", "status") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        ("Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
        (
            "APIService"
            | "FlowSchema"
            | "PriorityLevelConfiguration"
            | "ResourceClaim"
            | "ServiceCIDR"
            | "ValidatingAdmissionPolicy"
            | "VolumeAttachment",
            "status",
        ) => &[&["metadata"], &["spec"]],
        (_, "status") => &[&["spec"]],
        ("Namespace", "finalize") => &[&["status"]],
        (_, "") if info.has_status => &[&["status"]],
        _ => &[],
    };
    Set::of_fields(fields)
}

impl Target {
    /// A built-in resource, or a subresource whose body is the object itself.
    #[must_use]
    pub fn of(info: &'static ResourceInfo, subresource: &str) -> Self {
        Self {
            api_version: info.api_version(),
            kind: info.kind.to_owned(),
            node: NodeType::Message(info.type_id()),
            subresource: subresource.to_owned(),
            reset: reset_of(info, subresource),
            info: Some(info),
        }
    }

    /// The subresource `scale` of any resource: its body is a Scale.
    #[must_use]
    pub fn scale() -> Self {
        Self::body(super::scale::SCALE_VERSION, "Scale", "scale")
    }

    /// A subresource whose body is of a built-in kind of its own.
    #[must_use]
    pub fn body(api_version: &str, kind: &str, subresource: &str) -> Self {
        let id = kinds::type_of(api_version, kind);
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            node: id.map_or(NodeType::Deduced, NodeType::Message),
            subresource: subresource.to_owned(),
            reset: Set::default(),
            info: None,
        }
    }

    /// An object without a schema; `reset` are the fields that cannot be set.
    #[must_use]
    pub fn deduced(api_version: &str, kind: &str, subresource: &str, reset: Set) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            node: NodeType::Deduced,
            subresource: subresource.to_owned(),
            reset,
            info: None,
        }
    }

    /// The same target in another version of its kind, when that has other fields.
    pub(super) fn in_version(&self, version: &str) -> Option<Self> {
        let info = self.info.filter(|_| version != self.api_version)?;
        // An event has its versions in two groups.
        let other = kinds::find_kind(version, &self.kind)?;
        std::ptr::eq(other.kept(), info.kept()).then(|| Self::of(other, &self.subresource))
    }

    /// A tree of this target as one in the version of another.
    pub(super) fn shown_as(other: &Self, tree: Value) -> Value {
        match (other.info, tree) {
            (Some(info), Value::Object(map)) => convert::to(info, Object(map)).into_value(),
            (_, tree) => tree,
        }
    }

    /// What of a set of fields a write can set.
    pub(super) fn settable(&self, mut set: Set) -> Set {
        set.subtract(&self.reset, true);
        set
    }

    /// Whether fields of a version can be understood: those of the object's own, and of others of
    /// its group that are served. The latter are taken to have the same fields.
    pub(super) fn knows_version(&self, version: &str) -> bool {
        if version == self.api_version || self.in_version(version).is_some() {
            return true;
        }
        let group = |version: &str| kinds::split_api_version(version).0.to_owned();
        let is_served = matches!(self.node, NodeType::Deduced | NodeType::Custom(_))
            || kinds::type_of(version, &self.kind).is_some();
        group(version) == group(&self.api_version) && is_served
    }

    fn is_built_in(&self) -> bool {
        matches!(self.node, NodeType::Message(_))
    }

    /// An object that nobody has set anything in, with what Go always writes.
    pub(super) fn empty(&self) -> Object {
        let value = json!({"apiVersion": self.api_version, "kind": self.kind});
        self.fit(value).unwrap_or_default()
    }

    /// A tree as an object of the type.
    fn fit(&self, value: Value) -> Result<Object, Status> {
        if self.is_built_in() {
            let expected = Expected { api_version: &self.api_version, kind: &self.kind };
            return Ok(decode::value(value, expected, FieldValidation::Ignore)?.object);
        }
        Object::from_value(value).ok_or_else(|| Status::unexplained("the object is no map"))
    }

    /// A merged tree as an object with its defaults.
    pub(super) fn finish(&self, value: Value) -> Result<Object, Status> {
        let mut value = value;
        if let NodeType::Custom(node) = &self.node {
            crate::custom::defaults::apply(&mut value, &node.schema);
        }
        let mut object = self.fit(value)?;
        if let Some(info) = self.info {
            defaults::apply(info, &mut object);
        }
        Ok(object)
    }

    /// Group, version and kind as Go prints them.
    pub(super) fn shown_kind(api_version: &str, kind: &str) -> String {
        let (group, version) = kinds::split_api_version(api_version);
        format!("{group}/{version}, Kind={kind}")
    }
}
