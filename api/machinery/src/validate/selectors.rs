//! Label selectors and node selectors that stand inside objects.

use serde_json::Value;

use super::{invalid_each, items, meta, names, text};
use crate::field::{Error, Path};

/// Which values the requirements of a label selector may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Only what a label can have.
    OfLabels,
    /// Anything: a stored object already has what a label cannot have, or nobody looks at it.
    Any,
}

impl Values {
    /// What an update may have.
    pub(super) fn beside(is_stored_invalid: bool) -> Self {
        if is_stored_invalid { Self::Any } else { Self::OfLabels }
    }
}

const NEEDS_VALUES: &str = "must be specified when `operator` is 'In' or 'NotIn'";
const NO_VALUES: &str = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
const NO_OPERATOR: &str = "not a valid selector operator";

/// A `LabelSelector` that is new; a missing one is fine here.
pub(super) fn label_selector(selector: &Value, path: &Path, errors: &mut Vec<Error>) {
    labels(selector, Values::OfLabels, path, errors);
}

/// A `LabelSelector`; a missing one is fine here.
pub(super) fn labels(selector: &Value, values: Values, path: &Path, errors: &mut Vec<Error>) {
    meta::labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    for (index, one) in items(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let operator = text(one, "operator");
        set_operator(operator, items(one, "values").len(), &path, errors);
        if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
            errors.push(Error::invalid(&path.child("operator"), operator, NO_OPERATOR));
        }
        key_of_label(one, &path, errors);
        if values == Values::OfLabels {
            values_of_label(one, &path, errors);
        }
    }
}

/// A `NodeSelector`.
pub(super) fn nodes(selector: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("nodeSelectorTerms");
    let terms = items(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, Values::OfLabels, &path.index(index), errors);
    }
}

/// One term of a `NodeSelector`, or a preference.
pub(super) fn node_term(term: &Value, values: Values, path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in items(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        label_of_node(one, &path, errors);
        if values == Values::OfLabels {
            values_of_label(one, &path, errors);
        }
    }
    for (index, one) in items(term, "matchFields").iter().enumerate() {
        field_of_node(one, &path.child("matchFields").index(index), errors);
    }
}

fn label_of_node(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (operator, count) = (text(one, "operator"), items(one, "values").len());
    match operator {
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {
            set_operator(operator, count, path, errors);
        }
        "Gt" | "Lt" if count != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(Error::required(&path.child("values"), why));
        }
        "Gt" | "Lt" => {}
        _ => errors.push(Error::invalid(&path.child("operator"), operator, NO_OPERATOR)),
    }
    key_of_label(one, path, errors);
}

fn field_of_node(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (operator, values) = (text(one, "operator"), items(one, "values"));
    if !matches!(operator, "In" | "NotIn") {
        errors.push(Error::invalid(&path.child("operator"), operator, NO_OPERATOR));
    } else if values.len() != 1 {
        let why =
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(Error::required(&path.child("values"), why));
    }
    let key = text(one, "key");
    if key != "metadata.name" {
        let why = "not a valid field selector key";
        errors.push(Error::invalid(&path.child("key"), key, why));
        return;
    }
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("values").index(index);
        invalid_each(&path, value, names::subdomain_1123(value), errors);
    }
}

/// The operators of sets take values, those of existence do not.
fn set_operator(operator: &str, count: usize, path: &Path, errors: &mut Vec<Error>) {
    match operator {
        "In" | "NotIn" if count == 0 => {
            errors.push(Error::required(&path.child("values"), NEEDS_VALUES));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errors.push(Error::forbidden(&path.child("values"), NO_VALUES));
        }
        _ => {}
    }
}

fn key_of_label(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let key = text(one, "key");
    invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
}

fn values_of_label(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, value) in items(one, "values").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("values").index(index);
        invalid_each(&path, value, names::label_value(value), errors);
    }
}
