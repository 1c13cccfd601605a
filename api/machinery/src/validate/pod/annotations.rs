//! Annotations of pods that mean something to the server.

use serde_json::{Map, Value};

use super::volumes::descending_path;
use super::{all_containers, given, scheduling, text};
use crate::field::{Error, ErrorKind, Path};

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
pub(super) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn entries(annotations: &Value) -> impl Iterator<Item = (&String, &str)> {
    let map = annotations.as_object().into_iter().flat_map(Map::iter);
    map.map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

pub(super) fn annotations(annotations: &Value, spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    if given(annotations, MIRROR).is_some() && text(spec, "nodeName").is_empty() {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), text(annotations, MIRROR), why));
    }
    let tolerations = text(annotations, TOLERATIONS);
    match serde_json::from_str::<Option<Vec<Value>>>(tolerations) {
        _ if tolerations.is_empty() => {}
        Ok(list) => {
            let list = list.unwrap_or_default();
            scheduling::tolerations(&list, &path.child(TOLERATIONS), errors);
        }
        // The reason is in our JSON reader's words, not in upstream's.
        Err(why) => errors.push(Error::invalid(path, TOLERATIONS, why.to_string())),
    }
    if given(annotations, DELETION_COST).is_some() {
        let cost = text(annotations, DELETION_COST);
        // No plus sign, and no zeros in front but after a minus sign.
        let starts_well =
            cost == "0" || cost.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        if !starts_well || cost.parse::<i32>().is_err() {
            let why = "must be a 32bit integer";
            errors.push(Error::invalid(&path.key(DELETION_COST), cost, why));
        }
    }
    if given(annotations, SECCOMP_POD).is_some() {
        seccomp(text(annotations, SECCOMP_POD), &path.child(SECCOMP_POD), errors);
    }
    for (key, value) in entries(annotations).filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        seccomp(value, &path.child(key), errors);
    }
    for (key, value) in entries(annotations) {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let path = path.key(key);
        if !all_containers(spec, &Path::default())
            .iter()
            .any(|(one, _)| text(one, "name") == container)
        {
            errors.push(Error::invalid(&path, container, "container not found"));
        }
        let is_known = matches!(value, "" | "runtime/default" | "unconfined");
        if !is_known && !value.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {value:?}");
            errors.push(Error::invalid(&path, value, why));
        }
    }
}

fn seccomp(profile: &str, path: &Path, errors: &mut Vec<Error>) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => descending_path(file, path, errors),
        None => errors.push(Error::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// A profile in an annotation and the same in its field say the same.
pub(super) fn match_fields(
    annotations: &Value,
    spec: &Value,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let field = |security: &Value| security["seccompProfile"].clone();
    let of_pod = (field(&spec["securityContext"]), path.child("securityContext"));
    let key = SECCOMP_POD.to_owned();
    seccomp_matches(annotations, &key, &of_pod, errors);
    for (one, path) in all_containers(spec, path) {
        let key = format!("{SECCOMP_CONTAINER}{}", text(one, "name"));
        let of_container = (field(&one["securityContext"]), path.child("securityContext"));
        seccomp_matches(annotations, &key, &of_container, errors);
    }
    if spec["os"]["name"] == "windows" {
        return;
    }
    for (one, path) in all_containers(spec, path) {
        let own = &one["securityContext"]["appArmorProfile"];
        let profile = if own.is_null() { &spec["securityContext"]["appArmorProfile"] } else { own };
        let key = format!("{APP_ARMOR}{}", text(one, "name"));
        let Some(annotation) = annotations[&key].as_str() else { continue };
        let path = path.child("securityContext").child("appArmorProfile");
        profile_matches(annotation, profile, (&path, "apparmor"), errors);
    }
}

fn seccomp_matches(
    annotations: &Value,
    key: &str,
    (profile, path): &(Value, Path),
    errors: &mut Vec<Error>,
) {
    let Some(annotation) = annotations[key].as_str() else { return };
    // The runtime's default has an old name.
    let annotation = if annotation == "docker/default" { "runtime/default" } else { annotation };
    let path = path.child("seccompProfile");
    profile_matches(annotation, profile, (&path, "seccomp"), errors);
}

fn profile_matches(
    annotation: &str,
    profile: &Value,
    (path, what): (&Path, &str),
    errors: &mut Vec<Error>,
) {
    let is_same_type = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default",
        "Localhost" => annotation.starts_with("localhost/"),
        _ => true,
    };
    if !is_same_type {
        let why = format!("{what} type in annotation and field must match");
        errors.push(Error::forbidden(&path.child("type"), why));
    } else if text(profile, "type") == "Localhost"
        && annotation.strip_prefix("localhost/") != profile["localhostProfile"].as_str()
    {
        let why = format!("{what} profile in annotation and field must match");
        errors.push(Error::forbidden(&path.child("localhostProfile"), why));
    }
}

/// What may not change in annotations once the pod is there.
pub(super) fn update(new: &Value, old: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (key, _) in entries(old).filter(|(key, value)| new[*key].as_str() != Some(*value)) {
        if key.starts_with(APP_ARMOR) {
            let why = "may not remove or update AppArmor annotations";
            errors.push(Error::forbidden(&path.key(key), why));
        }
        if key == MIRROR {
            let why = "may not remove or update mirror pod annotation";
            errors.push(Error::forbidden(&path.key(key), why));
        }
    }
    for (key, _) in entries(new).filter(|(key, _)| given(old, key).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.push(Error::forbidden(&path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&path.key(key), "may not add mirror pod annotation"));
        }
    }
}

/// Whether an error says that the deletion cost is no number.
pub(super) fn is_about_deletion_cost(error: &Error) -> bool {
    error.kind == ErrorKind::Invalid && error.field.ends_with(&format!("[{DELETION_COST}]"))
}
