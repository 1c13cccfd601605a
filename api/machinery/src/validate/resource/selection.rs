//! How devices are chosen: selectors, tolerations, taints.

use serde_json::Value;

use super::{at_most, formats};
use crate::field::{Error, Path};
use crate::validate::{invalid_each, items, names, one_of, text};

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const OPERATORS: [&str; 2] = ["Equal", "Exists"];

pub(super) fn selectors(owner: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (path, selector) in at_most(owner, ("selectors", SELECTORS_MAX), path, errors) {
        let (path, cel) = (path.child("cel"), &selector["cel"]);
        if cel.is_null() {
            errors.push(Error::required(&path, ""));
        } else if text(cel, "expression").len() > EXPRESSION_BYTES_MAX {
            errors.push(Error::too_long(&path.child("expression"), EXPRESSION_BYTES_MAX));
        }
    }
}

pub(super) fn tolerations(owner: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in items(owner, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(index);
        let (key, value) = (text(one, "key"), text(one, "value"));
        if !key.is_empty() {
            formats::label_key(key, &path.child("key"), errors);
        }
        let operator = text(one, "operator");
        match operator {
            "Exists" if !value.is_empty() => {
                let why = "must be empty for operator `Exists`";
                errors.push(Error::invalid(&path.child("value"), value, why));
            }
            "Equal" => {
                invalid_each(&path.child("value"), value, names::label_value(value), errors);
            }
            _ => one_of(&path.child("operator"), operator, &OPERATORS, true, errors),
        }
        one_of(&path.child("effect"), text(one, "effect"), &EFFECTS, false, errors);
    }
}

pub(super) fn taint(taint: &Value, path: &Path, errors: &mut Vec<Error>) {
    formats::label_key(text(taint, "key"), &path.child("key"), errors);
    let value = text(taint, "value");
    invalid_each(&path.child("value"), value, names::label_value(value), errors);
    one_of(&path.child("effect"), text(taint, "effect"), &EFFECTS, true, errors);
}
