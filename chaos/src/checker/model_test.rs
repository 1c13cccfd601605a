//! Whatever clients do, and whatever is answered to them: what the model does passes every checker.

use proptest::prelude::{ProptestConfig, any, proptest};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::check_all;
use super::story::{Story, page, put, told};
use crate::history::{
    Action, Asked, EventKind, Keys, Kind, LeaseCall, LockCall, Outcome, Reply, Step, StepReply,
    WatchLog, WatchSeen,
};
use crate::limits;
use crate::workload::Generator;

const SECOND: u64 = 1_000_000_000;

/// Some happen and are answered, some only happen, and some do neither.
fn happens(story: &mut Story, rng: &mut StdRng, action: Action) -> Outcome {
    match rng.random_range(0..10) {
        0 => story.record(action, Outcome::Unknown("lost".to_owned())),
        1 => story.happens(action, false),
        _ => story.ok(action),
    };
    story.history.ops.last().expect("it was just recorded").outcome.clone()
}

fn answered(story: &mut Story, action: Action, steps: Vec<StepReply>) {
    let reply = Reply { revision: story.store.revision, succeeded: true, steps };
    story.record(action, Outcome::Ok(reply));
}

/// What the store does by itself, or for a call that is not of steps.
fn silently(story: &mut Story, steps: Vec<Step>) {
    let action = Action::Txn { guards: Vec::new(), then: steps, otherwise: Vec::new() };
    story.happens(action, false);
    story.history.ops.pop();
}

/// The life of a lease, from its grant to its end.
fn lease(story: &mut Story, rng: &mut StdRng, lease: i64) {
    let ttl_s = rng.random_range(2..5);
    let steps = vec![StepReply::Lease { ttl_s, granted_s: ttl_s }];
    let grant = Action::Lease(LeaseCall::Grant { lease, ttl_s });
    answered(story, grant, steps.clone());
    for place in 0..rng.random_range(1..4) {
        let (key, value) = (format!("lease/{lease}/{place}"), format!("l{lease}-{place}"));
        let step = Step::PutLeased { key, value, lease };
        happens(story, rng, Action::Single { step, serializable: false });
    }
    for _ in 0..rng.random_range(0..3) {
        story.clock += SECOND;
        answered(story, Action::Lease(LeaseCall::KeepAlive { lease }), steps.clone());
    }
    let revoked = rng.random_bool(0.5);
    if !revoked {
        story.clock += ttl_s.unsigned_abs() * SECOND;
    }
    let delete = |key: &str| Step::Delete { key: key.to_owned() };
    let keys: Vec<Step> = story.store.leased(lease).map(delete).collect();
    silently(story, keys);
    if revoked {
        answered(story, Action::Lease(LeaseCall::Revoke { lease }), Vec::new());
    }
    let gone = vec![StepReply::Lease { ttl_s: -1, granted_s: 0 }];
    answered(story, Action::Lease(LeaseCall::TimeToLive { lease }), gone);
}

/// Somebody takes a lock, writes what it guards, and gives it back.
fn lock(story: &mut Story, rng: &mut StdRng, lease: i64) {
    let key = format!("lock/0/{lease:x}");
    let step = Step::PutLeased { key: key.clone(), value: String::new(), lease };
    silently(story, vec![step]);
    let steps = vec![StepReply::Locked { key: key.clone() }];
    answered(story, Action::Lock(LockCall::Lock { name: "lock/0".to_owned(), lease }), steps);
    let read = Action::Single { step: Step::Get { key: key.clone() }, serializable: false };
    happens(story, rng, read);
    silently(story, vec![Step::Delete { key: key.clone() }]);
    answered(story, Action::Lock(LockCall::Unlock { key }), Vec::new());
}

fn add(story: &mut Story, rng: &mut StdRng, number: usize) {
    let found = story.store.get("set/0").map(|kv| kv.value.replace('|', " "));
    let value = format!("{}|e{number}", found.unwrap_or_default().trim());
    happens(story, rng, put("set/0", &value));
    let read = Step::Get { key: "set/0".to_owned() };
    happens(story, rng, Action::Single { step: read, serializable: false });
}

fn watchers(story: &Story, rng: &mut StdRng) -> Vec<WatchLog> {
    let last = story.store.revision;
    let watcher = |number: usize| {
        let keys = match rng.random_range(0..3) {
            0 => Keys::All,
            1 => Keys::Under("r/".to_owned()),
            _ => Keys::One("set/0".to_owned()),
        };
        let asked = Asked {
            keys,
            start_revision: rng.random_range(0..last + 5),
            no_put: rng.random_bool(0.1),
            no_delete: rng.random_bool(0.1),
            prev_kv: rng.random_bool(0.5),
            ..Asked::default()
        };
        let now = rng.random_range(1..=last);
        let first = if asked.start_revision == 0 { now + 1 } else { asked.start_revision };
        let mut seen = told(&story.log, &asked, first);
        let created = WatchSeen { revision: now, created: true, ..WatchSeen::default() };
        seen.insert(0, created);
        for seen in &mut seen {
            // Told at the end: before that nobody knew of any revision by this watcher.
            (seen.start_revision, seen.time_ns) = (asked.start_revision, story.clock);
        }
        WatchLog { watcher: number, asked, seen, ..WatchLog::default() }
    };
    (1..10).map(watcher).collect()
}

fn story_of(seed: u64) -> Story {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut story = Story::new();
    story.history.kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Auth).collect();
    let mut generator = Generator::new(seed, 0, 4);
    for number in 0..rng.random_range(1..60) {
        match rng.random_range(0..12) {
            0 => lease(&mut story, &mut rng, 100 + i64::from(number)),
            1 => lock(&mut story, &mut rng, 1000 + i64::from(number)),
            2 | 3 => add(&mut story, &mut rng, number as usize),
            4 => page(&mut story, "", 3, 0),
            _ => {
                let action = generator.action();
                let outcome = happens(&mut story, &mut rng, action.clone());
                generator.learn(&action, &outcome);
            }
        }
    }
    story
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_the_model_does_passes(seed in any::<u64>()) {
        let mut story = story_of(seed);
        let mut history = story.finish();
        let mut rng = StdRng::seed_from_u64(seed);
        history.watches.extend(watchers(&story, &mut rng));
        for verdict in check_all(&history) {
            // The others may have had nothing to do, and one asks for faults and members.
            assert!(verdict.broken == 0 || verdict.name == "bookkeeping", "{verdict:#?}");
        }
    }

    /// A change of any event that one watcher was told is found.
    #[test]
    fn a_wrong_event_does_not(seed in any::<u64>()) {
        let mut history = story_of(seed).finish();
        let mut rng = StdRng::seed_from_u64(seed);
        let told: usize = history.watches[0].seen.iter().map(|seen| seen.events.len()).sum();
        if told > 0 {
            let place = rng.random_range(0..told);
            let mut events = history.watches[0].seen.iter_mut().flat_map(|seen| &mut seen.events);
            let event = events.nth(place).expect("it was counted");
            match rng.random_range(0..4) {
                0 => event.kv.version += 1,
                1 => event.kv.mod_revision += limits::COMPACT_FAR_AHEAD,
                2 => event.kind = match event.kind {
                    EventKind::Put => EventKind::Delete,
                    EventKind::Delete => EventKind::Put,
                },
                _ => event.kv.key.push('!'),
            }
            assert!(!super::watch::check(&history).passed());
        }
    }
}
