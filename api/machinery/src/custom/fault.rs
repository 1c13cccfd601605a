//! What is wrong with a value, counted and told as upstream's validator does it.

use serde_json::Value;

use super::go_text::{json, quoted, shown};
use crate::field::{Error, ErrorKind, Path};
use crate::limits::CUSTOM_FAULTS_MAX;

/// Where in a value a check is: a list of steps back to the root.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Property(&'a str),
    /// A member that is not named in `properties`: upstream writes a dot even at the root.
    Member(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    pub(super) fn property(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Property(name) }
    }

    pub(super) fn member(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Member(name) }
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    pub(super) fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    /// As it stands in messages.
    pub(super) fn text(&self) -> String {
        let mut text = self.parent.map_or_else(String::new, Place::text);
        match self.step {
            Step::Root => {}
            Step::Property(name) if text.is_empty() => text.push_str(name),
            Step::Property(name) | Step::Member(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Faults with the same text are one.
    message: String,
    /// The place; `None` for what upstream does not give a place.
    place: Option<String>,
    told: Told,
}

#[derive(Clone, Debug)]
enum Told {
    Required,
    NotSupported { value: String, choices: Vec<String> },
    TooLong { max: i64 },
    TooMany { actual: i64, max: i64 },
    Type { value: String },
    Invalid { value: String },
}

impl Fault {
    fn new(place: &Place<'_>, what: &str, told: Told) -> Self {
        let text = place.text();
        Self { message: format!("{text} in body {what}"), place: Some(text), told }
    }

    /// A combination (`anyOf`, `oneOf` ...) that does not fit.
    pub(super) fn combination(place: &Place<'_>, what: &str) -> Self {
        Self::without_place(format!("{} must {what}", quoted(&place.text())))
    }

    pub(super) fn without_place(message: String) -> Self {
        Self { message, place: None, told: Told::Invalid { value: quoted("") } }
    }

    pub(super) fn kind(place: &Place<'_>, wanted: &str, found: &str) -> Self {
        let value = quoted(found);
        Self::new(place, &format!("must be of type {wanted}: {value}"), Told::Type { value })
    }

    pub(super) fn required(place: &Place<'_>) -> Self {
        Self::new(place, "is required", Told::Required)
    }

    pub(super) fn choice(place: &Place<'_>, value: &Value, choices: &[Value]) -> Self {
        let choices: Vec<_> = choices
            .iter()
            .map(|choice| choice.as_str().map_or_else(|| json(choice), str::to_owned))
            .collect();
        let what = format!("should be one of {choices:?}");
        Self::new(place, &what, Told::NotSupported { value: shown(value), choices })
    }

    pub(super) fn too_long(place: &Place<'_>, max: i64) -> Self {
        let what = format!("should be at most {max} chars long");
        Self::new(place, &what, Told::TooLong { max })
    }

    pub(super) fn too_many(place: &Place<'_>, actual: usize, max: i64, of: &str) -> Self {
        let what = format!("should have at most {max} {of}");
        let actual = i64::try_from(actual).unwrap_or(i64::MAX);
        Self::new(place, &what, Told::TooMany { actual, max })
    }

    /// Anything else, with the value as it is shown.
    pub(super) fn invalid(place: &Place<'_>, value: String, what: &str) -> Self {
        Self::new(place, what, Told::Invalid { value })
    }

    /// As [`Fault::invalid`], with a message of its own.
    pub(super) fn with_message(place: &Place<'_>, value: String, message: String) -> Self {
        Self { message, place: Some(place.text()), told: Told::Invalid { value } }
    }

    /// A member that may not be there.
    pub(super) fn forbidden_member(place: &Place<'_>, name: &str) -> Self {
        let text = place.text();
        Self {
            message: format!("{text}.{name} in body is a forbidden property"),
            place: Some(text),
            told: Told::Invalid { value: quoted(name) },
        }
    }

    /// As a field error below `base`.
    pub(super) fn into_error(self, base: Option<&Path>) -> Error {
        let place = self.place.as_deref().map_or("", |place| place.trim_start_matches('.'));
        let field = match (base, place) {
            (Some(base), "") => base.to_string(),
            (Some(base), place) => format!("{base}.{place}"),
            // Upstream writes a path that is not there like this.
            (None, "") => "<nil>".to_owned(),
            (None, place) => place.to_owned(),
        };
        let path = Path::new(&field);
        // The value is in the detail: numbers and null look different there than in JSON.
        let with_value = |kind, value: &str, detail: &str| {
            let detail =
                if detail.is_empty() { value.to_owned() } else { format!("{value}: {detail}") };
            Error { kind, field: field.clone(), value: None, detail }
        };
        match &self.told {
            Told::Required => Error::required(&path, ""),
            Told::TooLong { max } => Error::too_long(&path, usize::try_from(*max).unwrap_or(0)),
            Told::TooMany { actual, max } => {
                let count = |number: i64| usize::try_from(number).unwrap_or(0);
                Error::too_many(&path, count(*actual), count(*max))
            }
            Told::Type { value } => with_value(ErrorKind::TypeInvalid, value, &self.message),
            Told::Invalid { value } => with_value(ErrorKind::Invalid, value, &self.message),
            Told::NotSupported { value, choices } => {
                let choices: Vec<_> = choices.iter().map(|choice| quoted(choice)).collect();
                let detail = format!("supported values: {}", choices.join(", "));
                with_value(ErrorKind::NotSupported, value, &detail)
            }
        }
    }
}

/// The faults of a value, and how many checks it got through: of branches that all fail, the
/// one that got furthest is told.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    faults: Vec<Fault>,
    pub(super) matches: usize,
}

impl Outcome {
    pub(super) fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn add(&mut self, fault: Fault) {
        let is_known = self.faults.iter().any(|known| known.message == fault.message);
        if !is_known && self.faults.len() < CUSTOM_FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        for fault in other.faults {
            self.add(fault);
        }
    }

    /// The faults no longer count; the matches do.
    pub(super) fn forgive(&mut self) {
        self.faults.clear();
    }

    pub(super) fn into_errors(self, base: Option<&Path>) -> Vec<Error> {
        self.faults.into_iter().map(|fault| fault.into_error(base)).collect()
    }
}
