//! Jobs: the labels that bind one to its pods.

use serde_json::{Value, json};

use super::{job_spec, job_update};
use crate::Object;
use crate::field::{Error, Path};
use crate::selector::Labels;
use crate::validate::{apps, names, selectors, shown, text};

/// The labels that a job gives its pods, and whether its name or its uid is the value. The last
/// two came later: jobs that were stored without them may go on without.
const LABELS: [(&str, bool); 4] = [
    ("controller-uid", false),
    ("job-name", true),
    ("batch.kubernetes.io/controller-uid", false),
    ("batch.kubernetes.io/job-name", true),
];

pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    generated_selector(object, &LABELS, errors);
    spec(object, errors);
    host_names(object, errors);
}

pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let stored = old.at(&["spec", "template", "metadata", "labels"]).unwrap_or(&Value::Null);
    let has_all = LABELS[2..].iter().all(|(label, _)| stored[*label].is_string());
    generated_selector(new, if has_all { &LABELS } else { &LABELS[..2] }, errors);
    // Upstream checks the spec twice, and so tells everything twice.
    let mut of_spec = Vec::new();
    spec(new, &mut of_spec);
    errors.extend(of_spec.iter().cloned());
    host_names(new, errors);
    errors.extend(of_spec);
    job_update::spec(new, old, errors);
}

fn spec(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    job_spec::check(spec, &path, errors);
    let (selector, template) = (&spec["selector"], &spec["template"]);
    let before = errors.len();
    if selector.is_null() {
        errors.push(Error::required(&path.child("selector"), ""));
    } else {
        selectors::label_selector(selector, &path.child("selector"), errors);
    }
    let understood = selector.is_null() || errors.len() == before;
    if understood && !apps::matches(selector, template) {
        errors.push(apps::no_match(template, &path.child("template")));
    }
}

/// Unless the user wants to choose, the selector and the labels name this very job.
fn generated_selector(object: &Object, labels: &[(&str, bool)], errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let selector = &spec["selector"];
    if spec["manualSelector"] == true || selector.is_null() {
        return;
    }
    if object.uid().is_empty() {
        errors.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let found = &spec["template"]["metadata"]["labels"];
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let mut expected = json!({});
    for (label, is_name) in labels {
        let want = if *is_name { object.name() } else { object.uid() };
        let why = format!("must be '{want}'");
        if found[*label].is_null() {
            errors.push(Error::required(&path.key(label), why));
        } else if text(found, label) != want {
            errors.push(Error::invalid(&path.key(label), found.clone(), why));
        }
        expected[*label] = want.into();
    }
    let mut problems = Vec::new();
    selectors::label_selector(selector, &Path::default(), &mut problems);
    let selects = Labels::from_object(selector).matches(|key| expected[key].as_str());
    if problems.is_empty() && !selects {
        let path = Path::new("spec").child("selector");
        let why = "`selector` not auto-generated";
        errors.push(shown::invalid(&path, &shown::selector(selector), why));
    }
}

/// The pods of an indexed job have its name and their index as host name.
fn host_names(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let completions = spec["completions"].as_i64().unwrap_or(0);
    if text(spec, "completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let longest = format!("{}-{}", object.name(), completions - 1);
    if !names::label_1123(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.push(Error::invalid(&Path::new("metadata").child("name"), object.name(), why));
    }
}
