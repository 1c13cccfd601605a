//! Reads an `EncryptionConfiguration` and checks it, in upstream's words and order.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::Path as FilePath;
use std::sync::Arc;

use api_machinery::field::{Error, ErrorKind, Path};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use super::cipher::{Cipher, Mode};
use super::document::{self, Choice, Entry, NamedKey};
use super::provider::{Key, Provider};
use super::{GroupResource, Rules, metrics};
use crate::limits::ENCRYPTION_FILE_BYTES_MAX;

/// The kinds that the file may say it is; the second one is an old mistake of the manual.
const KINDS: [(&str, &str); 2] =
    [("apiserver.config.k8s.io/v1", "EncryptionConfiguration"), ("v1", "EncryptionConfig")];

/// Go's standard encoding: padded, whatever the bits that are left over are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Reads and checks a file.
pub(super) fn load(path: &FilePath) -> Result<Rules, String> {
    rules(path, &read(path)?)
}

/// The bytes of a file.
pub(super) fn read(path: &FilePath) -> Result<Vec<u8>, String> {
    let refused =
        |why: String| format!("error while parsing file: error while loading file: {why}");
    let name = format!("encryption provider configuration file {:?}", path.to_string_lossy());
    let mut bytes = Vec::new();
    let limit = ENCRYPTION_FILE_BYTES_MAX as u64 + 1;
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| refused(format!("error reading {name}: {error}")))?;
    if bytes.is_empty() {
        return Err(refused(format!("{name} is empty")));
    }
    if bytes.len() > ENCRYPTION_FILE_BYTES_MAX {
        return Err(refused(format!("{name} is larger than {ENCRYPTION_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// What the bytes of a file say.
pub(super) fn rules(path: &FilePath, bytes: &[u8]) -> Result<Rules, String> {
    let entries = decode(bytes).map_err(|why| {
        let why = match why {
            Unreadable::Other(why) => why,
            Unreadable::Document(why) => {
                let path = path.to_string_lossy();
                format!("error decoding encryption provider configuration file {path:?}: {why}")
            }
        };
        format!("error while parsing file: {why}")
    })?;
    let errors = check(&entries);
    if !errors.is_empty() {
        return Err(format!("error while parsing file: {}", together(&errors)));
    }
    let by_resource =
        build(&entries).map_err(|why| format!("error while building transformers: {why}"))?;
    Ok(Rules { hash: metrics::hash_of(bytes), by_resource })
}

/// Why bytes are no file of ours.
enum Unreadable {
    Document(String),
    Other(String),
}

fn decode(bytes: &[u8]) -> Result<Vec<Entry>, Unreadable> {
    let document = |why: String| Unreadable::Document(why);
    let text = std::str::from_utf8(bytes).map_err(|_| document("yaml: invalid UTF-8".into()))?;
    let missing = |field: &str| document(format!("Object '{field}' is missing in the file"));
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    if text.lines().all(says_nothing) {
        return Err(missing("Kind"));
    }
    let tree: Value = serde_saphyr::from_str(text).map_err(|error| {
        // E9: the parser's own words may quote the file.
        let at = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        document(format!("yaml: {at}the document cannot be read"))
    })?;
    let tree = match tree {
        Value::Object(tree) => tree,
        Value::Null => return Err(missing("Kind")),
        _ => return Err(document("couldn't get version/kind; json parse error".into())),
    };
    let text_of = |field: &str| tree.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text_of("apiVersion"), text_of("kind"));
    if kind.is_empty() {
        return Err(missing("Kind"));
    }
    if version.is_empty() {
        return Err(missing("apiVersion"));
    }
    if version == KINDS[0].0
        && ["AdmissionConfiguration", "AuthenticationConfiguration"].contains(&kind)
    {
        let why = format!("got unexpected config type: {version}, Kind={kind}");
        return Err(Unreadable::Other(why));
    }
    if !KINDS.contains(&(version, kind)) {
        let why = format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"k8s.io/apiserver/pkg/server/options/encryptionconfig/config.go:142\""
        );
        return Err(document(why));
    }
    document::entries(&tree).map_err(document)
}

/// Several errors as one: each text once, in brackets when there are more of them.
fn together(errors: &[Error]) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut told = HashSet::new();
    for error in errors {
        let text = error.to_string();
        if told.insert(text.clone()) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    }
}

fn at_least_one(path: &Path, what: &str) -> Error {
    Error::required(path, format!("at least one {what} is required"))
}

fn check(entries: &[Entry]) -> Vec<Error> {
    let root = Path::new("resources");
    if entries.is_empty() {
        return vec![at_least_one(&root, "resources")];
    }
    let mut errors = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = root.index(index);
        let (resources, providers) = (at.child("resources"), at.child("providers"));
        if entry.resources.is_empty() {
            errors.push(at_least_one(&resources, &resources.to_string()));
        }
        errors.extend(check_overlap(&entry.resources, &resources));
        for (index, name) in entry.resources.iter().enumerate() {
            let why = name_refused(name);
            errors
                .extend(why.map(|why| Error::invalid(&resources.index(index), name.as_str(), why)));
        }
        if entry.providers.is_empty() {
            errors.push(at_least_one(&providers, &providers.to_string()));
        }
        for (index, choice) in entry.providers.iter().enumerate() {
            check_choice(choice, &providers.index(index), &mut errors);
        }
    }
    errors
}

/// The same resource twice, or one that a wildcard of the same list has too.
fn check_overlap(resources: &[String], path: &Path) -> Vec<Error> {
    const SAME: &str = "the same resource cannot be specified multiple times";
    const MASKED: &str = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
    if resources.len() < 2 {
        return Vec::new();
    }
    let all: Vec<GroupResource> = resources.iter().map(|name| GroupResource::parse(name)).collect();
    let mut of_group: HashMap<&str, usize> = HashMap::new();
    for one in &all {
        *of_group.entry(&one.group).or_default() += 1;
    }
    let masks = |one: &GroupResource| {
        one.resource == "*" && (one.group == "*" || of_group[&*one.group] > 1)
    };
    let mut errors = Vec::new();
    if all.iter().collect::<HashSet<_>>().len() < all.len() {
        errors.push(Error::invalid(path, json!(resources), SAME));
    }
    if all.iter().any(masks) {
        errors.push(Error::invalid(path, json!(resources), MASKED));
    }
    errors
}

/// Why a resource cannot be named so.
fn name_refused(name: &str) -> Option<&'static str> {
    if name.to_lowercase() != name {
        return Some("resource name should not contain capital letters");
    }
    if name == "*" {
        return Some(
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        );
    }
    if ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"].contains(&name) {
        return Some("resources which do not have REST API/s cannot be encrypted");
    }
    let of = GroupResource::parse(name);
    match &*of.group {
        "events.k8s.io" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        "extensions" => {
            Some("'extensions' group has been removed and cannot be used for encryption")
        }
        "*" if of.resource != "*" => {
            Some("encrypting the same resource across groups is not supported")
        }
        _ => None,
    }
}

fn check_choice(choice: &Choice, path: &Path, errors: &mut Vec<Error>) {
    const NONE: &str = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
    const MORE: &str = "more than one provider specified in a single element, should split into different list elements";
    let given = choice.sealed.len() + usize::from(choice.is_identity) + usize::from(choice.is_kms);
    match given {
        0 => errors.push(refused(choice, path, NONE)),
        1 => {}
        _ => errors.push(refused(choice, path, MORE)),
    }
    if choice.is_kms {
        errors.push(Error::forbidden(&path.child("kms"), "kms providers are not implemented"));
        return;
    }
    let Some((mode, keys)) = choice.sealed.first() else { return };
    let name = match mode {
        Mode::AesGcm => "aesgcm",
        Mode::AesCbc => "aescbc",
        Mode::Secretbox => "secretbox",
    };
    let path = path.child(name).child("keys");
    if keys.is_empty() {
        errors.push(at_least_one(&path, "keys"));
    }
    for (index, key) in keys.iter().enumerate() {
        check_key(*mode, key, &path.index(index), errors);
    }
}

/// A choice as upstream shows it, but for the secrets (E9), and why it is refused.
fn refused(choice: &Choice, path: &Path, why: &str) -> Error {
    let of = |mode: Mode| {
        let found = choice.sealed.iter().find(|(one, _)| *one == mode);
        found.map_or(Value::Null, |(_, keys)| {
            let keys = keys.iter().map(|key| json!({"Name": key.name, "Secret": "REDACTED"}));
            json!({"Keys": keys.collect::<Vec<_>>()})
        })
    };
    let or_null = |is_given: bool| if is_given { json!({}) } else { Value::Null };
    // In the order of upstream's fields, which no tree keeps.
    let shown: Vec<String> = [
        ("AESGCM", of(Mode::AesGcm)),
        ("AESCBC", of(Mode::AesCbc)),
        ("Secretbox", of(Mode::Secretbox)),
        ("Identity", or_null(choice.is_identity)),
        ("KMS", or_null(choice.is_kms)),
    ]
    .iter()
    .map(|(name, value)| format!("\"{name}\":{value}"))
    .collect();
    let detail = format!("{{{}}}: {why}", shown.join(","));
    Error { kind: ErrorKind::Invalid, field: path.to_string(), value: None, detail }
}

fn check_key(mode: Mode, key: &NamedKey, path: &Path, errors: &mut Vec<Error>) {
    let mandatory = |field: &str| {
        Error::required(&path.child(field), format!("{field} is a mandatory field for a key"))
    };
    if key.name.is_empty() {
        errors.push(mandatory("name"));
    }
    if key.secret.is_empty() {
        errors.push(mandatory("secret"));
        return;
    }
    let refused = |why: String| Error::invalid(&path.child("secret"), "REDACTED", why);
    match secret(key) {
        None => errors.push(refused("secrets must be base64 encoded".to_owned())),
        Some(bytes) if !mode.key_lengths().contains(&bytes.len()) => {
            let lengths: Vec<String> = mode.key_lengths().iter().map(usize::to_string).collect();
            let (found, lengths) = (bytes.len(), lengths.join(" "));
            errors.push(refused(format!(
                "secret is not of the expected length, got {found}, expected one of [{lengths}]"
            )));
        }
        Some(_) => {}
    }
}

/// The bytes of a secret; lines may be broken.
fn secret(key: &NamedKey) -> Option<Vec<u8>> {
    let text: String = key.secret.chars().filter(|one| !matches!(one, '\r' | '\n')).collect();
    BASE64.decode(text).ok()
}

/// Which providers each resource has. The entries have been checked.
fn build(entries: &[Entry]) -> Result<HashMap<GroupResource, Vec<Arc<Provider>>>, String> {
    let mut built: HashMap<GroupResource, Vec<Arc<Provider>>> = HashMap::new();
    for entry in entries {
        let mut providers = Vec::new();
        for choice in &entry.providers {
            providers.push(Arc::new(provider(choice)?));
        }
        for name in &entry.resources {
            let of = GroupResource::parse(name);
            for earlier in [GroupResource::new(&of.group, "*"), GroupResource::new("*", "*")] {
                if built.contains_key(&earlier) {
                    let (of, earlier) = (in_yaml(&of), in_yaml(&earlier));
                    return Err(format!("resource {of:?} is masked by earlier rule {earlier:?}"));
                }
            }
            built.entry(of).or_default().extend(providers.iter().cloned());
        }
    }
    Ok(built)
}

/// A resource as the file has it.
fn in_yaml(of: &GroupResource) -> String {
    match (&*of.group, &*of.resource) {
        ("", "*") => "*.".to_owned(),
        _ => of.to_string(),
    }
}

fn provider(choice: &Choice) -> Result<Provider, String> {
    let Some((mode, named)) = choice.sealed.first() else { return Ok(Provider::Identity) };
    let mut keys = Vec::new();
    for key in named {
        let cipher = secret(key).and_then(|secret| Cipher::new(*mode, &secret));
        let why = || format!("could not obtain secret for named key {}", key.name);
        keys.push(Key { prefix: format!("{}:", key.name), cipher: cipher.ok_or_else(why)? });
    }
    Ok(Provider::Keys { mode: *mode, keys })
}
