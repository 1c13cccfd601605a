//! The run that every change goes through: all kinds of faults, overlapping, a hundred thousand operations
//! checked. Its profile says what it must have shown; longer ones are `orlop chaos run` and `make soak`.

use chaos::Tested;
use chaos::disk::Disk;
use chaos::run::{self, Flags, ProfileName};
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
}
