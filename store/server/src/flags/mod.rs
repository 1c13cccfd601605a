//! The command line: etcd's own flags, their defaults, environment variables and file.

mod accepted;
mod build;
mod declared;
mod file;
mod logs;
mod quota;
mod values;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _,
    builder::BoolishValueParser, parser::ValueSource,
};

use crate::config::{Config, ConfigError};
pub use logs::{LogFormat, LogOutput, LogRotation, Logs};
pub use quota::shared_quota;
pub(crate) use values::{cluster, duration, urls};

const LOG_ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;

/// Flags of which etcd had an experimental spelling before.
const WERE_EXPERIMENTAL: [&str; 6] = [
    "corrupt-check-time",
    "compact-hash-check-time",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
    "max-learners",
    "peer-skip-client-san-verification",
];

#[derive(Debug, Clone, clap::Args)]
struct Given {
    #[command(flatten)]
    member: declared::Member,
    #[command(flatten)]
    clustering: declared::Clustering,
    #[command(flatten)]
    security: declared::Security,
    #[command(flatten)]
    monitoring: declared::Monitoring,
    #[command(flatten)]
    accepted: accepted::Accepted,
}

/// The flags of a store member: etcd's names, meanings and defaults. Each can be given in the
/// environment too: `--some-flag` as `ETCD_SOME_FLAG`.
#[derive(Debug, Clone)]
pub struct Flags {
    given: Given,
    client_allowed_cn: Vec<String>,
    /// What the user should know about what was given.
    notes: Vec<String>,
}

fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.to_uppercase().replace('-', "_"))
}

/// Switches as etcd has them: `--name`, `--name=true` or `--name=false`, never `--name false`.
fn switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let off = arg.get_default_values().is_empty();
    let arg = arg
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_parser(BoolishValueParser::new())
        .default_missing_value("true");
    if off { arg.default_value("false").hide_default_value(true) } else { arg }
}

/// Leaks a name, once for each flag in the life of a process, because clap keeps it.
fn kept(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

fn older_name(arg: Arg) -> Arg {
    let was = arg.get_long().filter(|long| WERE_EXPERIMENTAL.contains(long));
    match was.map(|long| kept(format!("experimental-{long}"))) {
        Some(older) => arg.alias(older),
        None => arg,
    }
}

/// Takes the value from the environment, unless the variable is empty.
fn from_environment(arg: Arg) -> Arg {
    let variable = arg.get_long().map(variable);
    let set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match variable.filter(set) {
        Some(variable) => arg.env(OsStr::new(kept(variable))),
        None => arg,
    }
}

fn command(command: Command) -> Command {
    let command = Given::augment_args(command).args_override_self(true);
    command.mut_args(|arg| older_name(switch(arg)))
}

impl clap::Args for Flags {
    fn augment_args(base: Command) -> Command {
        command(base).mut_args(from_environment)
    }

    fn augment_args_for_update(base: Command) -> Command {
        Self::augment_args(base)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut notes = Vec::new();
        let own = command(Command::new("etcd"));
        let mut known = Vec::new();
        for arg in own.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let variable = variable(long);
            let source = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
            if source.is_some()
                && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
                && std::env::var_os(&variable).is_some_and(|value| !value.is_empty())
            {
                notes.push(format!("the flag --{long} wins over {variable}"));
            }
            known.push(variable);
        }
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("ETCD_")) else {
                continue;
            };
            if !known.iter().any(|variable| variable == name) {
                notes.push(format!("{name} is not the environment variable of any flag"));
            }
        }
        let given = Given::from_arg_matches(matches)?;
        notes.extend(given.accepted.notes.iter().cloned());
        Ok(Self { given, client_allowed_cn: Vec::new(), notes })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    /// Go's flags may have one dash or two; clap's have two. For what follows the command's name.
    pub fn with_two_dashes(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
        let long = |text: &str| {
            let name = text.strip_prefix('-').filter(|name| !name.starts_with('-'))?;
            let word = name.len() > 1 && name.starts_with(|c: char| c.is_ascii_lowercase());
            word.then(|| OsString::from(format!("--{name}")))
        };
        arguments.map(|argument| argument.to_str().and_then(long).unwrap_or(argument)).collect()
    }

    /// The flags that count: those of `--config-file`, if there is one, and then no others.
    ///
    /// # Errors
    /// If the file cannot be read, or says what no flag may say.
    pub fn resolved(self) -> Result<Self, ConfigError> {
        match &self.given.monitoring.config_file {
            None => Ok(self),
            Some(path) => Self::of_file(path, file::read),
        }
    }

    fn of_file(
        path: &Path,
        read: impl FnOnce(&Path, &[String]) -> Result<file::File, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let own = command(Command::new("etcd").no_binary_name(true).disable_help_flag(true));
        let known: Vec<String> =
            own.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        let mut file = read(path, &known)?;
        let matches = own.try_get_matches_from(&file.arguments);
        let given =
            matches.and_then(|matches| Given::from_arg_matches(&matches)).map_err(|why| {
                let why = why.to_string();
                let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
                values::error("config-file", format!("{}: {why}", path.display()))
            })?;
        file.notes.push(format!(
            "the settings are those of {}; other flags and the environment do not count",
            path.display()
        ));
        file.notes.extend(given.accepted.notes.iter().cloned());
        Ok(Self { given, client_allowed_cn: file.client_allowed_cn, notes: file.notes })
    }

    /// As [`Flags::into_config`] and [`Flags::logs`], without a look at the disk: a quota that is left
    /// to the size of the disk is some other one, and a file of settings is not read.
    pub(crate) fn without_disk(mut self) -> Result<(Config, Logs), ConfigError> {
        self.given.monitoring.config_file = None;
        if self.given.member.quota_backend_bytes == 0 {
            self.given.member.quota_backend_bytes = 1;
        }
        let logs = self.logs()?;
        Ok((build::config(self)?, logs))
    }

    /// What a file of this content says.
    pub(crate) fn of_text(content: &str) -> Result<Self, ConfigError> {
        Self::of_file(Path::new("etcd.yml"), |path, known| file::parse(path, content, known))
    }

    /// Where and how the log is written.
    ///
    /// # Errors
    /// Names the first flag that cannot be used, and why.
    pub fn logs(&self) -> Result<Logs, ConfigError> {
        logs::logs(&self.given.monitoring)
    }

    /// Checks every flag.
    ///
    /// # Errors
    /// Names the first flag that cannot be used, and why.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let flags = self.resolved()?;
        build::config(flags)
    }
}

#[cfg(test)]
#[path = "flags_test.rs"]
mod flags_test;
