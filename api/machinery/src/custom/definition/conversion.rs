//! How objects go from one version of a custom kind to another.

use serde_json::Value;

use super::{Excuses, list, text};
use crate::field::{Error, Path};
use crate::validate::names::{is_port, label_1035, subdomain_1123};
use crate::validate::repeated;

pub(super) fn check(conversion: &Value, excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    if conversion.is_null() {
        return;
    }
    let strategy = text(conversion, "strategy");
    match strategy {
        "" => errors.push(Error::required(&path.child("strategy"), "")),
        "None" | "Webhook" => {}
        other => {
            let choices = ["None", "Webhook"];
            errors.push(Error::not_supported(&path.child("strategy"), other, &choices));
        }
    }
    // Upstream's internal type has the fields of `webhook` beside the strategy.
    let webhook = &conversion["webhook"];
    let config = &webhook["clientConfig"];
    let versions = list(webhook, "conversionReviewVersions");
    let config_path = path.child("webhookClientConfig");
    let versions_path = path.child("conversionReviewVersions");
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if !config.is_null() {
            errors.push(Error::forbidden(&config_path, why));
        }
        if !versions.is_empty() {
            errors.push(Error::forbidden(&versions_path, why));
        }
        return;
    }
    if config.is_null() {
        let why = "required when strategy is set to Webhook";
        errors.push(Error::required(&config_path, why));
    } else {
        client(config, excuses, &config_path, errors);
    }
    review_versions(versions, excuses, &versions_path, errors);
}

fn client(config: &Value, excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    match (config["url"].as_str(), &config["service"]) {
        (Some(url), Value::Null) => address(url, &path.child("url"), errors),
        (None, target) if !target.is_null() => service(target, &path.child("service"), errors),
        _ => {
            let why = "exactly one of url or service is required";
            errors.push(Error::required(path, why));
        }
    }
    let bundle = text(config, "caBundle");
    if !bundle.is_empty() && !excuses.any_ca_bundle && !has_certificate(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(Error::invalid(&path.child("caBundle"), bundle, why));
    }
}

/// Whether a bundle in base64 looks like certificates; their insides are the caller's.
fn has_certificate(bundle: &str) -> bool {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----")
}

fn address(url: &str, path: &Path, errors: &mut Vec<Error>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("", ""),
    };
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut invalid = |value: &str, why: String| errors.push(Error::invalid(path, value, why));
    if scheme != "https" {
        invalid(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        invalid("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        invalid(user, "user information is not permitted in the URL".to_owned());
    }
    if !fragment.is_empty() {
        invalid(fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !query.is_empty() {
        invalid(query, "query parameters are not permitted in the URL".to_owned());
    }
}

fn service(service: &Value, path: &Path, errors: &mut Vec<Error>) {
    // Upstream hands over name and namespace in the wrong order.
    for (checked, told) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, checked).is_empty() {
            errors.push(Error::required(&path.child(told), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !is_port(port) {
        let why = format!("port is not valid: {}", crate::validate::names::PORT);
        errors.push(Error::invalid(&path.child("port"), port, why));
    }
    let url_path = text(service, "path");
    if matches!(url_path, "" | "/") {
        return;
    }
    let path = path.child("path");
    if url_path == "//" {
        errors.push(Error::invalid(&path, url_path, "segment[0] may not be empty"));
        return;
    }
    if !url_path.starts_with('/') {
        errors.push(Error::invalid(&path, url_path, "must start with a '/'"));
    }
    let mut letters = url_path.chars();
    letters.next();
    let steps = letters.as_str();
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.push(Error::invalid(&path, url_path, why));
            continue;
        }
        for why in subdomain_1123(step) {
            errors.push(Error::invalid(&path, url_path, format!("segment[{index}]: {why}")));
        }
    }
}

fn review_versions(versions: &[Value], excuses: &Excuses, path: &Path, errors: &mut Vec<Error>) {
    if versions.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let again = repeated(versions, Value::to_string);
    for (index, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or("");
        if again[index] {
            errors.push(Error::invalid(&path.index(index), name, "duplicate version"));
            continue;
        }
        for why in label_1035(name) {
            errors.push(Error::invalid(&path.index(index), name, why));
        }
    }
    let is_known = |version: &Value| version == "v1" || version == "v1beta1";
    if !excuses.any_review_version && !versions.iter().any(is_known) {
        let why = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(path, Value::from(versions), why));
    }
}
