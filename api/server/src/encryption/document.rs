//! The file's tree as fields, strictly: what is not known or of another type is refused, in the
//! words of upstream's decoder.

use std::collections::BTreeMap;

use api_machinery::field::Path;
use serde_json::{Map, Value};

use super::cipher::Mode;

/// One entry of `resources`.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) resources: Vec<String>,
    pub(super) providers: Vec<Choice>,
}

/// One entry of `providers`: what is given of the fields, of which one may be.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) sealed: Vec<(Mode, Vec<NamedKey>)>,
    pub(super) is_identity: bool,
    pub(super) is_kms: bool,
}

#[derive(Default)]
pub(super) struct NamedKey {
    pub(super) name: String,
    pub(super) secret: String,
}

/// Where a value is: for people, and as upstream's decoder names it.
struct Place {
    path: Path,
    /// The type that has the field, and the names of fields down to it.
    holder: &'static str,
    names: String,
}

impl Place {
    fn child(&self, holder: &'static str, name: &str) -> Self {
        let names = match self.names.as_str() {
            "" => name.to_owned(),
            names => format!("{names}.{name}"),
        };
        Self { path: self.path.child(name), holder, names }
    }

    fn index(&self, index: usize) -> Self {
        Self { path: self.path.index(index), holder: self.holder, names: self.names.clone() }
    }

    fn mistyped(&self, value: &Value, wanted: &str) -> String {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let (holder, names) = (self.holder, &self.names);
        format!(
            "json: cannot unmarshal {kind} into Go struct field {holder}.{names} of type {wanted}"
        )
    }
}

/// Reads the tree, and collects what it does not know.
#[derive(Default)]
struct Reader {
    unknown: Vec<String>,
}

/// The entries of a file.
pub(super) fn entries(tree: &Map<String, Value>) -> Result<Vec<Entry>, String> {
    let mut reader = Reader::default();
    let top = Place { path: Path::default(), holder: "", names: String::new() };
    let fields = reader.known(tree, &top, &["apiVersion", "kind", "resources"]);
    let at = top.child("EncryptionConfiguration", "resources");
    let mut read = Vec::new();
    for (index, one) in list(fields.get("resources"), &at, "[]v1.ResourceConfiguration")? {
        read.push(reader.entry(one, &at.index(index))?);
    }
    match reader.unknown.as_slice() {
        [] => Ok(read),
        unknown => Err(format!("strict decoding error: {}", unknown.join(", "))),
    }
}

impl Reader {
    /// The fields of an object; those that it may not have are remembered.
    fn known<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        at: &Place,
        known: &[&str],
    ) -> BTreeMap<&'a str, &'a Value> {
        let mut fields: BTreeMap<&str, &Value> = BTreeMap::new();
        for (name, value) in object {
            if known.contains(&name.as_str()) {
                fields.insert(name, value);
            } else {
                self.unknown.push(format!("unknown field \"{}\"", at.path.child(name)));
            }
        }
        fields
    }

    fn entry(&mut self, value: &Value, at: &Place) -> Result<Entry, String> {
        const HOLDER: &str = "ResourceConfiguration";
        let Some(object) = object(value, at, "v1.ResourceConfiguration")? else {
            return Ok(Entry::default());
        };
        let fields = self.known(object, at, &["resources", "providers"]);
        let mut entry = Entry::default();
        let providers = at.child(HOLDER, "providers");
        let found = list(fields.get("providers"), &providers, "[]v1.ProviderConfiguration")?;
        for (index, one) in found {
            entry.providers.push(self.choice(one, &providers.index(index))?);
        }
        let resources = at.child(HOLDER, "resources");
        for (_, one) in list(fields.get("resources"), &resources, "[]string")? {
            entry.resources.push(text(Some(one), &resources)?);
        }
        Ok(entry)
    }

    fn choice(&mut self, value: &Value, at: &Place) -> Result<Choice, String> {
        const HOLDER: &str = "ProviderConfiguration";
        let mut choice = Choice::default();
        let Some(fields) = object(value, at, "v1.ProviderConfiguration")? else {
            return Ok(choice);
        };
        let known = ["aesgcm", "aescbc", "secretbox", "identity", "kms"];
        let fields = self.known(fields, at, &known);
        for (name, mode, holder) in [
            ("aesgcm", Mode::AesGcm, "AESConfiguration"),
            ("aescbc", Mode::AesCbc, "AESConfiguration"),
            ("secretbox", Mode::Secretbox, "SecretboxConfiguration"),
        ] {
            let Some(value) = fields.get(name) else { continue };
            let place = at.child(HOLDER, name);
            let Some(object) = object(value, &place, &format!("v1.{holder}"))? else { continue };
            choice.sealed.push((mode, self.keys(object, &place, holder)?));
        }
        if let Some(value) = fields.get("identity") {
            let place = at.child(HOLDER, "identity");
            if let Some(object) = object(value, &place, "v1.IdentityConfiguration")? {
                self.known(object, &place, &[]);
                choice.is_identity = true;
            }
        }
        if let Some(value) = fields.get("kms") {
            let place = at.child(HOLDER, "kms");
            if let Some(object) = object(value, &place, "v1.KMSConfiguration")? {
                self.known(
                    object,
                    &place,
                    &["apiVersion", "name", "cachesize", "endpoint", "timeout"],
                );
                choice.is_kms = true;
            }
        }
        Ok(choice)
    }

    fn keys(
        &mut self,
        object_of_keys: &Map<String, Value>,
        at: &Place,
        holder: &'static str,
    ) -> Result<Vec<NamedKey>, String> {
        let at_keys = at.child(holder, "keys");
        let mut keys = Vec::new();
        for (index, value) in list(object_of_keys.get("keys").as_ref(), &at_keys, "[]v1.Key")? {
            let place = at_keys.index(index);
            let mut key = NamedKey::default();
            if let Some(object) = object(value, &place, "v1.Key")? {
                let fields = self.known(object, &place, &["name", "secret"]);
                key.name = text(fields.get("name").copied(), &place.child("Key", "name"))?;
                key.secret = text(fields.get("secret").copied(), &place.child("Key", "secret"))?;
            }
            keys.push(key);
        }
        self.known(object_of_keys, at, &["keys"]);
        Ok(keys)
    }
}

fn object<'a>(
    value: &'a Value,
    at: &Place,
    wanted: &str,
) -> Result<Option<&'a Map<String, Value>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        other => Err(at.mistyped(other, wanted)),
    }
}

fn list<'a>(
    value: Option<&&'a Value>,
    at: &Place,
    wanted: &str,
) -> Result<Vec<(usize, &'a Value)>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.iter().enumerate().collect()),
        Some(other) => Err(at.mistyped(other, wanted)),
    }
}

fn text(value: Option<&Value>, at: &Place) -> Result<String, String> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(at.mistyped(other, "string")),
    }
}
