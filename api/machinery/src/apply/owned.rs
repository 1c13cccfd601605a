//! The fields of a manager as they are stored: JSON that is changed where it lies. A write touches
//! few of them; the rest need not become a [`Set`], and JSON again.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A6 | What stands here is what [`Set::to_tree`] writes, and its changes are those of the set. |

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::Set;
use super::types::{Form, Items, NodeType};

/// What marks a path that is a member and leads to members.
pub(super) const MEMBER: &str = ".";

/// A set of paths in the form of `fieldsV1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn of(set: &Set) -> Self {
        match set.to_tree() {
            Value::Object(tree) => Self(tree),
            _ => Self::default(),
        }
    }

    /// Of a tree that is made by this module's rule.
    pub(super) fn made(tree: Map<String, Value>) -> Self {
        debug_assert!(is_canonical(&tree, true), "A6: {tree:?}");
        Self(tree)
    }

    /// Takes `fieldsV1` out of where it stands, when it can be read.
    ///
    /// # Errors
    /// What is wrong with the first element that is.
    pub(super) fn take(value: &mut Value) -> Result<Self, String> {
        match value {
            Value::Object(tree) if is_canonical(tree, true) => Ok(Self(std::mem::take(tree))),
            value => Set::from_json(value).map(|set| Self::of(&set)),
        }
    }

    pub(super) fn to_set(&self) -> Set {
        Set::from_tree(&self.0).expect("A6: what a set writes can be read")
    }

    pub(super) fn into_tree(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut tree = &self.0;
        for element in parents {
            let Some(below) = below(tree, &element.to_key()) else { return false };
            tree = below;
        }
        tree.get(&last.to_key()).is_some_and(is_member)
    }

    /// The paths of a set that are in this one as well.
    pub(super) fn intersection(&self, set: &Set) -> Set {
        intersection(&self.0, set)
    }

    /// Takes the paths of a set away; with `deep`, what is below them as well.
    pub(super) fn subtract(&mut self, set: &Set, deep: bool) {
        subtract(&mut self.0, set, deep);
    }

    /// Takes the paths of a set in.
    pub(super) fn absorb(&mut self, set: &Set) {
        absorb(&mut self.0, set);
    }

    /// Whether something is here below what today's type replaces as a whole.
    pub(super) fn has_atoms(&self, node: &NodeType) -> bool {
        has_atoms(&self.0, node)
    }
}

/// What is below a key that leads to members.
fn below<'a>(tree: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    tree.get(key)?.as_object().filter(|below| !below.is_empty())
}

fn is_member(value: &Value) -> bool {
    value.as_object().is_some_and(|below| below.is_empty() || below.contains_key(MEMBER))
}

fn intersection(tree: &Map<String, Value>, set: &Set) -> Set {
    let mut out = Set::default();
    for element in &set.members {
        if tree.get(&element.to_key()).is_some_and(is_member) {
            out.members.insert(element.clone());
        }
    }
    for (element, theirs) in &set.children {
        let Some(ours) = below(tree, &element.to_key()) else { continue };
        let both = intersection(ours, theirs);
        if !both.is_empty() {
            out.children.insert(element.clone(), both);
        }
    }
    out
}

fn subtract(tree: &mut Map<String, Value>, set: &Set, deep: bool) {
    for element in &set.members {
        let key = element.to_key();
        match tree.get_mut(&key).and_then(Value::as_object_mut) {
            Some(below) if !deep && !below.is_empty() => {
                below.remove(MEMBER);
            }
            Some(_) => {
                tree.remove(&key);
            }
            None => {}
        }
    }
    for (element, theirs) in &set.children {
        let key = element.to_key();
        let below = tree.get_mut(&key).and_then(Value::as_object_mut);
        let Some(below) = below.filter(|below| !below.is_empty()) else { continue };
        subtract(below, theirs, deep);
        match (below.len(), below.contains_key(MEMBER)) {
            (0, _) => {
                tree.remove(&key);
            }
            // It leads nowhere any more.
            (1, true) => below.clear(),
            _ => {}
        }
    }
}

fn absorb(tree: &mut Map<String, Value>, set: &Set) {
    let none = || Value::Object(Map::new());
    for element in &set.members {
        let below = tree.entry(element.to_key()).or_insert_with(none);
        if let Some(below) = below.as_object_mut().filter(|below| !below.is_empty()) {
            below.insert(MEMBER.to_owned(), none());
        }
    }
    for (element, theirs) in set.children.iter().filter(|(_, theirs)| !theirs.is_empty()) {
        let key = element.to_key();
        match tree.get_mut(&key).and_then(Value::as_object_mut) {
            Some(below) => {
                if below.is_empty() {
                    below.insert(MEMBER.to_owned(), none());
                }
                absorb(below, theirs);
            }
            None => {
                tree.insert(key, theirs.to_tree());
            }
        }
    }
}

/// The walk of `find_atoms` in `fields.rs`, which says where they are.
fn has_atoms(tree: &Map<String, Value>, node: &NodeType) -> bool {
    let element = match node.form(None) {
        Form::Scalar(_) => return false,
        Form::List(list) if list.items == Items::Atomic => return !tree.is_empty(),
        Form::List(list) => Some(list.element),
        Form::Map(_) if matches!(node, NodeType::Deduced | NodeType::Opaque) => return false,
        Form::Map(map) if map.is_atomic => return !tree.is_empty(),
        Form::Map(_) => None,
    };
    let mut inner = tree.iter().filter_map(|(key, below)| {
        let below = below.as_object().filter(|below| !below.is_empty())?;
        Some((key, below))
    });
    inner.any(|(key, below)| match (&element, key.strip_prefix("f:")) {
        (Some(element), _) => has_atoms(below, element),
        (None, Some(name)) => node.child(name).is_some_and(|child| has_atoms(below, &child.node)),
        (None, None) => false,
    })
}

/// Whether a set would be written just so (A6).
fn is_canonical(tree: &Map<String, Value>, is_root: bool) -> bool {
    tree.iter().all(|(key, below)| {
        let Value::Object(below) = below else { return false };
        if key == MEMBER {
            return !is_root && tree.len() > 1 && below.is_empty();
        }
        is_canonical_key(key) && (below.is_empty() || is_canonical(below, false))
    })
}

fn is_canonical_key(key: &str) -> bool {
    match key.as_bytes() {
        [b'f', b':', ..] => true,
        [b'k', b':', rest @ ..] if is_plain_object(rest) => true,
        [b'v', b':', rest @ ..] if plain_scalar(rest).is_some_and(<[u8]>::is_empty) => true,
        _ => PathElement::parse(key).is_ok_and(|element| element.to_key() == key),
    }
}

/// Whether bytes are the JSON of an object as it is written in a key: of the kind that nearly all
/// keys are, without escapes.
fn is_plain_object(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(b"{") else { return false };
    let mut last: Option<&[u8]> = None;
    loop {
        let Some((name, after)) = plain_text(rest) else { return false };
        if last.is_some_and(|last| last >= name) {
            return false;
        }
        last = Some(name);
        let Some(after) = after.strip_prefix(b":").and_then(plain_scalar) else { return false };
        match after {
            [b'}'] => return true,
            [b',', after @ ..] => rest = after,
            _ => return false,
        }
    }
}

/// The bytes after a text or whole number that is written as it must be.
fn plain_scalar(bytes: &[u8]) -> Option<&[u8]> {
    /// Longer numbers may be no `i64`.
    const DIGITS_MAX: usize = 18;

    if let Some((_, rest)) = plain_text(bytes) {
        return Some(rest);
    }
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_written_so = match bytes.first()? {
        b'0' => digits == 1,
        _ => (1..=DIGITS_MAX).contains(&digits),
    };
    // What follows must not make another number of it.
    let is_whole = !matches!(bytes.get(digits), Some(b'.' | b'e' | b'E'));
    (is_written_so && is_whole).then(|| &bytes[digits..])
}

/// A text between quotes, and the bytes after it.
fn plain_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(b"\"")?;
    let end = bytes.iter().position(|byte| !is_plain(*byte))?;
    (bytes[end] == b'"').then(|| (&bytes[..end], &bytes[end + 1..]))
}

/// Whether a letter is written in a key as it is.
pub(super) fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}
