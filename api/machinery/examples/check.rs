//! What the server would say to new objects: one JSON object a line in, the stored object or the
//! refusal a line out. For comparing with another API server by hand.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::io::BufRead;

use api_machinery::strategy::{Creation, prepare_for_create};
use api_machinery::{Object, Status, defaults, kinds, validate};

fn answer(line: &str) -> Result<Object, String> {
    let tree = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut object = Object::from_value(tree).ok_or("not an object")?;
    let info = kinds::find_kind(object.api_version(), object.kind()).ok_or("no such kind")?;
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
