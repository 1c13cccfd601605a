//! Rules at work on objects, and definitions with rules: all answers are a real kube-apiserver
//! 1.36's, by dry runs.

use serde_json::{Value, json};

use super::*;
use crate::field::Path;

fn schema(spec: &Value) -> Arc<Schema> {
    Schema::parse(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
}

fn gadget() -> Value {
    json!({
        "type": "object",
        "required": ["replicas"],
        "x-kubernetes-validations": [
            {"rule": "self.replicas <= self.max", "message": "replicas above max"},
            {"rule": "self.replicas >= oldSelf.replicas", "message": "cannot shrink"},
            {"rule": "!oldSelf.hasValue() || self.color == oldSelf.value().color",
                "optionalOldSelf": true, "message": "color is fixed"},
        ],
        "properties": {
            "replicas": {"type": "integer"},
            "max": {"type": "integer", "default": 10},
            "color": {"type": "string", "maxLength": 20},
            "names": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self.startsWith('n')", "reason": "FieldValueDuplicate"}]}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"},
                "x-kubernetes-validations": [{"rule": "self == ['a', 'b']"}]},
            "ports": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {
                    "type": "object", "required": ["name"],
                    "x-kubernetes-validations": [
                        {"rule": "self.port >= oldSelf.port", "message": "port cannot go down",
                            "fieldPath": ".port"},
                        {"rule": "self.port != 13", "reason": "FieldValueRequired"}],
                    "properties": {"name": {"type": "string"},
                        "port": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self < 100"}]}},
            "either": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [
                {"rule": "type(self) == int ? self < 5 : self == 'x'"}]},
            "wait": {"type": "string", "format": "duration",
                "x-kubernetes-validations": [{"rule": "self < duration('1h')"}]},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [
                    {"rule": "self.metadata.name != 'x' && self.kind != 'Y'"}]},
            "div": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "10 / self > 1"}]},
            "a-b": {"type": "integer"},
        },
    })
}

fn errors(rules: &Rules, new: &Value, old: Option<&Value>) -> Vec<String> {
    let new = json!({"metadata": {"name": "a"}, "spec": new});
    let verdict = match old {
        Some(old) => rules.update(&new, &json!({"metadata": {"name": "a"}, "spec": old})),
        None => rules.create(&new),
    };
    verdict.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn objects_are_refused_in_upstreams_words() {
    let rules = Rules::compile(&schema(&gadget())).unwrap();
    let cases: [(Value, &[&str]); 10] = [
        (json!({"replicas": 1, "max": 10}), &[]),
        (json!({"replicas": 20, "max": 10}), &["spec: Invalid value: replicas above max"]),
        (
            json!({"replicas": 1, "max": 10, "names": ["x", "n"]}),
            &["spec.names[0]: Duplicate value: \"x\""],
        ),
        (json!({"replicas": 1, "max": 10, "set": ["b", "a"]}), &[]),
        (
            json!({"replicas": 1, "max": 10, "ports": [{"name": "a", "port": 13}]}),
            &["spec.ports[0]: Required value: failed rule: self.port != 13"],
        ),
        (
            json!({"replicas": 1, "max": 10, "map": {"x": 100, "y": 1}}),
            &["spec.map[x]: Invalid value: 100: failed rule: self < 100"],
        ),
        (
            json!({"replicas": 1, "max": 10, "either": "y"}),
            &[
                "spec.either: Invalid value: \"y\": failed rule: type(self) == int ? self < 5 : self == 'x'",
            ],
        ),
        (
            json!({"replicas": 1, "max": 10, "wait": "2h"}),
            &["spec.wait: Invalid value: \"2h\": failed rule: self < duration('1h')"],
        ),
        (
            json!({"replicas": 1, "max": 10, "embedded": {"kind": "Z", "metadata": {}}}),
            &[
                "spec.embedded: Invalid value: \"object\": no such key: name evaluating rule: self.metadata.name != 'x' && self.kind != 'Y'",
            ],
        ),
        (
            json!({"replicas": 1, "max": 10, "div": 0}),
            &[
                "spec.div: Invalid value: \"integer\": division by zero evaluating rule: 10 / self > 1",
            ],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(errors(&rules, &spec, None), expected, "{spec}");
    }
}

#[test]
fn transitions_see_what_was_before() {
    let rules = Rules::compile(&schema(&gadget())).unwrap();
    let with = |replicas: i64, ports: Value, color: &str| json!({"replicas": replicas, "max": 10, "color": color, "ports": ports});
    let old = with(3, json!([{"name": "a", "port": 5}, {"name": "b", "port": 7}]), "red");
    let new = with(2, json!([{"name": "b", "port": 6}, {"name": "a", "port": 9}]), "blue");
    assert_eq!(
        errors(&rules, &new, Some(&old)),
        [
            "spec: Invalid value: cannot shrink",
            "spec: Invalid value: color is fixed",
            "spec.ports[0].port: Invalid value: port cannot go down",
        ]
    );
    assert_eq!(errors(&rules, &old, Some(&old)), [""; 0]);
}

/// CR2
#[test]
fn what_did_not_change_is_forgiven() {
    let rules = Rules::compile(&schema(&gadget())).unwrap();
    let object = |div: i64, a: i64| {
        let map = json!({"a": a, "b": 200});
        json!({"spec": {"replicas": 1, "max": 10, "color": "red", "div": div, "map": map}})
    };
    let verdict = rules.update(&object(7, 1), &object(7, 2));
    assert!(verdict.errors.is_empty());
    assert_eq!(
        verdict.warnings,
        [
            "spec.div: Invalid value: 7: failed rule: 10 / self > 1",
            "spec.map[b]: Invalid value: 200: failed rule: self < 100",
        ]
    );
    assert_eq!(rules.update(&object(8, 1), &object(7, 1)).errors.len(), 1);
}

/// CR1
#[test]
fn rules_that_cost_too_much_stop() {
    let rule = json!([{"rule": "self.contains(self)"}]);
    let spec = json!({"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": rule}});
    let rules = Rules::compile(&schema(&spec)).unwrap();
    let texts = |count: usize, length: usize| json!(vec!["x".repeat(length); count]);
    assert_eq!(errors(&rules, &texts(10, 9_000), None), [""; 0]);
    assert_eq!(
        errors(&rules, &texts(2, 20_000), None),
        [
            "spec[0]: Invalid value: \"string\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.contains(self)"
        ]
    );
    assert_eq!(
        errors(&rules, &texts(20, 9_000), None),
        [
            "spec[12]: Invalid value: \"string\": validation failed due to running out of cost budget, no further validation rules will be run"
        ]
    );
}

fn refused(spec: &Value) -> Vec<String> {
    let path = Path::new("s");
    let found = check_definition(&schema(spec), &path, &[], false);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn definitions_are_refused_in_upstreams_words() {
    const ADVICE: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let rule = |rule: Value| {
        refused(&json!({"type": "object", "properties": {"x": {"type": "integer"}},
            "x-kubernetes-validations": [rule]}))
    };
    let place = "s.properties[spec].x-kubernetes-validations[0]";
    let shown = |rule: &str| {
        format!(
            "{{\"Rule\":\"{rule}\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}"
        )
    };
    assert_eq!(rule(json!({"rule": "self.x > 1 && self == oldSelf"})), [""; 0]);
    assert_eq!(
        rule(json!({"rule": "self.y > 1"})),
        [format!(
            "{place}.rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'y'\n | self.y > 1\n | ....^",
            shown("self.y \\u003e 1")
        )]
    );
    assert_eq!(
        rule(json!({"rule": "self.x"})),
        [format!(
            "{place}.rule: Invalid value: {}: cel expression must evaluate to a bool",
            shown("self.x")
        )]
    );
    assert_eq!(
        rule(json!({"rule": "self.x == 1", "optionalOldSelf": true})),
        [format!(
            "{place}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        )]
    );
    assert_eq!(
        refused(&json!({"type": "array", "items": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}})),
        [
            "s.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[spec]"
        ]
    );
    let text = json!({"type": "string", "maxLength": 100});
    let list = |rule: &str, max: Option<i64>| {
        let mut spec = json!({"type": "array", "items": text,
            "x-kubernetes-validations": [{"rule": rule}]});
        if let Some(max) = max {
            spec["maxItems"] = max.into();
        }
        refused(&spec)
    };
    assert_eq!(list("self.all(x, x == 'a')", Some(10)), [""; 0]);
    assert_eq!(list("self.all(x, self.all(y, x == y))", Some(100)), [""; 0]);
    assert_eq!(
        list("self.all(x, self.all(y, x == y))", None),
        [
            format!(
                "{place}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {ADVICE}"
            ),
            format!(
                "{place}.rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            ),
            format!(
                "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {ADVICE}"
            ),
        ]
    );
}

#[test]
fn names_that_are_none_are_escaped() {
    let spec = json!({"type": "object", "properties": {"in": {"type": "integer"},
        "namespace": {"type": "integer"}, "a.b": {"type": "integer"}},
        "x-kubernetes-validations": [
            {"rule": "self.__in__ == 1 && self.namespace == 2 && self.__namespace__ == 2"},
            {"rule": "self.a__dot__b == 3"}]});
    assert_eq!(refused(&spec), [""; 0]);
    let rules = Rules::compile(&schema(&spec)).unwrap();
    let right = json!({"in": 1, "namespace": 2, "a.b": 3});
    assert_eq!(errors(&rules, &right, None), [""; 0]);
}

#[test]
fn threads_can_share_rules() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Rules>();
}
