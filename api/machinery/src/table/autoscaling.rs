//! `autoscaling`.

use super::Printer;
use super::column::{AGE, NAME, number, text};
use super::row::{self, Row};
use crate::View;

/// Metrics that a cell names before it only counts.
const METRICS_MAX: usize = 2;

const UNKNOWN: &str = "<unknown>";

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    match kind {
        "HorizontalPodAutoscaler" => Some(&POD_AUTOSCALER),
        "Scale" => Some(&SCALE),
        _ => None,
    }
}

static SCALE: Printer = Printer {
    columns: &[NAME, number("Desired"), number("Available"), AGE],
    cells: |row| {
        vec![
            row.name(),
            row::number(row.spec, "replicas").into(),
            row::number(row.status, "replicas").into(),
            row.age(),
        ]
    },
};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn targets_show_what_is_and_what_should_be() {
        let resource =
            |target| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let percent = resource(json!({"averageUtilization": 60}));
        let external = |target| json!({"type": "External", "external": {"target": target}});
        let seen = |key: &str, current| json!({key: {"current": current}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "1"}}});
        for (metrics, status, shown) in [
            (json!([]), json!([]), "<none>"),
            (json!([percent]), json!([]), "cpu: <unknown>/60%"),
            (
                json!([percent]),
                json!([seen("resource", json!({"averageUtilization": 7}))]),
                "cpu: 7%/60%",
            ),
            (json!([resource(json!({}))]), json!([]), "cpu: <unknown>/<auto>"),
            (
                json!([resource(json!({"averageValue": "100m"}))]),
                json!([seen("resource", json!({"averageValue": "50m"}))]),
                "cpu: 50m/100m",
            ),
            (
                json!([external(json!({"value": "9"})), external(json!({"averageValue": "8"}))]),
                json!([seen("external", json!({"value": "5"}))]),
                "5/9, <unknown>/8 (avg)",
            ),
            (
                json!([pods, {"type": "New"}, percent]),
                json!([seen("pods", json!({}))]),
                "<nil>/1, <unknown type> + 1 more...",
            ),
        ] {
            let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"},
                    "metrics": metrics},
                "status": {"currentMetrics": status}});
            let cells = cells_at_one(&scaler);
            assert_eq!(json!(cells[1..4]), json!(["Deployment/d", shown, "<unset>"]));
        }
    }
}
