//! What the server would say to new objects: one JSON object a line in, the stored object or the
//! refusal a line out. For comparing with another API server by hand.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::io::BufRead;

use api_machinery::decode::{Encoding, Expected, FieldValidation};
use api_machinery::strategy::{Creation, prepare_for_create};
use api_machinery::{Object, Status, decode, defaults, kinds, validate};

fn answer(line: &str) -> Result<Object, String> {
    let tree: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |key: &str| tree[key].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let info = kinds::find_kind(&api_version, &kind).ok_or("no such kind")?;
    let expected = Expected { api_version: &api_version, kind: &kind };
    let decoded = decode::body(line.as_bytes(), Encoding::Json, expected, FieldValidation::Ignore);
    let mut object = decoded.map_err(|status| status.message)?.object;
    if info.namespaced && object.namespace().is_empty() {
        object.set_namespace("default");
    }
    defaults::apply(info, &mut object);
    let creation = Creation { uid: "u", now: "2026-01-01T00:00:00Z" };
    prepare_for_create(info, &mut object, creation);
    let errors = validate::create(info, &object);
    if errors.is_empty() {
        return Ok(object);
    }
    Err(Status::invalid(&info.group_kind(), object.name(), &errors).message)
}

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match answer(&line) {
            Ok(object) => println!("{}", serde_json::Value::Object(object.0)),
            Err(why) => println!("{}", serde_json::json!({"refused": why})),
        }
    }
}
