//! The whole store in one process, with simulated time, network and disks: what happens follows from a
//! seed, and happens again from the same one.
//!
//! Members are the real ones, from their command line on, each on a host of turmoil's; clients record a
//! history, and the checkers of `chaos` judge it. One process runs one seed.
#![cfg(feature = "sim")]

mod connect;
mod limits;
mod links;
mod member;
mod membership;
mod nemesis;
mod panics;
pub mod plan;
mod report;
mod run;
mod serving;
mod watchdog;
mod world;

use std::path::Path;

use chaos::sim::Summary;
use rand_ten::SeedableRng as _;

use crate::plan::Plan;

/// Runs one plan in this process, which must not have run another one; if a promise was broken, `output`
/// is given what shows it. Ends the process if the run takes for ever, after `lost` was told why.
pub fn one(
    plan: &Plan,
    folder: &Path,
    output: Option<&Path>,
    lost: impl FnOnce(&Summary) + Send + 'static,
) -> Summary {
    let watched = plan.clone();
    watchdog::watch(move |ticks| {
        let at_ms = u128::from(ticks) * limits::TICK.as_millis();
        let why = format!("a member works for ever at {at_ms} ms: its time stands still");
        lost(&report::failed(&watched, why));
        std::process::exit(1);
    });
    panics::watch();
    mad_turmoil::rand::set_rng(rand_ten::rngs::StdRng::seed_from_u64(plan.seed));
    let (given, folder) = (plan.clone(), folder.to_path_buf());
    let output = output.map(Path::to_path_buf);
    // On a thread that has drawn nothing yet: each keeps what it drew for its hash maps.
    let simulation = std::thread::spawn(move || {
        let _clocks = mad_turmoil::time::SimClocksGuard::init();
        report::judge(&given, run::run(&given, &folder), output.as_deref())
    });
    let panicked = |_| report::failed(plan, "the simulation panicked".to_owned());
    simulation.join().unwrap_or_else(panicked)
}
