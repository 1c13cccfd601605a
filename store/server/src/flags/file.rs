//! etcd's configuration file: the same names as the flags, in YAML or JSON.
//!
//! It is turned into a command line, so that there is one way to a checked configuration.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::values::error;
use crate::config::ConfigError;

const FLAG: &str = "config-file";

/// What the file says.
pub(super) struct File {
    /// As if given on the command line.
    pub(super) arguments: Vec<String>,
    /// Common names for clients: only a file can say this.
    pub(super) client_allowed_cn: Vec<String>,
    /// What was passed over.
    pub(super) notes: Vec<String>,
}

/// Durations are whole nanoseconds in a file; a flag wants a unit.
const DURATIONS: [&str; 8] = [
    "corrupt-check-time",
    "compact-hash-check-time",
    "lease-checkpoint-interval",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
    "grpc-keepalive-min-time",
];

/// A value as a flag has it; nothing for what is empty.
fn text(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) if DURATIONS.contains(&name) => Some(format!("{number}ns")),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().filter_map(|value| text(name, value)).collect();
            Some(values.join(",")).filter(|text| !text.is_empty())
        }
    }
}

/// The flag for a setting of `client-transport-security` or `peer-transport-security`.
fn security(peer: bool, setting: &str) -> Option<String> {
    let name = match (peer, setting) {
        (true, "allowed-cn") => "peer-cert-allowed-cn",
        (true, "allowed-hostname") => "peer-cert-allowed-hostname",
        (false, "allowed-hostname") => "client-cert-allowed-hostname",
        (true, "skip-client-san-verification") => "peer-skip-client-san-verification",
        (
            _,
            "cert-file" | "key-file" | "client-cert-file" | "client-key-file" | "client-cert-auth"
            | "trusted-ca-file" | "auto-tls",
        ) => return Some(format!("{}{setting}", if peer { "peer-" } else { "" })),
        _ => return None,
    };
    Some(name.to_owned())
}

/// Reads the file; `known` are the flags there are.
pub(super) fn read(path: &Path, known: &[String]) -> Result<File, ConfigError> {
    let content = fs::read_to_string(path)
        .map_err(|why| error(FLAG, format!("{}: {why}", path.display())))?;
    parse(path, &content, known)
}

/// Reads the content of the file that `path` names in errors.
pub(super) fn parse(path: &Path, content: &str, known: &[String]) -> Result<File, ConfigError> {
    let settings: Option<Map<String, Value>> = serde_saphyr::from_str(content)
        .map_err(|why| error(FLAG, format!("{}: {why}", path.display())))?;
    let mut file = File { arguments: Vec::new(), client_allowed_cn: Vec::new(), notes: Vec::new() };
    for (name, value) in settings.unwrap_or_default() {
        let section = name == "client-transport-security" || name == "peer-transport-security";
        if !section {
            file.set(&name, &name, &value, known);
            continue;
        }
        let peer = name == "peer-transport-security";
        let settings = match &value {
            Value::Null => continue,
            Value::Object(settings) => settings,
            _ => return Err(error(FLAG, format!("{}: invalid {name}", path.display()))),
        };
        for (setting, value) in settings {
            let full = format!("{name}.{setting}");
            if !peer && setting == "allowed-cn" {
                let names = text(setting, value).unwrap_or_default();
                file.client_allowed_cn = super::values::list(&names);
            } else {
                let flag = security(peer, setting).unwrap_or_default();
                file.set(&flag, &full, value, known);
            }
        }
    }
    Ok(file)
}

impl File {
    fn set(&mut self, flag: &str, said: &str, value: &Value, known: &[String]) {
        if !known.iter().any(|name| name == flag) {
            // As etcd, which passes over what it does not know.
            self.notes.push(format!("--config-file: {said} is not a setting"));
        } else if let Some(text) = text(flag, value) {
            self.arguments.push(format!("--{flag}={text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_flags_it_stands_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.yml");
        let content = "\
# A comment.
name: 'm1'
data-dir:
heartbeat-interval: 50
watch-progress-notify-interval: 5000000000
strict-reconfig-check: false
cipher-suites: [A, B]
nonsense: 1
client-transport-security:
  cert-file: /c
  allowed-cn: [a, b]
  client-cert-auth: true
peer-transport-security:
  key-file:
  allowed-cn: c
";
        fs::write(&path, content).unwrap();
        let known = [
            "name",
            "data-dir",
            "heartbeat-interval",
            "watch-progress-notify-interval",
            "strict-reconfig-check",
            "cipher-suites",
            "cert-file",
            "client-cert-auth",
            "peer-key-file",
            "peer-cert-allowed-cn",
        ];
        let file = read(&path, &known.map(str::to_owned)).unwrap();
        let mut arguments = file.arguments;
        arguments.sort();
        assert_eq!(
            arguments,
            [
                "--cert-file=/c",
                "--cipher-suites=A,B",
                "--client-cert-auth=true",
                "--heartbeat-interval=50",
                "--name=m1",
                "--peer-cert-allowed-cn=c",
                "--strict-reconfig-check=false",
                "--watch-progress-notify-interval=5000000000ns",
            ]
        );
        assert_eq!(file.client_allowed_cn, ["a", "b"]);
        assert_eq!(file.notes, ["--config-file: nonsense is not a setting"]);
    }
}
