//! `coordination.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "Lease").then_some(&LEASE)
}

static LEASE: Printer = Printer {
    columns: &[NAME, text("Holder"), AGE],
    cells: |row| vec![row.name(), row::text(row.spec, "holderIdentity"), row.age()],
};
