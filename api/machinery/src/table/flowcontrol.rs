//! `flowcontrol.apiserver.k8s.io`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row;
use crate::View;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "FlowSchema" => &FLOW_SCHEMA,
        "PriorityLevelConfiguration" => &PRIORITY_LEVEL,
        _ => return None,
    })
}

static FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        text("PriorityLevel"),
        text("MatchingPrecedence"),
        text("DistinguisherMethod"),
        AGE,
        text("MissingPL"),
    ],
    cells: |row| {
        let method = match row.spec.get("distinguisherMethod") {
            missing if missing.is_null() => "<none>".into(),
            method => row::text(method, "type"),
        };
        let dangling = match row.condition("Dangling") {
            missing if missing.is_null() => "?".into(),
            condition => row::text(condition, "status"),
        };
        vec![
            row.name(),
            row::text(row.spec.get("priorityLevelConfiguration"), "name"),
            row::number(row.spec, "matchingPrecedence").into(),
            method,
            row.age(),
            dangling,
        ]
    },
};

static PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        text("Type"),
        text("NominalConcurrencyShares"),
        text("Queues"),
        text("HandSize"),
        text("QueueLengthLimit"),
        AGE,
    ],
    cells: |row| {
        let limited = row.spec.get("limited");
        let queuing = limited.at(&["limitResponse", "queuing"]);
        vec![
            row.name(),
            row::text(row.spec, "type"),
            number_of(limited, "nominalConcurrencyShares"),
            number_of(queuing, "queues"),
            number_of(queuing, "handSize"),
            number_of(queuing, "queueLengthLimit"),
            row.age(),
        ]
    },
};

/// A number of something that may be missing as a whole.
fn number_of(of: View<'_>, key: &str) -> Value {
    if of.is_null() { "<none>".into() } else { row::number(of, key).into() }
}
