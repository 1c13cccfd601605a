//! Deletes finished Jobs once their `ttlSecondsAfterFinished` is over.

use std::{sync::Arc, time::Duration};

use api_client::{Outcome, is_conflict, is_not_found, split_key};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tracing::{info, warn};

use crate::context::Context;

/// What becomes of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has no time to live, is not finished, or is going already.
    Stays,
    /// It is finished, and nobody says since when.
    Timeless,
    /// It goes after this time.
    Later(Duration),
    /// It goes now.
    Over,
}

fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

/// Decides about one Job.
#[must_use]
pub fn fate(job: &Job, now: Timestamp) -> Fate {
    let seconds = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(seconds), Some(condition)) = (seconds, finished(job)) else { return Fate::Stays };
    if job.metadata.deletion_timestamp.is_some() {
        return Fate::Stays;
    }
    let Some(since) = &condition.last_transition_time else { return Fate::Timeless };
    let age = now.duration_since(since.0).as_millis();
    let left = i128::from(seconds) * 1000 - age;
    match u64::try_from(left) {
        Ok(0) | Err(_) => Fate::Over,
        Ok(left) => Fate::Later(Duration::from_millis(left)),
    }
}

/// Carries the decision out.
///
/// # Errors
/// The request that failed.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(job) = context.world.jobs.get(&key) else { return Ok(Outcome::Done) };
    if let Some(outcome) = wait(&job, &key) {
        return Ok(outcome);
    }
    // The time to live may have changed: only the server's own answer counts.
    let (namespace, name) = split_key(&key);
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let Some(fresh) = api.get_opt(name).await? else { return Ok(Outcome::Done) };
    if let Some(outcome) = wait(&fresh, &key) {
        return Ok(outcome);
    }
    info!(ns = namespace, name, "deleting a finished job, its time to live is over");
    let how = DeleteParams {
        preconditions: Some(Preconditions {
            uid: fresh.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::foreground()
    };
    match api.delete(name, &how).await {
        Err(error) if is_not_found(&error) => Ok(Outcome::Done),
        Err(error) if is_conflict(&error) => Ok(Outcome::Retry),
        other => other.map(|_| Outcome::Done),
    }
}

/// What to do with a Job that is not to be deleted now; none for one that is.
fn wait(job: &Job, key: &str) -> Option<Outcome> {
    match fate(job, clock::now()) {
        Fate::Stays => Some(Outcome::Done),
        Fate::Later(left) => Some(Outcome::After(left)),
        Fate::Timeless => {
            warn!(key, "unable to find the time when the job finished");
            Some(Outcome::Retry)
        }
        Fate::Over => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_job_goes_when_it_is_finished_and_its_time_is_over() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let since = "2026-01-01T00:00:30Z";
        let condition = |kind: &str, status: &str| json!([{"type": kind, "status": status, "lastTransitionTime": since}]);
        let later = |seconds| Fate::Later(Duration::from_secs(seconds));
        for (ttl, conditions, expected) in [
            (json!(null), condition("Complete", "True"), Fate::Stays),
            (json!(0), json!([]), Fate::Stays),
            (json!(0), condition("Complete", "False"), Fate::Stays),
            (json!(0), condition("Suspended", "True"), Fate::Stays),
            (json!(0), condition("SuccessCriteriaMet", "True"), Fate::Stays),
            (json!(0), condition("Complete", "True"), Fate::Over),
            (json!(0), condition("Failed", "True"), Fate::Over),
            (json!(30), condition("Failed", "True"), Fate::Over),
            (json!(31), condition("Failed", "True"), later(1)),
            (json!(i32::MAX), condition("Complete", "True"), later(2_147_483_617)),
            (json!(5), json!([{"type": "Complete", "status": "True"}]), Fate::Timeless),
        ] {
            let case = format!("{ttl} {conditions}");
            let mut tree = json!({"metadata": {"name": "j"}, "status": {"conditions": conditions},
                "spec": {"ttlSecondsAfterFinished": ttl, "template": {}}});
            let job = |tree: &Value| serde_json::from_value::<Job>(tree.clone()).unwrap();
            assert_eq!(fate(&job(&tree), now), expected, "{case}");
            tree["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:40Z");
            assert_eq!(fate(&job(&tree), now), Fate::Stays, "{case}, on its way out");
        }
    }

    #[test]
    fn a_job_that_finished_in_the_future_waits_for_its_whole_time() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let job = json!({"spec": {"ttlSecondsAfterFinished": 10, "template": {}}, "status":
            {"conditions": [{"type": "Complete", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:05Z"}]}});
        let fate = fate(&serde_json::from_value(job).unwrap(), now);
        assert_eq!(fate, Fate::Later(Duration::from_secs(15)));
    }
}
