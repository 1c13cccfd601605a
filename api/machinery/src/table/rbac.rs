//! `rbac.authorization.k8s.io`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, NAME, text, wide};
use super::row::Row;
use crate::View;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    matches!(kind, "ClusterRoleBinding" | "RoleBinding").then_some(&BINDING)
}

/// Role, and who has it: users, groups, service accounts.
static BINDING: Printer = Printer {
    columns: &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")],
    cells: |row| {
        let role = row.object.get("roleRef");
        let role = format!("{}/{}", role.get("kind").text(), role.get("name").text());
        let named = |subject: View<'_>| subject.get("name").text().into_owned();
        let with_namespace = |subject: View<'_>| {
            format!("{}/{}", subject.get("namespace").text(), subject.get("name").text())
        };
        vec![
            row.name(),
            role.into(),
            row.age(),
            subjects(row, "User", named),
            subjects(row, "Group", named),
            subjects(row, "ServiceAccount", with_namespace),
        ]
    },
};

fn subjects(row: &Row<'_>, kind: &str, shown: impl Fn(View<'_>) -> String) -> Value {
    let subjects = row.object.get("subjects").items();
    let of_kind: Vec<String> =
        subjects.filter(|subject| subject.get("kind").is(kind)).map(shown).collect();
    of_kind.join(", ").into()
}
