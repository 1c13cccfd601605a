//! What a namespace's labels say about its pods.

use std::fmt;

use api_machinery::Object;
use api_machinery::field::{Error, Path};

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// By whose rules: those of a minor version of Kubernetes, or the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    /// `v1.N`, without a leading zero.
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain || digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        digits.parse().ok().map(Self::Minor)
    }
}

/// A level of a version: `baseline:v1.30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level.name()),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
        }
    }
}

/// What is refused, what is noted and what is warned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

const FREE: Standard = Standard { level: Level::Privileged, version: Version::Latest };

impl Policy {
    /// Reads a namespace's labels. There is a policy whatever they say; what cannot be read is
    /// enforced as strictly as there is, and neither noted nor warned about.
    pub(super) fn of(namespace: &Object) -> (Self, Vec<Error>) {
        let mut errors = Vec::new();
        let mut level = |name: &str| {
            let text = label(namespace, name)?;
            let level = Level::parse(text);
            if level.is_none() {
                let why = "must be one of privileged, baseline, restricted";
                errors.push((name.to_owned(), Error::invalid(&path(name), text, why)));
            }
            Some(level)
        };
        let levels = [level("enforce"), level("audit"), level("warn")];
        let mut version = |name: &str| {
            let text = label(namespace, name)?;
            let version = Version::parse(text);
            if version.is_none() {
                let why = "must be \"latest\" or \"v1.x\"";
                errors.push((name.to_owned(), Error::invalid(&path(name), text, why)));
            }
            Some(version.unwrap_or(Version::Latest))
        };
        let versions =
            [version("enforce-version"), version("audit-version"), version("warn-version")];
        let [enforce, audit, warn] = levels;
        let standard =
            |level: Option<Option<Level>>, version: Option<Version>, otherwise| Standard {
                level: level.map_or(FREE.level, |level| level.unwrap_or(otherwise)),
                version: version.unwrap_or(FREE.version),
            };
        let mut policy = Self {
            enforce: standard(enforce, versions[0], Level::Restricted),
            audit: standard(audit, versions[1], Level::Privileged),
            warn: standard(warn, versions[2], Level::Privileged),
        };
        // Who enforces something is warned about it, too, unless the labels say otherwise.
        let is_enforced = enforce.flatten().is_some_and(|level| level > policy.warn.level);
        if warn.is_none() && is_enforced {
            policy.warn.level = policy.enforce.level;
            policy.warn.version = versions[2].unwrap_or(policy.enforce.version);
        }
        // Each mode's level comes before its version.
        let rank = |name: &str| {
            let modes = ["enforce", "audit", "warn"];
            modes.iter().position(|mode| name.starts_with(mode))
        };
        errors.sort_by_key(|(name, _)| (rank(name), name.len()));
        (policy, errors.into_iter().map(|(_, error)| error).collect())
    }

    /// Whether pods may do everything, and nobody wants to hear about it.
    pub(super) fn is_free(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|standard| standard.level == Level::Privileged)
    }
}

fn key(name: &str) -> String {
    format!("pod-security.kubernetes.io/{name}")
}

fn path(name: &str) -> Path {
    Path::new("metadata").child("labels").key(&key(name))
}

fn label<'a>(namespace: &'a Object, name: &str) -> Option<&'a str> {
    namespace.at(&["metadata", "labels", &key(name)]).and_then(serde_json::Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `enforce audit warn`, and the errors.
    fn read(labels: &[(&str, &str)]) -> (String, Vec<String>) {
        let mut namespace = Object::default();
        for (name, value) in labels {
            namespace.set(&["metadata", "labels", &key(name)], json!(value));
        }
        let (policy, errors) = Policy::of(&namespace);
        let text = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
        (text, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn labels_are_read_as_upstream_reads_them() {
        for (labels, wanted) in [
            (vec![], "privileged:latest privileged:latest privileged:latest"),
            (
                vec![("enforce", "baseline"), ("enforce-version", "v1.9")],
                "baseline:v1.9 privileged:latest baseline:v1.9",
            ),
            (
                vec![
                    ("enforce", "baseline"),
                    ("enforce-version", "v1.9"),
                    ("warn-version", "v1.2"),
                ],
                "baseline:v1.9 privileged:latest baseline:v1.2",
            ),
            (
                vec![("enforce", "restricted"), ("warn", "privileged"), ("audit", "baseline")],
                "restricted:latest baseline:latest privileged:latest",
            ),
            (
                vec![("warn", "restricted"), ("enforce", "baseline")],
                "baseline:latest privileged:latest restricted:latest",
            ),
            (
                vec![("enforce-version", "v1.22")],
                "privileged:v1.22 privileged:latest privileged:latest",
            ),
        ] {
            assert_eq!(read(&labels), (wanted.to_owned(), Vec::new()), "{labels:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_enforced_and_told() {
        let bad = [
            ("enforce", "x"),
            ("enforce-version", "v1.01"),
            ("audit", ""),
            ("warn", "y"),
            ("warn-version", "v2.0"),
            ("audit-version", "v1.99999999999999999999"),
        ];
        let (policy, errors) = read(&bad);
        assert_eq!(policy, "restricted:latest privileged:latest privileged:latest");
        let level = "must be one of privileged, baseline, restricted";
        let version = "must be \"latest\" or \"v1.x\"";
        let wanted: Vec<String> = [
            ("enforce", "x", level),
            ("enforce-version", "v1.01", version),
            ("audit", "", level),
            ("audit-version", "v1.99999999999999999999", version),
            ("warn", "y", level),
            ("warn-version", "v2.0", version),
        ]
        .iter()
        .map(|(name, value, why)| {
            format!("metadata.labels[pod-security.kubernetes.io/{name}]: Invalid value: {value:?}: {why}")
        })
        .collect();
        assert_eq!(errors, wanted);
    }
}
