//! `batch`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, boolean, number, text};
use super::row::{self, Row};
use crate::time;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "CronJob" => &CRON_JOB,
        "Job" => &JOB,
        _ => return None,
    })
}

static CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        text("Schedule"),
        text("Timezone"),
        boolean("Suspend"),
        number("Active"),
        text("Last Schedule"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |row| {
        let suspend = match row.spec.get("suspend") {
            missing if missing.is_null() => "<unset>",
            suspend if suspend.is_true() => "True",
            _ => "False",
        };
        let last = match row.status.get("lastScheduleTime") {
            never if never.is_null() => "<none>".to_owned(),
            last => row.since(last),
        };
        let job = row.spec.at(&["jobTemplate", "spec"]);
        let [names, images] = row::containers(job.get("template"));
        vec![
            row.name(),
            row::text(row.spec, "schedule"),
            row::given(row.spec, "timeZone", "<none>"),
            suspend.into(),
            row.status.get("active").count().into(),
            last.into(),
            row.age(),
            names,
            images,
            row::selector(job.get("selector")),
        ]
    },
};

static JOB: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Completions"),
        text("Duration"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |row| {
        let [names, images] = row::containers(row.spec.get("template"));
        vec![
            row.name(),
            state(row).into(),
            completions(row),
            duration(row),
            row.age(),
            names,
            images,
            row::selector(row.spec.get("selector")),
        ]
    },
};

fn state(row: &Row<'_>) -> &'static str {
    let is = |kind: &str| row.condition(kind).get("status").is("True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if row.is_going() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(row: &Row<'_>) -> Value {
    let succeeded = row::number(row.status, "succeeded");
    match (row.spec.get("completions").number(), row::number(row.spec, "parallelism")) {
        (Some(completions), _) => row::ratio(succeeded, completions),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        (None, _) => row::ratio(succeeded, 1),
    }
}

fn duration(row: &Row<'_>) -> Value {
    let at = |key: &str| time::parse(&row.status.get(key).text());
    let Some(start) = at("startTime") else { return "".into() };
    let end = at("completionTime").unwrap_or(row.now);
    time::human_duration(end.duration_since(start).as_secs()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_job_shows_how_it_is_doing() {
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:07:30Z");
        let on = |kind: &str| json!([{"type": kind, "status": "True"}]);
        let going = json!({"deletionTimestamp": end});
        for (metadata, spec, status, shown) in [
            (json!({}), json!({}), json!({}), ["Running", "0/1", ""]),
            (
                json!({}),
                json!({"completions": 3, "parallelism": 2}),
                json!({"succeeded": 3, "startTime": start, "completionTime": end,
                    "conditions": on("Complete")}),
                ["Complete", "3/3", "7m30s"],
            ),
            (
                going.clone(),
                json!({"parallelism": 4}),
                json!({"succeeded": 1, "startTime": start, "conditions": on("Suspended")}),
                ["Terminating", "1/1 of 4", "60m"],
            ),
            (going, json!({}), json!({"conditions": on("Failed")}), ["Failed", "0/1", ""]),
            (
                json!({}),
                json!({}),
                json!({"conditions": on("Suspended")}),
                ["Suspended", "0/1", ""],
            ),
            (
                json!({}),
                json!({"parallelism": 1}),
                json!({"conditions": on("FailureTarget")}),
                ["FailureTarget", "0/1", ""],
            ),
            (
                json!({}),
                json!({"completions": 0}),
                json!({"conditions": on("SuccessCriteriaMet")}),
                ["SuccessCriteriaMet", "0/0", ""],
            ),
        ] {
            let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                "spec": spec, "status": status});
            assert_eq!(json!(cells_at_one(&job)[1..4]), json!(shown), "{job}");
        }
    }

    #[test]
    fn a_cron_job_shows_what_is_not_set() {
        let job =
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "@daily"}});
        let shown =
            json!(["@daily", "<none>", "<unset>", 0, "<none>", "<unknown>", "", "", "<none>"]);
        assert_eq!(json!(cells_at_one(&job)[1..]), shown);
        let job = json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "spec": {"schedule": "@daily", "timeZone": "Etc/UTC", "suspend": false},
            "status": {"active": [{}, {}], "lastScheduleTime": "2026-01-01T00:00:00Z"}});
        let shown = json!(["@daily", "Etc/UTC", "False", 2, "60m"]);
        assert_eq!(json!(cells_at_one(&job)[1..6]), shown);
    }
}
