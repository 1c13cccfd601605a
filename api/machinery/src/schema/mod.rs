//! The schema of every built-in type: fields, wire numbers, list keys, patch rules.

mod load;
mod name_hasher;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use crate::decode::walk;

/// A type of the [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub(crate) u32);

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    /// Keys are strings.
    Map,
}

/// What one value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Int32,
    Int64,
    Bool,
    /// Base64 in JSON.
    Bytes,
    Double,
    Message(TypeId),
}

/// How Go's JSON writes the field when it is unset or zero. The letters are those of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// `p`: kept when set, zero or not; absent otherwise.
    Pointer,
    /// `u`: kept when set, zero or not; written as null when unset.
    NullPointer,
    /// `z`: a scalar that is dropped when zero.
    DropZero,
    /// `k`: a scalar that is always written.
    KeepZero,
    /// `s`: a struct that is always written.
    Struct,
    /// `t`: a time that is written as null when unset.
    NullTime,
    /// `l`: a list or map that is dropped when empty.
    DropEmpty,
    /// `n`: a list or map that is written as null when unset.
    NullEmpty,
}

/// How a list is merged by server-side apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

/// Types whose JSON is not an object with the message's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    None,
    /// A decimal with a suffix, written in canonical form.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Go's duration text.
    Duration,
    /// Any JSON, carried as its bytes in the field `raw`.
    AnyJson,
    /// Any object, carried as bytes in the field `raw`; may itself be a protobuf envelope.
    RawExtension,
    /// A list of strings wrapped in a message.
    Items,
}

/// One field of a type.
#[derive(Clone, Debug)]
pub struct Field {
    /// JSON name; empty for an inlined struct, whose fields are the outer object's own.
    pub json: String,
    pub number: u32,
    pub shape: Shape,
    pub kind: Kind,
    pub presence: Presence,
    pub list_type: Option<ListType>,
    pub list_map_keys: Vec<String>,
    /// `merge`, `replace`, `retainKeys` as upstream's markers say.
    pub patch_strategies: Vec<String>,
    pub patch_merge_key: Option<String>,
    /// Marked `+optional` upstream.
    pub optional: bool,
}

impl Field {
    /// Whether the fields of this struct stand in the outer object.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.json.is_empty()
    }

    /// Whether strategic merge patch merges the list by key or value instead of replacing it.
    #[must_use]
    pub fn patch_merges(&self) -> bool {
        self.patch_strategies.iter().any(|strategy| strategy == "merge")
    }

    /// Whether strategic merge patch looks at `$retainKeys` here.
    #[must_use]
    pub fn patch_retains_keys(&self) -> bool {
        self.patch_strategies.iter().any(|strategy| strategy == "retainKeys")
    }
}

/// One type: a message with its fields.
#[derive(Clone, Debug)]
pub struct Type {
    /// Full name, e.g. `api.core.v1.Pod`.
    pub name: String,
    pub special: Special,
    /// In the order of the protobuf numbers.
    pub fields: Vec<Field>,
    /// Whether `apiVersion` and `kind` may stand in it.
    pub has_type_meta: bool,
    /// JSON name to where the field is, through inlined structs.
    by_json: ByName<(TypeId, usize)>,
    /// Where those are that Go's JSON has even when nobody has set them.
    always: Vec<(TypeId, usize)>,
}

/// A map from names of the table. What is looked up may come from anybody, what is in it does not.
type ByName<T> = HashMap<String, T, BuildHasherDefault<name_hasher::NameHasher>>;

impl Type {
    /// The last part of the name: `Pod`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The name as Go prints it in decode errors: `v1.Pod`.
    #[must_use]
    pub fn go_name(&self) -> &str {
        let parts: Vec<_> = self.name.rmatch_indices('.').take(2).collect();
        parts.get(1).map_or(&self.name, |(at, _)| &self.name[at + 1..])
    }

    /// Whether its JSON is one of several shapes, with a field of the message for each: a schema or a list of
    /// them, a schema or a boolean, a schema or a list of names. A type of any JSON has one field, its bytes.
    #[must_use]
    pub fn is_either(&self) -> bool {
        self.special == Special::AnyJson && self.fields.len() > 1
    }

    /// The name of the OpenAPI definition: `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn definition_name(&self) -> String {
        // The messages of protobuf spell an acronym in another way than the types.
        format!("io.k8s.{}", self.name.replace('_', "-").replace(".Json", ".JSON"))
    }
}

/// All built-in types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<String, TypeId>,
}

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| load::parse(include_str!("../tables/schema.txt")));

impl Schema {
    /// The table, loaded at first use.
    #[must_use]
    pub fn get() -> &'static Self {
        &SCHEMA
    }

    /// Finds a type by its full name (`api.core.v1.Pod`).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    #[must_use]
    pub fn of(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// The field of a JSON name, inlined ones included.
    #[must_use]
    pub fn field(&self, id: TypeId, json: &str) -> Option<&Field> {
        let (owner, index) = self.of(id).by_json.get(json)?;
        Some(&self.of(*owner).fields[*index])
    }

    /// The fields that Go's JSON has even when nobody has set them, inlined ones included.
    pub(crate) fn always(&self, id: TypeId) -> impl Iterator<Item = &Field> {
        let places = self.of(id).always.iter();
        places.map(|(owner, index)| &self.of(*owner).fields[*index])
    }

    /// Every JSON field of a type, inlined ones included, sorted by name.
    #[must_use]
    pub fn json_fields(&self, id: TypeId) -> Vec<&Field> {
        let mut fields: Vec<_> = self
            .of(id)
            .by_json
            .values()
            .map(|(owner, index)| &self.of(*owner).fields[*index])
            .collect();
        fields.sort_by(|a, b| a.json.cmp(&b.json));
        fields
    }

    /// A field's value when nobody has set anything in it: `{}`, or what Go always writes.
    #[must_use]
    pub fn empty(&self, id: TypeId, json: &str) -> serde_json::Value {
        self.field(id, json).map_or_else(Default::default, |field| walk::empty_struct(self, field))
    }

    /// All types, sorted by name.
    #[must_use]
    pub fn types(&self) -> &[Type] {
        &self.types
    }
}

/// The type of `ObjectMeta`.
pub const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// The type of `ListMeta`.
pub const LIST_META: &str = "apimachinery.pkg.apis.meta.v1.ListMeta";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_structs_are_seen_as_the_outer_objects_fields() {
        let schema = Schema::get();
        let volume = schema.find("api.core.v1.Volume").unwrap();
        assert_eq!(schema.field(volume, "configMap").unwrap().number, 19);
        let probe = schema.find("api.core.v1.Probe").unwrap();
        assert!(schema.field(probe, "httpGet").is_some());
        assert!(schema.field(probe, "handler").is_none());
    }

    #[test]
    fn merge_keys_are_upstreams() {
        let schema = Schema::get();
        let spec = schema.find("api.core.v1.PodSpec").unwrap();
        let containers = schema.field(spec, "containers").unwrap();
        assert!(containers.patch_merges());
        assert_eq!(containers.patch_merge_key.as_deref(), Some("name"));
        assert_eq!(containers.list_type, Some(ListType::Map));
        let volumes = schema.field(spec, "volumes").unwrap();
        assert!(volumes.patch_merges() && volumes.patch_retains_keys());
    }

    #[test]
    fn every_message_has_a_number_once() {
        for ty in Schema::get().types() {
            let mut numbers: Vec<_> = ty.fields.iter().map(|field| field.number).collect();
            numbers.dedup();
            assert_eq!(numbers.len(), ty.fields.len(), "{}", ty.name);
        }
    }
}
