//! The table as text: sorted, one field a line, so that a change of a fact is a changed line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::facts::{JsonNames, Presence};
use crate::messages::{Field, Messages};

/// Messages that the reader handles by hand: their fields have no JSON names.
const SPECIAL: [&str; 24] = [
    "Quantity",
    "QuantityValue",
    "IntOrString",
    "Time",
    "MicroTime",
    "Duration",
    "Timestamp",
    "FieldsV1",
    "RawExtension",
    "Unknown",
    "TypeMeta",
    "Json",
    "JsonSchemaPropsOrArray",
    "JsonSchemaPropsOrBool",
    "JsonSchemaPropsOrStringArray",
    "Verbs",
    "ExtraValue",
    "List",
    "ServerAddressByClientCIDR",
    "CreateOptions",
    "GetOptions",
    "PatchOptions",
    "UpdateOptions",
    "ListOptions",
];

const HEAD: &str =
    "# Written by `cargo run -p api-tables`; do not edit. Format: src/schema/load.rs.\n";

/// The table with what `additions.txt` has beyond it, sorted by name and number.
pub(crate) fn with_additions(table: &str, additions: &str) -> String {
    let mut types: BTreeMap<&str, BTreeMap<u32, &str>> = BTreeMap::new();
    let lines = table.lines().chain(additions.lines());
    let mut current = "";
    for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(field) = line.strip_prefix(' ') {
            let number = field.split(' ').next().and_then(|number| number.parse().ok());
            types.entry(current).or_default().entry(number.unwrap_or(0)).or_insert(line);
        } else {
            current = line;
            types.entry(current).or_default();
        }
    }
    let mut out = HEAD.to_owned();
    for (name, fields) in types {
        writeln!(out, "{name}").expect("a string takes any text");
        for field in fields.values() {
            writeln!(out, "{field}").expect("a string takes any text");
        }
    }
    out
}

/// The table and what the sources disagree about.
pub(crate) fn table(
    messages: &Messages,
    presence: &Presence,
    openapi: &JsonNames,
) -> (String, Vec<String>) {
    let mut out = HEAD.to_owned();
    let mut notes = Vec::new();
    for (prost_name, fields) in messages {
        let name = presence.canonical(prost_name);
        let short = name.rsplit('.').next().unwrap_or(name);
        writeln!(out, "{name}").expect("a string takes any text");
        let mut seen = BTreeSet::new();
        for field in fields {
            let (json, letter) = match presence.field(name, &field.rust_name) {
                Some((json, letter)) => (json.clone(), *letter),
                None if SPECIAL.contains(&short) => (camel(&field.rust_name), 'p'),
                // A Go struct without a JSON name: its fields are the outer object's own.
                None if is_inline(field, presence, messages) => ("~".to_owned(), 's'),
                None => {
                    notes.push(format!("{name}.{}: no JSON name known, left out", field.rust_name));
                    continue;
                }
            };
            seen.insert(json.clone());
            write_field(&mut out, field, (&json, letter), presence.canonical(&field.kind));
        }
        compare(name, &seen, openapi, &mut notes);
    }
    (out, notes)
}

fn is_inline(field: &Field, presence: &Presence, messages: &Messages) -> bool {
    field.shape == "one"
        && messages.contains_key(&field.kind)
        && presence.has(presence.canonical(&field.kind))
}

fn write_field(out: &mut String, field: &Field, (json, letter): (&str, char), kind: &str) {
    let Field { number, shape, markers, .. } = field;
    write!(out, " {number} {json} {shape} {kind} {letter}").expect("a string takes any text");
    let mut flag = |name: &str, value: &str| {
        write!(out, " {name}={value}").expect("a string takes any text");
    };
    if let Some(value) = &markers.list_type {
        flag("list", value);
    }
    if !markers.list_map_keys.is_empty() {
        flag("keys", &markers.list_map_keys.join(","));
    }
    if let Some(value) = &markers.map_type {
        flag("map", value);
    }
    if let Some(value) = &markers.patch_strategy {
        flag("patch", value);
    }
    if let Some(value) = &markers.patch_merge_key {
        flag("key", value);
    }
    if let Some(value) = markers.default.as_deref().filter(|value| !value.contains(' ')) {
        flag("default", value);
    }
    if markers.optional {
        out.push_str(" optional");
    }
    out.push('\n');
}

fn compare(name: &str, seen: &BTreeSet<String>, openapi: &JsonNames, notes: &mut Vec<String>) {
    let Some(known) = openapi.0.get(name) else { return };
    if seen.contains("~") {
        return;
    }
    for missing in known.difference(seen) {
        notes.push(format!("{name}.{missing}: in k8s-openapi only"));
    }
}

fn camel(rust_name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in rust_name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}
