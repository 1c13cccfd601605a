//! Probes, and what runs at the start and the end of a container.

use serde_json::Value;

use super::{Whole, given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};
use crate::validate::not_negative;

pub(super) fn lifecycle_and_probes(
    whole: &Whole<'_>,
    one: &Value,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let grace = whole.spec["terminationGracePeriodSeconds"].as_i64();
    if let Some(lifecycle) = given(one, "lifecycle") {
        let path = path.child("lifecycle");
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = given(lifecycle, hook) {
                let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
                self::handler(handler, &kinds, grace, &path.child(hook), errors);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = given(one, name) else { continue };
        let path = path.child(name);
        self::probe(probe, &path, errors);
        if name == "readinessProbe" {
            if let Some(seconds) = given(probe, "terminationGracePeriodSeconds") {
                let path = path.child("terminationGracePeriodSeconds");
                let why = "must not be set for readinessProbes";
                errors.push(Error::invalid(&path, seconds.clone(), why));
            }
        } else if number(probe, "successThreshold") != 1 {
            let threshold = number(probe, "successThreshold");
            errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
        }
    }
}

fn probe(probe: &Value, path: &Path, errors: &mut Vec<Error>) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(&path.child(field), &probe[field], errors);
    }
    if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64()
        && seconds <= 0
    {
        let path = path.child("terminationGracePeriodSeconds");
        errors.push(Error::invalid(&path, seconds, "must be greater than 0"));
    }
}

fn handler(
    handler: &Value,
    kinds: &[&str],
    grace: Option<i64>,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let mut has_one = false;
    for kind in kinds {
        let Some(action) = given(handler, kind) else { continue };
        let path = path.child(kind);
        if has_one {
            errors.push(Error::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        has_one = true;
        match *kind {
            "exec" if items(action, "command").is_empty() => {
                errors.push(Error::required(&path.child("command"), ""));
            }
            "httpGet" => http_get(action, &path, errors),
            "tcpSocket" | "grpc" => port(&action["port"], &path.child("port"), errors),
            "sleep" => {
                let seconds = number(action, "seconds");
                if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                    let why = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    errors.push(Error::invalid(&path, seconds, why));
                }
            }
            _ => {}
        }
    }
    if !has_one {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut Vec<Error>) {
    if text(action, "path").is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    port(&action["port"], &path.child("port"), errors);
    let scheme = text(action, "scheme");
    super::restart::supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"], errors);
    for header in items(action, "httpHeaders") {
        let name = text(header, "name");
        invalid_each(&path.child("httpHeaders"), name, names::http_header(name), errors);
    }
}

/// A number, or the name of a port of the container.
fn port(port: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Value::String(name) = port {
        invalid_each(path, name, names::port_name(name), errors);
    } else {
        let number = port.as_i64().unwrap_or(0);
        if !names::is_port(number) {
            errors.push(Error::invalid(path, number, names::PORT));
        }
    }
}
