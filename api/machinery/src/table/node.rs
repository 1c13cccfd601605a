//! `node.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "RuntimeClass").then_some(&RUNTIME_CLASS)
}

static RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, text("Handler"), AGE],
    cells: |row| vec![row.name(), row::text(row.object, "handler"), row.age()],
};
