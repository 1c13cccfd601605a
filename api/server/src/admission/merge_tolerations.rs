//! Two lists of tolerations as one, without those that another one covers.

use serde_json::Value;

use crate::limits::TOLERATIONS_COMPARED_MAX;

/// What is kept of a list; of two equal ones the first. A list that is too long to compare all with
/// all stays as it is: what is superfluous in it tolerates nothing that is not tolerated anyway.
pub(super) fn merge(all: &[Value]) -> Vec<Value> {
    if all.len() > TOLERATIONS_COMPARED_MAX {
        return all.to_vec();
    }
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let is_covered = merged.iter().any(|kept| covers(kept, one))
            || all[index + 1..].iter().any(|later| !same(later, one) && covers(later, one));
        if !is_covered {
            merged.push(one.clone());
        }
    }
    merged
}

fn text<'a>(toleration: &'a Value, field: &str) -> &'a str {
    toleration[field].as_str().unwrap_or_default()
}

fn same(one: &Value, other: &Value) -> bool {
    ["key", "operator", "value", "effect"]
        .iter()
        .all(|field| text(one, field) == text(other, field))
        && one["tolerationSeconds"] == other["tolerationSeconds"]
}

/// Whether the first tolerates all that the second does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if same(wide, narrow) {
        return true;
    }
    let (key, operator, effect) = (text(wide, "key"), text(wide, "operator"), text(wide, "effect"));
    let is_of_key = key == text(narrow, "key") || key.is_empty() && operator == "Exists";
    if !is_of_key || !(effect.is_empty() || effect == text(narrow, "effect")) {
        return false;
    }
    let seconds = |of: &Value| of["tolerationSeconds"].as_i64();
    if let (true, Some(most)) = (effect == "NoExecute", seconds(wide))
        && seconds(narrow).is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match operator {
        "" | "Equal" => {
            text(narrow, "operator") == "Equal" && text(wide, "value") == text(narrow, "value")
        }
        operator => operator == "Exists",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wider_one_stays() {
        let all = json!({"operator": "Exists"});
        let of_key = json!({"key": "k", "operator": "Exists"});
        let equal = json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"});
        let brief = json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute",
            "tolerationSeconds": 5});
        for (list, kept) in [
            (vec![&of_key, &all], vec![&all]),
            (vec![&all, &of_key], vec![&all]),
            (vec![&equal, &equal], vec![&equal]),
            (vec![&brief, &equal], vec![&equal]),
            (vec![&equal, &brief], vec![&equal]),
            (vec![&brief, &of_key], vec![&of_key]),
        ] {
            let list: Vec<Value> = list.into_iter().cloned().collect();
            assert_eq!(merge(&list), kept.into_iter().cloned().collect::<Vec<_>>(), "{list:?}");
        }
    }
}
