//! Protobuf bodies: bytes of a message of a kind, in an envelope.

use api_machinery::{defaults, protobuf as wire};
use serde_json::Value;
use testbed::fuzz::Input;

use crate::{generate, laws};

/// Reads one body.
pub fn protobuf(data: &[u8]) {
    let mut input = Input::new(data);
    let info = generate::kind(&mut input);
    let message = input.rest();
    // Alone, it may have any envelope.
    let with_magic = [&wire::MAGIC, message].concat();
    drop(laws::timed("any envelope", || wire::decode(&with_magic)));
    let body = wire::envelope(&info.api_version(), info.kind, message);
    let Ok(object) = laws::timed("decoding", || wire::decode(&body)) else { return };
    laws::comes_back_from_protobuf(&object);
    // What protobuf can say and JSON cannot is text that is no JSON in a field of any JSON: refused.
    laws::stored(&object);
    laws::comes_back(info, &object);
    let mut object = object;
    defaults::apply(info, &mut object);
    laws::comes_back(info, &object);
    let tree = Value::Object(object.0);
    assert!(wire::encode(&tree).is_ok(), "Y2: what has its defaults can be sent");
}
