//! What upstream says to webhooks and policies; every expectation was compared with the real one.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

fn object(kind: &str, rest: &Value) -> Object {
    let mut object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": "w"}});
    for (key, value) in rest.as_object().unwrap() {
        object[key] = value.clone();
    }
    Object::from_value(object).unwrap()
}

fn errors_of(kind: &str, rest: &Value) -> Vec<String> {
    let info = kinds::find_kind("admissionregistration.k8s.io/v1", kind).unwrap();
    let errors = validate::create(info, &object(kind, rest));
    errors.iter().map(ToString::to_string).collect()
}

fn hook(changes: &Value) -> Value {
    let mut hook = json!({"name": "a.b.c", "clientConfig": {"url": "https://x.y/z"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods"], "scope": "*"}],
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None",
        "timeoutSeconds": 10, "admissionReviewVersions": ["v1"], "namespaceSelector": {},
        "objectSelector": {}, "matchConditions": [{"name": "m", "expression": "true"}]});
    for (key, value) in changes.as_object().unwrap() {
        hook[key] = value.clone();
    }
    hook
}

fn hook_errors(changes: &Value) -> Vec<String> {
    let config = json!({"webhooks": [hook(changes)]});
    let told = errors_of("ValidatingWebhookConfiguration", &config);
    assert_eq!(told, errors_of("MutatingWebhookConfiguration", &config));
    told.iter().map(|one| one.replace("webhooks[0].", "")).collect()
}

#[test]
fn urls_of_webhooks_are_told_in_upstreams_words() {
    let form = "; desired format: https://host[/path]";
    for (url, want) in [
        ("https://[::1]:8/x", vec![]),
        ("HTTPS://x:", vec![]),
        (
            "http://x",
            vec![format!("Invalid value: \"http\": 'https' is the only allowed URL scheme{form}")],
        ),
        ("https:x", vec![format!("Invalid value: \"\": host must be specified{form}")]),
        (
            "https://u%20a:p@x",
            vec![
                "Invalid value: \"u%20a:p\": user information is not permitted in the URL"
                    .to_owned(),
            ],
        ),
        (
            "https://x?y#%41",
            vec![
                "Invalid value: \"A\": fragments are not permitted in the URL".to_owned(),
                "Invalid value: \"y\": query parameters are not permitted in the URL".to_owned(),
            ],
        ),
        (
            "https://x y",
            vec![format!(
                "Required value: url must be a valid URL: parse \"https://x y\": invalid character \" \" in host name{form}"
            )],
        ),
        (
            "https://x/%2",
            vec![format!(
                "Required value: url must be a valid URL: parse \"https://x/%2\": invalid URL escape \"%2\"{form}"
            )],
        ),
        (
            "https://x:abc",
            vec![format!(
                "Required value: url must be a valid URL: parse \"https://x:abc\": invalid port \":abc\" after host{form}"
            )],
        ),
        (
            "https://[x]",
            vec![format!(
                "Required value: url must be a valid URL: parse \"https://[x]\": invalid host: ParseAddr(\"x\"): unable to parse IP{form}"
            )],
        ),
    ] {
        let want: Vec<_> = want.iter().map(|one| format!("clientConfig.url: {one}")).collect();
        assert_eq!(hook_errors(&json!({"clientConfig": {"url": url}})), want, "{url}");
    }
}

#[test]
fn webhooks_are_told_in_upstreams_words() {
    for (changes, want) in [
        (json!({}), vec![]),
        (
            json!({"clientConfig": {"service": {"name": "", "namespace": "n", "port": 0, "path": "a//b"}}}),
            vec![
                "clientConfig.service.namespace: Required value",
                "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "clientConfig.service.path: Invalid value: \"a//b\": must start with a '/'",
                "clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty",
                "clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty",
            ],
        ),
        (
            json!({"name": "a.b", "sideEffects": null, "timeoutSeconds": 31, "failurePolicy": "x"}),
            vec![
                "name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
                "failurePolicy: Unsupported value: \"x\": supported values: \"Fail\", \"Ignore\"",
                "sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        ),
        (
            json!({"rules": [{"operations": ["*", "X"], "apiGroups": [], "apiVersions": ["v1"],
                "resources": ["a/*", "a/b", "*", "c"]}]}),
            vec![
                "rules[0].operations: Invalid value: [\"*\",\"X\"]: if '*' is present, must not specify other operations",
                "rules[0].operations[1]: Unsupported value: \"X\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
                "rules[0].apiGroups: Required value",
                "rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "rules[0].resources: Invalid value: [\"a/*\",\"a/b\",\"*\",\"c\"]: if '*' is present, must not specify other resources without subresources",
            ],
        ),
        (
            json!({"admissionReviewVersions": ["v2", "v2"], "matchConditions":
                [{"name": "m", "expression": " "}, {"name": "m", "expression": "true"}]}),
            vec![
                "matchConditions[0].expression: Required value",
                "matchConditions[1].name: Duplicate value: \"m\"",
                "admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
    ] {
        assert_eq!(hook_errors(&changes), want);
    }
    let twice = json!({"webhooks": [hook(&json!({})), hook(&json!({}))]});
    let told = errors_of("MutatingWebhookConfiguration", &twice);
    assert_eq!(told, ["webhooks[1].name: Duplicate value: \"a.b.c\""]);
}

#[test]
fn an_update_may_keep_what_was_stored_with_older_rules() {
    let info = kinds::find_kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration");
    let config = |changes: &Value| {
        object("MutatingWebhookConfiguration", &json!({"webhooks": [hook(changes)]}))
    };
    let old = config(&json!({"sideEffects": "Some", "matchConditions": [{"name": ""}]}));
    assert_eq!(validate::update(info.unwrap(), &old, &old).len(), 1, "the revision is missing");
    let new = config(&json!({"sideEffects": "Unknown", "matchConditions": [{"name": "a"}]}));
    let told = validate::update(info.unwrap(), &new, &old);
    assert_eq!(
        told.last().unwrap().to_string(),
        "webhooks[0].matchConditions[0].expression: Required value"
    );
    assert_eq!(told.len(), 2);
}

fn policy(changes: &Value) -> Value {
    let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": {
        "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"],
            "apiVersions": ["v1"], "resources": ["deployments"], "scope": "*"}]}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"spec": spec})
}

#[test]
fn policies_are_told_in_upstreams_words() {
    for (kind, changes, want) in [
        ("ValidatingAdmissionPolicy", json!({"validations": [{"expression": "true"}]}), vec![]),
        (
            "ValidatingAdmissionPolicy",
            json!({"paramKind": {"apiVersion": "A/v1", "kind": ""},
                "variables": [{"name": "in", "expression": "1"}]}),
            vec![
                "spec.paramKind.apiVersion: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.paramKind.kind: Required value",
                "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            "ValidatingAdmissionPolicy",
            json!({"validations": [{"expression": " ", "message": "a\nb", "reason": "x"}]}),
            vec![
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"x\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ],
        ),
        (
            "MutatingAdmissionPolicy",
            json!({"mutations": [{"patchType": "JSONPatch", "applyConfiguration": {}}]}),
            vec![
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
                "spec.reinvocationPolicy: Required value",
            ],
        ),
    ] {
        assert_eq!(errors_of(kind, &policy(&changes)), want);
    }
}

#[test]
fn bindings_are_told_in_upstreams_words() {
    let spec = json!({"policyName": "", "paramRef": {"name": "a", "selector": {}},
        "validationActions": ["Warn", "Deny", "Deny"]});
    let told = errors_of("ValidatingAdmissionPolicyBinding", &json!({"spec": spec}));
    assert_eq!(
        told,
        [
            "spec.policyName: Required value",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions[2]: Duplicate value: \"Deny\"",
            "spec.validationActions: Invalid value: [\"Warn\",\"Deny\",\"Deny\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ]
    );
    let told = errors_of("MutatingAdmissionPolicyBinding", &json!({"spec": spec}));
    assert_eq!(told.len(), 4, "there are no actions to look at");
}
