//! CustomResourceDefinitions as a kube-apiserver keeps them: in `v1beta1`, where what all versions of
//! a kind have in common stands once, beside them.

use serde_json::{Map, Value, json};

type Tree = Map<String, Value>;

/// Where a part of a definition stands in `v1beta1`, and where in a version of `v1`.
const SHARED: [(&str, &str); 4] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];
const COLUMNS: &str = "additionalPrinterColumns";

/// Makes `v1` of `v1beta1`, but for `apiVersion`.
pub(super) fn to_v1(tree: &mut Tree) {
    let Some(Value::Object(spec)) = tree.get_mut("spec") else { return };
    // Without a word about it, `v1beta1` keeps fields that no schema knows.
    spec.entry("preserveUnknownFields").or_insert(Value::Bool(true));
    let first = spec.remove("version").unwrap_or_default();
    let mut versions = match spec.remove("versions") {
        Some(Value::Array(versions)) if !versions.is_empty() => versions,
        _ if first.as_str().is_some_and(|name| !name.is_empty()) => {
            vec![json!({"name": first, "served": true, "storage": true})]
        }
        _ => Vec::new(),
    };
    for (from, to) in SHARED {
        let Some(part) = spec.remove(from).filter(|part| !part.is_null()) else { continue };
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            version.insert(to.to_owned(), part.clone());
        }
    }
    for list in versions.iter_mut().filter_map(|version| version.get_mut(COLUMNS)) {
        columns(list);
    }
    spec.insert("versions".to_owned(), versions.into());
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion") {
        webhook(conversion);
    }
}

/// Their path has another name.
fn columns(list: &mut Value) {
    for column in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
}

fn webhook(conversion: &mut Tree) {
    let config = conversion.remove("webhookClientConfig").filter(|config| !config.is_null());
    let reviews = conversion.remove("conversionReviewVersions").filter(|list| !list.is_null());
    if config.is_none() && reviews.is_none() {
        return;
    }
    let mut webhook = Tree::new();
    webhook.insert("conversionReviewVersions".to_owned(), reviews.unwrap_or_default());
    webhook.extend(config.map(|config| ("clientConfig".to_owned(), config)));
    conversion.insert("webhook".to_owned(), webhook.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1(spec: Value) -> Value {
        let mut tree = Tree::new();
        tree.insert("spec".to_owned(), spec);
        to_v1(&mut tree);
        tree.remove("spec").unwrap()
    }

    #[test]
    fn what_versions_share_is_given_to_each() {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let shared = v1(json!({"group": "g", "version": "v2", "preserveUnknownFields": false,
            "versions": [{"name": "v2", "served": true, "storage": true},
                {"name": "v1", "served": true, "storage": false}],
            "validation": schema, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}],
            "conversion": {"strategy": "None"}}));
        let version = |name: &str, is_kept: bool| {
            json!({"name": name, "served": true, "storage": is_kept, "schema": schema,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}]})
        };
        let wanted = json!({"group": "g", "preserveUnknownFields": false,
            "versions": [version("v2", true), version("v1", false)],
            "conversion": {"strategy": "None"}});
        assert_eq!(shared, wanted);
    }

    #[test]
    fn what_versions_have_of_their_own_stays_there() {
        let own = v1(json!({"version": "v1", "preserveUnknownFields": false, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}]}],
            "conversion": {"strategy": "Webhook", "conversionReviewVersions": ["v1"],
                "webhookClientConfig": {"url": "https://x"}}}));
        let wanted = json!({"preserveUnknownFields": false, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]}],
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://x"}}}});
        assert_eq!(own, wanted);
    }

    #[test]
    fn one_version_may_be_named_alone() {
        let wanted = json!({"preserveUnknownFields": true,
            "versions": [{"name": "v1", "served": true, "storage": true}]});
        assert_eq!(v1(json!({"version": "v1"})), wanted);
        assert_eq!(v1(json!({"versions": [5]}))["versions"], json!([5]));
    }
}
