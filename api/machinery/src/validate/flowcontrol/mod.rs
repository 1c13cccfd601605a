//! Flow schemas and priority levels.

mod mandatory;

use serde_json::Value;

use super::{invalid_each, items, names, text};
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::{Object, ResourceInfo};

const DISTINGUISHERS: [&str; 2] = ["ByNamespace", "ByUser"];
const SUBJECTS: [&str; 3] = ["Group", "ServiceAccount", "User"];
const LEVELS: [&str; 2] = ["Exempt", "Limited"];
const RESPONSES: [&str; 2] = ["Queue", "Reject"];
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// How many bits of a hash a hand may use up.
const HASH_BITS_MAX: f64 = 60.0;
const ROUND_TRIP: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    let (spec, path) = (object.at(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    match info.kind {
        "FlowSchema" => schema(object.name(), spec, &path, errors),
        "PriorityLevelConfiguration" => {
            if object.at(&["metadata", "annotations", ROUND_TRIP]).is_some() {
                let why = format!("annotation '{ROUND_TRIP}' is forbidden");
                errors.push(Error::forbidden(&Path::new("metadata").child("annotations"), why));
            }
            level(object.name(), spec, &path, errors);
        }
        _ => return,
    }
    mandatory::check(info, object.name(), spec, errors);
    conditions(object, errors);
}

pub(super) fn update(info: &ResourceInfo, new: &Object, _old: &Object, errors: &mut Vec<Error>) {
    create(info, new, errors);
}

pub(super) fn status_update(
    _info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    conditions(new, errors);
}

fn conditions(object: &Object, errors: &mut Vec<Error>) {
    let list = object.at(&["status", "conditions"]).and_then(Value::as_array);
    let list = list.map_or(&[][..], Vec::as_slice);
    let again = repeated(list, |one| text(one, "type"));
    for (index, condition) in list.iter().enumerate() {
        let path = Path::new("status").child("conditions").index(index).child("type");
        let kind = text(condition, "type");
        if again[index] {
            errors.push(Error::duplicate(&path, kind));
        }
        if kind.is_empty() {
            errors.push(Error::required(&path, ""));
        }
    }
}

fn schema(name: &str, spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(0);
    let precedence_path = path.child("matchingPrecedence");
    for (is_wrong, why) in [
        (precedence <= 0, "must be a positive value"),
        (precedence > PRECEDENCE_MAX, "must not be greater than 10000"),
        (
            precedence == 1 && name != "exempt",
            "only the schema named 'exempt' may have matchingPrecedence 1",
        ),
    ] {
        if is_wrong {
            errors.push(Error::invalid(&precedence_path, precedence, why));
        }
    }
    let method = text(&spec["distinguisherMethod"], "type");
    if !spec["distinguisherMethod"].is_null() && !DISTINGUISHERS.contains(&method) {
        // Upstream shows the whole method here, by its Go field name.
        let path = path.child("distinguisherMethod").child("type");
        let shown = serde_json::json!({"Type": method});
        errors.push(Error::not_supported(&path, shown, &DISTINGUISHERS));
    }
    let level = text(&spec["priorityLevelConfiguration"], "name");
    let level_path = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(Error::required(&level_path, "must reference a priority level"));
    } else {
        invalid_each(&level_path, level, names::subdomain_1123(level), errors);
    }
    for (index, rule) in items(spec, "rules").iter().enumerate() {
        let path = path.child("rules").index(index);
        rule_with_subjects(rule, &path, errors);
    }
}

fn rule_with_subjects(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let subjects = items(rule, "subjects");
    if subjects.is_empty() {
        let why = "subjects must contain at least one value";
        errors.push(Error::required(&path.child("subjects"), why));
    }
    for (index, one) in subjects.iter().enumerate() {
        subject(one, &path.child("subjects").index(index), errors);
    }
    let (resources, others) = (items(rule, "resourceRules"), items(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, why));
    }
    for (index, one) in resources.iter().enumerate() {
        resource_rule(one, &path.child("resourceRules").index(index), errors);
    }
    for (index, one) in others.iter().enumerate() {
        let path = path.child("nonResourceRules").index(index);
        verbs(one, &path, errors);
        urls(one, &path.child("nonResourceURLs"), errors);
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(subject, "kind");
    let own = match kind {
        "ServiceAccount" => "serviceAccount",
        "User" => "user",
        "Group" => "group",
        _ => {
            errors.push(Error::not_supported(&path.child("kind"), kind, &SUBJECTS));
            return;
        }
    };
    let own_path = path.child(own);
    if subject[own].is_null() {
        let why = format!("{own} is required when subject kind is '{kind}'");
        errors.push(Error::required(&own_path, why));
    } else {
        let name = text(&subject[own], "name");
        if name.is_empty() {
            errors.push(Error::required(&own_path.child("name"), ""));
        } else if own == "serviceAccount" && name != "*" {
            invalid_each(&own_path.child("name"), name, names::subdomain_1123(name), errors);
        }
        if own == "serviceAccount" {
            let (path, namespace) = (own_path.child("namespace"), text(&subject[own], "namespace"));
            if namespace.is_empty() {
                errors.push(Error::required(&path, "must specify namespace for service account"));
            } else {
                invalid_each(&path, namespace, names::label_1123(namespace), errors);
            }
        }
    }
    for (other, kind) in
        [("serviceAccount", "ServiceAccount"), ("user", "User"), ("group", "Group")]
    {
        if other != own && !subject[other].is_null() {
            let why = format!("{other} is forbidden when subject kind is not '{kind}'");
            errors.push(Error::forbidden(&path.child(other), why));
        }
    }
}

fn has_wildcard(list: &[Value]) -> bool {
    list.iter().any(|one| one == "*")
}

/// `*` alone, or any number of others; true when there is no `*`.
fn alone(list: &[Value], what: &str, path: &Path, errors: &mut Vec<Error>) -> bool {
    if has_wildcard(list) && list.len() > 1 {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(path, list.to_vec(), why));
    }
    !has_wildcard(list)
}

fn verbs(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (list, path) = (items(rule, "verbs"), path.child("verbs"));
    let is_known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if list.is_empty() {
        errors.push(Error::required(&path, "verbs must contain at least one value"));
    } else if alone(list, "verbs", &path, errors) && !list.iter().all(is_known) {
        errors.push(Error::not_supported(&path, list.to_vec(), &VERBS));
    }
}

fn resource_rule(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    verbs(rule, path, errors);
    for (key, what, one) in
        [("apiGroups", "api groups", "api group"), ("resources", "resources", "resource")]
    {
        let (list, path) = (items(rule, key), path.child(key));
        if list.is_empty() {
            let why = format!("resource rules must supply at least one {one}");
            errors.push(Error::required(&path, why));
        }
        alone(list, what, &path, errors);
    }
    let (list, path) = (items(rule, "namespaces"), path.child("namespaces"));
    if list.is_empty() && rule["clusterScope"] != true {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(Error::required(&path, why));
    } else if alone(list, "namespaces", &path, errors) {
        for (index, one) in list.iter().enumerate() {
            let name = one.as_str().unwrap_or("");
            let told =
                |why| format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            let problems = names::label_1123(name).into_iter().map(told).collect();
            invalid_each(&path.index(index), name, problems, errors);
        }
    }
}

fn urls(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = items(rule, "nonResourceURLs");
    if list.is_empty() {
        let why = "nonResourceURLs must contain at least one value";
        errors.push(Error::required(path, why));
    } else if alone(list, "non-resource URLs", path, errors) {
        for (index, one) in list.iter().enumerate() {
            let url = one.as_str().unwrap_or("");
            if let Some(why) = problem_of_url(url) {
                errors.push(Error::invalid(&path.index(index), url, why));
            }
        }
    }
}

fn problem_of_url(url: &str) -> Option<&'static str> {
    let wildcards = url.matches('*').count();
    [
        (url.is_empty(), "must not be empty"),
        (!url.starts_with('/'), "must start with slash"),
        (url.contains(' '), "must not contain white-space"),
        (url.contains("//"), "must not contain double slash"),
        (
            wildcards > 1 || wildcards == 1 && !url.ends_with("/*"),
            "wildcard can only do suffix matching",
        ),
    ]
    .into_iter()
    .find_map(|(is_wrong, why)| is_wrong.then_some(why))
}

fn level(name: &str, spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(spec, "type");
    if (name == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&path.child("type"), kind, why));
    }
    let (limited_path, exempt_path) = (path.child("limited"), path.child("exempt"));
    match kind {
        "Exempt" => {
            if !spec["limited"].is_null() {
                let why = "must be nil if the type is not Limited";
                errors.push(Error::forbidden(&limited_path, why));
            }
            shares_and_lending(&spec["exempt"], &exempt_path, errors);
        }
        "Limited" => {
            if !spec["exempt"].is_null() {
                errors.push(Error::forbidden(&exempt_path, "must be nil if the type is Limited"));
            }
            if spec["limited"].is_null() {
                let why = "must not be empty when type is Limited";
                errors.push(Error::required(&limited_path, why));
            } else {
                limited(&spec["limited"], &limited_path, errors);
            }
        }
        _ => errors.push(Error::not_supported(&path.child("type"), kind, &LEVELS)),
    }
}

/// What the two types of levels have in common.
fn shares_and_lending(level: &Value, path: &Path, errors: &mut Vec<Error>) {
    let shares = level["nominalConcurrencyShares"].as_i64();
    if let Some(shares) = shares.filter(|shares| *shares < 0) {
        let path = path.child("nominalConcurrencyShares");
        errors.push(Error::invalid(&path, shares, "must be a non-negative integer"));
    }
    let percent = level["lendablePercent"].as_i64();
    if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
        let why = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(&path.child("lendablePercent"), percent, why));
    }
}

fn limited(limited: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut later = Vec::new();
    shares_and_lending(limited, path, &mut later);
    // What is told of the response stands between the shares and the lending.
    let is_of_shares = |error: &Error| error.field.ends_with("nominalConcurrencyShares");
    let split = later.iter().take_while(|error| is_of_shares(error)).count();
    let lending = later.split_off(split);
    errors.append(&mut later);
    response(&limited["limitResponse"], &path.child("limitResponse"), errors);
    errors.extend(lending);
    let percent = limited["borrowingLimitPercent"].as_i64();
    if let Some(percent) = percent.filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(&path.child("borrowingLimitPercent"), percent, why));
    }
}

fn response(response: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (kind, queuing) = (text(response, "type"), &response["queuing"]);
    let queuing_path = path.child("queuing");
    match kind {
        "Reject" if queuing.is_null() => {}
        "Reject" => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(Error::forbidden(&queuing_path, why));
        }
        "Queue" if queuing.is_null() => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(Error::required(&queuing_path, why));
        }
        "Queue" => self::queuing(queuing, &queuing_path, errors),
        _ => errors.push(Error::not_supported(&path.child("type"), kind, &RESPONSES)),
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut Vec<Error>) {
    let number = |key: &str| queuing[key].as_i64().unwrap_or(0);
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        errors.push(Error::invalid(&path.child("queueLengthLimit"), length, "must be positive"));
    }
    if queues <= 0 {
        errors.push(Error::invalid(&path.child("queues"), queues, "must be positive"));
    } else if queues > QUEUES_MAX {
        let why = format!("must not be greater than {QUEUES_MAX}");
        errors.push(Error::invalid(&path.child("queues"), queues, why));
    }
    let path = path.child("handSize");
    if hand <= 0 {
        errors.push(Error::invalid(&path, hand, "must be positive"));
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.push(Error::invalid(&path, hand, why));
    } else if entropy_bits(queues, hand) > HASH_BITS_MAX {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        errors.push(Error::invalid(&path, hand, why));
    }
}

/// How many bits of a hash it takes to deal a hand.
#[expect(clippy::cast_precision_loss, reason = "both fit into 32 bits")]
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    ((queues as f64).log2() * hand as f64).ceil()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Object, kinds, validate};

    fn errors_of(kind: &str, name: &str, spec: &serde_json::Value) -> Vec<String> {
        let version = "flowcontrol.apiserver.k8s.io/v1";
        let info = kinds::find_kind(version, kind).unwrap();
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name},
            "spec": spec});
        let errors = validate::create(info, &Object::from_value(object).unwrap());
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schemas_are_told_in_upstreams_words() {
        let spec = json!({"matchingPrecedence": 1, "distinguisherMethod": {"type": "x"},
            "priorityLevelConfiguration": {}, "rules": [{"subjects": [
                    {"kind": "User", "group": {"name": "g"}},
                    {"kind": "ServiceAccount", "serviceAccount": {"name": "*"}}],
                "resourceRules": [{"verbs": ["get", "x"], "apiGroups": ["*", "a"], "resources": [],
                    "namespaces": ["A*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/a*", "a"]}]}]});
        let told = errors_of("FlowSchema", "f", &spec);
        let label = validate::names::label_1123("A*").remove(0);
        let namespaces = format!(
            "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A*\": each member of this list must be '*' or a DNS-1123 label; {label}"
        );
        assert_eq!(
            told,
            [
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"x\"}: supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0].subjects[1].serviceAccount.namespace: Required value: must specify namespace for service account",
                "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"get\",\"x\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other api groups",
                "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                &namespaces,
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do suffix matching",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"a\": must start with slash",
            ]
        );
    }

    #[test]
    fn levels_are_told_in_upstreams_words() {
        let spec = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1,
            "lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Queue",
                "queuing": {"queues": 64, "handSize": 11, "queueLengthLimit": 0}}}});
        assert_eq!(
            errors_of("PriorityLevelConfiguration", "l", &spec),
            [
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater than 60",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ]
        );
    }

    #[test]
    fn what_is_always_there_stays_as_it_is() {
        let kind = "PriorityLevelConfiguration";
        let shares = json!({"nominalConcurrencyShares": 1, "lendablePercent": 50});
        let spec = json!({"type": "Exempt", "exempt": shares});
        assert_eq!(errors_of(kind, "exempt", &spec), Vec::<String>::new());
        let limited = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 6,
            "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
        assert_eq!(
            errors_of(kind, "catch-all", &limited),
            [
                "spec: Invalid value: {\"Type\":\"Limited\",\"Limited\":{\"NominalConcurrencyShares\":6,\"LimitResponse\":{\"Type\":\"Reject\",\"Queuing\":null},\"LendablePercent\":0,\"BorrowingLimitPercent\":null},\"Exempt\":null}: spec of 'catch-all' must equal the fixed value"
            ]
        );
    }
}
