//! Jobs: the selector that finds a job's own pods.

use serde_json::{Value, json};

use crate::Object;

/// Labels with the name of the job, the older one first.
const NAMES: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
/// Labels with the uid of the job, the older one first.
const UIDS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Gives the template labels that only this job has, and selects by them. What the client wrote stays,
/// for validation to refuse. Not with `manualSelector`.
pub(super) fn select_own_pods(job: &mut Object, uid: &str) {
    if job.at(&["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let name = job.name().to_owned();
    for (keys, value) in [(NAMES, name.as_str()), (UIDS, uid)] {
        for key in keys {
            let path = ["spec", "template", "metadata", "labels", key];
            if job.at(&path).is_none() {
                job.set(&path, value.into());
            }
        }
    }
    let selected = ["spec", "selector", "matchLabels", UIDS[1]];
    if job.at(&selected).is_none() {
        job.set(&selected, uid.into());
    }
    // Upstream's defaults, which look at the template again when the job is read.
    let labels = ["metadata", "labels"];
    if job.labels().is_empty() {
        let template = job.at(&["spec", "template", "metadata", "labels"]).cloned();
        job.set(&labels, template.unwrap_or_else(|| json!({})));
    }
}

/// A job that came without labels has those of its template, also the ones that it got here: upstream
/// has one map for both.
pub fn share_labels(job: &mut Object) {
    if let Some(labels) = job.at(&["spec", "template", "metadata", "labels"]).cloned() {
        job.set(&["metadata", "labels"], labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_selects_its_own_pods_and_keeps_what_the_client_wrote() {
        let mut job = Object::from_value(json!({"metadata": {"name": "j", "labels": {"a": "b"}},
            "spec": {"template": {"metadata": {"labels": {"job-name": "other"}}}}}))
        .unwrap();
        select_own_pods(&mut job, "u");
        assert_eq!(
            job.0["spec"],
            json!({"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": {"job-name": "other",
                    "batch.kubernetes.io/job-name": "j", "controller-uid": "u",
                    "batch.kubernetes.io/controller-uid": "u"}}}})
        );
        assert_eq!(job.labels().len(), 1, "the job's own labels stay");
        let manual = json!({"metadata": {"name": "j"}, "spec": {"manualSelector": true}});
        let mut job = Object::from_value(manual.clone()).unwrap();
        select_own_pods(&mut job, "u");
        assert_eq!(job.into_value(), manual);
    }
}
