//! `apiregistration.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};

/// Who serves a version, and whether somebody does.
pub(super) static API_SERVICE: Printer = Printer {
    columns: &[NAME, text("Service"), text("Available"), AGE],
    cells: |row| {
        let service = row.spec.get("service");
        let shown = match service.is_object() {
            true => format!("{}/{}", service.get("namespace").text(), service.get("name").text()),
            false => "Local".to_owned(),
        };
        let condition =
            row.status.get("conditions").items().find(|one| one.get("type").is("Available"));
        let available = condition.map_or("Unknown".to_owned(), |condition| {
            let status = condition.get("status").text();
            let reason = condition.get("reason").text();
            match (&*status, &*reason) {
                ("True", _) | (_, "") => status.into_owned(),
                _ => format!("{status} ({reason})"),
            }
        });
        vec![row.name(), shown.into(), available.into(), row.age()]
    },
};
