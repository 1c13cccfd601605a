//! What server-side apply knows of custom kinds: their schemas, read as upstream reads them.

use std::sync::Arc;

use serde_json::Value;

use super::types::{Child, Form, Items, ListForm, MapForm, NodeType, Scalar};
use crate::custom::schema::{Additional, Kind, ListType, Schema};
use crate::schema::{OBJECT_META, Schema as BuiltIn};

/// A level of the schema of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomNode {
    pub(super) schema: Arc<Schema>,
    /// The level is a whole object, with a type and metadata.
    is_object: bool,
}

impl CustomNode {
    /// The root of a schema.
    pub(super) fn root(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), is_object: true }
    }
}

/// The type of a level below.
fn node(schema: &Arc<Schema>) -> NodeType {
    if schema.int_or_string {
        return NodeType::Scalar(Scalar::Any);
    }
    match schema.kind {
        Kind::Any => NodeType::Deduced,
        Kind::String => NodeType::Scalar(Scalar::Text),
        Kind::Integer | Kind::Number => NodeType::Scalar(Scalar::Number),
        Kind::Boolean => NodeType::Scalar(Scalar::Flag),
        Kind::Object | Kind::Array => NodeType::Custom(CustomNode {
            schema: Arc::clone(schema),
            is_object: schema.embeds_resource,
        }),
    }
}

impl CustomNode {
    pub(super) fn form(&self) -> Form<'_> {
        if self.schema.kind != Kind::Array {
            return Form::Map(MapForm { is_atomic: self.schema.is_atomic_map });
        }
        let items = match &self.schema.list {
            Some(list) => match list.kind {
                ListType::Set => Items::ByValue,
                ListType::Map => Items::ByKeys(&list.keys),
                ListType::Atomic => Items::Atomic,
            },
            None => Items::Atomic,
        };
        let element = self.schema.items.as_ref().map_or(NodeType::Deduced, node);
        Form::List(ListForm { items, element })
    }

    pub(super) fn child(&self, name: &str) -> Option<Child> {
        if self.is_object {
            let known = match name {
                "apiVersion" | "kind" => Some(NodeType::Scalar(Scalar::Text)),
                "metadata" => BuiltIn::get().find(OBJECT_META).map(NodeType::Message),
                _ => None,
            };
            if let Some(node) = known {
                return Some(Child { node, is_named: true });
            }
        }
        if let Some(property) = self.schema.property_shared(name) {
            return Some(Child { node: node(property), is_named: true });
        }
        let deduced = Some(Child { node: NodeType::Deduced, is_named: false });
        match &self.schema.additional {
            Additional::Schema(schema) => Some(Child { node: node(schema), is_named: false }),
            Additional::Allowed(true) => deduced,
            _ if self.schema.preserves_unknown => deduced,
            // An object of which nothing is said may have anything.
            Additional::Unsaid if self.schema.properties().next().is_none() => deduced,
            Additional::Unsaid | Additional::Allowed(false) => None,
        }
    }

    /// What a key field is when an item leaves it out.
    pub(super) fn key_default(&self, name: &str) -> Option<Value> {
        self.schema.property(name)?.default.as_ref().map(|value| Value::clone(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::{Set, compare, extract};

    #[test]
    fn lists_of_custom_kinds_are_merged_by_their_keys() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "properties": {
                "list": {"type": "array", "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {
                        "name": {"type": "string"}, "value": {"type": "string"}}}},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}))
        .unwrap();
        let root = NodeType::custom_object(&schema);
        let old = json!({"metadata": {"name": "x"},
            "spec": {"list": [{"name": "a"}], "any": {"x": [1]}}});
        let new = json!({"metadata": {"name": "x"},
            "spec": {"list": [{"name": "a"}, {"name": "b", "value": "1"}], "any": {"x": [1]}}});
        let compared = compare(&old, &new, &root);
        let added = format!("{:?}", compared.added);
        assert!(added.contains("value"), "{added}");
        let kept = extract(&new, &Set::of_fields(&[&["spec", "any"]]), &root);
        drop(kept);
        let unknown = root.child("spec").unwrap().node.child("nope");
        assert!(unknown.is_none());
    }
}
