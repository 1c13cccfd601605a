//! Whether what a client asks of a list or a watch goes together: all that does not is told at once.

use api_machinery::Status;
use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;

use crate::request::Query;

/// 422 about the options of a list, or of a watch.
pub(super) fn check(query: &Query, is_watch: bool) -> Result<(), Status> {
    let rule = query.get("resourceVersionMatch").unwrap_or_default();
    let sends_initial = query.get("sendInitialEvents").is_some();
    let is_continued = query.non_empty("continue").is_some();
    let mut errors = Vec::new();
    if is_watch {
        of_watch(rule, sends_initial, is_continued, &mut errors);
    } else {
        let version = query.get("resourceVersion").unwrap_or_default();
        of_list(rule, version, is_continued, &mut errors);
        if sends_initial {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(Error::forbidden(&Path::new("sendInitialEvents"), why));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&Grouped::new("meta.k8s.io", "ListOptions"), "", &errors))
}

fn forbidden(why: &str) -> Error {
    Error::forbidden(&Path::new("resourceVersionMatch"), why)
}

fn unsupported(rule: &str, supported: &[&str]) -> Error {
    Error::not_supported(&Path::new("resourceVersionMatch"), rule, supported)
}

const CONTINUED: &str = "resourceVersionMatch is forbidden when continue is provided";

fn of_list(rule: &str, version: &str, is_continued: bool, errors: &mut Vec<Error>) {
    if rule.is_empty() {
        return;
    }
    if version.is_empty() {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        errors.push(forbidden(why));
    }
    if is_continued {
        errors.push(forbidden(CONTINUED));
    }
    if !matches!(rule, "Exact" | "NotOlderThan") {
        errors.push(unsupported(rule, &["Exact", "NotOlderThan", ""]));
    }
    if rule == "Exact" && version == "0" {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(forbidden(why));
    }
}

fn of_watch(rule: &str, sends_initial: bool, is_continued: bool, errors: &mut Vec<Error>) {
    if sends_initial && rule != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(forbidden(why));
    }
    if !rule.is_empty() && !sends_initial {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(forbidden(why));
    }
    if !matches!(rule, "" | "NotOlderThan") {
        errors.push(unsupported(rule, &["NotOlderThan"]));
    }
    // In these words also where there is no rule.
    if is_continued {
        errors.push(forbidden(CONTINUED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str, is_watch: bool) -> String {
        let refused = check(&Query::parse(Some(query)), is_watch).err();
        let message = refused.map_or_else(String::new, |status| status.message);
        let start = "ListOptions.meta.k8s.io \"\" is invalid: ";
        message.strip_prefix(start).unwrap_or(&message).to_owned()
    }

    #[test]
    fn all_that_does_not_go_together_is_told() {
        let r = "resourceVersionMatch";
        let unless = format!("{r}: Forbidden: {r} is forbidden unless resourceVersion is provided");
        let continued = format!("{r}: Forbidden: {CONTINUED}");
        let supported = format!(
            "{r}: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\""
        );
        for (query, wanted) in [
            ("resourceVersionMatch=Exact", unless.clone()),
            ("resourceVersionMatch=Exact&continue=x", format!("[{unless}, {continued}]")),
            ("resourceVersionMatch=x&resourceVersion=1", supported.clone()),
            ("resourceVersionMatch=x", format!("[{unless}, {supported}]")),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                format!("{r}: Forbidden: {r} \"exact\" is forbidden for resourceVersion \"0\""),
            ),
            (
                "sendInitialEvents=true",
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list".to_owned(),
            ),
            ("resourceVersionMatch=NotOlderThan&resourceVersion=0", String::new()),
            ("continue=x&resourceVersion=7", String::new()),
        ] {
            assert_eq!(told(query, false), wanted, "{query}");
        }
        let requires =
            format!("{r}: Forbidden: sendInitialEvents requires setting {r} to NotOlderThan");
        let supported =
            format!("{r}: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"");
        for (query, wanted) in [
            ("sendInitialEvents=true", requires.clone()),
            (
                "sendInitialEvents=true&resourceVersionMatch=Exact",
                format!("[{requires}, {supported}]"),
            ),
            (
                "resourceVersionMatch=NotOlderThan",
                format!(
                    "{r}: Forbidden: {r} is forbidden for watch unless sendInitialEvents is provided"
                ),
            ),
            ("sendInitialEvents=0&resourceVersionMatch=NotOlderThan&continue=x", continued.clone()),
            ("continue=x", continued),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", String::new()),
        ] {
            assert_eq!(told(query, true), wanted, "{query}");
        }
    }
}
