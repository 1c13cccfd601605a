//! `metadata.managedFields`: who manages which fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::owned::Fields;
use crate::{Object, field, limits, time};

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Apply" => Some(Self::Apply),
            "Update" => Some(Self::Update),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells two managers apart. An applier is the same in all versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Upstream's text of all the others, by which upstream sorts.
    text: String,
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

impl Identity {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Self {
        let mut text = String::from("{");
        let parts = [
            ("manager", manager),
            ("operation", operation.text()),
            ("apiVersion", api_version),
            ("subresource", subresource),
        ];
        for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            let separator = if text.len() > 1 { "," } else { "" };
            write!(text, "{separator}\"{name}\":{}", Value::from(value))
                .expect("a String takes all that is written");
        }
        text.push('}');
        Self {
            text,
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As messages about conflicts show it.
    pub(super) fn shown(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            out += &format!(" using {}", self.api_version);
        }
        out
    }
}

/// The fields of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub(super) fields: Fields,
    /// The version that the fields are named in.
    pub api_version: String,
    /// RFC 3339; empty when unknown.
    pub time: String,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers(pub(super) BTreeMap<Identity, Owned>);

impl Managers {
    /// Reads `metadata.managedFields`.
    ///
    /// # Errors
    /// Upstream's message about the first entry that is none.
    pub fn read(entries: Option<&Value>) -> Result<Self, String> {
        Self::take(entries.cloned())
    }

    /// The same with entries that nobody needs any more.
    pub(super) fn take(entries: Option<Value>) -> Result<Self, String> {
        let mut managers = BTreeMap::new();
        let Some(Value::Array(entries)) = entries else { return Ok(Self(managers)) };
        for (index, mut entry) in entries.into_iter().enumerate() {
            let (identity, api_version, time) = identity_of(&entry, index)?;
            let fields = entry.get_mut("fieldsV1").map_or(Ok(Fields::default()), Fields::take);
            let fields = fields.map_err(|why| {
                format!("error decoding versioned set from {entry}: error decoding set: {why}")
            })?;
            managers.insert(identity, Owned { fields, api_version, time });
        }
        Ok(Self(managers))
    }

    /// Whether nobody manages anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries of `metadata.managedFields`, in upstream's order.
    #[must_use]
    pub fn entries(self) -> Vec<Value> {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_by_cached_key(|(identity, owned)| {
            (
                identity.operation,
                unix_seconds(&owned.time),
                identity.manager.clone(),
                owned.api_version.clone(),
                identity.subresource.clone(),
            )
        });
        all.into_iter().map(|(identity, owned)| entry(identity, owned)).collect()
    }

    /// Writes `metadata.managedFields` of an object; no managers is no field.
    pub fn write(self, object: &mut Object) {
        if self.is_empty() {
            object.remove(&["metadata", "managedFields"]);
        } else {
            object.set(&["metadata", "managedFields"], Value::Array(self.entries()));
        }
    }

    /// Merges the oldest updaters of each version into one when there are too many.
    pub(super) fn cap_updaters(&mut self) {
        let mut updaters: Vec<Identity> = self
            .0
            .keys()
            .filter(|identity| identity.operation == Operation::Update)
            .cloned()
            .collect();
        if updaters.len() <= limits::UPDATE_MANAGERS_MAX {
            return;
        }
        updaters.sort_by_cached_key(|identity| {
            (unix_seconds(&self.0[identity].time), identity.clone())
        });
        let mut left = updaters.len();
        let mut first_of_version: BTreeMap<String, Identity> = BTreeMap::new();
        for identity in updaters {
            if left <= limits::UPDATE_MANAGERS_MAX {
                break;
            }
            let version = identity.api_version.clone();
            let Some(first) = first_of_version.get(&version) else {
                first_of_version.insert(version, identity);
                continue;
            };
            let bucket = Identity::new("ancient-changes", Operation::Update, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if identity == bucket {
                continue;
            }
            if let Some(owned) = self.0.remove(&identity) {
                let ancient = self.0.entry(bucket).or_insert_with(|| Owned {
                    fields: Fields::default(),
                    api_version: owned.api_version.clone(),
                    time: String::new(),
                });
                ancient.fields.absorb(&owned.fields.to_set());
                ancient.time = owned.time;
            }
            left -= 1;
        }
    }
}

fn unix_seconds(text: &str) -> i64 {
    time::parse(text).map_or(0, jiff::Timestamp::as_second)
}

/// Who an entry is about, the version of its fields and its time.
fn identity_of(entry: &Value, index: usize) -> Result<(Identity, String, String), String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation =
        Operation::parse(text("operation")).ok_or("operation must be `Apply` or `Update`")?;
    let version = text("apiVersion");
    if version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
        other => {
            return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}"));
        }
    }
    let own_version = if operation == Operation::Apply { "" } else { version };
    let identity = Identity::new(text("manager"), operation, own_version, text("subresource"));
    Ok((identity, version.to_owned(), text("time").to_owned()))
}

fn entry(identity: Identity, owned: Owned) -> Value {
    let mut out = Map::new();
    let operation = identity.operation.text().to_owned();
    let parts = [
        ("manager", identity.manager),
        ("operation", operation),
        ("apiVersion", owned.api_version),
        ("time", owned.time),
        ("fieldsType", "FieldsV1".to_owned()),
        ("subresource", identity.subresource),
    ];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.insert(name.to_owned(), value.into());
    }
    out.insert("fieldsV1".to_owned(), owned.fields.into_tree());
    Value::Object(out)
}

/// Whether the client asks that all managers be forgotten: `[]` or `[{}]`.
pub(super) fn is_reset(entries: Option<&Value>) -> bool {
    match entries.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(|entry| {
            entry.values().all(|value| value.is_null() || value.as_str() == Some(""))
        }),
        _ => false,
    }
}

/// What is wrong with `metadata.managedFields`, for the validation of metadata.
#[must_use]
pub fn validate(object: &Object) -> Vec<field::Error> {
    let entries = object.at(&["metadata", "managedFields"]).and_then(Value::as_array);
    let path = field::Path::new("metadata").child("managedFields");
    let mut errors = Vec::new();
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        if Operation::parse(text("operation")).is_none() {
            let detail = "must be `Apply` or `Update`";
            errors.push(field::Error::invalid(&path.child("operation"), text("operation"), detail));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            let detail = "must be `FieldsV1`";
            errors.push(field::Error::invalid(
                &path.child("fieldsType"),
                text("fieldsType"),
                detail,
            ));
        }
        errors.extend(validate_manager(text("manager"), &path.child("manager")));
        if text("subresource").len() > limits::SUBRESOURCE_NAME_BYTES_MAX {
            let max = limits::SUBRESOURCE_NAME_BYTES_MAX;
            errors.push(field::Error::too_long(&path.child("subresource"), max));
        }
    }
    errors
}

/// What is wrong with the name of a manager.
#[must_use]
pub fn validate_manager(manager: &str, path: &field::Path) -> Vec<field::Error> {
    let mut errors = Vec::new();
    if manager.len() > limits::FIELD_MANAGER_BYTES_MAX {
        errors.push(field::Error::too_long(path, limits::FIELD_MANAGER_BYTES_MAX));
    }
    for (at, letter) in manager.char_indices().filter(|(_, letter)| !is_print(*letter)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
        errors.push(field::Error::invalid(path, manager, detail));
    }
    errors
}

/// Whether Go would print a letter: of white space only the blank.
fn is_print(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

/// The manager of a write: what the request says, or the start of its user agent.
#[must_use]
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let product = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in product.chars().filter(|letter| is_print(*letter)) {
        if name.len() + letter.len_utf8() > limits::FIELD_MANAGER_BYTES_MAX {
            break;
        }
        name.push(letter);
    }
    name
}
