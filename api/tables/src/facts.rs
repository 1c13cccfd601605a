//! JSON names and zero-value rules from `presence.txt`, and JSON names again from `k8s-openapi`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

/// A name without case and underscores: how `podIPs`, `pod_i_ps` and `pod_ips` are seen as one.
pub(crate) fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase()
}

/// Per type, per folded field name: the JSON name and its presence letter.
///
/// `p` kept when set (a Go pointer) · `z` dropped when zero · `k` always written · `s` a struct,
/// always written · `t` a time, written as null when unset · `l` dropped when empty ·
/// `n` a list or map written as null when unset.
pub(crate) struct Presence(BTreeMap<String, BTreeMap<String, (String, char)>>);

impl Presence {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut types = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(module), Some(name)) = (words.next(), words.next()) else { continue };
            let fields = words
                .filter_map(|word| word.split_once(':'))
                .map(|(json, letter)| {
                    (folded(json), (json.to_owned(), letter.chars().next().unwrap_or('p')))
                })
                .collect();
            let module = module.replace('/', ".").replace('-', "_");
            types.insert(format!("{module}.{name}"), fields);
        }
        Ok(Self(types))
    }

    /// Go's spelling of a message name: prost writes `HTTPGetAction` as `HttpGetAction`.
    pub(crate) fn canonical<'a>(&'a self, message: &'a str) -> &'a str {
        if self.0.contains_key(message) {
            return message;
        }
        let same = |known: &&String| known.eq_ignore_ascii_case(message);
        self.0.keys().find(same).map_or(message, String::as_str)
    }

    pub(crate) fn field(&self, message: &str, rust_name: &str) -> Option<&(String, char)> {
        self.0.get(message)?.get(&folded(rust_name))
    }

    pub(crate) fn has(&self, message: &str) -> bool {
        self.0.contains_key(message)
    }
}

/// Per type: the JSON names that `k8s-openapi` reads.
pub(crate) struct JsonNames(pub(crate) BTreeMap<String, BTreeSet<String>>);

impl JsonNames {
    pub(crate) fn read(src: &Path) -> Result<Self> {
        let mut out = BTreeMap::new();
        visit(src, &mut out)?;
        Ok(Self(out))
    }
}

fn visit(folder: &Path, out: &mut BTreeMap<String, BTreeSet<String>>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, out)?;
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let Some(first) = text.lines().next() else { continue };
        let Some(definition) = first.strip_prefix("// Generated from definition io.k8s.") else {
            continue;
        };
        let names = text
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.trim().strip_prefix('"')?.split_once("\" => ")?;
                rest.starts_with("Field::Key_").then(|| name.to_owned())
            })
            .filter(|name| name != "apiVersion" && name != "kind")
            .collect();
        out.insert(definition.replace('-', "_"), names);
    }
    Ok(())
}
