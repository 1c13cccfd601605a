//! What upstream says to devices and claims; every new one was compared with the real one.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

const VERSION: &str = "resource.k8s.io/v1";
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

fn object(kind: &str, spec: &Value, status: &Value) -> Object {
    Object::from_value(json!({"apiVersion": VERSION, "kind": kind, "spec": spec, "status": status,
        "metadata": {"name": "x", "namespace": "default", "resourceVersion": "1"}}))
    .unwrap()
}

fn texts(errors: &[crate::field::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn errors_of(kind: &str, spec: &Value) -> Vec<String> {
    let info = kinds::find_kind(VERSION, kind).unwrap();
    texts(&validate::create(info, &object(kind, spec, &Value::Null)))
}

fn exactly() -> Value {
    json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1})
}

#[test]
fn classes_are_told_in_upstreams_words() {
    let spec = json!({"selectors": [{}], "extendedResourceName": "b", "config": [{},
        {"opaque": {"driver": "", "parameters": []}}, {"opaque": {"driver": "A.b"}}]});
    assert_eq!(
        errors_of("DeviceClass", &spec),
        [
            "spec.selectors[0].cel: Required value",
            "spec.config[0].opaque: Required value",
            "spec.config[1].opaque.driver: Required value",
            "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            "spec.config[2].opaque.parameters: Required value",
            "spec.extendedResourceName: Invalid value: \"b\": must be a valid extended resource name",
        ]
    );
}

#[test]
fn claims_are_told_in_upstreams_words() {
    let other = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let alternative = json!({"name": "s", "deviceClassName": "", "allocationMode": "All", "count": 1,
        "tolerations": [{"operator": "Exists", "value": "v", "effect": "x"}]});
    let spec = json!({"devices": {
        "requests": [{"name": "r"}, {"name": "r", "exactly": exactly()},
            {"name": "b", "exactly": exactly(), "firstAvailable": [alternative]},
            {"name": "f", "firstAvailable": [alternative]}],
        "constraints": [{"requests": ["f/s", "r/s", "r", "r"], "matchAttribute": "a"},
            {"distinctAttribute": "a.b/1"}, {}]}});
    let told = errors_of("ResourceClaim", &spec);
    let want = [
        "requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        "requests[2]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        "requests[3].firstAvailable[0].deviceClassName: Required value",
        "requests[3].firstAvailable[0].count: Invalid value: 1: must not be specified when allocationMode is 'All'",
        "requests[3].firstAvailable[0].tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
        "requests[3].firstAvailable[0].tolerations[0].effect: Unsupported value: \"x\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
        "requests[1]: Duplicate value: \"r\"",
        &format!("constraints[0].requests[1]: Invalid value: \"r/s\": {other}"),
        "constraints[0].requests[3]: Duplicate value: \"r\"",
        "constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash",
        &format!("constraints[1].distinctAttribute: Invalid value: \"1\": {IDENTIFIER}"),
        "constraints[2]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
    ];
    assert_eq!(told, want.map(|one| format!("spec.devices.{one}")));
    let template =
        json!({"metadata": {"uid": "u"}, "spec": {"devices": {"requests": [{"name": "r"}]}}});
    assert_eq!(
        errors_of("ResourceClaimTemplate", &template),
        [
            "spec.metadata.uID: Forbidden: cannot be set",
            "spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        ]
    );
}

fn slice(changes: &Value) -> Value {
    let mut spec = json!({"driver": "d.e", "nodeName": "n",
        "pool": {"name": "p", "resourceSliceCount": 1, "generation": 0}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn slices_are_told_in_upstreams_words() {
    for (changes, want) in [
        (json!({}), vec![]),
        (
            json!({"allNodes": true, "nodeSelector": {"nodeSelectorTerms": [{}, {}]}}),
            vec![
                "nodeSelector.nodeSelectorTerms: Invalid value: [{\"MatchExpressions\":null,\"MatchFields\":null},{\"MatchExpressions\":null,\"MatchFields\":null}]: must have exactly one node selector term",
                ": Invalid value: \"{`nodeName`, `nodeSelector`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            json!({"nodeName": null, "perDeviceNodeSelection": true, "devices": [{"name": "d"}],
                "pool": {"name": "", "generation": -1}}),
            vec![
                "pool.name: Required value",
                "pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "pool.generation: Invalid value: -1: must be greater than or equal to zero",
                "devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ],
        ),
        (
            json!({"devices": [{"name": "d", "allNodes": true, "attributes": {"a": {"int": 1, "bool": true},
                "b": {"version": "1.2.3-01"}, "c": {}}, "taints": [{"key": "k", "effect": ""}],
                "bindingFailureConditions": ["a", "a"]}, {"name": "d"}]}),
            vec![
                "devices[0].attributes[a]: Invalid value: {\"IntValue\":1,\"BoolValue\":true,\"StringValue\":null,\"VersionValue\":null,\"IntValues\":null,\"BoolValues\":null,\"StringValues\":null,\"VersionValues\":null}: exactly one value must be specified",
                "devices[0].attributes[b].version: Invalid value: \"1.2.3-01\": must be a string compatible with semver.org spec 2.0.0",
                "devices[0].attributes[c]: Invalid value: \"\": exactly one value must be specified",
                "devices[0].taints[0].effect: Required value",
                "devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                "devices[0].bindingFailureConditions[1]: Duplicate value: \"a\"",
                "devices[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions",
                "devices[1]: Duplicate value: \"d\"",
            ],
        ),
        (
            json!({"sharedCounters": [{"name": "c", "counters": {"x": {"value": "1"}}}, {"name": "c"}]}),
            vec![
                "sharedCounters[1].counters: Required value",
                "sharedCounters[1]: Duplicate value: \"c\"",
            ],
        ),
    ] {
        let told = errors_of("ResourceSlice", &slice(&changes));
        let dotted =
            |one: &str| format!("spec{}{one}", if one.starts_with(':') { "" } else { "." });
        assert_eq!(told, want.into_iter().map(dotted).collect::<Vec<_>>());
    }
}

#[test]
fn policies_of_capacities_are_told_in_upstreams_words() {
    for (policy, want) in [
        (json!({"default": "1500m", "validValues": ["1500m", "3"]}), vec![]),
        (
            json!({"default": "3", "validValues": ["2", "1", "20"]}),
            vec![
                "validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
                "validValues[2]: Invalid value: \"20\": option is larger than capacity value: 10",
                "validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            ],
        ),
        (
            json!({"default": "5", "validRange": {"min": "1", "max": "4", "step": "2"}}),
            vec![
                "validRange.max: Invalid value: \"5\": default is more than max: 4",
                "validRange.step: Invalid value: \"4\": value is not a multiple of a given step (2) from (1)",
            ],
        ),
        (
            json!({"default": "1", "validRange": {"min": "2"}}),
            vec!["validRange.min: Invalid value: \"1\": default is less than min: 2"],
        ),
        (
            json!({"validRange": {}}),
            vec!["default: Required value: required when validRange is defined"],
        ),
    ] {
        let capacity = json!({"c": {"value": "10", "requestPolicy": policy}});
        let spec = slice(&json!({"devices": [
            {"name": "d", "allowMultipleAllocations": true, "capacity": capacity}]}));
        let told = errors_of("ResourceSlice", &spec);
        let path = "spec.devices[0].capacity[c].requestPolicy";
        let want: Vec<_> = want.iter().map(|one| format!("{path}.{one}")).collect();
        assert_eq!(told, want);
    }
}

#[test]
fn what_was_asked_for_never_changes() {
    let update = |kind: &str, new: &Value, old: &Value| {
        let info = kinds::find_kind(VERSION, kind).unwrap();
        let [new, old] = [new, old].map(|spec| object(kind, spec, &Value::Null));
        texts(&validate::update(info, &new, &old))
    };
    let claim =
        |name: &str| json!({"devices": {"requests": [{"name": name, "exactly": exactly()}]}});
    assert_eq!(update("ResourceClaim", &claim("a"), &claim("a")), Vec::<String>::new());
    let shown = "{\"Devices\":{\"Requests\":[{\"Name\":\"b\",\"Exactly\":{\"DeviceClassName\":\"c\",\"Selectors\":null,\"AllocationMode\":\"ExactCount\",\"Count\":1,\"AdminAccess\":null,\"Tolerations\":null,\"Capacity\":null},\"FirstAvailable\":null}],\"Constraints\":null,\"Config\":null}}";
    assert_eq!(
        update("ResourceClaim", &claim("b"), &claim("a")),
        [format!("spec: Invalid value: {shown}: field is immutable")]
    );
    let template = |name: &str| json!({"metadata": {"labels": {"a": "b"}}, "spec": claim(name)});
    assert_eq!(
        update("ResourceClaimTemplate", &template("b"), &template("a")),
        [format!(
            "spec: Invalid value: {{\"labels\":{{\"a\":\"b\"}},\"Spec\":{shown}}}: field is immutable"
        )]
    );
    assert_eq!(
        update("ResourceSlice", &slice(&json!({"driver": "x"})), &slice(&json!({"nodeName": "m"}))),
        [
            "spec.driver: Invalid value: \"x\": field is immutable",
            "spec.nodeName: Invalid value: \"n\": field is immutable",
        ]
    );
}

#[test]
fn the_status_of_a_claim_names_devices_that_it_got() {
    let info = kinds::find_kind(VERSION, "ResourceClaim").unwrap();
    let spec = json!({"devices": {"requests": [{"name": "r", "exactly": exactly()}]}});
    let update = |new: &Value, old: &Value| {
        let [new, old] = [new, old].map(|status| object("ResourceClaim", &spec, status));
        texts(&validate::status_update(info, &new, &old))
    };
    let result = json!({"request": "r", "driver": "d.e", "pool": "p", "device": "v"});
    let allocation = json!({"devices": {"results": [result]}});
    let device = json!({"driver": "d.e", "pool": "p", "device": "v",
        "networkData": {"ips": ["10.0.0.1/8", "2001:DB8::1/64"]}});
    let user = json!({"resource": "pods", "name": "a", "uid": "u"});
    let fine = json!({"allocation": allocation, "reservedFor": [user]});
    assert_eq!(update(&fine, &json!({})), Vec::<String>::new());
    let bad = json!({"reservedFor": [user, user], "devices": [device]});
    assert_eq!(
        update(&bad, &json!({})),
        [
            "status.reservedFor[1]: Duplicate value: \"u\"",
            "status.devices[0]: Invalid value: {\"Driver\":\"d.e\",\"Pool\":\"p\",\"Device\":\"v\",\"ShareID\":\"\"}: must be an allocated device in the claim",
            "status.devices[0].networkData.ips[1]: Invalid value: \"2001:DB8::1/64\": must be in canonical form (\"2001:db8::1/64\")",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ]
    );
    let other = json!({"allocation": {"devices": {}}});
    assert_eq!(
        update(&other, &fine),
        [
            "status.allocation: Invalid value: {\"Devices\":{\"Results\":null,\"Config\":null},\"NodeSelector\":null,\"AllocationTimestamp\":null}: field is immutable"
        ]
    );
}
