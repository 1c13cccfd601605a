//! The kinds that are served: one row each, in `rows/`. Adding a kind is adding a row.

pub mod interned;
mod rows;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::schema::{Schema, TypeId};
use crate::status::Grouped;

pub use rows::SCALE_KIND;

/// A subresource and the kind of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of the body; empty group for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// What a delete does with dependents when it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagation {
    Background,
    Orphan,
}

/// Which names an object may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// Anything that can stand between two slashes of a path.
    PathSegment,
    /// An IP address in its canonical form.
    Address,
}

/// Everything about a kind that is not in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceInfo {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// The key below `/registry/`: `pods`, `minions`, `services/specs`. Empty for kinds that are
    /// answered and not kept, reviews for one.
    pub storage_prefix: &'static str,
    /// Group and version in which objects are kept, when it is not this one.
    pub kept_as: Option<(&'static str, &'static str)>,
    /// The `apiVersion` that objects of a custom kind are stored with; empty for built-in kinds.
    pub stored_as: &'static str,
    /// Fields that field selectors know, besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    pub name_rule: NameRule,
    pub has_status: bool,
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// PUT on a name that does not exist creates it.
    pub create_on_update: bool,
    /// PUT without a resourceVersion is allowed.
    pub unconditional_update: bool,
    pub default_propagation: Propagation,
    /// Full name of the type in the [`Schema`]; empty for custom kinds, which have no type there.
    pub type_name: &'static str,
}

/// Every kind that is served, in discovery's order: core first, by kind within a group.
#[must_use]
pub fn all() -> &'static [ResourceInfo] {
    &rows::KINDS
}

/// Kinds by group, version and plural.
static BY_URL: LazyLock<HashMap<[&str; 3], &ResourceInfo>> =
    LazyLock::new(|| all().iter().map(|k| ([k.group, k.version, k.plural], k)).collect());

/// Finds a kind by its URL: group, version, plural.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceInfo> {
    BY_URL.get(&[group, version, plural]).copied()
}

/// Finds a kind by `apiVersion` and `kind`.
#[must_use]
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static ResourceInfo> {
    let (group, version) = split_api_version(api_version);
    rows::KINDS.iter().find(|k| k.group == group && k.version == version && k.kind == kind)
}

/// `apps/v1` → `("apps", "v1")`; `v1` → `("", "v1")`.
#[must_use]
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The schema type of any known `apiVersion` and `kind`, served or not: lists, `Status`, `Scale`,
/// `Binding`, `DeleteOptions` and so on.
#[must_use]
pub fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    let (group, version) = split_api_version(api_version);
    let schema = Schema::get();
    let package = match group {
        "" => "core",
        other => other.split('.').next().unwrap_or(other),
    };
    let by_group = match (group, kind) {
        ("apiextensions.k8s.io", _) => {
            schema.find(&format!("apiextensions_apiserver.pkg.apis.apiextensions.{version}.{kind}"))
        }
        ("apiregistration.k8s.io", _) => {
            schema.find(&format!("kube_aggregator.pkg.apis.apiregistration.{version}.{kind}"))
        }
        _ => schema.find(&format!("api.{package}.{version}.{kind}")),
    };
    by_group.or_else(|| schema.find(&format!("apimachinery.pkg.apis.meta.v1.{kind}")))
}

impl ResourceInfo {
    /// What is said of a field that selectors of this kind do not know, in upstream's words.
    #[must_use]
    pub fn unknown_field(&self, field: &str) -> String {
        match (self.group, self.kind) {
            (
                "",
                "Pod"
                | "Node"
                | "ReplicationController"
                | "Event"
                | "Namespace"
                | "Secret"
                | "Service",
            )
            | ("events.k8s.io", "Event")
            | ("certificates.k8s.io", "CertificateSigningRequest") => {
                format!("field label not supported: {field}")
            }
            _ if self.is_custom() => format!("field label not supported: {field}"),
            ("batch", "Job") => format!("field label {field:?} not supported for Job"),
            ("resource.k8s.io", "ResourceSlice") => {
                let (api_version, kind) = (self.api_version(), self.kind);
                format!("field label not supported for {api_version}, Kind={kind}: {field}")
            }
            _ => format!(
                r#"{field:?} is not a known field selector: only "metadata.name", "metadata.namespace""#
            ),
        }
    }

    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// `PodList`.
    #[must_use]
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Whether objects of the kind are kept in the store.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }

    /// The version of the kind that is in the store: this one, most often.
    #[must_use]
    pub fn kept(&'static self) -> &'static Self {
        let Some((group, version)) = self.kept_as else { return self };
        find(group, version, self.plural).unwrap_or(self)
    }

    /// Whether a CustomResourceDefinition made the kind.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.type_name.is_empty()
    }

    /// For errors that name the resource.
    #[must_use]
    pub fn group_resource(&self) -> Grouped {
        Grouped::new(self.group, self.plural)
    }

    /// For errors that name the Kind.
    #[must_use]
    pub fn group_kind(&self) -> Grouped {
        Grouped::new(self.group, self.kind)
    }

    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// The kind's type in the schema.
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        Schema::get()
            .find(self.type_name)
            .expect("only built-in kinds are asked, and a test holds that they have their types")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_complete() {
        for info in all() {
            assert!(Schema::get().find(info.type_name).is_some(), "{}", info.kind);
            let has_list = type_of(&info.api_version(), &info.list_kind()).is_some();
            assert_eq!(has_list, info.verbs.contains(&"list"), "{}", info.kind);
            assert_eq!(info.singular, info.kind.to_lowercase());
            assert!(!info.plural.is_empty());
            assert_eq!(info.is_stored(), info.verbs.contains(&"watch"), "{}", info.kind);
            let kept = info.kept();
            assert!(kept.kept_as.is_none(), "{}", info.kind);
            assert_eq!((info.kind, info.storage_prefix), (kept.kind, kept.storage_prefix));
            let has_status = info.subresource("status").is_some();
            assert_eq!(info.has_status, has_status, "{}", info.kind);
            for sub in info.subresources {
                let api_version = if sub.group.is_empty() {
                    sub.version.to_owned()
                } else {
                    format!("{}/{}", sub.group, sub.version)
                };
                assert!(type_of(&api_version, sub.kind).is_some(), "{}/{}", info.kind, sub.name);
            }
            assert_eq!(type_of(&info.api_version(), info.kind), Some(info.type_id()));
            assert!(!crate::table::columns(info).is_empty());
        }
    }
}
