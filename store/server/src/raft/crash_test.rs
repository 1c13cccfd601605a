//! The raft log on a disk that loses its power inside of any write: what was acknowledged is there.

use std::path::Path;

use openraft::{
    RaftLogReader as _,
    storage::{IOFlushed, RaftLogStorage as _},
};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use store_engine::sim::{self, Disk, Failure, Operation, Times};

use super::{
    log::Log,
    types::{Entry, LeaderId, LogId, Payload, Vote},
};

#[derive(Clone, Debug)]
enum Step {
    /// So many entries of so many bytes.
    Append(u64, usize),
    /// Drops so many of the last ones.
    Truncate(u64),
    /// Drops so many of the first ones.
    Purge(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u64, 0..3000_usize).prop_map(|(count, bytes)| Step::Append(count, bytes)),
        1 => (0..4_u64).prop_map(Step::Truncate),
        1 => (0..4_u64).prop_map(Step::Purge),
    ]
}

/// What the log holds, as far as anybody was told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.last().map(|entry| entry.log_id);
        last.max(self.purged).map_or(0, |id| id.index + 1)
    }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let log_id = LogId::new(LeaderId { term, node_id: 1 }, index);
    let body: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + index * 7 + term) as u8).collect();
    openraft::entry::RaftEntry::new(log_id, openraft::EntryPayload::Normal(Payload(body.into())))
}

/// Carries out a step, and says what the log holds then.
async fn act(log: &mut Log, before: &Model, step: &Step, term: u64) -> Model {
    let mut after = before.clone();
    match step {
        Step::Append(count, bytes) => {
            let next = before.next();
            let new: Vec<Entry> =
                (next..next + count).map(|index| entry(term, index, *bytes)).collect();
            after.entries.extend(new.clone());
            log.append(new, IOFlushed::noop()).await.unwrap();
        }
        Step::Truncate(count) => {
            let keep = after.entries.len().saturating_sub(*count as usize);
            after.entries.truncate(keep);
            let last = after.entries.last().map(|entry| entry.log_id).or(after.purged);
            log.truncate_after(last).await.unwrap();
        }
        Step::Purge(count) => {
            let drop = after.entries.len().min(*count as usize);
            if let Some(last) = after.entries.drain(..drop).next_back() {
                after.purged = Some(last.log_id);
                log.purge(last.log_id).await.unwrap();
            }
        }
    }
    after
}

async fn read(path: &Path) -> Result<Model, std::io::Error> {
    let mut log = Log::open(path, |_, _| {})?;
    let vote = log.read_vote().await?;
    let purged = log.get_log_state().await?.last_purged_log_id;
    let entries = log.try_get_log_entries(0..u64::MAX).await?;
    log.close();
    Ok(Model { vote, purged, entries })
}

/// Answers how many steps were acknowledged before the power went.
async fn run(steps: &[Step], crash_after: u64, seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let (path, disk) = (dir.path().join("log"), Disk::new());
    sim::register(dir.path(), &disk);
    // Small files: a new one is begun now and then.
    let mut log = Log::open_sized(&path, 4 << 10, |_, _| {}).unwrap();
    disk.crash_after(crash_after);
    let mut known = Model::default();
    let mut possible = vec![known.clone()];
    let mut acknowledged = 0;
    for (term, step) in (1..).zip(steps) {
        let vote = Vote::new(term, 1);
        let changed = act(&mut log, &known, step, term).await;
        let voted = Model { vote: Some(vote), ..changed.clone() };
        possible = vec![known, changed, voted.clone()];
        // D1, D2: answered when it is durable, and everything before it.
        if log.save_vote(&vote).await.is_err() {
            // D3.
            assert!(log.save_vote(&vote).await.is_err());
            break;
        }
        (known, possible) = (voted.clone(), vec![voted]);
        acknowledged += 1;
    }
    disk.crash(&mut StdRng::seed_from_u64(seed)).unwrap();
    log.close();
    drop(log);
    let found = read(&path).await.unwrap();
    assert!(possible.contains(&found), "found {found:?}, and not one of {possible:?}");
    sim::unregister(dir.path());
    acknowledged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_a_crash_in_any_write(
        steps in prop::collection::vec(step(), 1..20),
        crash_after in 0..60_u64,
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(&steps, crash_after, seed));
    }
}

#[tokio::test]
async fn a_flipped_bit_stops_the_member_and_names_the_file() {
    for seed in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("log"), Disk::new());
        sim::register(dir.path(), &disk);
        let mut dice = StdRng::seed_from_u64(seed);
        let mut log = Log::open(&path, |_, _| {}).unwrap();
        let mut model = Model::default();
        for term in 1..20 {
            model = act(&mut log, &model, &Step::Append(1, 100), term).await;
            log.save_vote(&Vote::new(term, 1)).await.unwrap();
        }
        disk.crash(&mut dice).unwrap();
        drop(log);
        let flip = disk.flip(|path| path.ends_with("000001.log"), &mut dice).unwrap().unwrap();
        let error = read(&path).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{flip:?}: {error}");
        assert!(error.to_string().contains("000001.log is damaged at byte"), "{error}");
        sim::unregister(dir.path());
    }
}

#[tokio::test]
async fn a_sync_that_fails_is_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, disk) = (dir.path().join("log"), Disk::new());
    sim::register(dir.path(), &disk);
    let mut log = Log::open(&path, |_, _| {}).unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    disk.fail(Operation::Sync, Failure::Eio, Times::Next(1));
    let error = log.save_vote(&Vote::new(2, 1)).await.unwrap_err();
    assert!(error.to_string().contains("Input/output error"), "{error}");
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err(), "D3");
    assert_eq!(log.background_errors().unwrap().1, 1);
    log.close();
    drop(log);
    assert!(!path.join("SEAL").exists(), "it was not closed in order");
    disk.kill().unwrap();
    assert_eq!(read(&path).await.unwrap().vote, Some(Vote::new(1, 1)));
    sim::unregister(dir.path());
}
