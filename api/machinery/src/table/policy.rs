//! `policy`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, NAME, number, text};
use super::row;
use crate::View;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "PodDisruptionBudget").then_some(&DISRUPTION_BUDGET)
}

static DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        NAME,
        text("Min Available"),
        text("Max Unavailable"),
        number("Allowed Disruptions"),
        AGE,
    ],
    cells: |row| {
        vec![
            row.name(),
            number_or_share(row.spec.get("minAvailable")),
            number_or_share(row.spec.get("maxUnavailable")),
            row::number(row.status, "disruptionsAllowed").into(),
            row.age(),
        ]
    },
};

fn number_or_share(value: View<'_>) -> Value {
    match value.number() {
        Some(number) => number.to_string().into(),
        None if value.is_null() => "N/A".into(),
        None => value.text().into(),
    }
}
