//! Parameters: the objects of a kind that a binding names or selects.

use api_machinery::selector::Labels;
use api_machinery::{ResourceInfo, kinds};
use serde_json::Value;

use super::inputs::Surroundings;
use crate::watch_cache::Filter;

/// What a policy says about its parameters.
#[derive(Debug)]
pub(super) struct ParamKind {
    api_version: String,
    kind: String,
}

impl ParamKind {
    pub(super) fn of(spec: &Value) -> Option<Self> {
        let kind = &spec["paramKind"];
        let text = |key: &str| kind[key].as_str().unwrap_or_default().to_owned();
        (!kind.is_null()).then(|| Self { api_version: text("apiVersion"), kind: text("kind") })
    }

    /// The kind, or upstream's error.
    pub(super) fn find(&self) -> Result<&'static ResourceInfo, String> {
        let found = kinds::find_kind(&self.api_version, &self.kind);
        found.filter(|info| info.is_stored()).ok_or_else(|| {
            let (group, version) = kinds::split_api_version(&self.api_version);
            format!(
                "failed to find resource referenced by paramKind: '{group}/{version}, Kind={}'",
                self.kind
            )
        })
    }
}

/// The parameters that a binding has for a request; one that is nothing when it has no reference.
pub(super) fn collect(
    asked: &Surroundings<'_>,
    kind: Option<&'static ResourceInfo>,
    reference: &Value,
) -> Result<Vec<Option<Value>>, String> {
    let Some(info) = kind.filter(|_| !reference.is_null()) else { return Ok(vec![None]) };
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (name, own_namespace) = (text("name"), text("namespace"));
    let namespace = match (info.namespaced, own_namespace) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                .to_owned());
        }
        (true, "") if asked.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
        }
        (true, "") => asked.namespace.as_str(),
        (true, own) => own,
    };
    let server = asked.attributes.server;
    let cache = server.caches.of(info);
    let versions = if name.is_empty() {
        let labels = Labels::from_object(&reference["selector"]);
        let filter = Filter { namespace: namespace.to_owned(), labels, ..Filter::default() };
        let listed = cache.list_whole(&server.storage.prefix(info, namespace), &filter, 0);
        listed.map_err(|error| error.message)?.0
    } else {
        let found = cache.find(&server.storage.key(info, namespace, name));
        found.map_err(|error| error.message)?.into_iter().collect()
    };
    if versions.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
        );
    }
    versions
        .iter()
        .map(|version| version.object().map(|object| Some(object.into_value())))
        .collect::<Result<_, _>>()
        .map_err(|status| status.message)
}
