//! JSON patches that mutations make, one operation after the other, with upstream's messages.

use serde_json::Value;

use crate::decode::depth;
use crate::limits::{
    BODY_DEPTH_MAX, JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_LOOKS_MAX, JSON_PATCH_OPERATIONS_MAX,
};

/// Why a patch was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// A test found something else.
    Test,
    Other(String),
}

/// Carries out all operations, or none.
///
/// # Errors
/// The first operation that cannot be carried out.
pub fn operations(target: &Value, patch: &[Value]) -> Result<Value, Failed> {
    if patch.len() > JSON_PATCH_OPERATIONS_MAX {
        let why = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            patch.len()
        );
        return Err(Failed::Other(why));
    }
    let mut out = target.clone();
    let mut spent = Spent::default();
    for one in patch {
        operation(&mut out, one, &mut spent)?;
    }
    Ok(out)
}

/// What the operations of one patch have used up: each may be small, and double what the one before
/// it made.
#[derive(Default)]
struct Spent {
    copied_bytes: usize,
    looks: usize,
}

impl Spent {
    /// A value that may stand at a place: the tree does not become too deep by it.
    fn fitting(&mut self, place: &Place, value: Value) -> Result<Value, Failed> {
        let above = place.above.len() + 1;
        let deepest = above + depth::of(&value, BODY_DEPTH_MAX, &mut self.looks);
        if deepest > BODY_DEPTH_MAX || self.looks > JSON_PATCH_LOOKS_MAX {
            return Err(Failed::Other(depth::TOO_DEEP.to_owned()));
        }
        Ok(value)
    }

    fn copy(&mut self, value: &Value) -> Result<Value, Failed> {
        self.copied_bytes += value.to_string().len();
        if self.copied_bytes > JSON_PATCH_COPY_BYTES_MAX {
            let why = "the copy operations of the patch add too many bytes";
            return Err(Failed::Other(why.to_owned()));
        }
        Ok(value.clone())
    }
}

/// Where a pointer leads: the keys above, and the last one. What stands before its first slash counts
/// for nothing upstream.
struct Place {
    above: Vec<String>,
    key: String,
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        let decoded = |part: &str| part.replace("~1", "/").replace("~0", "~");
        let mut above: Vec<_> = path.split('/').skip(1).map(decoded).collect();
        let key = above.pop()?;
        Some(Self { above, key })
    }

    /// The map or list that has the last key.
    fn parent<'v>(&self, target: &'v mut Value) -> Option<&'v mut Value> {
        let mut value = target;
        for key in &self.above {
            value = match value {
                Value::Object(map) => map.get_mut(key)?,
                Value::Array(items) => {
                    let at = index(key, items.len())?;
                    items.get_mut(at)?
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            };
        }
        matches!(value, Value::Object(_) | Value::Array(_)).then_some(value)
    }

    /// What is there: null for a field that is not; `None` for an item that is not.
    fn value<'v>(&self, target: &'v mut Value) -> Option<&'v Value> {
        match self.parent(target)? {
            Value::Array(items) => items.get(index(&self.key, items.len())?),
            map => Some(map.get(&self.key).unwrap_or(&Value::Null)),
        }
    }

    fn add(&self, target: &mut Value, value: Value) -> Option<()> {
        match self.parent(target)? {
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1)?;
                items.insert(at, value);
            }
            map => drop(map.as_object_mut()?.insert(self.key.clone(), value)),
        }
        Some(())
    }

    fn replace(&self, target: &mut Value, value: Value) -> Option<()> {
        match self.parent(target)? {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                *items.get_mut(at)? = value;
            }
            map => drop(map.as_object_mut()?.insert(self.key.clone(), value)),
        }
        Some(())
    }

    fn remove(&self, target: &mut Value) -> Option<Value> {
        match self.parent(target)? {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Some(items.remove(at))
            }
            map => map.as_object_mut()?.remove(&self.key),
        }
    }
}

/// A place in a list of so many; a negative one counts from its end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    usize::try_from(at).ok().filter(|_| at < length)
}

fn operation(target: &mut Value, one: &Value, spent: &mut Spent) -> Result<(), Failed> {
    let text = |key: &str| one[key].as_str().unwrap_or_default();
    let (op, path, from) = (text("op"), text("path"), text("from"));
    if !matches!(op, "add" | "remove" | "replace" | "move" | "copy" | "test") {
        return Err(Failed::Other(format!("Unexpected kind: {op}")));
    }
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", ""));
    let failed = |target: &Value| Failed::Other(why(target, (op, path), (parent, key), from));
    let Some(place) = Place::of(path) else { return Err(failed(target)) };
    let value = one["value"].clone();
    let done = match op {
        "add" => place.add(target, spent.fitting(&place, value)?),
        "replace" => place.replace(target, spent.fitting(&place, value)?),
        "remove" => place.remove(target).map(drop),
        "test" => match place.value(target) {
            Some(found) if *found == value => Some(()),
            Some(_) => return Err(Failed::Test),
            None => None,
        },
        "move" => {
            let moved = Place::of(from).and_then(|source| source.remove(target));
            let Some(moved) = moved else { return Err(failed(target)) };
            place.add(target, spent.fitting(&place, moved)?)
        }
        _ => {
            let source = Place::of(from);
            let Some(found) = source.as_ref().and_then(|source| source.value(target)) else {
                return Err(failed(target));
            };
            let copied = spent.copy(found)?;
            place.add(target, spent.fitting(&place, copied)?)
        }
    };
    done.ok_or_else(|| failed(target))
}

fn why(
    target: &Value,
    (op, path): (&str, &str),
    (parent, key): (&str, &str),
    from: &str,
) -> String {
    let shown = |path: &str| match op {
        "add" | "remove" => format!("{path:?}"),
        _ => path.to_owned(),
    };
    let from_is_missing = matches!(op, "move" | "copy") && target.pointer(from).is_none();
    if let Some((above, key)) = from.rsplit_once('/')
        && from_is_missing
        && target.pointer(above).is_some_and(Value::is_object)
    {
        return format!(
            "error in {op} for path: '{key}': Unable to remove nonexistent key: {key}: missing value"
        );
    }
    if from_is_missing {
        return format!(
            "{op} operation does not apply: doc is missing from path: {from}: missing value"
        );
    }
    match target.pointer(parent) {
        Some(Value::Object(_)) if op == "remove" => {
            let key = key.replace("~1", "/").replace("~0", "~");
            format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            )
        }
        Some(Value::Array(_)) if op == "replace" => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        Some(Value::Array(_)) if key.parse::<i64>().is_ok() => format!(
            "error in {op} for path: '{path}': Unable to access invalid index: {key}: invalid index referenced"
        ),
        Some(Value::Array(_)) => format!(
            "error in {op} for path: '{path}': value was not a proper array index: '{key}': strconv.Atoi: parsing {key:?}: invalid syntax"
        ),
        _ => format!(
            "{op} operation does not apply: doc is missing path: {}: missing value",
            shown(path)
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// From the upstream library's code.
    #[test]
    fn operations_are_upstreams() {
        let target = json!({"a": {"b": 1}, "l": [1, 2]});
        let run = |patch: Value| operations(&target, patch.as_array().unwrap());
        let replaced = run(json!([{"op": "replace", "path": "/a/c", "value": 2}])).unwrap();
        assert_eq!(replaced["a"]["c"], 2);
        let failed = run(json!([{"op": "test", "path": "/a/b", "value": 2}]));
        assert_eq!(failed, Err(Failed::Test));
        for (patch, why) in [
            (
                json!({"op": "add", "path": "/x/y", "value": 1}),
                "add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (
                json!({"op": "remove", "path": "/a/x"}),
                "error in remove for path: '/a/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!({"op": "add", "path": "/l/7", "value": 1}),
                "error in add for path: '/l/7': Unable to access invalid index: 7: invalid index referenced",
            ),
            (
                json!({"op": "replace", "path": "/x/y", "value": 1}),
                "replace operation does not apply: doc is missing path: /x/y: missing value",
            ),
        ] {
            assert_eq!(run(json!([patch])), Err(Failed::Other(why.to_owned())));
        }
    }
}
