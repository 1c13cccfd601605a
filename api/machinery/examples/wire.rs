//! Whether protobuf means here what it means elsewhere: for each `X.json` that is named, `X.pb` beside
//! it has to be the same object, and the object has to come back from our own protobuf. For files
//! that another implementation wrote.

#![expect(clippy::print_stdout, reason = "an example that is run by hand")]

use std::path::Path;

use api_machinery::protobuf;
use serde_json::Value;

/// Says where two trees differ first.
fn difference(left: &Value, right: &Value, path: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let at = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(a, b, &at),
                    (a, b) => Some(format!("{at}: {a:?} and {b:?}")),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(n, (a, b))| difference(a, b, &format!("{path}[{n}]")))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} and {b}")),
    }
}

fn compare(file: &Path) -> Result<(), String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let theirs = std::fs::read(file.with_extension("pb")).map_err(|error| error.to_string())?;
    let tree: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let read = protobuf::decode(&theirs).map_err(|error| format!("not read: {error}"))?;
    if let Some(what) = difference(&read.into_value(), &tree, "") {
        return Err(format!("read otherwise: {what}"));
    }
    let ours = protobuf::encode(&tree).map_err(|error| format!("not written: {error}"))?;
    let again = protobuf::decode(&ours).map_err(|error| format!("not read again: {error}"))?;
    if let Some(what) = difference(&again.into_value(), &tree, "") {
        return Err(format!("written otherwise: {what}"));
    }
    Ok(())
}

fn main() {
    let mut same = 0;
    for file in std::env::args().skip(1) {
        match compare(Path::new(&file)) {
            Ok(()) => same += 1,
            Err(why) => println!("{file}: {why}"),
        }
    }
    println!("{same} the same");
}
