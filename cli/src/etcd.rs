//! Called as `etcd`, this binary is a store member; `orlop store` takes Go's flags with one dash.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Whether the program goes by the name of etcd.
fn is_etcd(program: Option<&OsString>) -> bool {
    program.map(Path::new).and_then(Path::file_name) == Some(OsStr::new("etcd"))
}

/// Whether etcd's version is asked for: the lines that its tests and tools read.
pub(crate) fn version(arguments: &[OsString]) -> Option<String> {
    let asked = |argument: &OsString| argument == "--version" || argument == "-version";
    if !is_etcd(arguments.first()) || !arguments.iter().skip(1).any(asked) {
        return None;
    }
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Some(format!(
        "etcd Version: {}\nGit SHA: {}\nGo Version: none: this is orlop {}\nGo OS/Arch: {}/{arch}",
        store_server::VERSION,
        env!("ORLOP_GIT_COMMIT"),
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
    ))
}

/// The arguments as `orlop` reads them.
pub(crate) fn arguments(given: Vec<OsString>) -> Vec<OsString> {
    let (own, flags) = if is_etcd(given.first()) {
        (
            vec![OsString::from("orlop"), OsString::from("store")],
            given.into_iter().skip(1).collect(),
        )
    } else {
        // Before the command there are only flags of our own, such as `--log-level debug`.
        let store = given.iter().skip(1).take(3).position(|argument| argument == "store");
        let Some(store) = store else { return given };
        let mut own = given;
        let flags: Vec<OsString> = own.split_off(store + 2);
        (own, flags)
    };
    let flags = store_server::Flags::with_two_dashes(flags.into_iter());
    own.into_iter().chain(flags).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Vec<String> {
        let given = given.iter().map(OsString::from).collect();
        arguments(given).into_iter().map(|one| one.into_string().unwrap()).collect()
    }

    #[test]
    fn etcd_is_a_store() {
        assert_eq!(read(&["/usr/bin/etcd", "-name", "a"]), ["orlop", "store", "--name", "a"]);
        assert_eq!(read(&["orlop", "store", "-name=a"]), ["orlop", "store", "--name=a"]);
        let level = ["orlop", "--log-level", "debug", "store", "-name=a"];
        assert_eq!(read(&level), ["orlop", "--log-level", "debug", "store", "--name=a"]);
        assert_eq!(read(&["orlop", "bench", "-x"]), ["orlop", "bench", "-x"]);
        let version =
            |given: &[&str]| version(&given.iter().map(OsString::from).collect::<Vec<_>>());
        let lines = version(&["etcd", "--version"]).unwrap();
        assert!(lines.starts_with("etcd Version: 3."), "{lines}");
        assert_eq!(lines.lines().count(), 4);
        assert_eq!(version(&["orlop", "--version"]), None);
        assert_eq!(version(&["etcd"]), None);
    }
}
