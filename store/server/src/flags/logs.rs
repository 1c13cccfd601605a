//! Where and how the log is written, from etcd's flags.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    declared::Monitoring,
    values::{error, list},
};
use crate::config::ConfigError;

/// The log's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// A level that `tracing` knows.
    pub level: &'static str,
    /// The shape of a line.
    pub format: LogFormat,
    /// Where lines go; at least one.
    pub outputs: Vec<LogOutput>,
    /// When a file is moved aside; nothing: never.
    pub rotation: Option<LogRotation>,
}

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, with the names that etcd's have.
    Json,
    /// For people.
    Console,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// The standard error.
    Stderr,
    /// The standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// When a log file is moved aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRotation {
    /// It is this large, in bytes.
    pub bytes_max: u64,
    /// Older files are removed after this many days; 0: never.
    pub days_max: u64,
    /// This many older files are kept; 0: all.
    pub files_max: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct Rotation {
    maxsize: u64,
    maxage: u64,
    maxbackups: usize,
    compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { maxsize: 100, maxage: 0, maxbackups: 0, compress: false }
    }
}

pub(super) fn logs(flags: &Monitoring) -> Result<Logs, ConfigError> {
    let level = match flags.log_level.to_lowercase().as_str() {
        "debug" => "debug",
        "info" => "info",
        "warn" => "warn",
        "error" | "dpanic" | "panic" | "fatal" => "error",
        other => {
            let problem = format!("{other:?} is not debug, info, warn, error, panic or fatal");
            return Err(error("log-level", problem));
        }
    };
    let format = match flags.log_format.as_str() {
        "json" => LogFormat::Json,
        "console" => LogFormat::Console,
        other => {
            return Err(error("log-format", format!("unknown log format: {other}")));
        }
    };
    let names = list(&flags.log_outputs);
    if names.len() > 1 && names.iter().any(|name| name == "default") {
        return Err(error("log-outputs", "\"default\" goes with no other output"));
    }
    let mut outputs: Vec<LogOutput> = names
        .into_iter()
        .map(|name| match name.as_str() {
            "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            file => LogOutput::File(PathBuf::from(file)),
        })
        .collect();
    if outputs.is_empty() {
        outputs.push(LogOutput::Stderr);
    }
    let rotation = flags.enable_log_rotation.then(|| rotation(flags, &outputs)).transpose()?;
    Ok(Logs { level, format, outputs, rotation })
}

fn rotation(flags: &Monitoring, outputs: &[LogOutput]) -> Result<LogRotation, ConfigError> {
    const FLAG: &str = "log-rotation-config-json";
    let files = outputs.iter().filter(|output| matches!(output, LogOutput::File(_))).count();
    if files != 1 {
        return Err(error("enable-log-rotation", "requires a single file path in --log-outputs"));
    }
    let said: Rotation = serde_json::from_str(&flags.log_rotation_config_json)
        .map_err(|why| error(FLAG, format!("invalid log rotation config: {why}")))?;
    if said.compress {
        return Err(error(FLAG, "\"compress\" is not supported"));
    }
    // As etcd: a size of zero means the default.
    let megabytes = if said.maxsize == 0 { 100 } else { said.maxsize };
    Ok(LogRotation {
        bytes_max: megabytes.saturating_mul(1 << 20),
        days_max: said.maxage,
        files_max: said.maxbackups,
    })
}
