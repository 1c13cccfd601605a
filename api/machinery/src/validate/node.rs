//! RuntimeClasses.

use std::collections::HashSet;

use serde_json::Value;

use super::{invalid_each, items, meta, names, pod, shown, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    if info.kind == "RuntimeClass" {
        runtime_class(object, errors);
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if info.kind != "RuntimeClass" {
        return;
    }
    runtime_class(new, errors);
    let (now, before) = (new.text(&["handler"]), old.text(&["handler"]));
    if now != before {
        errors.push(Error::invalid(&Path::new("handler"), now, "field is immutable"));
    }
}

fn runtime_class(object: &Object, errors: &mut Vec<Error>) {
    let (handler, path) = (object.text(&["handler"]), Path::new("handler"));
    if handler.is_empty() {
        errors.push(Error::required(&path, ""));
    } else {
        invalid_each(&path, handler, names::label_1123(handler), errors);
    }
    if let Some(fixed) = object.at(&["overhead", "podFixed"]) {
        pod::overhead(fixed, &Path::new("overhead"), errors);
    }
    let Some(scheduling) = object.at(&["scheduling"]) else { return };
    let path = Path::new("scheduling");
    meta::labels(&scheduling["nodeSelector"], &path.child("nodeSelector"), errors);
    let tolerations = items(scheduling, "tolerations");
    pod::tolerations(tolerations, &path.child("tolerations"), errors);
    let mut seen = HashSet::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let key = ["key", "operator", "value", "effect"].map(|field| text(toleration, field));
        if seen.contains(&key) {
            let path = path.child("tolerations").index(index);
            errors.push(duplicate(&path, toleration));
        }
        seen.insert(key);
    }
}

fn duplicate(path: &Path, toleration: &Value) -> Error {
    use shown::Shape::{Json, Text};
    const TOLERATION: &[shown::Field] = &[
        ("key", "Key", Text),
        ("operator", "Operator", Text),
        ("value", "Value", Text),
        ("effect", "Effect", Text),
        ("tolerationSeconds", "TolerationSeconds", Json),
    ];
    let mut error = Error::duplicate(path, Value::Null);
    error.value = None;
    error.detail = shown::structure(toleration, TOLERATION);
    error
}
