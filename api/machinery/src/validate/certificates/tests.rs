//! What upstream says to signing requests; every new one was compared with the real one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Object, kinds, validate};

/// A request for `CN=x` with a P-256 key.
const REQUEST: &str = "MIHFMG4CAQAwDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMP9aUxZgc8ZxGBMvEavi+evWxv/dQKAS3LIMmpqYzTL0dMB8f6y5AXf5GLTLfc+oiaYOZ/84dRPbF5l8NNfabmgADAKBggqhkjOPQQDAgNHADBEAiB9J47nNAT78DQMlrkNOVpcudJ9seGIufyTdl+518eqvwIgdoY3lGCChGX61kvcXvKpIBcYlDa1mC3gEVqU4SLu6Is=";

fn pem(kind: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

fn request() -> String {
    pem("CERTIFICATE REQUEST", &STANDARD.decode(REQUEST).unwrap())
}

fn object(request: &str, spec: &Value, status: &Value) -> Object {
    let mut object = json!({"apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "c", "resourceVersion": "1"},
        "spec": {"request": STANDARD.encode(request), "signerName": "example.com/s",
            "usages": ["client auth"]}, "status": status});
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    Object::from_value(object).unwrap()
}

fn errors_of(request: &str, spec: &Value) -> Vec<String> {
    let info = kinds::find_kind("certificates.k8s.io/v1", "CertificateSigningRequest").unwrap();
    let errors = validate::create(info, &object(request, spec, &json!({})));
    errors.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect()
}

#[test]
fn a_request_is_one_whole_block_of_the_right_kind() {
    let der = STANDARD.decode(REQUEST).unwrap();
    let longer = [der.as_slice(), &[0]].concat();
    let kind = "CERTIFICATE REQUEST";
    let wrong_block = "PEM block type must be CERTIFICATE REQUEST";
    for (request, want) in [
        (request(), ""),
        (format!("before\n{}after", request()), ""),
        (request().replace('\n', "\r\n"), ""),
        (request().replace("REQUEST-----\n", "REQUEST-----\nA: b\n\n"), ""),
        (format!("before{}", request()), wrong_block),
        (String::new(), wrong_block),
        (request().replace("-----END", "-----ENDE"), wrong_block),
        (pem("CERTIFICATE", &der), wrong_block),
        (pem(kind, &longer), "asn1: syntax error: trailing data"),
        (pem(kind, &der[..der.len() - 1]), "asn1: syntax error: data truncated"),
        (pem(kind, &[]), "asn1: syntax error: sequence truncated"),
        (pem(kind, &[0x30, 0x80]), "asn1: syntax error: indefinite length found (not DER)"),
        (
            pem(kind, b"hello"),
            "asn1: structure error: tags don't match (16 vs {class:1 tag:8 length:101 isCompound:true}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} certificateRequest @2",
        ),
    ] {
        let want = if want.is_empty() { vec![] } else { vec![format!("spec.request: {want}")] };
        assert_eq!(errors_of(&request, &json!({})), want, "{request}");
    }
}

#[test]
fn signers_usages_and_expirations_are_told_in_upstreams_words() {
    for (spec, want) in [
        (
            json!({"signerName": "example/s", "usages": [], "expirationSeconds": 599}),
            vec![
                "spec.usages: ",
                "spec.signerName: should be a domain with at least two segments separated by dots",
                "spec.expirationSeconds: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        ),
        (
            json!({"signerName": "kubernetes.io/legacy-unknown", "usages": ["any", "any"]}),
            vec![
                "spec.usages[1]: ",
                "spec.signerName: the legacy signerName is not allowed via this API version",
            ],
        ),
        (
            json!({"signerName": "a.b/c/d"}),
            vec![
                "spec.signerName: must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ],
        ),
    ] {
        assert_eq!(errors_of(&request(), &spec), want);
    }
    assert!(
        errors_of(&request(), &json!({"usages": ["x"]}))[0].starts_with("spec.usages[0]: supp")
    );
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "lastUpdateTime": null})
}

fn updated(new: &Value, old: &Value) -> [Vec<String>; 3] {
    let info = kinds::find_kind("certificates.k8s.io/v1", "CertificateSigningRequest").unwrap();
    let (new, old) = (object(&request(), &json!({}), new), object(&request(), &json!({}), old));
    let doors = [validate::update, validate::status_update, validate::approval_update];
    doors.map(|door| door(info, &new, &old).iter().map(ToString::to_string).collect())
}

#[test]
fn only_the_approval_approves_and_nothing_takes_it_back() {
    let none = json!({});
    let approved = json!({"conditions": [condition("Approved", "True", "a")]});
    let add = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
    assert_eq!(updated(&approved, &none), [vec![add.to_owned()], vec![add.to_owned()], vec![]]);
    let remove =
        "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
    assert_eq!(updated(&none, &approved), [remove, remove, remove].map(|one| vec![one.to_owned()]));
    let both = json!({"conditions": [condition("Approved", "True", "a"),
        condition("Denied", "False", "")]});
    assert_eq!(
        updated(&both, &approved)[2],
        [
            "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
        ]
    );
    let other = json!({"conditions": [condition("Approved", "True", "b")]});
    let modify = "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"\n@@ -2,7 +2,7 @@\n  {\n   \"Type\": \"Approved\",\n   \"Status\": \"True\",\n-  \"Reason\": \"a\",\n+  \"Reason\": \"b\",\n   \"Message\": \"\",\n   \"LastUpdateTime\": null,\n   \"LastTransitionTime\": null\n";
    assert_eq!(updated(&other, &approved)[0], [modify]);
}

#[test]
fn only_the_status_sets_a_certificate_and_only_once() {
    let with = |text: &str| json!({"certificate": STANDARD.encode(text)});
    let (none, sequence) = (json!({}), with(&pem("CERTIFICATE", &[0x30, 0])));
    let set = "status.certificate: Forbidden: updates may not set certificate content";
    assert_eq!(updated(&sequence, &none), [vec![set.to_owned()], vec![], vec![set.to_owned()]]);
    let again =
        "status.certificate: Forbidden: updates may not modify existing certificate content";
    let other = with(&format!("{0}{0}", pem("CERTIFICATE", &[0x30, 0])));
    assert_eq!(updated(&other, &sequence)[1], [again]);
    for (text, why) in [
        ("x".to_owned(), "must contain at least one CERTIFICATE PEM block"),
        (pem("A", b""), "only CERTIFICATE PEM blocks are allowed, found \"A\""),
        (pem("CERTIFICATE", b""), "found CERTIFICATE PEM block containing 0 certificates"),
        (pem("CERTIFICATE", b"x"), "x509: malformed certificate"),
    ] {
        let want = format!("status.certificate: Invalid value: \"<certificate data>\": {why}");
        assert_eq!(updated(&with(&text), &none)[1], [want]);
    }
}
