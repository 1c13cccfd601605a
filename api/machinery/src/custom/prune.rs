//! Members that the schema does not know are taken out, and named.

use serde_json::{Map, Value};

use super::schema::{Additional, Schema};

/// Members that every object has, known without a schema.
pub(super) const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes out what the schema does not know. Gives the paths of it (`spec.a[0].b`), sorted.
///
/// `is_root` says that the value is a whole object with `apiVersion`, `kind` and `metadata`.
pub fn prune(value: &mut Value, schema: &Schema, is_root: bool) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), found: Vec::new() };
    let level = Level { schema: Some(schema), embeds: is_root || schema.embeds_resource };
    pruner.prune(value, level);
    pruner.found.sort();
    pruner.found
}

struct Pruner {
    path: String,
    found: Vec<String>,
}

/// A schema, and whether the object there has a type and metadata of its own.
#[derive(Clone, Copy)]
struct Level<'a> {
    schema: Option<&'a Schema>,
    embeds: bool,
}

impl<'a> Level<'a> {
    fn of(schema: Option<&'a Schema>) -> Self {
        Self { schema, embeds: schema.is_some_and(|schema| schema.embeds_resource) }
    }
}

impl Pruner {
    /// The recursion ends with the value, whose depth was limited when it was decoded.
    fn prune(&mut self, value: &mut Value, level: Level<'_>) {
        if level.schema.is_some_and(|schema| schema.preserves_unknown) {
            self.keep(value, level);
            return;
        }
        match value {
            Value::Object(map) => self.object(map, level),
            Value::Array(items) => {
                let below = Level::of(level.schema.and_then(|schema| schema.items.as_deref()));
                self.each(items, |pruner, item| pruner.prune(item, below));
            }
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, level: Level<'_>) {
        let is_root = self.path.is_empty();
        let Some(schema) = level.schema else {
            for name in std::mem::take(map).into_iter().map(|(name, _)| name) {
                self.record(&name);
            }
            return;
        };
        let mut unknown = Vec::new();
        for (name, member) in map.iter_mut() {
            let is_meta = META.contains(&name.as_str());
            if level.embeds && is_meta {
                continue;
            }
            if let Some(known) = schema.property(name) {
                self.below(name, |pruner| pruner.prune(member, Level::of(Some(known))));
                continue;
            }
            match &schema.additional {
                Additional::Schema(known) => {
                    self.below(name, |pruner| pruner.prune(member, Level::of(Some(known))));
                }
                Additional::Allowed(_) => {
                    self.below(name, |pruner| pruner.prune(member, Level::of(None)));
                }
                Additional::Unsaid => {
                    if !is_meta || !is_root {
                        self.record(name);
                    }
                    unknown.push(name.clone());
                }
            }
        }
        for name in unknown {
            map.remove(&name);
        }
    }

    /// Below a level that keeps what it does not know: only what it knows is looked at.
    fn keep(&mut self, value: &mut Value, level: Level<'_>) {
        let Some(schema) = level.schema else { return };
        match value {
            Value::Object(map) => {
                for (name, member) in map.iter_mut() {
                    if level.embeds && META.contains(&name.as_str()) {
                        continue;
                    }
                    let known = schema.property(name);
                    if known.is_some() || !matches!(schema.additional, Additional::Unsaid) {
                        let below = Level::of(known.or_else(|| schema.additional_schema()));
                        self.below(name, |pruner| pruner.prune(member, below));
                    }
                }
            }
            Value::Array(items) => {
                let below = Level::of(schema.items.as_deref());
                self.each(items, |pruner, item| pruner.keep(item, below));
            }
            _ => {}
        }
    }

    fn each(&mut self, items: &mut [Value], mut visit: impl FnMut(&mut Self, &mut Value)) {
        for (index, item) in items.iter_mut().enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            visit(self, item);
            self.path.truncate(length);
        }
    }

    fn below(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        visit(self);
        self.path.truncate(length);
    }

    fn record(&mut self, name: &str) {
        self.below(name, |pruner| {
            let path = pruner.path.clone();
            pruner.found.push(path);
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_members_go_and_are_named() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {
                    "a": {"type": "string"}}}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"shut": {"type": "object"}}},
                "map": {"type": "object", "additionalProperties": {"type": "object"}},
                "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "properties": {"spec": {"type": "object"}}},
                "either": {"x-kubernetes-int-or-string": true}}}}});
        let schema = Schema::parse(&schema).unwrap();
        let mut value = json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "top": 1,
            "spec": {"list": [{"a": "1", "b": 2}], "open": {"any": {"x": 1}, "shut": {"x": 1}},
                "map": {"k": {"x": 1}}, "either": {"x": 1},
                "embedded": {"kind": "K", "metadata": {"y": 1}, "spec": {"x": 1}, "more": 1}}});
        let found = prune(&mut value, &schema, true);
        assert_eq!(
            found,
            [
                "spec.either.x",
                "spec.embedded.more",
                "spec.embedded.spec.x",
                "spec.list[0].b",
                "spec.map.k.x",
                "spec.open.shut.x",
                "top"
            ]
        );
        assert_eq!(
            value,
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1},
            "spec": {"list": [{"a": "1"}], "open": {"any": {"x": 1}, "shut": {}},
                "map": {"k": {}}, "either": {},
                "embedded": {"kind": "K", "metadata": {"y": 1}, "spec": {}}}})
        );
        assert_eq!(prune(&mut value, &schema, true), Vec::<String>::new());
    }
}
