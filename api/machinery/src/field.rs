//! Field errors: what is wrong, where, and in upstream's words.

use std::fmt;

use serde_json::Value;

/// Where in an object: `spec.containers[0].name`. A validation makes hundreds of them and shows
/// next to none, so that those of usual length take nothing from the heap.
#[derive(Clone, Default)]
pub struct Path(Text);

/// Bytes of a path that need no memory of their own.
const SHORT_BYTES_MAX: usize = 94;

#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(String),
}

impl Default for Text {
    fn default() -> Self {
        Self::Short { length: 0, bytes: [0; SHORT_BYTES_MAX] }
    }
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Short { length, bytes } => std::str::from_utf8(&bytes[..usize::from(*length)])
                .expect("it is put together of whole texts"),
            Self::Long(text) => text,
        }
    }

    fn push(&mut self, more: &str) {
        match self {
            Self::Short { length, bytes } => {
                let start = usize::from(*length);
                let end = start + more.len();
                if let (Some(room), Ok(end)) = (bytes.get_mut(start..end), u8::try_from(end)) {
                    room.copy_from_slice(more.as_bytes());
                    *length = end;
                    return;
                }
                let mut text = String::with_capacity(end * 2);
                text.push_str(self.as_str());
                text.push_str(more);
                *self = Self::Long(text);
            }
            Self::Long(text) => text.push_str(more),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Short { length, .. } => *length == 0,
            Self::Long(text) => text.is_empty(),
        }
    }
}

impl Path {
    #[must_use]
    pub fn new(start: &str) -> Self {
        Self::default().with(&[start])
    }

    /// A field below.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Self::new(name);
        }
        self.with(&[".", name])
    }

    /// An item of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        /// Of the largest number.
        const DIGITS_MAX: usize = 20;

        let mut digits = [0; DIGITS_MAX];
        let (mut start, mut rest) = (DIGITS_MAX, index);
        loop {
            start -= 1;
            digits[start] = b'0' + u8::try_from(rest % 10).expect("a digit is less than ten");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let shown = std::str::from_utf8(&digits[start..]).expect("digits are text");
        self.with(&["[", shown, "]"])
    }

    /// An entry of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(&["[", key, "]"])
    }

    fn with(&self, parts: &[&str]) -> Self {
        let mut text = self.0.clone();
        parts.iter().for_each(|part| text.push(part));
        Self(text)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Path {}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Path").field(&self.0.as_str()).finish()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// What kind of wrong a field is. The names are the causes' reasons on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorKind {
    /// The cause's `reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorKind,
    pub field: String,
    /// The value as it is shown; `None` when it is not shown.
    pub value: Option<Value>,
    pub detail: String,
}

impl Error {
    fn new(kind: ErrorKind, path: &Path, value: Option<Value>, detail: String) -> Self {
        Self { kind, field: path.to_string(), value, detail }
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, None, detail.into())
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, Some(value.into()), detail.into())
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, None, detail.into())
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::Duplicate, path, Some(value.into()), String::new())
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::NotFound, path, Some(value.into()), String::new())
    }

    /// The supported values are shown in the order given: upstream sorts some and not others.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self::new(ErrorKind::NotSupported, path, Some(value.into()), detail)
    }

    /// `max` in bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let detail = format!("may not be more than {max} bytes");
        Self::new(ErrorKind::TooLong, path, None, detail)
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} items");
        Self::new(ErrorKind::TooMany, path, Some(actual.into()), detail)
    }

    /// The message without the field.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_length_are_what_was_put_together() {
        let mut wanted = String::new();
        let mut path = Path::default();
        for number in [0, 7, 10, 1_234_567, usize::MAX] {
            for name in ["spec", "é", "x".repeat(30).as_str()] {
                let separator = if wanted.is_empty() { "" } else { "." };
                wanted += &format!("{separator}{name}[{number}][{name}]");
                path = path.child(name).index(number).key(name);
                assert_eq!(path.to_string(), wanted);
                assert_eq!(format!("{path:?}"), format!("Path({wanted:?})"));
                assert_eq!(path, path.clone());
                assert_ne!(path, path.child("more"));
            }
        }
    }

    #[test]
    fn errors_read_as_upstreams() {
        let name = Path::new("spec").child("containers").index(0).child("name");
        for (error, text) in [
            (Error::required(&name, ""), "spec.containers[0].name: Required value"),
            (Error::duplicate(&name, "a"), "spec.containers[0].name: Duplicate value: \"a\""),
            (
                Error::invalid(
                    &Path::new("spec.replicas"),
                    -1,
                    "must be greater than or equal to 0",
                ),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                Error::not_supported(&Path::new("spec.type"), "x", &["A", "B"]),
                "spec.type: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
