//! `scheduling.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, boolean, number, text};
use super::row;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "PriorityClass").then_some(&PRIORITY_CLASS)
}

static PRIORITY_CLASS: Printer = Printer {
    columns: &[NAME, number("Value"), boolean("Global-Default"), AGE, text("PreemptionPolicy")],
    cells: |row| {
        vec![
            row.name(),
            row::number(row.object, "value").into(),
            row.object.get("globalDefault").is_true().into(),
            row.age(),
            row::text(row.object, "preemptionPolicy"),
        ]
    },
};
