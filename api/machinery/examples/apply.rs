//! Field management step by step: a JSON object `{op, live, new, manager, …}` a line in, the object
//! or the refusal a line out. For comparing with another API server by hand.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::io::BufRead;

use api_machinery::apply::{self, Set, Target, Writer};
use api_machinery::decode::{Encoding, Expected, FieldValidation};
use api_machinery::{Object, decode, defaults, kinds};
use serde_json::{Value, json};

fn object_of(value: &Value) -> Option<Object> {
    Object::from_value(value.clone())
}

fn answer(line: &str) -> Result<Object, Value> {
    let step: Value = serde_json::from_str(line).map_err(|error| json!(error.to_string()))?;
    let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let new = object_of(&step["new"]).ok_or(json!("no object"))?;
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let info = kinds::find_kind(&api_version, &kind).ok_or(json!("no such kind"))?;
    let target = Target::of(info, &text("subresource"));
    let now = text("now");
    let manager = text("manager");
    let writer =
        Writer { manager: &manager, now: &now, force: step["force"].as_bool() == Some(true) };
    let live = object_of(&step["live"]);
    let mut out = if text("op") == "apply" {
        apply::apply(&target, live.as_ref(), &new, writer).map_err(|status| status.to_json())?
    } else {
        let expected = Expected { api_version: &api_version, kind: &kind };
        let body = new.to_json();
        let decoded = decode::body(&body, Encoding::Json, expected, FieldValidation::Ignore);
        let mut new = decoded.map_err(|status| status.to_json())?.object;
        defaults::apply(info, &mut new);
        apply::update(&target, live.as_ref(), new, writer)
    };
    if let Some(live) = &live {
        apply::keep_times(&mut out, live);
    }
    Ok(out)
}

/// The sets of the managed fields as text, in upstream's order.
fn field_texts(object: &Object) -> Vec<Value> {
    let entries = object.at(&["metadata", "managedFields"]).and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| json!(Set::from_json(&entry["fieldsV1"]).unwrap_or_default().to_json()))
        .collect()
}

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match answer(&line) {
            Ok(object) => {
                let texts = field_texts(&object);
                println!("{}", json!({"fields": texts, "object": object.0}));
            }
            Err(why) => println!("{}", json!({"refused": why})),
        }
    }
}
