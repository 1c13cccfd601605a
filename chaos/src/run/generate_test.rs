//! Laws of every schedule, whatever the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::generate::{away, minority, over_ms, schedule, suits};
use super::kind::{Group, Kind};
use super::profile::Name;
use super::schedule::{Event, Schedule, Targets};

fn names() -> impl Strategy<Value = Name> {
    prop::sample::select(vec![Name::Smoke, Name::Default, Name::Soak])
}

fn sizes() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 3, 5])
}

fn overlap(one: &Event, other: &Event) -> bool {
    one.at_ms < over_ms(other) && other.at_ms < over_ms(one)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// F1, and what is read is what was written.
    #[test]
    fn a_seed_makes_one_schedule_and_a_file_keeps_it(seed: u64, name in names(), size in sizes()) {
        let profile = name.profile(size);
        let made = schedule(seed, &profile, size);
        prop_assert_eq!(&made, &schedule(seed, &profile, size));
        let read = Schedule::from_json(&made.to_json().expect("JSON")).expect("a schedule");
        prop_assert_eq!(&made, &read);
        prop_assert!(made.events.is_sorted_by_key(|event| event.at_ms));
        prop_assert!(made.end_ms() <= profile.duration.as_millis() as u64);
        prop_assert_ne!(made.events, schedule(seed ^ 1, &profile, size).events);
    }

    /// F3 to F6.
    #[test]
    fn faults_overlap_only_as_far_as_the_rules_allow(seed: u64, name in names(), size in sizes()) {
        let profile = name.profile(size);
        let made = schedule(seed, &profile, size);
        let mut damaged = BTreeSet::new();
        for (place, event) in made.events.iter().enumerate() {
            prop_assert!(suits(event.fault, size));
            let others: Vec<&Event> = made
                .events
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place)
                .map(|(_, other)| other)
                .filter(|other| overlap(event, other))
                .collect();
            for other in &others {
                prop_assert_ne!(event.fault.group(), other.fault.group());
                if event.fault.needs_the_others() {
                    prop_assert_eq!(away(other, size), 0, "{:?} during {:?}", other, event);
                }
            }
            if event.fault.destroys_data() || event.fault == Kind::Replace {
                let Targets::Members(named) = &event.targets else {
                    return Err(TestCaseError::fail("damage names its member"));
                };
                damaged.extend(named.iter().copied());
            }
        }
        prop_assert!(damaged.len() <= minority(size), "{:?}", damaged);

        // F5, at every beginning: then the most are away.
        for event in &made.events {
            let now: Vec<&Event> = made
                .events
                .iter()
                .filter(|other| other.at_ms <= event.at_ms && event.at_ms < over_ms(other))
                .filter(|other| away(other, size) > 0)
                .collect();
            let sum: usize = now.iter().map(|other| away(other, size)).sum();
            prop_assert!(now.len() <= 1 || sum <= profile.away_max, "{:?}", now);
        }
    }

    /// F2, and overlapping is the rule: a run whose faults come one by one is what etcd does.
    #[test]
    fn a_smoke_run_has_every_kind_and_its_faults_overlap(seed: u64) {
        let made = schedule(seed, &Name::Smoke.profile(3), 3);
        let kinds: BTreeSet<Kind> = made.events.iter().map(|event| event.fault).collect();
        let all: BTreeSet<Kind> = Name::Smoke.profile(3).kinds.into_iter().collect();
        let missing: Vec<&Kind> = all.difference(&kinds).collect();
        prop_assert!(missing.is_empty(), "no room for {:?}", missing);
        let overlapping = made.events.iter().filter(|event| {
            made.events.iter().filter(|other| overlap(event, other)).count() > 1
        });
        let overlapping = overlapping.count();
        prop_assert!(overlapping * 2 > made.events.len(), "{} overlap", overlapping);
        for group in Group::ALL {
            prop_assert!(made.has(|kind| kind.group() == group));
        }
    }
}

#[test]
fn a_schedule_that_names_a_member_too_many_is_refused() {
    let event = Event {
        at_ms: 1,
        hold_ms: 2,
        fault: Kind::Kill,
        targets: Targets::Members(vec![3]),
        amount: 0,
        seed: 0,
    };
    let wrong = Schedule { seed: 1, members: 3, events: vec![event] };
    let text = wrong.to_json().expect("JSON");
    assert!(Schedule::from_json(&text).is_err());
    assert!(Schedule::from_json(&text.replace("kill", "tickle")).is_err());
}

#[test]
fn a_shorter_run_demands_less() {
    let short = Name::Smoke.profile_of(3, Some(Duration::from_secs(13)));
    let whole = Name::Smoke.profile(3);
    assert!(short.least.effects < whole.least.effects);
    assert!(short.least.operations < whole.least.operations);
}
