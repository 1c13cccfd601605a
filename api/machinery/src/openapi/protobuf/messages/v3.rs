//! The messages of OpenAPI v3, as far as the documents here use them.

use serde_json::Value;

use super::{Form, Message};

type Chosen = (&'static [u32], &'static Message);

pub(in crate::openapi::protobuf) static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Form::Text),
        ("info", 2, Form::One(info)),
        ("paths", 4, Form::One(paths)),
        ("components", 5, Form::One(components)),
    ],
    others: None,
    extensions: 9,
};

static INFO: Message = Message {
    fields: &[("title", 1, Form::Text), ("version", 6, Form::Text)],
    others: None,
    extensions: 7,
};

static PATHS: Message = Message { fields: &[], others: Some((1, path_item)), extensions: 2 };

static COMPONENTS: Message = Message {
    fields: &[("schemas", 1, Form::Map(schema)), ("securitySchemes", 7, Form::Map(security))],
    others: None,
    extensions: 10,
};

static SECURITY: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("description", 2, Form::Text),
        ("name", 3, Form::Text),
        ("in", 4, Form::Text),
    ],
    others: None,
    extensions: 9,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 4, Form::One(operation)),
        ("put", 5, Form::One(operation)),
        ("post", 6, Form::One(operation)),
        ("delete", 7, Form::One(operation)),
        ("options", 8, Form::One(operation)),
        ("head", 9, Form::One(operation)),
        ("patch", 10, Form::One(operation)),
        ("parameters", 13, Form::Many(parameter)),
    ],
    others: None,
    extensions: 14,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("parameters", 6, Form::Many(parameter)),
        ("requestBody", 7, Form::One(request_body)),
        ("responses", 8, Form::One(responses)),
    ],
    others: None,
    extensions: 13,
};

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Form::Text),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 10, Form::One(schema)),
    ],
    others: None,
    extensions: 14,
};

static REQUEST_BODY: Message = Message {
    fields: &[("content", 2, Form::Map(media_type)), ("required", 3, Form::Flag)],
    others: None,
    extensions: 4,
};

static RESPONSES: Message = Message { fields: &[], others: Some((2, response)), extensions: 3 };

static RESPONSE: Message = Message {
    fields: &[("description", 1, Form::Text), ("content", 3, Form::Map(media_type))],
    others: None,
    extensions: 5,
};

static MEDIA_TYPE: Message =
    Message { fields: &[("schema", 1, Form::One(schema))], others: None, extensions: 5 };

static REFERENCE: Message =
    Message { fields: &[("$ref", 1, Form::Text)], others: None, extensions: 0 };

static EXTERNAL_DOCS: Message = Message {
    fields: &[("description", 1, Form::Text), ("url", 2, Form::Text)],
    others: None,
    extensions: 3,
};

static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Form::Flag),
        ("externalDocs", 6, Form::One(external_docs)),
        ("example", 7, Form::Any),
        ("title", 9, Form::Text),
        ("multipleOf", 10, Form::Double),
        ("maximum", 11, Form::Double),
        ("exclusiveMaximum", 12, Form::Flag),
        ("minimum", 13, Form::Double),
        ("exclusiveMinimum", 14, Form::Flag),
        ("maxLength", 15, Form::Integer),
        ("minLength", 16, Form::Integer),
        ("pattern", 17, Form::Text),
        ("maxItems", 18, Form::Integer),
        ("minItems", 19, Form::Integer),
        ("uniqueItems", 20, Form::Flag),
        ("maxProperties", 21, Form::Integer),
        ("minProperties", 22, Form::Integer),
        ("required", 23, Form::Texts),
        ("enum", 24, Form::Anys),
        ("type", 25, Form::Text),
        ("allOf", 26, Form::Many(schema)),
        ("oneOf", 27, Form::Many(schema)),
        ("anyOf", 28, Form::Many(schema)),
        ("not", 29, Form::One(plain_schema)),
        ("items", 30, Form::Wrapped(Some(schema))),
        ("properties", 31, Form::Map(schema)),
        ("additionalProperties", 32, Form::Wrapped(Some(schema))),
        ("default", 33, Form::Scalar),
        ("description", 34, Form::Text),
        ("format", 35, Form::Text),
    ],
    others: None,
    extensions: 36,
};

fn schema(value: &Value) -> Chosen {
    if value["$ref"].is_string() { (&[2], &REFERENCE) } else { (&[1], &SCHEMA) }
}

fn plain_schema(_: &Value) -> Chosen {
    (&[], &SCHEMA)
}

fn info(_: &Value) -> Chosen {
    (&[], &INFO)
}

fn paths(_: &Value) -> Chosen {
    (&[], &PATHS)
}

fn components(_: &Value) -> Chosen {
    (&[], &COMPONENTS)
}

fn security(_: &Value) -> Chosen {
    (&[1], &SECURITY)
}

fn path_item(_: &Value) -> Chosen {
    (&[], &PATH_ITEM)
}

fn operation(_: &Value) -> Chosen {
    (&[], &OPERATION)
}

fn parameter(_: &Value) -> Chosen {
    (&[1], &PARAMETER)
}

fn request_body(_: &Value) -> Chosen {
    (&[1], &REQUEST_BODY)
}

fn responses(_: &Value) -> Chosen {
    (&[], &RESPONSES)
}

fn response(_: &Value) -> Chosen {
    (&[1], &RESPONSE)
}

fn media_type(_: &Value) -> Chosen {
    (&[], &MEDIA_TYPE)
}

fn external_docs(_: &Value) -> Chosen {
    (&[], &EXTERNAL_DOCS)
}
