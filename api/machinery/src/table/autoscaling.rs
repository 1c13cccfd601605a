//! `autoscaling`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row::{self, Row};
use crate::View;

/// Metrics that a cell names before it only counts.
const METRICS_MAX: usize = 2;

const UNKNOWN: &str = "<unknown>";

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "HorizontalPodAutoscaler").then_some(&POD_AUTOSCALER)
}

static POD_AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        text("Reference"),
        text("Targets"),
        text("MinPods"),
        text("MaxPods"),
        text("Replicas"),
        AGE,
    ],
    cells: |row| {
        let target = row.spec.get("scaleTargetRef");
        let target = format!("{}/{}", target.get("kind").text(), target.get("name").text());
        let least = row.spec.get("minReplicas").number();
        vec![
            row.name(),
            target.into(),
            metrics(row).into(),
            least.map_or("<unset>".to_owned(), |least| least.to_string()).into(),
            row::number(row.spec, "maxReplicas").into(),
            row::number(row.status, "currentReplicas").into(),
            row.age(),
        ]
    },
};

fn metrics(row: &Row<'_>) -> String {
    let wanted = row.spec.get("metrics");
    let count = wanted.count();
    if count == 0 {
        return "<none>".to_owned();
    }
    let mut seen = row.status.get("currentMetrics").items();
    let shown: Vec<String> = wanted
        .items()
        .take(METRICS_MAX)
        .map(|metric| of_metric(metric, seen.next().unwrap_or_default()))
        .collect();
    let shown = shown.join(", ");
    match count.checked_sub(METRICS_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} + {more} more..."),
    }
}

/// What is measured, and what it should be.
fn of_metric(metric: View<'_>, seen: View<'_>) -> String {
    let of_type = |key: &str| (metric.get(key), seen.get(key));
    match &*metric.get("type").text() {
        "External" => of_value(of_type("external")),
        "Object" => of_value(of_type("object")),
        "Pods" => {
            let (wanted, seen) = of_type("pods");
            let target = quantity(wanted.at(&["target", "averageValue"]));
            format!("{}/{target}", current(seen, "averageValue"))
        }
        "Resource" => of_resource(of_type("resource")),
        "ContainerResource" => of_resource(of_type("containerResource")),
        _ => "<unknown type>".to_owned(),
    }
}

fn of_value((wanted, seen): (View<'_>, View<'_>)) -> String {
    let target = wanted.get("target");
    let average = target.get("averageValue");
    if average.is_null() {
        return format!("{}/{}", current(seen, "value"), quantity(target.get("value")));
    }
    let current = row::or(&seen.at(&["current", "averageValue"]).text(), UNKNOWN);
    format!("{current}/{} (avg)", average.text())
}

fn of_resource((wanted, seen): (View<'_>, View<'_>)) -> String {
    let (name, target) = (wanted.get("name").text(), wanted.get("target"));
    let average = target.get("averageValue");
    if !average.is_null() {
        return format!("{name}: {}/{}", current(seen, "averageValue"), average.text());
    }
    let percent = |value: View<'_>, missing: &str| match value.get("averageUtilization").number() {
        Some(percent) => format!("{percent}%"),
        None => missing.to_owned(),
    };
    format!("{name}: {}/{}", percent(seen.get("current"), UNKNOWN), percent(target, "<auto>"))
}

/// A quantity of what is measured now.
fn current(seen: View<'_>, key: &str) -> String {
    if seen.is_null() { UNKNOWN.to_owned() } else { quantity(seen.at(&["current", key])) }
}

/// Upstream shows what Go makes of a quantity that is not there.
fn quantity(value: View<'_>) -> String {
    row::or(&value.text(), "<nil>")
}
