//! Server-side apply: who owns what after some writes of several managers.

use api_machinery::apply::{self, Managers, Set, Target, Writer};
use api_machinery::decode::Encoding;
use api_machinery::{Object, ResourceInfo, defaults};
use serde_json::Value;
use testbed::fuzz::Input;

use crate::{generate, laws};

const MANAGERS: [&str; 3] = ["kubectl", "one", "two"];
/// Writes of one input.
const WRITES_MAX: usize = 6;

/// Carries out some writes, one after the other.
pub fn applies(data: &[u8]) {
    let mut input = Input::new(data);
    let info = generate::kind(&mut input);
    // Of a custom kind without a schema there is nothing to know.
    let target = match input.byte() & 1 {
        0 => Target::of(info, ""),
        _ => Target::deduced(&info.api_version(), info.kind, "", Set::default()),
    };
    let mut live: Option<Object> = None;
    for _ in 0..WRITES_MAX {
        if input.is_empty() {
            break;
        }
        let choice = input.byte();
        let manager = MANAGERS[usize::from(choice >> 2) % MANAGERS.len()];
        let is_text = choice & 0x80 != 0;
        let tree = if is_text {
            text(info, input.wide_piece())
        } else {
            generate::object(info, &mut input)
        };
        let Some(mut new) = Object::from_value(tree) else { continue };
        new.set_name("x");
        let writer = Writer { manager, now: "2026-01-01T00:00:00Z", force: choice & 1 == 1 };
        let is_apply = choice & 2 == 0;
        let written = laws::timed("a managed write", || {
            if is_apply {
                applied(&target, live.as_ref(), &new, writer)
            } else {
                put(info, &target, live.as_ref(), &new, writer)
            }
        });
        if written.is_some() {
            live = written;
        }
    }
}

fn text(info: &ResourceInfo, piece: &[u8]) -> Value {
    let Ok(Value::Object(mut tree)) = serde_json::from_slice(piece) else { return Value::Null };
    tree.insert("apiVersion".to_owned(), info.api_version().into());
    tree.insert("kind".to_owned(), info.kind.into());
    Value::Object(tree)
}

/// Y4: an apply that is done again changes nothing. Where it names something empty, which is not kept,
/// the first time that it is done again makes its manager the last that wrote, as upstream; and where a
/// list is told by what was so named, it ends here: upstream, too, then refuses the object that is
/// there, or takes the item for another one that it adds.
fn applied(
    target: &Target,
    live: Option<&Object>,
    config: &Object,
    writer: Writer<'_>,
) -> Option<Object> {
    let object = apply::apply(target, live, config, writer).ok()?;
    managed(&object);
    // Upstream, too, takes an object that nobody owns for one that was never applied.
    object.at(&["metadata", "managedFields"])?;
    // A list that has to begin with another field's value loses what it begins with: once, here and upstream.
    if config.at(&["spec", "podCIDRs"]).is_some() {
        return Some(object);
    }
    if config.0.values().any(has_empty_key) {
        return Some(object);
    }
    // Without ClientIP it is dropped when it is written, and its owners learn that the next time, as upstream.
    if config.at(&["spec", "sessionAffinityConfig"]).is_some() {
        return Some(object);
    }
    if is_empty_with_others(&object, config, writer.manager) {
        return Some(object);
    }
    let repeat = |object: &Object, now| {
        let later = Writer { now, ..writer };
        let mut again = apply::apply(target, Some(object), config, later)
            .unwrap_or_else(|status| panic!("Y4: {status} when {config:?} was applied again"));
        apply::keep_times(&mut again, object);
        again
    };
    let again = repeat(&object, "2027-01-01T00:00:00Z");
    assert!(
        regardless_of_times(&again) == regardless_of_times(&object),
        "Y4: {object:?} became {again:?} when {config:?} was applied again"
    );
    let last = repeat(&again, "2028-01-01T00:00:00Z");
    assert!(
        last == again,
        "Y4: {again:?} became {last:?} when {config:?} was applied a third time"
    );
    Some(object)
}

/// Whether somebody else, too, has named empty what this manager names empty. When the manager's own
/// members of it go by that, it is nothing, and nothing is not empty: the next time the same names it
/// anew, and the other one is told of a conflict or loses it, as upstream (seen beside a kube-apiserver).
fn is_empty_with_others(object: &Object, config: &Object, manager: &str) -> bool {
    let entries = object.at(&["metadata", "managedFields"]).and_then(Value::as_array);
    let mut others = entries.into_iter().flatten().filter(|entry| entry["manager"] != manager);
    others
        .any(|entry| config.0.iter().any(|(key, tree)| names_empty(tree, key, &entry["fieldsV1"])))
}

/// Whether a field of this name, or one below it, is named empty by both.
fn names_empty(tree: &Value, key: &str, fields: &Value) -> bool {
    let Some(own) = fields.get(format!("f:{key}")) else { return false };
    match tree {
        Value::Object(map) if !map.is_empty() => {
            map.iter().any(|(key, tree)| names_empty(tree, key, own))
        }
        Value::Object(_) => own.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Whether an item of a list has nothing in a field that tells items apart.
fn has_empty_key(tree: &Value) -> bool {
    const KEYS: [&str; 5] = ["name", "protocol", "type", "key", "ip"];
    match tree {
        Value::Array(items) => {
            items.iter().any(|item| KEYS.iter().any(|key| item[key] == "") || has_empty_key(item))
        }
        Value::Object(map) => map.values().any(has_empty_key),
        _ => false,
    }
}

/// An object whose managers have no times, and so no order.
fn regardless_of_times(object: &Object) -> Object {
    let mut object = object.clone();
    let entries =
        object.0.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields"));
    if let Some(Value::Array(entries)) = entries {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries.sort_by_cached_key(Value::to_string);
    }
    object
}

fn put(
    info: &'static ResourceInfo,
    target: &Target,
    live: Option<&Object>,
    new: &Object,
    writer: Writer<'_>,
) -> Option<Object> {
    let body = new.to_json();
    let mut new = laws::decoded(&body, Encoding::Json, info).ok()?.object;
    defaults::apply(info, &mut new);
    let object = apply::update(target, live, new, writer);
    managed(&object);
    let mut again = apply::update(target, Some(&object), object.clone(), writer);
    apply::keep_times(&mut again, &object);
    assert!(again == object, "Y4: {object:?} became {again:?}");
    Some(object)
}

/// What is told of the managers can be read, and is written the same.
fn managed(object: &Object) {
    let entries = object.at(&["metadata", "managedFields"]);
    let managers = Managers::read(entries).expect("Y2: managed fields can be read");
    let written = managers.entries();
    if let Some(entries) = entries {
        assert_eq!(&Value::Array(written), entries, "Y2: and are written as they were");
    }
    for entry in entries.and_then(Value::as_array).into_iter().flatten() {
        let set = Set::from_json(&entry["fieldsV1"]).expect("Y2");
        let text: Value = serde_json::from_str(&set.to_json()).expect("Y2: a set is JSON");
        assert_eq!(Set::from_json(&text), Ok(set), "Y2: a set");
    }
    laws::stored(object);
}
