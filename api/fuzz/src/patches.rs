//! Patches of all three types, on trees and on objects of built-in kinds.

use api_machinery::patch;
use serde_json::{Map, Value};
use testbed::fuzz::Input;

use crate::{generate, laws};

/// What the copies of one patch may add.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Patches one tree.
pub fn patches(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => json_patch(&mut input),
        1 => merge_patch(&mut input),
        2 => strategic(&mut input),
        _ => difference(&mut input),
    }
}

fn tree(input: &mut Input<'_>) -> Option<Value> {
    serde_json::from_slice(input.wide_piece()).ok()
}

fn json_patch(input: &mut Input<'_>) {
    let Some(target) = tree(input) else { return };
    let body = input.wide_piece();
    let before = target.to_string().len();
    let out = laws::timed("a JSON patch", || patch::json_patch(&target, body));
    let operations: Option<Vec<Value>> = serde_json::from_slice(body).ok();
    let strict = operations.map(|all| patch::operations(&target, &all));
    if let Ok(out) = out {
        assert!(laws::depth(&out) <= 128, "Y1: a patched tree is not deeper than a body");
        let after = out.to_string().len();
        assert!(after <= before + 2 * body.len() + 2 * COPIED_BYTES_MAX, "Y1: nor too large");
        if let Some(Ok(other)) = strict {
            assert_eq!(out, other, "both ways to carry it out agree");
        }
    }
}

/// RFC 7396, as it is written there.
fn merged(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut out = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            out.remove(&key);
        } else {
            let before = out.remove(&key).unwrap_or(Value::Null);
            out.insert(key, merged(before, value));
        }
    }
    Value::Object(out)
}

fn merge_patch(input: &mut Input<'_>) {
    let Some(target) = tree(input) else { return };
    let body = input.wide_piece();
    let Ok(out) = laws::timed("a merge patch", || patch::merge_patch(target.clone(), body)) else {
        return;
    };
    let parsed: Value = serde_json::from_slice(body).expect("it was understood");
    assert_eq!(out, merged(target, parsed), "a merge is what the RFC says");
    let again = patch::merge_patch(out.clone(), body).expect("it was understood");
    assert_eq!(again, out, "Y4: a merge");
}

fn strategic(input: &mut Input<'_>) {
    let info = generate::kind(input);
    let is_generated = input.byte() & 1 == 1;
    let (target, body) = if is_generated {
        let target = generate::object(info, input);
        (target, generate::object(info, input).to_string().into_bytes())
    } else {
        let Some(target) = tree(input) else { return };
        (target, input.wide_piece().to_vec())
    };
    let run = |target: &Value| patch::strategic_merge(target.clone(), &body, info.type_id());
    let Ok(out) = laws::timed("a strategic merge", || run(&target)) else { return };
    assert!(laws::depth(&out) <= 128, "Y1: a patched tree is not deeper than a body");
    assert!(!out.to_string().contains("\"$patch\""), "directives are obeyed and not kept: {out}");
    // A patch of directives may say something else the second time, and one with nulls in lists.
    let text = String::from_utf8_lossy(&body);
    if text.contains('$') || text.contains("\\u") || text.contains("null") {
        return;
    }
    if let Ok(again) = run(&out) {
        assert!(again == out, "Y4: {text} makes {out} and then {again}");
    }
}

/// Y5.
fn difference(input: &mut Input<'_>) {
    let (Some(old), Some(new)) = (tree(input), tree(input)) else { return };
    let difference = json_patch::diff(&old, &new);
    let body = serde_json::to_vec(&difference).expect("a patch can be written");
    match patch::json_patch(&old, &body) {
        Ok(out) => assert_eq!(out, new, "Y5: {difference:?}"),
        Err(status) => assert!(difference.len() > 10_000, "Y5: {status} {difference:?}"),
    }
}
