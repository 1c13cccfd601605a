//! Which lists and maps of which kinds make the rules slow: one object of each kind a line in; each
//! list and map that its schema has is filled with items, and with four times as many. What grows
//! faster than the number of items is a line out: how much faster, seconds, kind, path. A body may
//! have 3 MiB, and a rule that looks at all items for each of them would hold a thread for minutes.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::io::BufRead;
use std::time::Instant;

use api_machinery::kinds::ResourceInfo;
use api_machinery::schema::{Field, Kind, Schema, Shape, Special, TypeId};
use api_machinery::strategy::{Creation, prepare_for_create, prepare_for_update};
use api_machinery::{Object, defaults, kinds, validate};
use serde_json::{Map, Value, json};

/// How deep lists in lists are looked for.
const DEPTH_MAX: usize = 9;
const FEW: usize = 4000;
const MANY: usize = FEW * 4;
/// Linear is 4; what takes less than this many seconds is noise.
const SUSPECT_RATIO: f64 = 8.0;
const NOISE: f64 = 0.7;

fn main() {
    let mut is_first = true;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(Value::Object(base)) = serde_json::from_str(&line) else { continue };
        let base = Object(base);
        let Some(info) = kinds::find_kind(base.api_version(), base.kind()) else { continue };
        let mut paths = Vec::new();
        collect(info.type_id(), &mut Vec::new(), &mut paths);
        // What all kinds have is looked at once.
        paths.retain(|(path, _)| is_first || path[0] != "metadata");
        is_first = false;
        for (path, field) in &paths {
            for style in Style::ALL {
                report(info, &base, (path, field), style);
            }
        }
    }
}

/// What the items look like.
#[derive(Clone, Copy, Debug)]
enum Style {
    Different,
    Same,
    Sparse,
}

impl Style {
    const ALL: [Self; 3] = [Self::Different, Self::Same, Self::Sparse];
}

fn collect(
    id: TypeId,
    path: &mut Vec<&'static str>,
    found: &mut Vec<(Vec<&'static str>, &'static Field)>,
) {
    if path.len() >= DEPTH_MAX {
        return;
    }
    let schema = Schema::get();
    for field in schema.json_fields(id) {
        let name: &'static str = field.json.as_str();
        if name == "managedFields" || path.iter().filter(|one| **one == name).count() > 1 {
            continue;
        }
        path.push(name);
        if field.shape != Shape::One {
            found.push((path.clone(), field));
        }
        if let (Kind::Message(inner), Special::None) = (field.kind, special(field)) {
            if field.shape == Shape::Map {
                path.push("k");
            }
            collect(inner, path, found);
            if field.shape == Shape::Map {
                path.pop();
            }
        }
        path.pop();
    }
}

fn special(field: &Field) -> Special {
    match field.kind {
        Kind::Message(id) => Schema::get().of(id).special,
        _ => Special::None,
    }
}

fn item(field: &Field, index: usize, style: Style) -> Value {
    let number = match style {
        Style::Different | Style::Sparse => index,
        Style::Same => 0,
    };
    match (field.kind, special(field)) {
        (_, Special::Quantity | Special::IntOrString) => json!(number + 1),
        (_, Special::AnyJson | Special::RawExtension) => json!({}),
        (_, Special::Time | Special::MicroTime) => json!("2026-01-01T00:00:00Z"),
        (Kind::Message(id), _) => {
            let mut made = Map::new();
            for inner in Schema::get().json_fields(id) {
                if inner.shape != Shape::One || matches!(inner.kind, Kind::Message(_)) {
                    continue;
                }
                let is_key = matches!(inner.json.as_str(), "name" | "key" | "type" | "ip");
                if !matches!(style, Style::Sparse) || is_key {
                    made.insert(inner.json.clone(), scalar(&inner.kind, number));
                }
            }
            Value::Object(made)
        }
        (kind, _) => scalar(&kind, number),
    }
}

fn scalar(kind: &Kind, number: usize) -> Value {
    match kind {
        Kind::Bool => json!(true),
        Kind::String => json!(format!("v{number}")),
        Kind::Bytes => json!(""),
        _ => json!(number % 60000 + 1),
    }
}

fn place(value: &mut Value, id: TypeId, path: &[&str], fill: &mut dyn FnMut(&Field) -> Value) {
    let Some(field) = Schema::get().field(id, path[0]) else { return };
    let Some(object) = value.as_object_mut() else { return };
    if path.len() == 1 {
        object.insert(path[0].to_owned(), fill(field));
        return;
    }
    let Kind::Message(inner) = field.kind else { return };
    match field.shape {
        Shape::One => {
            let next = object.entry(path[0]).or_insert_with(|| json!({}));
            place(next, inner, &path[1..], fill);
        }
        Shape::List => {
            let list = object.entry(path[0]).or_insert_with(|| json!([{}]));
            if let Some(next) = list.get_mut(0) {
                place(next, inner, &path[1..], fill);
            }
        }
        Shape::Map => {
            let map = object.entry(path[0]).or_insert_with(|| json!({}));
            if let Some(map) = map.as_object_mut() {
                let next = map.entry(path[1]).or_insert_with(|| json!({}));
                if path.len() > 2 {
                    place(next, inner, &path[2..], fill);
                }
            }
        }
    }
}

fn seconds(info: &'static ResourceInfo, base: &Object, path: &[&str], fill: (usize, Style)) -> f64 {
    let (count, style) = fill;
    let mut tree = Value::Object(base.0.clone());
    place(&mut tree, info.type_id(), path, &mut |field| {
        if field.shape == Shape::Map {
            let pairs = (0..count).map(|index| (format!("k{index}"), item(field, index, style)));
            Value::Object(pairs.collect())
        } else {
            (0..count).map(|index| item(field, index, style)).collect()
        }
    });
    let Some(mut object) = Object::from_value(tree) else { return 0.0 };
    let started = Instant::now();
    defaults::apply(info, &mut object);
    let old = object.clone();
    let creation = Creation { uid: "u", now: "2026-01-01T00:00:00Z" };
    prepare_for_create(info, &mut object, creation);
    let said = validate::create(info, &object).len();
    prepare_for_update(info, &mut object, &old);
    let again = validate::update(info, &object, &old).len();
    let last = validate::status_update(info, &old, &old).len();
    let _ = api_machinery::Status::invalid(&info.group_kind(), "n", &validate::create(info, &old));
    std::hint::black_box((said, again, last));
    started.elapsed().as_secs_f64()
}

fn report(
    info: &'static ResourceInfo,
    base: &Object,
    (path, field): (&[&'static str], &Field),
    style: Style,
) {
    let few = seconds(info, base, path, (FEW, style));
    let many = seconds(info, base, path, (MANY, style));
    let ratio = many / few;
    if ratio > SUSPECT_RATIO && many > NOISE {
        let path = path.join(".");
        println!("{ratio:5.1} {many:7.3} {} {path} {style:?} {:?}", info.kind, field.shape);
    }
}
