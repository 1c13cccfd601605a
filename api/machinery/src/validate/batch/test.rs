//! Jobs and CronJobs: what upstream refuses, in its words.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

fn told(errors: &[crate::field::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn spec(changes: &Value) -> Value {
    let container = json!({"name": "c", "image": "i", "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File"});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container],
        "restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30}});
    let mut spec = json!({"parallelism": 1, "completions": 1, "completionMode": "NonIndexed",
        "template": template});
    for (key, value) in changes.as_object().unwrap() {
        spec[key.as_str()] = value.clone();
    }
    spec
}

fn object(kind: &str, spec: &Value) -> Object {
    let metadata = json!({"name": "x", "namespace": "default", "uid": "u", "resourceVersion": "1"});
    let tree = json!({"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec});
    Object::from_value(tree).unwrap()
}

fn job(changes: Value) -> Object {
    let mut spec = spec(&json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}));
    for (key, value) in changes.as_object().unwrap() {
        spec[key.as_str()] = value.clone();
    }
    object("Job", &spec)
}

fn refusals(changes: Value) -> Vec<String> {
    let info = kinds::find_kind("batch/v1", "Job").unwrap();
    told(&validate::create(info, &job(changes)))
}

#[test]
fn indexed_jobs_keep_their_limits() {
    let indexed = |changes: Value| {
        let mut all = json!({"completionMode": "Indexed", "completions": 5});
        for (key, value) in changes.as_object().unwrap() {
            all[key.as_str()] = value.clone();
        }
        refusals(all)
    };
    for (changes, want) in [
        (json!({}), vec![]),
        (
            json!({"completions": null}),
            vec!["spec.completions: Required value: when completion mode is Indexed"],
        ),
        (
            json!({"maxFailedIndexes": 6}),
            vec![
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
            ],
        ),
        (
            json!({"completions": 200_000, "backoffLimitPerIndex": 1, "parallelism": 20_000}),
            vec![
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
                "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
            ],
        ),
        (
            json!({"successPolicy": {"rules": [{"succeededIndexes": "0-5"}]}}),
            vec![
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-5\": error parsing succeededIndexes: too large index: \"5\"",
            ],
        ),
    ] {
        assert_eq!(indexed(changes), want);
    }
    assert_eq!(
        refusals(json!({"successPolicy": {"rules": [{"succeededIndexes": "0"}]}})),
        [
            "spec.successPolicy: Invalid value: {\"Rules\":[{\"SucceededIndexes\":\"0\",\"SucceededCount\":null}]}: requires indexed completion mode"
        ]
    );
}

#[test]
fn failure_policies_are_told_in_upstreams_words() {
    let rule = |rule: Value| refusals(json!({"podFailurePolicy": {"rules": [rule]}}));
    for (changes, want) in [
        (json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}), vec![]),
        (
            json!({"action": "Count"}),
            vec![
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ],
        ),
        (
            json!({"action": "", "onExitCodes": {"operator": "In", "values": [3, 2, 0]}}),
            vec![
                "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,2,0]: must be ordered",
            ],
        ),
    ] {
        assert_eq!(rule(changes), want);
    }
}

#[test]
fn a_job_that_does_not_choose_selects_its_own_pods() {
    let info = kinds::find_kind("batch/v1", "Job").unwrap();
    let labels = json!({"controller-uid": "u", "job-name": "y",
        "batch.kubernetes.io/controller-uid": "u"});
    let mut generated = job(json!({"manualSelector": false,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}}));
    generated.set(&["spec", "template", "metadata", "labels"], labels.clone());
    let path = "spec.template.metadata.labels";
    assert_eq!(
        told(&validate::create(info, &generated)),
        [
            format!("{path}[job-name]: Invalid value: {labels}: must be 'x'"),
            format!("{path}[batch.kubernetes.io/job-name]: Required value: must be 'x'"),
        ]
    );
}

#[test]
fn a_job_changes_little_and_more_while_it_waits() {
    let info = kinds::find_kind("batch/v1", "Job").unwrap();
    let update = |old: &Object, change: &dyn Fn(&mut Object)| {
        let mut new = old.clone();
        change(&mut new);
        told(&validate::update(info, &new, old))
    };
    let resources = |job: &mut Object| {
        let containers = json!([{"name": "c", "image": "i", "imagePullPolicy": "Always",
            "terminationMessagePolicy": "File", "resources": {"requests": {"cpu": "1"}}}]);
        job.set(&["spec", "template", "spec", "containers"], containers);
        job.set(&["spec", "template", "spec", "nodeSelector"], json!({"a": "b"}));
        let affinity = json!({"nodeAffinity": {}});
        job.set(&["spec", "template", "spec", "affinity"], affinity);
    };
    let waiting = job(json!({"suspend": true}));
    assert_eq!(update(&waiting, &resources), Vec::<String>::new());
    let running = job(json!({}));
    let refused = update(&running, &resources);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("spec.template: Invalid value: "), "{refused:?}");
    assert!(refused[0].ends_with(": field is immutable"));
    let grow = |job: &mut Object| job.set(&["spec", "completions"], 2.into());
    assert_eq!(update(&running, &grow), ["spec.completions: Invalid value: 2: field is immutable"]);
    let indexed = job(json!({"completionMode": "Indexed"}));
    assert_eq!(
        update(&indexed, &grow),
        [
            "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"
        ]
    );
}

#[test]
fn a_job_that_has_ended_stays_so() {
    let info = kinds::find_kind("batch/v1", "Job").unwrap();
    let of = |status: &Value| {
        let mut job = job(json!({}));
        job.set(&["status"], status.clone());
        job
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let done = json!({"startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]});
    let update =
        |new: Value, old: &Value| told(&validate::status_update(info, &of(&new), &of(old)));
    assert_eq!(update(done.clone(), &json!({"active": 1})), Vec::<String>::new());
    assert_eq!(
        update(json!({"succeeded": 0}), &done),
        [
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ]
    );
    assert_eq!(
        update(json!({"conditions": [condition("Failed")], "active": 1}), &json!({})),
        [
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
        ]
    );
}

#[test]
fn cron_jobs_have_a_schedule_and_a_zone() {
    let info = kinds::find_kind("batch/v1", "CronJob").unwrap();
    let refusals = |schedule: &str, zone: Value| {
        let job = json!({"spec": spec(&json!({}))});
        let spec = json!({"schedule": schedule, "timeZone": zone, "concurrencyPolicy": "Allow",
            "jobTemplate": job});
        told(&validate::create(info, &object("CronJob", &spec)))
    };
    assert_eq!(refusals("*/5 * * * *", "Europe/Berlin".into()), Vec::<String>::new());
    for (schedule, why) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        (
            "@every 5d",
            "failed to parse duration @every 5d: time: unknown unit \"d\" in duration \"5d\"",
        ),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
    ] {
        let want = format!("spec.schedule: Invalid value: {}: {why}", json!(schedule));
        assert_eq!(refusals(schedule, Value::Null), [want]);
    }
    assert_eq!(
        refusals("TZ=0", "local".into()),
        [
            "spec.schedule: Invalid value: \"TZ=0\": invalid schedule format: runtime error: slice bounds out of range [:-1]",
            "spec.schedule: Invalid value: \"TZ=0\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            "spec.timeZone: Invalid value: \"local\": unknown time zone local",
        ]
    );
}
