//! What upstream says of columns: mostly the words of the field that they show.
//!
//! A line without indent names a group and a kind; below it, indented, are columns, each with its
//! field behind `=`. Words that upstream has for a column alone are not here.
//! The table is part of the binary, so a line that does not parse is a bug and panics at first use.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::ResourceInfo;
use crate::custom::kind::{CREATED_TEXT, NAME_TEXT};
use crate::openapi::Descriptions;

const COLUMNS: &str = include_str!("../tables/columns.txt");

/// By kind, then by column.
type Table = HashMap<&'static str, HashMap<&'static str, Box<str>>>;

/// Only the words that columns have are kept of all that fields have.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let descriptions = Descriptions::default();
    let mut table = Table::new();
    let mut kind = "";
    for line in COLUMNS.lines().filter(|line| !line.starts_with('#')) {
        let Some(column) = line.strip_prefix(' ') else {
            kind = line;
            continue;
        };
        let (column, field) = column.split_once('=').expect("the table is compiled in");
        let (ty, field) = field.rsplit_once('.').expect("the table is compiled in");
        let words = descriptions.of(&format!("io.k8s.{ty}"), field).unwrap_or_default();
        table.entry(kind).or_default().insert(column, words.into());
    }
    table
});

/// What is said of a column of a built-in kind; nothing when that is not known.
pub(super) fn description(info: &ResourceInfo, column: &str) -> &'static str {
    match column {
        "Name" => NAME_TEXT,
        "Age" | "Created At" => CREATED_TEXT,
        _ => {
            let group = if info.group.is_empty() { "core" } else { info.group };
            let kind = TABLE.get(format!("{group}/{}", info.kind).as_str());
            kind.and_then(|columns| columns.get(column)).map_or("", |words| words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use crate::table::columns;

    #[test]
    fn every_line_is_about_a_column_and_has_words() {
        let mut lines = 0;
        for (kind, described) in TABLE.iter() {
            let known = |info: &&ResourceInfo| {
                let group = if info.group.is_empty() { "core" } else { info.group };
                *kind == format!("{group}/{}", info.kind)
            };
            let info = kinds::all().iter().find(known).unwrap_or_else(|| panic!("{kind}"));
            for (column, words) in described {
                lines += 1;
                assert!(columns(info).iter().any(|one| one.name == *column), "{kind}: {column}");
                assert!(!words.is_empty(), "{kind}: {column}");
            }
        }
        let written = COLUMNS.lines().filter(|line| line.starts_with(' ')).count();
        assert_eq!(lines, written, "a line is there twice");
    }

    /// Held beside a real kube-apiserver 1.36.
    #[test]
    fn columns_say_what_their_fields_are_for() {
        let secrets = kinds::find("", "v1", "secrets").unwrap();
        assert_eq!(
            description(secrets, "Type"),
            "Used to facilitate programmatic handling of secret data. More info: \
             https://kubernetes.io/docs/concepts/configuration/secret/#secret-types"
        );
        assert!(description(secrets, "Name").starts_with("Name must be unique"));
    }
}
