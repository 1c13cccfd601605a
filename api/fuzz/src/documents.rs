//! Bodies of built-in kinds, from the request to the store: decode, default, prepare, validate, show.
//!
//! The first byte says whether the rest is JSON as a client sends it, or what an object is made of.

use api_machinery::decode::Encoding;
use api_machinery::header::{Header, with_resource_version};
use api_machinery::strategy::{Creation, prepare_for_create, prepare_for_update};
use api_machinery::{Object, ResourceInfo, View, defaults, quota, table, validate};
use serde_json::Value;
use testbed::fuzz::Input;

use crate::{generate, laws};

/// Writes one object.
pub fn documents(data: &[u8]) {
    let mut input = Input::new(data);
    let is_text = input.byte() & 1 == 1;
    let info = generate::kind(&mut input);
    let body = if is_text {
        let text = input.rest();
        drop(laws::timed("decoding", || laws::decoded(text, Encoding::Json, info)));
        let Ok(Value::Object(mut tree)) = serde_json::from_slice(text) else { return };
        // What is of no kind would be refused at once.
        tree.insert("apiVersion".to_owned(), info.api_version().into());
        tree.insert("kind".to_owned(), info.kind.into());
        Value::Object(tree)
    } else {
        generate::object(info, &mut input)
    };
    laws::timed("a write", || written(info, &body));
}

fn written(info: &'static ResourceInfo, body: &Value) {
    let text = body.to_string();
    let Ok(decoded) = laws::decoded(text.as_bytes(), Encoding::Json, info) else { return };
    let mut object = decoded.object;
    laws::comes_back(info, &object);
    laws::comes_back_from_protobuf(&object);
    defaults::apply(info, &mut object);
    let once = object.clone();
    defaults::apply(info, &mut object);
    assert!(once == object, "Y4: defaults: {once:?} became {object:?}");
    laws::comes_back(info, &object);
    laws::comes_back_from_protobuf(&object);
    created(info, object);
}

fn created(info: &'static ResourceInfo, mut object: Object) {
    if info.namespaced && object.namespace().is_empty() {
        object.set_namespace("default");
    }
    prepare_for_create(info, &mut object, Creation { uid: "u", now: "2026-01-01T00:00:00Z" });
    laws::stored(&object);
    let errors = validate::create(info, &object);
    for error in &errors {
        drop(error.to_string());
    }
    shown(info, &object);
    drop(quota::usage(info.group, info.plural, &object, jiff::Timestamp::UNIX_EPOCH));
    if !errors.is_empty() {
        return;
    }
    let mut same = object.clone();
    same.set_resource_version(1);
    let old = same.clone();
    prepare_for_update(info, &mut same, &old);
    assert!(same == old, "Y4: an update to itself: {old:?} became {same:?}");
    let mut errors = validate::update(info, &same, &old);
    // Upstream, too, looks for addresses that a node has twice when it is changed, and not before.
    errors.retain(|error| info.kind != "Node" || !error.field.starts_with("status.addresses["));
    assert!(errors.is_empty(), "what may be created may stay: {errors:?} of {old:?}");
}

/// What lists, watches and tables read of the stored bytes.
fn shown(info: &'static ResourceInfo, object: &Object) {
    let bytes = with_resource_version(&object.to_json(), 7);
    let read: Object = Object::from_value(serde_json::from_slice(&bytes).expect("Y2"))
        .expect("an object stays an object");
    assert_eq!(read.resource_version(), "7", "Y2");
    let header = Header::of(info, View::new(&bytes));
    for (key, value) in object.labels() {
        assert_eq!(header.label(&key), Some(value.as_str()), "Y2: labels are what they were");
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    let cells = table::cells(info, View::new(&bytes), now);
    // Upstream has a cell more than columns for one kind.
    assert!(cells.len() >= table::columns(info).len(), "each column has its cell");
    drop(table::partial_metadata(object));
}
