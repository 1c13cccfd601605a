//! Files, and what kube-apiserver 1.36 says of them, word for word but where a line tells otherwise.

use std::path::Path;

use super::config::rules;

#[test]
fn files_are_accepted_and_refused_in_upstreams_words() {
    let mut wrong = Vec::new();
    for case in include_str!("configs.txt").split("## ").skip(1) {
        let (head, rest) = case.split_once('\n').unwrap();
        let (name, whose) = head.split_once(": ").unwrap();
        let (file, wanted) = rest.rsplit_once(">> ").unwrap();
        let wanted = wanted.trim_end_matches('\n');
        let said = match rules(Path::new(name), file.as_bytes()) {
            Ok(_) => "ok".to_owned(),
            Err(why) => why,
        };
        let is_right = match whose {
            "starts with" => said.starts_with(wanted),
            _ => said == wanted,
        };
        if !is_right {
            wrong.push(format!("{name}\n  wanted {wanted}\n  said   {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn secrets_are_in_no_error_and_no_debug_text() {
    const SECRET: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
    for case in include_str!("configs.txt").split("## ").skip(1) {
        let (_, rest) = case.split_once('\n').unwrap();
        let (file, _) = rest.rsplit_once(">> ").unwrap();
        let said = format!("{:?}", rules(Path::new("file"), file.as_bytes()));
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn files_that_are_not_there_or_empty_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let gone = super::config::load(&folder.path().join("gone")).unwrap_err();
    assert!(gone.starts_with("error while parsing file: error while loading file: error reading"));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let why = super::config::load(&empty).unwrap_err();
    assert!(why.ends_with("is empty"), "{why}");
}
