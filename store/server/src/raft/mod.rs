//! Consensus: openraft, with its log, state machine and network made by this crate.

pub(crate) mod attend;
pub(crate) mod candidacy;
pub(crate) mod clock;
pub(crate) mod codec;
pub(crate) mod convert;
#[cfg(test)]
mod crash_test;
mod log;
mod log_disk;
pub(crate) mod machine;
mod network;
mod pace;
pub(crate) mod peers;
pub(crate) mod seed;
pub(crate) mod shorten;
mod snapshot;
#[cfg(test)]
mod suite_test;
mod types;
pub(crate) mod vouch;
pub(crate) mod wal;

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

pub(crate) use candidacy::{Bar, Candidacy};
pub(crate) use clock::Clock;
pub(crate) use log::{Log, Promised};
pub(crate) use machine::Machine;
pub(crate) use network::{Network, PeerClient};
pub(crate) use snapshot::{Checkpoint, Receiver, manifest as received};
pub(crate) use types::{Callback, LeaderId, NOBODY, Payload, Peer, TypeConfig};

/// openraft's handle, for this store.
pub(crate) type Node = openraft::Raft<TypeConfig, Machine>;

/// How long openraft waits for the answer to a heartbeat, in milliseconds. How often one is sent is the
/// [`Clock`]'s business. With the flag's own value no answer would come in time where a round trip takes
/// longer, and a leader that hears of nobody is given up; so it is the most that openraft allows: with the
/// least time between two, and its look at its timers, it is less than a follower waits.
fn heartbeat_answer(heartbeat: u64, election: u64) -> u64 {
    let room = (election / 2).saturating_sub(heartbeat / 2);
    // It looks at its timers after 13 of 64 parts.
    (room.saturating_mul(64) / 77).saturating_sub(1).max(heartbeat)
}

/// openraft's settings, each with its reason.
pub(crate) fn settings(config: &crate::Config) -> Result<Arc<Config>, openraft::ConfigError> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (heartbeat, election) = (millis(config.heartbeat), millis(config.election));
    let settings = Config {
        cluster_name: config.initial_token.clone(),
        heartbeat_interval: heartbeat_answer(heartbeat, election),
        // A follower that answered an append just now needs none. Less than the interval: an answer to the
        // last heartbeat must not stand in for the next.
        heartbeat_min_interval: Some(heartbeat / 2),
        // A follower waits out the leader's lease, which is the maximum, and then between the
        // minimum and the maximum: together 1.5 to 2 times etcd's flag. etcd's own wait is 1 to 2.
        election_timeout_min: election.div_ceil(2) + 1,
        election_timeout_max: election,
        // A member that was cut off must not disturb the others when it comes back.
        enable_pre_vote: Some(true),
        // A restarted leader has not proved that its state is current.
        enable_leader_restore: Some(false),
        // A member whose log lost its end to a damaged disk is sent it again. Else its leader tries the same
        // for ever, and each attempt renews its lease: after a handover to that member, which cannot
        // be elected, nobody else could be either.
        allow_log_reversion: Some(true),
        // Else heartbeats of a half-connected leader keep a connected quorum from electing.
        quorum_loss_probe_interval: Some(4 * election),
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_count),
        // A member in trouble catches up by log: installing snapshots is the rarer path.
        max_in_snapshot_log_to_keep: 5 * config.snapshot_count,
        purge_batch_size: (config.snapshot_count / 10).clamp(1, 10_000),
        // The default of 200 ms is shorter than any real transfer.
        install_snapshot_timeout: millis(crate::limits::SNAPSHOT_TIMEOUT),
        api_batch_linger_ms: 0,
        ..Config::default()
    };
    settings.validate().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_heartbeat_may_take_as_long_as_openraft_allows() {
        assert_eq!(heartbeat_answer(100, 1000), 373);
        // etcd's bounds: a heartbeat takes at most a fifth of an election, which takes at most 50 seconds.
        for (heartbeat, election) in
            [(1, 10), (10, 50), (100, 500), (100, 50_000), (10_000, 50_000)]
        {
            let answer = heartbeat_answer(heartbeat, election);
            assert!(answer >= heartbeat);
            let settings = Config {
                heartbeat_interval: answer,
                heartbeat_min_interval: Some(heartbeat / 2),
                election_timeout_min: election.div_ceil(2) + 1,
                election_timeout_max: election,
                quorum_loss_probe_interval: Some(4 * election),
                ..Config::default()
            };
            settings.validate().unwrap_or_else(|why| panic!("{heartbeat} of {election}: {why}"));
        }
    }
}
