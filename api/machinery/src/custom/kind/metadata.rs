//! `metadata` of custom objects: what does not belong there is taken out, as Go's types do.

use serde_json::{Map, Value};

use crate::decode::raw::Raw;
use crate::decode::walk::Walk;
use crate::schema::{OBJECT_META, Schema};

/// A tree as `metadata`, and what is unknown in it: `unknown field "metadata.foo"`.
///
/// # Errors
/// A field has a wrong type; the text is Go's.
pub(super) fn fit(metadata: Value, path: &str) -> Result<(Value, Vec<String>), String> {
    let id = Schema::get().find(OBJECT_META).expect("the table has the metadata of objects");
    let mut walk = Walk::new();
    let mut map = walk.message(id, Raw::from(metadata))?;
    if map.get("creationTimestamp").is_some_and(Value::is_null) {
        map.remove("creationTimestamp");
    }
    let unknown = walk.strict_errors.iter().filter_map(|text| {
        let field = text.split_once(" field \"")?.1;
        Some(format!("{path}.{}", field.trim_end_matches('"')))
    });
    Ok((Value::Object(map), unknown.collect()))
}

/// The same for what was stored: fields of a wrong type go.
pub(super) fn repair(metadata: Value) -> Value {
    match fit(metadata.clone(), "metadata") {
        Ok((fitted, _)) => fitted,
        Err(_) => {
            let Value::Object(members) = metadata else { return Value::Object(Map::new()) };
            let mut kept = Map::new();
            for (name, value) in members {
                let one = Value::Object([(name, value)].into_iter().collect());
                if let Ok((Value::Object(fitted), _)) = fit(one, "metadata") {
                    kept.extend(fitted);
                }
            }
            Value::Object(kept)
        }
    }
}
