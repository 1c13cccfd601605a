//! The Pod Security Standards: what pods of a level may not do, by the rules of a minor version.

mod host;
mod identity;
mod isolation;
mod profiles;

use std::collections::BTreeSet;

use api_machinery::Object;
use serde_json::Value;

use super::policy::{Level, Standard, Version};

/// The last version that changed a rule.
const NEWEST: u32 = 35;

/// What a pod does that it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: &'static str,
    detail: String,
}

/// A pod, or the template of one.
#[derive(Clone, Debug)]
pub(super) struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    /// Those that run first, those that stay, those that were added.
    containers: Vec<&'a Value>,
}

impl<'a> Pod<'a> {
    pub(super) fn new(metadata: &'a Value, spec: &'a Value) -> Self {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|list| items(&spec[*list])).collect();
        Self { metadata, spec, containers }
    }

    pub(super) fn of(pod: &'a Object) -> Self {
        let part = |name: &str| pod.at(&[name]).unwrap_or(&Value::Null);
        Self::new(part("metadata"), part("spec"))
    }

    fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    fn is_for_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Whether its users are not those of the host.
    fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let map = self.metadata["annotations"].as_object();
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), text(value)))
    }

    /// The names of the containers of which something is so.
    fn which(&self, mut is: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        let found = self.containers.iter().copied().filter(|container| is(container));
        found.map(|container| text(&container["name"])).collect()
    }
}

type Rule = fn(&Pod<'_>) -> Option<Violation>;

/// A check and how it changed.
struct Check {
    /// Each with the first minor version that has it, in order.
    rules: &'static [(u32, Rule)],
    /// A stricter check takes its place for the level `restricted`, from this minor version on.
    replaced_since: u32,
}

const NEVER: u32 = u32::MAX;

const fn always(rules: &'static [(u32, Rule)]) -> Check {
    Check { rules, replaced_since: NEVER }
}

/// In upstream's order, which is that of their names.
const BASELINE: [Check; 12] = [
    always(&[(0, profiles::app_armor)]),
    Check { rules: &[(0, identity::capabilities_baseline)], replaced_since: 22 },
    always(&[(0, host::namespaces)]),
    Check { rules: &[(0, host::path_volumes)], replaced_since: 0 },
    always(&[(0, host::ports)]),
    always(&[(34, host::probes)]),
    always(&[(0, identity::privileged)]),
    Check {
        rules: &[(0, isolation::proc_mount), (35, isolation::proc_mount_unless_own_users)],
        replaced_since: 35,
    },
    always(&[(0, isolation::se_linux), (31, isolation::se_linux_31)]),
    Check {
        rules: &[(0, profiles::seccomp_annotations), (19, profiles::seccomp)],
        replaced_since: 19,
    },
    always(&[
        (0, isolation::sysctls),
        (27, isolation::sysctls_27),
        (29, isolation::sysctls_29),
        (32, isolation::sysctls_32),
    ]),
    always(&[(0, host::process)]),
];

const RESTRICTED: [Check; 7] = [
    always(&[(8, identity::escalation), (25, identity::escalation_25)]),
    always(&[(22, identity::capabilities), (25, identity::capabilities_25)]),
    always(&[(35, isolation::proc_mount)]),
    always(&[(0, host::volumes)]),
    always(&[(0, identity::non_root), (35, identity::non_root_35)]),
    always(&[(23, identity::user), (35, identity::user_35)]),
    always(&[(19, profiles::seccomp_required), (25, profiles::seccomp_required_25)]),
];

/// Everything that a pod does against a standard.
pub(super) fn check(standard: Standard, pod: &Pod<'_>) -> Vec<Violation> {
    let minor = match standard.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let is_restricted = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => false,
        Level::Restricted => true,
    };
    let kept = |check: &&Check| !is_restricted || minor < check.replaced_since;
    let baseline = BASELINE.iter().filter(kept);
    let more: &[Check] = if is_restricted { &RESTRICTED } else { &[] };
    let rules = baseline.chain(more).filter_map(|check| {
        check.rules.iter().rev().find(|(since, _)| *since <= minor).map(|(_, rule)| rule)
    });
    rules.filter_map(|rule| rule(pod)).collect()
}

/// `reason, reason`.
pub(super) fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|one| one.reason).collect::<Vec<_>>().join(", ")
}

/// `reason (detail), reason (detail)`.
pub(super) fn details(violations: &[Violation]) -> String {
    let all = violations.iter().map(|one| match one.detail.as_str() {
        "" => one.reason.to_owned(),
        detail => format!("{} ({detail})", one.reason),
    });
    all.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::unnecessary_wraps, reason = "it ends a rule")]
fn violates(reason: &'static str, detail: String) -> Option<Violation> {
    Some(Violation { reason, detail })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `"a", "b"`, as they are.
fn quoted(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names = names.into_iter().map(|name| format!("\"{}\"", name.as_ref()));
    names.collect::<Vec<_>>().join(", ")
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// The pod or its containers: who says something that may not be said.
fn setters(is_pod: bool, names: &[&str]) -> Option<String> {
    let pod = is_pod.then(|| "pod".to_owned());
    let containers = (!names.is_empty()).then(|| containers(names));
    let all: Vec<String> = pod.into_iter().chain(containers).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

type Texts<'a> = BTreeSet<&'a str>;
