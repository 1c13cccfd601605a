//! The run that every change goes through: all kinds of faults, overlapping, a hundred thousand operations
//! checked. Its profile says what it must have shown; longer ones are `orlop chaos run` and `make soak`.

use std::collections::BTreeMap;

use chaos::Tested;
use chaos::disk::Disk;
use chaos::run::{self, Effect, Flags, ProfileName, Report};
use chaos::topo::Topo;
use tokio_util::sync::CancellationToken;

/// Sources that the binary under test must not be older than.
const SOURCES: [&str; 2] = ["proto", "store"];

#[test]
fn the_store_keeps_its_promises_under_every_kind_of_fault() {
    if let Err(reason) = Topo::check().and_then(|()| Disk::check()) {
        testbed::skip(&format!("this machine has no hosts or disks that misbehave: {reason:#}"));
        return;
    }
    let flags = Flags {
        tested: Tested::orlop(testbed::orlop(&SOURCES)),
        profile: ProfileName::Smoke,
        seed: Some(1),
        ..Flags::default()
    };
    let report = run::execute(&flags, &CancellationToken::new()).expect("a run to its end");
    println!("{}", run::summary(&flags, &report));
    assert!(report.passed(), "{:#?}", report.verdicts);
    for (kind, why) in left_out(&report) {
        testbed::skip(&format!("no {kind}, the rest was run: {why}"));
    }
}

/// Kinds of faults to which there is no way here, each with its reason: a run passes without them.
fn left_out(report: &Report) -> BTreeMap<String, String> {
    let mut left_out = BTreeMap::new();
    for strike in &report.strikes {
        if let Effect::Skipped(why) = &strike.effect {
            left_out.insert(strike.event.fault.name(), why.clone());
        }
    }
    // One that found its way later did so.
    for strike in &report.strikes {
        if matches!(strike.effect, Effect::Took(_)) {
            left_out.remove(&strike.event.fault.name());
        }
    }
    left_out
}
