//! Volumes that put several sources into one directory.
//!
//! Trust bundles and pod certificates are off in 1.36: they are dropped before anything is checked.

use std::collections::HashSet;

use serde_json::Value;

use super::volume_sources::{downward_file, key_to_path, mode};
use super::volumes::unreserved_path;
use super::{given, items, number, text};
use crate::field::{Error, Path};

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

pub(super) fn projected(volume: &Value, path: &Path, errors: &mut Vec<Error>) {
    mode(volume, "defaultMode", path, errors);
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, source) in items(volume, "sources").iter().enumerate() {
        let source_path = path.child("sources").index(index);
        let mut sources = 0;
        for kind in ["secret", "configMap"] {
            let Some(object) = given(source, kind) else { continue };
            sources += 1;
            let own_path = source_path.child(kind);
            let name = text(object, "name");
            if name.is_empty() {
                errors.push(Error::required(&own_path.child("name"), ""));
            }
            for (index, item) in items(object, "items").iter().enumerate() {
                key_to_path(item, &own_path.child("items").index(index), errors);
                taken(&mut seen, text(item, "path"), name, path, errors);
            }
        }
        if let Some(downward) = given(source, "downwardAPI") {
            sources += 1;
            for file in items(downward, "items") {
                downward_file(file, &source_path.child("downwardAPI"), errors);
                let at = text(file, "path");
                taken(&mut seen, at, at, path, errors);
            }
        }
        if let Some(token) = given(source, "serviceAccountToken") {
            sources += 1;
            self::token(token, &source_path.child("serviceAccountToken"), path, errors);
        }
        if sources > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(Error::forbidden(&source_path, why));
        }
    }
}

/// Every path of a projected volume is written once.
fn taken<'a>(
    seen: &mut HashSet<&'a str>,
    at: &'a str,
    shown: &str,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    if seen.contains(&at) {
        errors.push(Error::invalid(path, shown, "conflicting duplicate paths"));
    } else if !at.is_empty() {
        seen.insert(at);
    }
}

fn token(token: &Value, path: &Path, volume_path: &Path, errors: &mut Vec<Error>) {
    let seconds = number(token, "expirationSeconds");
    let seconds_path = path.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        let why = "may not specify a duration less than 10 minutes";
        errors.push(Error::invalid(&seconds_path, seconds, why));
    }
    if seconds > TOKEN_SECONDS_MAX {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.push(Error::invalid(&seconds_path, seconds, why));
    }
    // Told at the volume, as upstream does.
    let at_path = volume_path.child("path");
    if text(token, "path").is_empty() {
        errors.push(Error::required(&at_path, ""));
    } else {
        unreserved_path(text(token, "path"), &at_path, errors);
    }
}
