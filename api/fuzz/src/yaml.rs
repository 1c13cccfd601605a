//! YAML bodies. JSON is YAML: what is the one is read the same as the other.

use api_machinery::decode::{self, Encoding, Expected, FieldValidation};
use serde_json::Value;
use testbed::fuzz::Input;

use crate::{generate, laws};

/// Reads one body.
pub fn yaml(data: &[u8]) {
    let mut input = Input::new(data);
    let is_generated = input.byte() & 1 == 1;
    let info = generate::kind(&mut input);
    if is_generated {
        let tree = generate::object(info, &mut input);
        return same(info, tree.to_string().as_bytes());
    }
    let text = input.rest();
    let decoded = laws::timed("a body in YAML", || laws::decoded(text, Encoding::Yaml, info));
    if let Ok(decoded) = decoded {
        laws::stored(&decoded.object);
        laws::comes_back(info, &decoded.object);
    }
    let applied =
        laws::timed("an apply patch", || decode::apply_patch(text, FieldValidation::Strict));
    if let Ok(applied) = applied {
        assert!(
            laws::depth(&applied.object.into_value()) <= 128,
            "Y1: not deeper than JSON may be"
        );
    }
    same(info, text);
}

/// JSON that both understand is the same to both.
fn same(info: &api_machinery::ResourceInfo, text: &[u8]) {
    let Ok(tree) = serde_json::from_slice::<Value>(text) else { return };
    if !tree.is_object() {
        return;
    }
    let api_version = info.api_version();
    let expected = Expected { api_version: &api_version, kind: info.kind };
    let read = |encoding| decode::body(text, encoding, expected, FieldValidation::Ignore);
    if let (Ok(json), Ok(yaml)) = (read(Encoding::Json), read(Encoding::Yaml)) {
        assert!(json.object == yaml.object, "Y2: {:?} is in YAML {:?}", json.object, yaml.object);
    }
}
