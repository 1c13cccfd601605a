//! etcd's flags that are understood and have no effect here, each with the reason; the user is told.

use clap::{Arg, ArgAction, ArgMatches, Command};

const BBOLT: &str = "the disk format is another one";
const DISCOVERY: &str = "it only matters with --discovery-endpoints";
const ALWAYS: &str = "it is always on";
const TRACING: &str = "spans are not exported";
const LEASES: &str = "how leases outlive a leader is not a choice";
const RAFT_LINKS: &str = "peers speak over HTTP/2 with its own keep-alive";
const GONE: &str = "etcd ignores it as well";

/// Flags with values that may be left away (`--name`, `--name=value`).
const SWITCHES: [(&str, &str); 19] = [
    ("initial-election-tick-advance", "elections do not tick"),
    ("memory-mlock", "the caches are bounded instead"),
    ("socket-reuse-address", ALWAYS),
    ("discovery-insecure-transport", DISCOVERY),
    ("discovery-insecure-skip-tls-verify", DISCOVERY),
    ("pre-vote", ALWAYS),
    ("enable-pprof", "there are no Go profiles to take"),
    ("enable-distributed-tracing", TRACING),
    ("experimental-enable-distributed-tracing", TRACING),
    ("unsafe-no-fsync", "every write is made durable all the same"),
    ("enable-v2", GONE),
    ("experimental-compact-hash-check-enabled", "see --compact-hash-check-time"),
    ("experimental-enable-lease-checkpoint", LEASES),
    ("experimental-enable-lease-checkpoint-persist", LEASES),
    ("experimental-memory-mlock", "the caches are bounded instead"),
    ("experimental-txn-mode-write-with-shared-buffer", BBOLT),
    ("experimental-stop-grpc-service-on-defrag", "defragmenting blocks nothing"),
    ("experimental-set-member-localaddr", RAFT_LINKS),
    ("force", GONE),
];

const VALUES: [(&str, &str); 38] = [
    ("max-wals", "the log is one database"),
    ("backend-bbolt-freelist-type", BBOLT),
    ("backend-batch-interval", BBOLT),
    ("backend-batch-limit", BBOLT),
    ("grpc-keepalive-min-time", "pings of clients are answered, and not counted"),
    ("raft-read-timeout", RAFT_LINKS),
    ("raft-write-timeout", RAFT_LINKS),
    ("discovery", GONE),
    ("discovery-dial-timeout", DISCOVERY),
    ("discovery-request-timeout", DISCOVERY),
    ("discovery-keepalive-time", DISCOVERY),
    ("discovery-keepalive-timeout", DISCOVERY),
    ("discovery-cert", DISCOVERY),
    ("discovery-key", DISCOVERY),
    ("discovery-cacert", DISCOVERY),
    ("discovery-user", DISCOVERY),
    ("discovery-password", DISCOVERY),
    ("discovery-fallback", GONE),
    ("discovery-proxy", GONE),
    ("discovery-srv-name", "it only matters with --discovery-srv"),
    ("client-cert-file", "the member is no client of its client port"),
    ("client-key-file", "the member is no client of its client port"),
    ("logger", "there is one logger"),
    ("distributed-tracing-address", TRACING),
    ("distributed-tracing-service-name", TRACING),
    ("distributed-tracing-instance-id", TRACING),
    ("distributed-tracing-sampling-rate", TRACING),
    ("compaction-batch-limit", "compaction yields to requests by itself"),
    ("compaction-sleep-interval", "compaction yields to requests by itself"),
    ("warning-apply-duration", "see the metric etcd_server_apply_duration_seconds"),
    ("bootstrap-defrag-threshold-megabytes", BBOLT),
    ("downgrade-check-time", "downgrades are not supported"),
    ("snapshot-catchup-entries", "it follows from --snapshot-count"),
    ("v2-deprecation", GONE),
    ("proxy", GONE),
    ("max-result-buffer", GONE),
    ("max-retry-attempts", GONE),
    ("snapshot", GONE),
];

/// The older spelling of some of them.
const EXPERIMENTAL: [&str; 7] = [
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "warning-apply-duration",
    "bootstrap-defrag-threshold-megabytes",
    "downgrade-check-time",
    "snapshot-catchup-entries",
    "distributed-tracing-sampling-rate",
];

/// Which of them were given.
#[derive(Debug, Clone, Default)]
pub(super) struct Accepted {
    /// One line for each.
    pub(super) notes: Vec<String>,
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    SWITCHES.into_iter().chain(VALUES)
}

impl clap::Args for Accepted {
    fn augment_args(command: Command) -> Command {
        let switch = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .hide(true)
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        };
        let value = |name: &'static str| {
            let arg = Arg::new(name).long(name).hide(true).action(ArgAction::Set).num_args(1);
            let arg = arg.allow_hyphen_values(true);
            if EXPERIMENTAL.contains(&name) { arg.alias(experimental(name)) } else { arg }
        };
        command
            .args(SWITCHES.map(|(name, _)| switch(name)))
            .args(VALUES.map(|(name, _)| value(name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// `experimental-` before the name; leaked, once for each of a few names, because clap keeps it.
fn experimental(name: &str) -> clap::builder::Str {
    let full: &'static str = Box::leak(format!("experimental-{name}").into_boxed_str());
    full.into()
}

impl clap::FromArgMatches for Accepted {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut accepted = Self::default();
        accepted.update_from_arg_matches(matches)?;
        Ok(accepted)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let given = |(name, _): &(&str, &str)| matches.contains_id(name);
        self.notes = all()
            .filter(given)
            .map(|(name, why)| format!("--{name} has no effect here: {why}"))
            .collect();
        Ok(())
    }
}
