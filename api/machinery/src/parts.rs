//! Where the large parts of an object lie in its JSON: found once, and not looked for by everybody who
//! needs one of them.

use crate::View;

/// From where to where; nothing is there when both are the same.
type Span = (u32, u32);

/// The parts of one object. They are of the JSON that they were found in, and of no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    metadata: Span,
    spec: Span,
    status: Span,
}

impl Parts {
    /// Looks for them.
    #[must_use]
    pub fn of(object: View<'_>) -> Self {
        let mut parts = Self::default();
        for (key, value) in object.entries() {
            parts.note(object, key, value);
        }
        parts
    }

    /// Takes note of a member, if it is one of them.
    pub(crate) fn note(&mut self, object: View<'_>, key: &[u8], value: View<'_>) {
        match key {
            b"metadata" => self.metadata = span(object, value),
            b"spec" => self.spec = span(object, value),
            b"status" => self.status = span(object, value),
            _ => {}
        }
    }

    /// The object's metadata.
    #[must_use]
    pub fn metadata<'a>(&self, object: View<'a>) -> View<'a> {
        part(object, self.metadata)
    }

    /// The object's spec.
    #[must_use]
    pub fn spec<'a>(&self, object: View<'a>) -> View<'a> {
        part(object, self.spec)
    }

    /// The object's status.
    #[must_use]
    pub fn status<'a>(&self, object: View<'a>) -> View<'a> {
        part(object, self.status)
    }
}

fn span(object: View<'_>, value: View<'_>) -> Span {
    let start = value.bytes().as_ptr().addr().checked_sub(object.bytes().as_ptr().addr());
    let span = start.and_then(|start| {
        let end = start + value.bytes().len();
        Some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
    });
    span.unwrap_or_default()
}

fn part(object: View<'_>, (start, end): Span) -> View<'_> {
    let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
    object.bytes().get(range).map_or_else(View::default, View::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_where_they_lie() {
        let text = br#" {"kind":"Pod", "status" : {"phase":"Running"} ,"metadata":{"name":"a"}} "#;
        let object = View::new(text);
        let parts = Parts::of(object);
        assert_eq!(parts.metadata(object).bytes(), object.get("metadata").bytes());
        assert_eq!(parts.status(object).bytes(), br#"{"phase":"Running"}"#);
        assert!(parts.spec(object).is_null());
        assert!(Parts::of(View::new(b"[]")).metadata(View::new(b"[]")).is_null());
        assert!(parts.metadata(View::new(b"{}")).is_null(), "of another object");
    }
}
