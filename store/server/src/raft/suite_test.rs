//! openraft's own test suite for storage, over this log and this state machine, on either engine.

use std::{future::Future, io, sync::Arc};

use openraft::testing::log::{StoreBuilder, Suite};
use store_engine::sim;
use store_state_machine::{Options, StateMachine};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{
    Log, Machine, NOBODY, TypeConfig,
    machine::{Handle, Listeners},
};
use crate::{
    auth::Tokens, digests::Digests, lessor::Lessor, metrics::Metrics, pending::Pending, watch::Hub,
};

struct Builder;

type Guard = (TempDir, Handle);
type All = Suite<TypeConfig, Log, Machine, Builder, Guard>;

fn open(simulated: bool) -> (Guard, Log, Machine) {
    let dir = tempfile::tempdir().unwrap();
    if simulated {
        sim::register(dir.path(), &sim::Disk::new());
    }
    let log = Log::open(&dir.path().join("log"), |_, _| {}).unwrap();
    let state = StateMachine::open(&dir.path().join("state"), &Options::default()).unwrap();
    let listeners = Listeners {
        hub: Arc::new(Hub::new(1)),
        pending: Arc::new(Pending::new(1)),
        lessor: Lessor::default(),
        applied: watch::channel(0).0,
        reign: watch::channel(NOBODY).0,
        compacted: watch::channel(0).0,
        tokens: Arc::new(Tokens::Nothing),
        digests: Arc::new(Digests::new(0, Default::default())),
        metrics: Arc::new(Metrics::new()),
    };
    let (machine, handle) = Machine::start(state, listeners, dir.path().join("scratch")).unwrap();
    ((dir, handle), log, machine)
}

impl StoreBuilder<TypeConfig, Log, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Log, Machine), openraft::StorageError<TypeConfig>> {
        Ok(open(false))
    }
}

async fn run<F: Future<Output = Result<(), io::Error>>>(test: impl Fn(Log, Machine) -> F) {
    for simulated in [false, true] {
        let ((dir, handle), log, machine) = open(simulated);
        test(log, machine).await.unwrap();
        // A thread that still closes its RocksDB while the process ends aborts it.
        handle.stop().await;
        sim::unregister(dir.path());
    }
}

/// All of the suite but the transfer of a snapshot: a snapshot here has no files until a follower
/// asks for one, which the tests with three members cover.
#[tokio::test]
async fn storage_keeps_openrafts_contract() {
    run(All::last_membership_in_log_initial).await;
    run(All::last_membership_in_log).await;
    run(All::last_membership_in_log_multi_step).await;
    run(All::get_membership_initial).await;
    run(All::get_membership_from_log_and_empty_sm).await;
    run(All::get_membership_from_empty_log_and_sm).await;
    run(All::get_membership_from_log_le_sm_last_applied).await;
    run(All::get_membership_from_log_gt_sm_last_applied_1).await;
    run(All::get_membership_from_log_gt_sm_last_applied_2).await;
    run(All::get_initial_state_without_init).await;
    run(All::get_initial_state_membership_from_empty_log_and_sm).await;
    run(All::get_initial_state_membership_from_sm_inlog_is_smaller).await;
    run(All::get_initial_state_membership_from_log_insm_is_smaller).await;
    run(All::get_initial_state_with_state).await;
    run(All::get_initial_state_last_log_gt_sm).await;
    run(All::get_initial_state_last_log_lt_sm).await;
    run(All::get_initial_state_inverted_log_order).await;
    run(All::get_initial_state_conflict_at_same_index).await;
    run(All::get_initial_state_log_ids).await;
    run(All::get_initial_state_re_apply_committed).await;
    run(All::save_vote).await;
    run(All::get_log_entries).await;
    run(All::limited_get_log_entries).await;
    run(All::leader_bounded_stream).await;
    run(All::entries_stream).await;
    run(All::try_get_log_entry).await;
    run(All::log_reader_reads_new_entries).await;
    run(All::initial_logs).await;
    run(All::get_log_state).await;
    run(All::get_log_id).await;
    run(All::last_id_in_log).await;
    run(All::last_applied_state).await;
    run(All::purge_logs_upto_0).await;
    run(All::purge_logs_upto_5).await;
    run(All::purge_logs_upto_20).await;
    run(All::delete_logs_after_11).await;
    run(All::delete_logs_after_5).await;
    run(All::delete_logs_after_0).await;
    run(All::delete_logs_after_none).await;
    run(All::append_to_log).await;
    run(All::apply_single).await;
    run(All::apply_multiple).await;
}
