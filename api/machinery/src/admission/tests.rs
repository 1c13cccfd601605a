//! Expressions of policies; what the real server says to them was compared by dry runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::authorizer::{Authority, Decision, Requested, Subject};
use super::*;
use crate::kinds;
use crate::rbac::Action;

struct OnlyRead;

impl Authority for OnlyRead {
    fn decide(&self, subject: &Subject, action: &Action<'_>) -> Decision {
        Decision {
            allowed: *subject == Subject::Requester && action.verb == "get",
            reason: "because".to_owned(),
        }
    }
}

fn value(compiler: &Compiler, text: &str, purpose: Purpose) -> (Result<String, String>, u64) {
    let object = json!({"metadata": {"name": "x"}, "spec": {"replicas": 5}});
    let request = json!({"operation": "CREATE", "name": "x"});
    let authority: Arc<dyn Authority> = Arc::new(OnlyRead);
    let inputs = Inputs {
        object: Some(&object),
        old: None,
        params: None,
        request: &request,
        namespace: None,
        authority: Some(&authority),
        requested: Requested::default(),
    };
    let expression = compiler.expression(text, purpose);
    let mut scene = Scene::new(inputs, compiler, 10_000_000);
    let out = scene.evaluate(&expression).unwrap();
    (out.map(|value| value.to_string()), 10_000_000 - scene.budget())
}

#[test]
fn variables_are_evaluated_once_and_paid_for() {
    let mut compiler = Compiler::new(false, true);
    assert_eq!(compiler.variable("a", "object.spec.replicas", Purpose::Variable), None);
    assert_eq!(compiler.variable("b", "variables.a * 2", Purpose::Variable), None);
    let (out, once) = value(&compiler, "variables.b > 0", Purpose::Condition);
    assert_eq!(out, Ok("true".to_owned()));
    let (_, twice) = value(&compiler, "variables.b > 0 && variables.b > 1", Purpose::Condition);
    assert!(twice < 2 * once, "{once} {twice}");
    let _ = compiler.variable("bad", "object.nothing", Purpose::Variable);
    let (out, _) = value(&compiler, "variables.bad == 1", Purpose::Condition);
    let why = "expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: no such key: nothing";
    assert_eq!(out, Err(why.to_owned()));
}

#[test]
fn expressions_must_come_to_what_they_are_for() {
    let compiler = Compiler::new(false, true);
    for (text, purpose, why) in [
        ("object.spec.replicas", Purpose::Condition, "must evaluate to bool but got dyn"),
        ("1", Purpose::Message, "must evaluate to string but got int"),
        ("1", Purpose::AuditAnnotation, "must evaluate to one of [string null_type] but got int"),
        ("[1]", Purpose::JsonPatch, "must evaluate to list(JSONPatch) but got list(int)"),
        (
            "Object.spec{}",
            Purpose::ApplyConfiguration,
            "must evaluate to Object but got Object.spec",
        ),
    ] {
        assert_eq!(compiler.expression(text, purpose).error(), Some(why), "{text}");
    }
    let undeclared = compiler.expression("params.x == 1", Purpose::Condition);
    assert!(undeclared.error().unwrap().contains("undeclared reference to 'params'"));
    let unknown = compiler
        .expression("authorizer.path('/x').check('get').allowed() ? 'a' : 'b'", Purpose::Message);
    assert!(unknown.error().unwrap().contains("undeclared reference to 'authorizer'"));
    let unmade = compiler.expression("Object{} == Object{}", Purpose::Condition);
    assert!(unmade.error().unwrap().contains("undeclared reference to 'Object'"));
}

#[test]
fn the_authorizer_is_asked() {
    let compiler = Compiler::new(false, true);
    for (text, expected) in [
        ("authorizer.group('').resource('pods').namespace('n').check('get').allowed()", "true"),
        ("authorizer.group('apps').resource('deployments').check('create').allowed()", "false"),
        ("authorizer.requestResource.check('get').reason() == 'because'", "true"),
        ("authorizer.path('/healthz').check('get').allowed()", "true"),
        ("authorizer.serviceAccount('n', 'sa').path('/x').check('get').allowed()", "false"),
        ("authorizer.path('/healthz').check('get').errored()", "false"),
    ] {
        assert_eq!(value(&compiler, text, Purpose::Condition).0, Ok(expected.to_owned()), "{text}");
    }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "a", "image": "x"}]}}}})
}

fn made(text: &str, purpose: Purpose) -> Result<Value, String> {
    let compiler = Compiler::new(false, true);
    let expression = compiler.expression(text, purpose);
    let (object, request) = (deployment(), json!({}));
    let inputs = Inputs {
        object: Some(&object),
        old: None,
        params: None,
        request: &request,
        namespace: None,
        authority: None,
        requested: Requested::default(),
    };
    let value = Scene::new(inputs, &compiler, 10_000_000).evaluate(&expression).unwrap()?;
    let type_id = kinds::type_of("apps/v1", "Deployment").unwrap();
    if purpose == Purpose::ApplyConfiguration {
        return apply_configuration(&value, (type_id, &object));
    }
    match json_patch(&value, &object)? {
        Patched::Changed(value) => Ok(value),
        Patched::Unchanged => Ok(object.clone()),
    }
}

#[test]
fn apply_configurations_are_merged() {
    let text = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'a', imagePullPolicy: 'Always'}, Object.spec.template.spec.containers{name: 'b', image: 'y'}]}}}}";
    let merged = made(text, Purpose::ApplyConfiguration).unwrap();
    assert_eq!(
        merged["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "x", "imagePullPolicy": "Always"},
            {"name": "b", "image": "y"}])
    );
    let wrong = "Object{spec: Object.spec{template: Object.spec.wrong{}}}";
    let why = "type mismatch: unexpected type name \"Object.spec.wrong\", expected \"Object.spec.template\", which matches field name path from root Object type";
    assert_eq!(made(wrong, Purpose::ApplyConfiguration), Err(why.to_owned()));
    let atomic = "Object{spec: Object.spec{selector: Object.spec.selector{}}}";
    let why = "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector";
    assert_eq!(made(atomic, Purpose::ApplyConfiguration), Err(why.to_owned()));
    let unknown = "Object{spec: Object.spec{nothing: 1}}";
    let why = "error applying patch: failed to convert patch object to typed object: .spec.nothing: field not declared in schema";
    assert_eq!(made(unknown, Purpose::ApplyConfiguration), Err(why.to_owned()));
}

#[test]
fn json_patches_are_carried_out() {
    let text = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'replace', path: '/spec/replicas', value: object.spec.replicas + 3}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y~z'), value: 'w'}]";
    let patched = made(text, Purpose::JsonPatch).unwrap();
    assert_eq!(patched["spec"]["replicas"], 4);
    assert_eq!(patched["metadata"]["labels"], json!({"a": "b", "x/y~z": "w"}));
    let failed = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 7}, JSONPatch{op: 'remove', path: '/spec'}]";
    assert_eq!(made(failed, Purpose::JsonPatch), Ok(deployment()));
    let object = "[JSONPatch{op: 'add', path: '/spec/strategy', value: Object.spec.strategy{type: 'Recreate'}}]";
    let why = made(object, Purpose::JsonPatch);
    assert!(why.is_ok(), "{why:?}");
}

#[test]
fn variables_that_use_each_other_are_not_too_deep() {
    let mut compiler = Compiler::new(false, true);
    assert_eq!(compiler.variable("v0", "1", Purpose::Variable), None);
    let mut refused = 0;
    for index in 1..500 {
        let text = format!("variables.v{} + 1", index - 1);
        let error = compiler.variable(&format!("v{index}"), &text, Purpose::Variable);
        refused += usize::from(error.is_some());
    }
    assert!(refused > 0);
}

#[test]
fn expressions_are_checked_against_the_types_of_a_policy() {
    let policy = json!({"spec": {
    "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["deployments"]}]},
    "variables": [{"name": "n", "expression": "object.spec.replicas"}],
    "validations": [
        {"expression": "variables.n > '1'"},
        {"expression": "object.spec.template.metadata.creationTimestamp < timestamp('2024-01-01T00:00:00Z')"},
        {"expression": "object.spec.nothing == 1", "messageExpression": "'x' + object.metadata.name"},
    ]}});
    let warnings = expression_warnings(&policy);
    assert_eq!(
        json!(warnings),
        json!([
            {"fieldRef": "spec.validations[0].expression", "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_>_' applied to '(int, string)'\n | variables.n > '1'\n | ............^\n"},
            {"fieldRef": "spec.validations[2].expression", "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nothing'\n | object.spec.nothing == 1\n | ...........^\n"},
        ])
    );
}
