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
