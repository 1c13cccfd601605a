//! Reads the table that `api-tables` writes.
//!
//! A line without indent names a type. An indented line is a field of it:
//! `number json shape kind presence flags…`, with `~` as the JSON name of an inlined struct.
//! The table is part of the binary, so a line that does not parse is a bug and panics at first use.

use std::collections::HashMap;

use super::{ByName, Type, TypeId};
use super::{Field, Kind, LIST_META, ListType, OBJECT_META, Presence, Schema, Shape, Special};

pub(super) fn parse(text: &str) -> Schema {
    let names: Vec<&str> =
        text.lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()).collect();
    let by_name: HashMap<String, TypeId> =
        names.iter().zip(0..).map(|(name, index)| ((*name).to_owned(), TypeId(index))).collect();

    let mut types: Vec<Type> = Vec::with_capacity(names.len());
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(field) = line.strip_prefix(' ') {
            let owner = types.last_mut().expect("a field line follows its type");
            owner.fields.push(parse_field(field, &by_name));
        } else {
            types.push(Type {
                name: line.to_owned(),
                special: special(line),
                fields: Vec::new(),
                has_type_meta: false,
                by_json: ByName::default(),
                always: Vec::new(),
            });
        }
    }
    let metas = [by_name[OBJECT_META], by_name[LIST_META]];
    for index in 0..types.len() {
        types[index].has_type_meta = has_type_meta(&types[index], metas);
        let id = TypeId(u32::try_from(index).expect("fewer than 2^32 types"));
        let mut by_json = ByName::default();
        flatten(&types, id, &mut by_json);
        let is_always = |(owner, index): &(TypeId, usize)| match types[owner.0 as usize].fields
            [*index]
            .presence
        {
            Presence::KeepZero
            | Presence::Struct
            | Presence::NullPointer
            | Presence::NullTime
            | Presence::NullEmpty => true,
            Presence::Pointer | Presence::DropZero | Presence::DropEmpty => false,
        };
        let always = by_json.values().copied().filter(is_always).collect();
        types[index].by_json = by_json;
        types[index].always = always;
    }
    Schema { types, by_name }
}

fn flatten(types: &[Type], id: TypeId, out: &mut ByName<(TypeId, usize)>) {
    for (index, field) in types[id.0 as usize].fields.iter().enumerate() {
        match field.kind {
            Kind::Message(inner) if field.is_inline() => flatten(types, inner, out),
            _ => {
                out.insert(field.json.clone(), (id, index));
            }
        }
    }
}

/// Objects, lists and option bodies carry `apiVersion` and `kind`; templates do not.
fn has_type_meta(ty: &Type, metas: [TypeId; 2]) -> bool {
    let short = ty.short_name();
    if matches!(short, "DeleteOptions" | "APIGroup" | "APIResourceList") {
        return true;
    }
    let is_template = short.ends_with("TemplateSpec")
        || (short.ends_with("Template") && short != "PodTemplate")
            && !matches!(short, "ResourceClaimTemplate");
    let has_metadata = ty.fields.iter().any(|field| {
        field.json == "metadata" && metas.iter().any(|m| field.kind == Kind::Message(*m))
    });
    has_metadata && !is_template
}

fn special(name: &str) -> Special {
    match name {
        "apimachinery.pkg.api.resource.Quantity"
        | "apimachinery.pkg.api.resource.QuantityValue" => Special::Quantity,
        "apimachinery.pkg.util.intstr.IntOrString" => Special::IntOrString,
        "apimachinery.pkg.apis.meta.v1.Time" => Special::Time,
        "apimachinery.pkg.apis.meta.v1.MicroTime" => Special::MicroTime,
        "apimachinery.pkg.apis.meta.v1.Duration" => Special::Duration,
        "apimachinery.pkg.apis.meta.v1.FieldsV1" => Special::AnyJson,
        "apimachinery.pkg.runtime.RawExtension" => Special::RawExtension,
        "apimachinery.pkg.apis.meta.v1.Verbs"
        | "api.authentication.v1.ExtraValue"
        | "api.authorization.v1.ExtraValue"
        | "api.certificates.v1.ExtraValue" => Special::Items,
        _ if name.starts_with("apiextensions_apiserver.") && name.contains(".Json") => {
            Special::AnyJson
        }
        _ => Special::None,
    }
}

fn parse_field(line: &str, by_name: &HashMap<String, TypeId>) -> Field {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| unreadable(line));
    let number = word().parse().unwrap_or_else(|_| unreadable(line));
    let json = word().trim_start_matches('~').to_owned();
    let shape = match word() {
        "one" => Shape::One,
        "list" => Shape::List,
        "map" => Shape::Map,
        _ => unreadable(line),
    };
    let kind = match word() {
        "string" => Kind::String,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "bool" => Kind::Bool,
        "bytes" => Kind::Bytes,
        "double" => Kind::Double,
        name => Kind::Message(*by_name.get(name).unwrap_or_else(|| unreadable(line))),
    };
    let presence = match word() {
        "p" => Presence::Pointer,
        "u" => Presence::NullPointer,
        "z" => Presence::DropZero,
        "k" => Presence::KeepZero,
        "s" => Presence::Struct,
        "t" => Presence::NullTime,
        "l" => Presence::DropEmpty,
        "n" => Presence::NullEmpty,
        _ => unreadable(line),
    };
    let mut field = Field {
        json,
        number,
        shape,
        kind,
        presence,
        list_type: None,
        list_map_keys: Vec::new(),
        patch_strategies: Vec::new(),
        patch_merge_key: None,
        optional: false,
    };
    for flag in words {
        set_flag(&mut field, flag);
    }
    field
}

fn set_flag(field: &mut Field, flag: &str) {
    let list = |value: &str| value.split(',').map(str::to_owned).collect();
    match flag.split_once('=') {
        Some(("list", "map")) => field.list_type = Some(ListType::Map),
        Some(("list", "set")) => field.list_type = Some(ListType::Set),
        Some(("list", _)) => field.list_type = Some(ListType::Atomic),
        Some(("keys", value)) => field.list_map_keys = list(value),
        Some(("patch", value)) => field.patch_strategies = list(value),
        Some(("key", value)) => field.patch_merge_key = Some(value.to_owned()),
        None if flag == "optional" => field.optional = true,
        _ => {}
    }
}

#[expect(clippy::panic, reason = "the table is compiled in: a bad line cannot come from outside")]
fn unreadable(line: &str) -> ! {
    panic!("the schema table has a line that cannot be read: {line:?}")
}
