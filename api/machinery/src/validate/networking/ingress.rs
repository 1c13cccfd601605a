//! Ingresses and their classes.

use serde_json::Value;

use crate::Object;
use crate::field::{Error, Path};
use crate::validate::core::{address, service};
use crate::validate::{invalid_each, items, names, text};

const CONTROLLER_BYTES_MAX: usize = 250;
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What an old ingress had that new ones may not have.
#[derive(Clone, Copy, Default)]
struct Kept {
    bad_secret_name: bool,
    bad_wildcard_rule: bool,
}

fn spec(object: &Object) -> &Value {
    object.at(&["spec"]).unwrap_or(&Value::Null)
}

pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    ingress(spec(object), Kept::default(), errors);
    let class = spec(object)["ingressClassName"].as_str();
    if let (Some(annotated), Some(class)) = (object.annotations().get(CLASS_ANNOTATION), class)
        && annotated != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        let why = "must match `ingressClassName` when both are specified";
        errors.push(Error::invalid(&path, annotated.as_str(), why));
    }
}

pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let old = spec(old);
    let bad_name = |tls: &Value| !secret_name_problems(text(tls, "secretName")).is_empty();
    let bad_rule = |rule: &Value| {
        let mut errors = Vec::new();
        if text(rule, "host").contains('*') {
            paths(&rule["http"], &Path::default(), &mut errors);
        }
        !errors.is_empty()
    };
    let kept = Kept {
        bad_secret_name: items(old, "tls").iter().any(bad_name),
        bad_wildcard_rule: items(old, "rules").iter().any(bad_rule),
    };
    ingress(spec(new), kept, errors);
}

fn ingress(spec: &Value, kept: Kept, errors: &mut Vec<Error>) {
    let path = Path::new("spec");
    let rules = items(spec, "rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(&path, spec["rules"].clone(), why));
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let host = text(rule, "host");
        if address::parse(host).is_some() {
            let why = "must be a DNS name, not an IP address";
            errors.push(Error::invalid(&path.child("host"), host, why));
        }
        if !host.is_empty() {
            invalid_each(&path.child("host"), host, host_problems(host), errors);
        }
        if !host.contains('*') || !kept.bad_wildcard_rule {
            paths(&rule["http"], &path.child("http"), errors);
        }
    }
    for (index, one) in items(spec, "tls").iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, host) in items(one, "hosts").iter().enumerate() {
            let host = host.as_str().unwrap_or("");
            invalid_each(&path.child("hosts").index(index), host, host_problems(host), errors);
        }
        let name = text(one, "secretName");
        if !kept.bad_secret_name {
            invalid_each(&path.child("secretName"), name, secret_name_problems(name), errors);
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        let problems = names::subdomain_1123(class);
        invalid_each(&path.child("ingressClassName"), class, problems, errors);
    }
}

fn secret_name_problems(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { names::subdomain_1123(name) }
}

fn host_problems(host: &str) -> Vec<String> {
    if !host.contains('*') {
        return names::subdomain_1123(host);
    }
    let mut problems = Vec::new();
    if host.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    let is_format = |problem: &String| problem.starts_with("a lowercase");
    let is_wrong = |rest: &str| names::subdomain_1123(rest).iter().any(is_format);
    if host.strip_prefix("*.").is_none_or(is_wrong) {
        problems.push(WILDCARD.to_owned());
    }
    problems
}

fn paths(http: &Value, path: &Path, errors: &mut Vec<Error>) {
    if http.is_null() {
        return;
    }
    let path = path.child("paths");
    let list = items(http, "paths");
    if list.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    for (index, one) in list.iter().enumerate() {
        http_path(one, &path.index(index), errors);
    }
}

fn http_path(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(kind) = one["pathType"].as_str() else {
        errors.push(Error::required(&path.child("pathType"), "pathType must be specified"));
        return;
    };
    let value = text(one, "path");
    let value_path = path.child("path");
    let is_strict = matches!(kind, "Exact" | "Prefix");
    let must_start = is_strict || kind == "ImplementationSpecific" && !value.is_empty();
    if must_start && !value.starts_with('/') {
        errors.push(Error::invalid(&value_path, value, "must be an absolute path"));
    }
    if is_strict {
        for part in ["//", "/./", "/../", "%2f", "%2F"] {
            if value.contains(part) {
                let why = format!("must not contain '{part}'");
                errors.push(Error::invalid(&value_path, value, why));
            }
        }
        for end in ["/..", "/."] {
            if value.ends_with(end) {
                errors.push(Error::invalid(&value_path, value, format!("cannot end with '{end}'")));
            }
        }
    }
    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
    if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("pathType"), kind, &kinds));
    }
    backend(&one["backend"], &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (resource, service) = (&backend["resource"], &backend["service"]);
    if !resource.is_null() && !service.is_null() {
        let why = "cannot set both resource and service backends";
        errors.push(Error::invalid(path, "", why));
    } else if !resource.is_null() {
        reference(resource, &path.child("resource"), errors);
    } else if service.is_null() {
        errors.push(Error::invalid(path, "", "resource or service backend is required"));
    } else {
        service_backend(service, path, errors);
    }
}

fn service_backend(service: &Value, path: &Path, errors: &mut Vec<Error>) {
    let service_path = path.child("service");
    let name = text(service, "name");
    if name.is_empty() {
        errors.push(Error::required(&service_path.child("name"), ""));
    } else {
        invalid_each(&service_path.child("name"), name, names::label_1123(name), errors);
    }
    let port = text(&service["port"], "name");
    let number = service["port"]["number"].as_i64().unwrap_or(0);
    let port_path = service_path.child("port");
    match (port.is_empty(), number == 0) {
        (false, false) => {
            errors.push(Error::invalid(path, "", "cannot set both port name & port number"));
        }
        (false, true) => {
            invalid_each(&port_path.child("name"), port, names::port_name(port), errors);
        }
        (true, false) if !names::is_port(number) => {
            errors.push(Error::invalid(&port_path.child("number"), number, names::PORT));
        }
        (true, false) => {}
        (true, true) => errors.push(Error::required(path, "port name or number is required")),
    }
}

/// A reference by group, kind and name.
fn reference(reference: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Some(group) = reference["apiGroup"].as_str() {
        invalid_each(&path.child("apiGroup"), group, names::subdomain_1123(group), errors);
    }
    for field in ["kind", "name"] {
        let value = text(reference, field);
        if value.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
        invalid_each(&path.child(field), value, names::path_segment(value), errors);
    }
}

pub(super) fn status(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let at = ["status", "loadBalancer", "ingress"];
    let list = |object| Object::at(object, &at).and_then(Value::as_array).map(Vec::as_slice);
    let kept: Vec<&str> = list(old).unwrap_or_default().iter().map(|one| text(one, "ip")).collect();
    for (index, one) in list(new).unwrap_or_default().iter().enumerate() {
        let path = Path::new(&at.join(".")).index(index);
        let ip = text(one, "ip");
        if !ip.is_empty() {
            errors.extend(address::legacy(&path.child("ip"), ip, &kept));
        }
        service::balancer_name(text(one, "hostname"), &path.child("hostname"), errors);
    }
}

pub(super) fn class(object: &Object, errors: &mut Vec<Error>) {
    let spec = spec(object);
    let path = Path::new("spec");
    let controller = text(spec, "controller");
    if controller.len() > CONTROLLER_BYTES_MAX {
        errors.push(Error::too_long(&path.child("controller"), CONTROLLER_BYTES_MAX));
    }
    domain_and_path(controller, &path.child("controller"), errors);
    let parameters = &spec["parameters"];
    if !parameters.is_null() {
        class_parameters(parameters, &path.child("parameters"), errors);
    }
}

fn domain_and_path(value: &str, path: &Path, errors: &mut Vec<Error>) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let parts = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty());
    let Some((host, rest)) = parts else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(Error::invalid(path, value, why));
        return;
    };
    invalid_each(path, host, names::subdomain_1123(host), errors);
    let fits =
        |letter: u8| letter.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&letter);
    if !rest.bytes().all(fits) {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(Error::invalid(path, rest, why));
    }
}

fn class_parameters(parameters: &Value, path: &Path, errors: &mut Vec<Error>) {
    reference(parameters, path, errors);
    let scope_path = path.child("scope");
    let namespace_path = path.child("namespace");
    let namespace = parameters["namespace"].as_str();
    match (parameters["scope"].as_str(), namespace) {
        (None, _) => errors.push(Error::required(&scope_path, "")),
        (Some("Namespace"), None) => {
            let why = "`parameters.scope` is set to 'Namespace'";
            errors.push(Error::required(&namespace_path, why));
        }
        (Some("Namespace"), Some(name)) => {
            invalid_each(&namespace_path, name, names::label_1123(name), errors);
        }
        (Some("Cluster"), Some(_)) => {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(Error::forbidden(&namespace_path, why));
        }
        (Some("Cluster"), None) => {}
        (Some(scope), _) => {
            errors.push(Error::not_supported(&scope_path, scope, &["Cluster", "Namespace"]));
        }
    }
}
