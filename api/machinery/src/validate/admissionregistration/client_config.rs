//! How a webhook is reached: by a URL, or by a service of the cluster.

use serde_json::Value;

use super::url;
use crate::field::{Error, Path};
use crate::validate::{names, text};

const FORM: &str = "; desired format: https://host[/path]";

pub(super) fn check(config: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        errors.push(Error::required(path, "exactly one of url or service is required"));
    } else if let Some(url) = url.as_str() {
        address(url, &path.child("url"), errors);
    } else {
        in_cluster(service, &path.child("service"), errors);
    }
}

fn address(text: &str, path: &Path, errors: &mut Vec<Error>) {
    let url = match url::parse(text) {
        Ok(url) => url,
        Err(why) => {
            errors.push(Error::required(path, format!("url must be a valid URL: {why}{FORM}")));
            return;
        }
    };
    if url.scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, url.scheme, why));
    }
    if url.host.is_empty() {
        errors.push(Error::invalid(path, url.host, format!("host must be specified{FORM}")));
    }
    if let Some(user) = url.user {
        errors.push(Error::invalid(path, user, "user information is not permitted in the URL"));
    }
    if !url.fragment.is_empty() {
        errors.push(Error::invalid(path, url.fragment, "fragments are not permitted in the URL"));
    }
    if !url.query.is_empty() {
        let why = "query parameters are not permitted in the URL";
        errors.push(Error::invalid(path, url.query, why));
    }
}

fn in_cluster(service: &Value, path: &Path, errors: &mut Vec<Error>) {
    // Upstream takes the two for each other: what is told about one is missing in the other.
    for (told, looked_at) in [("name", "namespace"), ("namespace", "name")] {
        if text(service, looked_at).is_empty() {
            errors.push(Error::required(&path.child(told), ""));
        }
    }
    if let Some(port) = service["port"].as_i64().filter(|port| !names::is_port(*port)) {
        let why = format!("port is not valid: {}", names::PORT);
        errors.push(Error::invalid(&path.child("port"), port, why));
    }
    service_path(text(service, "path"), &path.child("path"), errors);
}

fn service_path(text: &str, path: &Path, errors: &mut Vec<Error>) {
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        errors.push(Error::invalid(path, text, "segment[0] may not be empty"));
        return;
    }
    if !text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must start with a '/'"));
    }
    // The first byte is not looked at, whether it is the slash or not.
    let segments = String::from_utf8_lossy(&text.as_bytes()[1..]);
    let segments = segments.strip_suffix('/').unwrap_or(&segments);
    for (index, segment) in segments.split('/').enumerate() {
        if segment.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.push(Error::invalid(path, text, why));
            continue;
        }
        for why in names::subdomain_1123(segment) {
            errors.push(Error::invalid(path, text, format!("segment[{index}]: {why}")));
        }
    }
}
