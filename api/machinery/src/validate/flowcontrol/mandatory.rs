//! The schemas and levels that are always there: most of their specs never change.

use serde_json::{Value, json};

use crate::ResourceInfo;
use crate::field::{Error, Path};

/// How upstream's Go writes a type: each field's name on the wire, and how its value is written.
/// The names that Go shows begin with a capital.
enum Shape {
    Plain,
    /// What is shown when there is nothing: `""`, `0`, `false`.
    Default(&'static str),
    Struct(&'static [(&'static str, &'static str, Shape)]),
    /// A structure that is always there.
    Inline(&'static [(&'static str, &'static str, Shape)]),
    List(&'static Shape),
}

const TEXT: Shape = Shape::Default("\"\"");
const NUMBER: Shape = Shape::Default("0");
const NAMED: &[(&str, &str, Shape)] = &[("name", "Name", TEXT)];

const SCHEMA: &[(&str, &str, Shape)] = &[
    ("priorityLevelConfiguration", "PriorityLevelConfiguration", Shape::Inline(NAMED)),
    ("matchingPrecedence", "MatchingPrecedence", NUMBER),
    ("distinguisherMethod", "DistinguisherMethod", Shape::Struct(&[("type", "Type", TEXT)])),
    ("rules", "Rules", Shape::List(&Shape::Inline(RULE))),
];

const RULE: &[(&str, &str, Shape)] = &[
    ("subjects", "Subjects", Shape::List(&Shape::Inline(SUBJECT))),
    ("resourceRules", "ResourceRules", Shape::List(&Shape::Inline(RESOURCE_RULE))),
    ("nonResourceRules", "NonResourceRules", Shape::List(&Shape::Inline(URL_RULE))),
];

const SUBJECT: &[(&str, &str, Shape)] = &[
    ("kind", "Kind", TEXT),
    ("user", "User", Shape::Struct(NAMED)),
    ("group", "Group", Shape::Struct(NAMED)),
    (
        "serviceAccount",
        "ServiceAccount",
        Shape::Struct(&[("namespace", "Namespace", TEXT), ("name", "Name", TEXT)]),
    ),
];

const RESOURCE_RULE: &[(&str, &str, Shape)] = &[
    ("verbs", "Verbs", Shape::Plain),
    ("apiGroups", "APIGroups", Shape::Plain),
    ("resources", "Resources", Shape::Plain),
    ("clusterScope", "ClusterScope", Shape::Default("false")),
    ("namespaces", "Namespaces", Shape::Plain),
];

const URL_RULE: &[(&str, &str, Shape)] =
    &[("verbs", "Verbs", Shape::Plain), ("nonResourceURLs", "NonResourceURLs", Shape::Plain)];

const LEVEL: &[(&str, &str, Shape)] = &[
    ("type", "Type", TEXT),
    (
        "limited",
        "Limited",
        Shape::Struct(&[
            ("nominalConcurrencyShares", "NominalConcurrencyShares", NUMBER),
            ("limitResponse", "LimitResponse", Shape::Inline(RESPONSE)),
            ("lendablePercent", "LendablePercent", Shape::Plain),
            ("borrowingLimitPercent", "BorrowingLimitPercent", Shape::Plain),
        ]),
    ),
    (
        "exempt",
        "Exempt",
        Shape::Struct(&[
            ("nominalConcurrencyShares", "NominalConcurrencyShares", Shape::Plain),
            ("lendablePercent", "LendablePercent", Shape::Plain),
        ]),
    ),
];

const RESPONSE: &[(&str, &str, Shape)] = &[
    ("type", "Type", TEXT),
    (
        "queuing",
        "Queuing",
        Shape::Struct(&[
            ("queues", "Queues", NUMBER),
            ("handSize", "HandSize", NUMBER),
            ("queueLengthLimit", "QueueLengthLimit", NUMBER),
        ]),
    ),
];

fn shown(value: &Value, shape: &Shape) -> String {
    match shape {
        Shape::Plain => value.to_string(),
        Shape::Default(text) if value.is_null() => (*text).to_owned(),
        Shape::Default(_) => value.to_string(),
        Shape::Struct(_) if value.is_null() => "null".to_owned(),
        Shape::Struct(fields) | Shape::Inline(fields) => {
            let one = |(key, name, shape): &(&str, &str, Shape)| {
                format!("\"{name}\":{}", shown(&value[*key], shape))
            };
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
        }
        Shape::List(shape) => value.as_array().map_or("null".to_owned(), |list| {
            let all: Vec<_> = list.iter().map(|one| shown(one, shape)).collect();
            format!("[{}]", all.join(","))
        }),
    }
}

pub(super) fn check(info: &ResourceInfo, name: &str, spec: &Value, errors: &mut Vec<Error>) {
    let is_schema = info.kind == "FlowSchema";
    let mut why = format!("spec of '{name}' must equal the fixed value");
    let mut given = spec.clone();
    let fixed = match (is_schema, name) {
        (true, "exempt") => schema_spec(name, 1, None, &["system:masters"]),
        (true, "catch-all") => {
            let groups = ["system:unauthenticated", "system:authenticated"];
            schema_spec(name, 10_000, Some("ByUser"), &groups)
        }
        (false, "exempt") => {
            why = format!(
                "spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
            );
            given["exempt"] = Value::Null;
            json!({"type": "Exempt"})
        }
        (false, "catch-all") => json!({"type": "Limited", "limited":
            {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
        _ => return,
    };
    let shape = Shape::Inline(if is_schema { SCHEMA } else { LEVEL });
    if without_nothing(&given) != without_nothing(&fixed) {
        // The value is written by hand, because the order of Go's fields is to be kept.
        let mut error = Error::invalid(&Path::new("spec"), Value::Null, "");
        error.value = None;
        error.detail = format!("{}: {why}", shown(spec, &shape));
        errors.push(error);
    }
}

fn schema_spec(level: &str, precedence: i64, method: Option<&str>, groups: &[&str]) -> Value {
    let subject = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    let subjects: Vec<Value> = groups.iter().map(subject).collect();
    json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "distinguisherMethod": method.map(|kind| json!({"type": kind})),
        "rules": [{"subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]})
}

/// Without nulls, empty lists and `false`: none of them makes a difference.
fn without_nothing(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_nothing(value)))
            .filter(|(_, value)| {
                let is_empty = value.as_array().is_some_and(Vec::is_empty);
                !value.is_null() && !is_empty && *value != false
            })
            .collect(),
        Value::Array(list) => list.iter().map(without_nothing).collect(),
        other => other.clone(),
    }
}
