//! Events.

use serde_json::Value;

use crate::table::Printer;
use crate::table::column::{Column, NAME, text, wide};
use crate::table::row::{self, Row};

pub(super) static EVENT: Printer = Printer {
    columns: &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        wide("Count"),
        Column { wide: true, ..NAME },
    ],
    cells,
};

fn cells(row: &Row<'_>) -> Vec<Value> {
    let object = row.object;
    let first = match object.get("firstTimestamp") {
        missing if missing.is_null() => object.get("eventTime"),
        written => written,
    };
    let (last, count) = match (object.get("series"), object.get("lastTimestamp")) {
        (series, _) if !series.is_null() => {
            (series.get("lastObservedTime"), row::number(series, "count"))
        }
        (_, last) => {
            let last = if last.is_null() { first } else { last };
            (last, object.get("count").number().filter(|count| *count != 0).unwrap_or(1))
        }
    };
    let target = object.get("involvedObject");
    let mut shown = target.get("kind").text().to_lowercase();
    let name = target.get("name").text();
    if !name.is_empty() {
        shown = format!("{shown}/{name}");
    }
    vec![
        row.since(last).into(),
        row::text(object, "type"),
        row::text(object, "reason"),
        shown.into(),
        row::text(target, "fieldPath"),
        source(row).into(),
        object.get("message").text().trim().into(),
        row.since(first).into(),
        count.into(),
        row.name(),
    ]
}

/// Who said it: the component and its host or instance.
fn source(row: &Row<'_>) -> String {
    let source = row.object.get("source");
    let either =
        |old: &str, new: &str| row::or(&source.get(old).text(), &row.object.get(new).text());
    let component = either("component", "reportingComponent");
    let instance = either("host", "reportingInstance");
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn an_event_shows_when_how_often_and_by_whom() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-01T00:50:00.000001Z");
        for (object, last, first, count, source) in [
            (json!({}), "<unknown>", "<unknown>", 1, ""),
            (json!({"eventTime": new}), "9m59s", "9m59s", 1, ""),
            (json!({"firstTimestamp": old, "count": 4}), "60m", "60m", 4, ""),
            (
                json!({"firstTimestamp": old, "lastTimestamp": "2026-01-01T00:59:00Z",
                    "source": {"component": "kubelet", "host": "n"}}),
                "60s",
                "60m",
                1,
                "kubelet, n",
            ),
            (
                json!({"eventTime": old, "series": {"count": 0}, "reportingComponent": "r"}),
                "<unknown>",
                "60m",
                0,
                "r",
            ),
            (
                json!({"eventTime": old, "series": {"count": 7, "lastObservedTime": new},
                    "reportingInstance": "i"}),
                "9m59s",
                "60m",
                7,
                ", i",
            ),
        ] {
            let mut event = object;
            event["apiVersion"] = "v1".into();
            event["kind"] = "Event".into();
            let cells = cells_at_one(&event);
            let shown = json!([cells[0], cells[7], cells[8], cells[5]]);
            assert_eq!(shown, json!([last, first, count, source]), "{event}");
        }
    }
}
