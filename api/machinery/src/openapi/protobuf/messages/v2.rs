//! The messages of OpenAPI v2, as far as the documents here use them.

use serde_json::Value;

use super::{Form, Message};

type Chosen = (&'static [u32], &'static Message);

pub(in crate::openapi::protobuf) static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::One(info)),
        ("security", 12, Form::Requirement),
        ("securityDefinitions", 13, Form::Map(security)),
    ],
    others: None,
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)],
    others: None,
    extensions: 7,
};

static API_KEY: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("description", 4, Form::Text),
    ],
    others: None,
    extensions: 5,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::One(operation)),
        ("put", 3, Form::One(operation)),
        ("post", 4, Form::One(operation)),
        ("delete", 5, Form::One(operation)),
        ("options", 6, Form::One(operation)),
        ("head", 7, Form::One(operation)),
        ("patch", 8, Form::One(operation)),
        ("parameters", 9, Form::Many(parameter)),
    ],
    others: None,
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Many(parameter)),
        ("responses", 9, Form::One(responses)),
        ("schemes", 10, Form::Texts),
    ],
    others: None,
    extensions: 13,
};

static RESPONSES: Message = Message { fields: &[], others: Some((1, response)), extensions: 2 };

static RESPONSE: Message = Message {
    fields: &[("description", 1, Form::Text), ("schema", 2, Form::One(schema_item))],
    others: None,
    extensions: 5,
};

static REFERENCE: Message =
    Message { fields: &[("$ref", 1, Form::Text)], others: None, extensions: 0 };

static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::One(schema)),
    ],
    others: None,
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("uniqueItems", 20, Form::Flag),
    ],
    others: None,
    extensions: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("uniqueItems", 19, Form::Flag),
    ],
    others: None,
    extensions: 22,
};

static EXTERNAL_DOCS: Message = Message {
    fields: &[("description", 1, Form::Text), ("url", 2, Form::Text)],
    others: None,
    extensions: 3,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Double),
        ("maximum", 7, Form::Double),
        ("exclusiveMaximum", 8, Form::Flag),
        ("minimum", 9, Form::Double),
        ("exclusiveMinimum", 10, Form::Flag),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Flag),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::Anys),
        ("additionalProperties", 21, Form::Wrapped(Some(schema))),
        ("type", 22, Form::Wrapped(None)),
        ("items", 23, Form::Wrapped(Some(schema))),
        ("properties", 25, Form::Map(schema)),
        ("externalDocs", 29, Form::One(external_docs)),
        ("example", 30, Form::Any),
    ],
    others: None,
    extensions: 31,
};

pub(in crate::openapi::protobuf) fn path_item(_: &Value) -> Chosen {
    (&[], &PATH_ITEM)
}

pub(in crate::openapi::protobuf) fn schema(_: &Value) -> Chosen {
    (&[], &SCHEMA)
}

/// A parameter that many requests have, where it is told for all of them.
pub(in crate::openapi::protobuf) fn shared_parameter(value: &Value) -> Chosen {
    match value["in"].as_str() {
        Some("body") => (&[1], &BODY),
        Some("path") => (&[2, 4], &IN_PATH),
        _ => (&[2, 3], &QUERY),
    }
}

fn parameter(value: &Value) -> Chosen {
    if value["$ref"].is_string() {
        return (&[2], &REFERENCE);
    }
    match value["in"].as_str() {
        Some("body") => (&[1, 1], &BODY),
        Some("path") => (&[1, 2, 4], &IN_PATH),
        _ => (&[1, 2, 3], &QUERY),
    }
}

fn info(_: &Value) -> Chosen {
    (&[], &INFO)
}

fn security(_: &Value) -> Chosen {
    (&[2], &API_KEY)
}

fn operation(_: &Value) -> Chosen {
    (&[], &OPERATION)
}

fn responses(_: &Value) -> Chosen {
    (&[], &RESPONSES)
}

fn response(_: &Value) -> Chosen {
    (&[1], &RESPONSE)
}

fn schema_item(_: &Value) -> Chosen {
    (&[1], &SCHEMA)
}

fn external_docs(_: &Value) -> Chosen {
    (&[], &EXTERNAL_DOCS)
}
