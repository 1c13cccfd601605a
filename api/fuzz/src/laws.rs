//! What targets ask of trees and of time.

use std::time::{Duration, Instant};

use api_machinery::decode::{self, Decoded, Encoding, Expected, FieldValidation};
use api_machinery::{Object, ResourceInfo, Status, protobuf};
use serde_json::Value;

/// Longest time for one input of at most 16 KiB: what is linear takes a thousandth of it.
const TIME_MAX: Duration = Duration::from_secs(4);
/// Deepest tree that a reader of stored objects reads.
const DEPTH_MAX: usize = 127;

/// Y1: no input takes longer than this.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let out = work();
    let spent = began.elapsed();
    assert!(spent < TIME_MAX, "Y1: {what} took {spent:?}");
    out
}

/// How deep a tree is, without recursion: a tree that is too deep must be seen, too.
pub(crate) fn depth(tree: &Value) -> usize {
    let (mut deepest, mut rest) = (0, vec![(tree, 1)]);
    while let Some((value, depth)) = rest.pop() {
        deepest = depth.max(deepest);
        match value {
            Value::Array(items) => rest.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => rest.extend(map.values().map(|item| (item, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    deepest
}

/// Y9: what is to be stored is written, and can be read.
pub(crate) fn stored(object: &Object) {
    let bytes = object.to_json();
    let read: Value = serde_json::from_slice(&bytes).expect("Y9: what is stored can be read");
    assert!(depth(&read) <= DEPTH_MAX, "Y9");
    assert!(read == Value::Object(object.0.clone()), "Y2: what is stored is what was meant");
}

/// A body, decoded in all three ways. Y3.
pub(crate) fn decoded(
    body: &[u8],
    encoding: Encoding,
    info: &ResourceInfo,
) -> Result<Decoded, Status> {
    let api_version = info.api_version();
    let expected = Expected { api_version: &api_version, kind: info.kind };
    let read = |validation| decode::body(body, encoding, expected, validation);
    let ignoring = read(FieldValidation::Ignore);
    let (warning, strict) = (read(FieldValidation::Warn), read(FieldValidation::Strict));
    let Ok(ignoring) = ignoring else {
        assert!(
            warning.is_err() && strict.is_err(),
            "Y3: all refuse what is no object of the kind"
        );
        return ignoring;
    };
    assert!(ignoring.warnings.is_empty(), "Y3");
    let warning = warning.expect("Y3: what is ignored is no error to the one that warns");
    assert_eq!(warning.object, ignoring.object, "Y3");
    match strict {
        Ok(strict) => {
            assert!(warning.warnings.is_empty(), "Y3: {:?}", warning.warnings);
            assert_eq!(strict.object, ignoring.object, "Y3");
        }
        Err(_) => assert!(!warning.warnings.is_empty(), "Y3: the strict one has a reason"),
    }
    Ok(warning)
}

/// Y2: a decoded object is the same after it was written and read, and nothing is unknown in it.
pub(crate) fn comes_back(info: &ResourceInfo, object: &Object) {
    let written = object.to_json();
    let again = decoded(&written, Encoding::Json, info).expect("Y2: what was decoded is an object");
    assert!(again.warnings.is_empty(), "Y2: {:?}", again.warnings);
    assert!(again.object == *object, "Y2: {object:?} became {:?}", again.object);
}

/// Y2: JSON to protobuf to JSON. A list of managers that is empty asks for their reset, and is nothing
/// that protobuf could say; neither is the type of an object within another.
pub(crate) fn comes_back_from_protobuf(object: &Object) {
    let mut tree = Value::Object(object.0.clone());
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty)
    {
        metadata.remove("managedFields");
    }
    let claims = tree.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
        claim.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
    }
    let bytes = protobuf::encode(&tree).expect("Y2: a decoded object has a protobuf");
    let again = protobuf::decode(&bytes).expect("Y2: and it can be read").into_value();
    assert!(again == tree, "Y2: {tree} became {again}");
}
