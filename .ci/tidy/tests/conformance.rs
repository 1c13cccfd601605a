//! The table of upstream's end-to-end tests and what its document says of it belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const RESULTS: [&str; 4] = ["passed", "failed", "out of scope", "not run"];

fn text(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders deep");
    std::fs::read_to_string(root.join("docs").join(name)).expect("the document is there")
}

#[test]
fn the_table_of_end_to_end_tests_is_counted_in_its_document() {
    let (table, document) = (text("conformance.tsv"), text("conformance.md"));
    let mut names = BTreeSet::new();
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        assert!(fields.len() >= 3, "not a line of the table: {line}");
        let (name, class, result) = (fields[0], fields[1], fields[2]);
        assert!(names.insert(name), "twice: {name}");
        let at = RESULTS.iter().position(|one| *one == result).expect("a result of the four");
        counts.entry(class).or_default()[at] += 1;
        // What failed for no reason that anybody knows has not been looked into.
        let is_told = fields.get(3).is_some_and(|cause| !cause.is_empty());
        assert!(is_told || matches!(result, "passed" | "not run"), "no cause: {name}");
    }
    for (class, [passed, failed, elsewhere, not_run]) in counts {
        let row = format!("| `{class}` | {passed} | {failed} | {elsewhere} | {not_run} |");
        assert!(document.contains(&row), "docs/conformance.md lacks: {row}");
    }
}
