//! The schemas and levels that are always there: most of their specs never change.

use serde_json::{Value, json};

use crate::ResourceInfo;
use crate::field::{Error, Path};
use crate::validate::go_shape::{self, Field, NUMBER, Shape, TEXT};

const NAMED: &[Field] = &[("name", "Name", TEXT)];

const SCHEMA: &[Field] = &[
    ("priorityLevelConfiguration", "PriorityLevelConfiguration", Shape::Inline(NAMED)),
    ("matchingPrecedence", "MatchingPrecedence", NUMBER),
    ("distinguisherMethod", "DistinguisherMethod", Shape::Struct(&[("type", "Type", TEXT)])),
    ("rules", "Rules", Shape::List(&Shape::Inline(RULE))),
];

const RULE: &[Field] = &[
    ("subjects", "Subjects", Shape::List(&Shape::Inline(SUBJECT))),
    ("resourceRules", "ResourceRules", Shape::List(&Shape::Inline(RESOURCE_RULE))),
    ("nonResourceRules", "NonResourceRules", Shape::List(&Shape::Inline(URL_RULE))),
];

const SUBJECT: &[Field] = &[
    ("kind", "Kind", TEXT),
    ("user", "User", Shape::Struct(NAMED)),
    ("group", "Group", Shape::Struct(NAMED)),
    (
        "serviceAccount",
        "ServiceAccount",
        Shape::Struct(&[("namespace", "Namespace", TEXT), ("name", "Name", TEXT)]),
    ),
];

const RESOURCE_RULE: &[Field] = &[
    ("verbs", "Verbs", Shape::Plain),
    ("apiGroups", "APIGroups", Shape::Plain),
    ("resources", "Resources", Shape::Plain),
    ("clusterScope", "ClusterScope", Shape::Default("false")),
    ("namespaces", "Namespaces", Shape::Plain),
];

const URL_RULE: &[Field] =
    &[("verbs", "Verbs", Shape::Plain), ("nonResourceURLs", "NonResourceURLs", Shape::Plain)];

const LEVEL: &[Field] = &[
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

const RESPONSE: &[Field] = &[
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
        errors.push(go_shape::invalid(&Path::new("spec"), spec, &shape, &why));
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
