//! What a review about a list says of the list's selectors: checked, and read as far as possible.

use api_machinery::Object;
use api_machinery::field::{Error, Path};
use api_machinery::selector::{FieldRequirement, Fields, Labels};
use api_machinery::validate::names;
use serde_json::Value;

const NEEDS_VALUES: &str = "must be specified when `operator` is 'In' or 'NotIn'";
const NO_VALUES: &str = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";

fn selector<'a>(review: &'a Object, which: &str) -> Option<&'a Value> {
    review.at(&["spec", "resourceAttributes", which]).filter(|value| !value.is_null())
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What is wrong with the selectors of a review. Operators that nobody here knows are fine: a newer
/// client may send them.
pub(super) fn check(review: &Object, errors: &mut Vec<Error>) {
    for which in ["fieldSelector", "labelSelector"] {
        let Some(selector) = selector(review, which) else { continue };
        let path = Path::new("spec.resourceAttributes").child(which);
        let (raw, requirements) = (text(selector, "rawSelector"), items(selector, "requirements"));
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.push(Error::invalid(&path.child("rawSelector"), raw, why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!(
                "when spec.resourceAttributes.{which} is specified, requirements or rawSelector is required"
            );
            errors.push(Error::required(&path.child("requirements"), why));
        }
        for (index, one) in requirements.iter().enumerate() {
            let path = path.child("requirements").index(index);
            requirement(one, &path, which == "labelSelector", errors);
        }
    }
}

fn requirement(one: &Value, path: &Path, is_label: bool, errors: &mut Vec<Error>) {
    let (key, values) = (text(one, "key"), items(one, "values"));
    if !is_label && key.is_empty() {
        errors.push(Error::required(&path.child("key"), "must be specified"));
    }
    match text(one, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(Error::required(&path.child("values"), NEEDS_VALUES));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(Error::forbidden(&path.child("values"), NO_VALUES));
        }
        _ => {}
    }
    if !is_label {
        return;
    }
    for why in names::qualified_name(key) {
        errors.push(Error::invalid(&path.child("key"), key, why));
    }
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        for why in names::label_value(value) {
            errors.push(Error::invalid(&path.child("values").index(index), value, why));
        }
    }
}

/// The field selector that a review asks about, and what of its selectors was not understood.
pub(super) fn read(review: &Object) -> (Vec<FieldRequirement>, String) {
    let mut trouble = Vec::new();
    let mut ignored = |which: &str, partially: bool| {
        let word = if partially { "partially ignored" } else { "ignored" };
        trouble.push(format!("spec.resourceAttributes.{which} {word} due to parse error"));
    };
    let mut fields = Vec::new();
    if let Some(selector) = selector(review, "fieldSelector") {
        let (read, all) = read_fields(selector);
        if !all {
            ignored("fieldSelector", !read.is_empty());
        }
        fields = read;
    }
    if let Some(selector) = selector(review, "labelSelector") {
        let known = |one: &&Value| {
            let operator = text(one, "operator");
            matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist")
        };
        let requirements = items(selector, "requirements");
        let understood = requirements.iter().filter(known).count();
        let raw = text(selector, "rawSelector");
        if understood < requirements.len() || !raw.is_empty() && Labels::parse(raw).is_err() {
            ignored("labelSelector", understood > 0);
        }
    }
    (fields, trouble.join("; "))
}

/// Requirements of fields, and whether these are all of them.
fn read_fields(selector: &Value) -> (Vec<FieldRequirement>, bool) {
    let requirements = items(selector, "requirements");
    if requirements.is_empty() {
        let read = Fields::parse_any(text(selector, "rawSelector"));
        return read.map_or((Vec::new(), false), |read| (read.0, true));
    }
    let mut read = Vec::new();
    for one in requirements {
        let negated = match text(one, "operator") {
            "In" => false,
            "NotIn" => true,
            _ => continue,
        };
        if let [Value::String(value)] = items(one, "values") {
            let (field, value) = (text(one, "key").to_owned(), value.clone());
            read.push(FieldRequirement { field, value, negated });
        }
    }
    let all = read.len() == requirements.len();
    (read, all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn review(attributes: Value) -> Object {
        Object::from_value(json!({"spec": {"resourceAttributes": attributes}})).unwrap()
    }

    #[test]
    fn selectors_are_checked_as_upstream_checks_them() {
        let asked = review(json!({
            "fieldSelector": {"requirements": [
                {"key": "", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["c"]},
                {"key": "a", "operator": "What", "values": ["c"]}]},
            "labelSelector": {"rawSelector": "a=b", "requirements": [
                {"key": "a b", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["x y"]},
                {"key": "a", "operator": "Nix"}]}}));
        let mut errors = Vec::new();
        check(&asked, &mut errors);
        let fields: Vec<&str> = errors
            .iter()
            .map(|error| error.field.trim_start_matches("spec.resourceAttributes."))
            .collect();
        assert_eq!(
            fields,
            [
                "fieldSelector.requirements[0].key",
                "fieldSelector.requirements[0].values",
                "fieldSelector.requirements[1].values",
                "labelSelector.rawSelector",
                "labelSelector.requirements[0].values",
                "labelSelector.requirements[0].key",
                "labelSelector.requirements[1].values",
                "labelSelector.requirements[1].values[0]",
            ]
        );
        errors.clear();
        check(&review(json!({"fieldSelector": {}})), &mut errors);
        assert_eq!(
            errors[0].body(),
            "Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_said() {
        let asked = review(json!({"fieldSelector": {"requirements": [
            {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
            {"key": "x", "operator": "Exists"}]}}));
        let (fields, trouble) = read(&asked);
        assert_eq!((fields.len(), fields[0].value.as_str()), (1, "n1"));
        assert_eq!(
            trouble,
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error"
        );
        let asked = review(json!({"fieldSelector": {"rawSelector": "a=b=c"},
            "labelSelector": {"rawSelector": "a b c"}}));
        assert_eq!(
            read(&asked).1,
            "spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"
        );
        let asked = review(json!({"fieldSelector": {"rawSelector": "spec.nodeName=n1"}}));
        assert_eq!((read(&asked).0.len(), read(&asked).1.as_str()), (1, ""));
    }
}
