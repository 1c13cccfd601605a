//! The messages in which OpenAPI documents are written: keys of the JSON, and the fields they are.

pub(super) mod v2;
pub(super) mod v3;

use serde_json::Value;

/// Which message a value is, and the fields of the messages around it that say so.
pub(crate) type Choice = fn(&Value) -> (&'static [u32], &'static Message);

/// How the value of a key is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Texts,
    Flag,
    Double,
    Integer,
    /// Any value, as text.
    Any,
    Anys,
    One(Choice),
    Many(Choice),
    /// A message whose field 1 has the entries.
    Map(Choice),
    /// A message whose field 1 has the value, and whose field 2 is a flag; without a choice the
    /// value is a text.
    Wrapped(Option<Choice>),
    /// A message with a number, a flag or a text.
    Scalar,
    /// Names of security schemes.
    Requirement,
}

/// A message: what its keys are, and where the others go.
pub(crate) struct Message {
    pub(super) fields: &'static [(&'static str, u32, Form)],
    /// Keys that are names chosen by the document.
    pub(super) others: Option<(u32, Choice)>,
    /// The field of keys that begin with `x-`.
    pub(super) extensions: u32,
}
