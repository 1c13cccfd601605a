//! Events, with and without a time of their own.

use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{invalid_each, names};

const TEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

pub(super) fn event(object: &Object, errors: &mut Vec<Error>) {
    let involved = object.text(&["involvedObject", "namespace"]);
    let namespace = object.namespace();
    let involved_path = Path::new("involvedObject").child("namespace");
    let mismatch = Error::invalid(&involved_path, involved, "does not match event.namespace");
    if object.at(&["eventTime"]).is_some_and(|time| !time.is_null()) {
        if involved.is_empty() && !matches!(namespace, "default" | "kube-system") {
            errors.push(mismatch);
        }
        reported(object, errors);
    } else if involved.is_empty() && !matches!(namespace, "" | "default")
        || !involved.is_empty() && involved != namespace
    {
        errors.push(mismatch);
    }
    let problems = names::subdomain_1123(namespace);
    invalid_each(&Path::new("namespace"), namespace, problems, errors);
}

fn reported(object: &Object, errors: &mut Vec<Error>) {
    let controller = object.text(&["reportingComponent"]);
    let path = Path::new("reportingComponent");
    if controller.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    invalid_each(&path, controller, names::qualified_name(controller), errors);
    for field in ["reportingInstance", "action", "reason"] {
        let (path, length) = (Path::new(field), object.text(&[field]).len());
        if length == 0 {
            errors.push(Error::required(&path, ""));
        } else if length > TEXT_BYTES_MAX {
            let why = format!("can have at most {TEXT_BYTES_MAX} characters");
            errors.push(Error::invalid(&path, "", why));
        }
    }
    if object.text(&["message"]).len() > MESSAGE_BYTES_MAX {
        let why = format!("can have at most {MESSAGE_BYTES_MAX} characters");
        errors.push(Error::invalid(&Path::new("message"), "", why));
    }
}
