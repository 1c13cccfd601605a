//! The command line of a run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use rand::Rng as _;

use super::coverage::Demands;
use super::generate;
use super::kind::Kind;
use super::profile::{Name, Profile};
use super::schedule::Schedule;
use crate::cluster::Launcher;
use crate::history::Kind as Work;
use crate::limits;
use crate::tested::{Asking, Kept, Tested};

/// Flags of `orlop chaos run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub tested: Tested,
    /// Members of the cluster: 1, 3 or 5
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// How long, how much traffic, and what the run must have shown
    #[arg(long, value_enum, default_value_t = Name::Default)]
    pub profile: Name,
    /// Only these kinds of faults, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    pub faults: Vec<Kind>,
    /// Seconds from the first fault to the last, instead of the profile's
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// Seed of the schedule and of all other choices; a random one when not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run the faults of this file, instead of making them from the seed
    #[arg(long, value_name = "FILE")]
    pub schedule: Option<PathBuf>,
    /// Write the schedule to this file
    #[arg(long, value_name = "FILE")]
    pub write_schedule: Option<PathBuf>,
    /// Only these workloads, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORKLOADS")]
    pub workloads: Vec<Work>,
    /// Clients that write and read at the same time, instead of the profile's
    #[arg(long)]
    pub clients: Option<usize>,
    /// Keys that the clients share, instead of the profile's
    #[arg(long)]
    pub keys: Option<usize>,
    /// Operations a second and client, at most, instead of the profile's
    #[arg(long)]
    pub rate: Option<u32>,
    /// Faults that must have taken effect, instead of the profile's
    #[arg(long, value_name = "COUNT")]
    pub least_faults: Option<usize>,
    /// Operations that must have been acknowledged, instead of the profile's
    #[arg(long, value_name = "COUNT")]
    pub least_operations: Option<u64>,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub kept: Kept,
    /// Write the run as one HTML page to this file, even if nothing is wrong
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the run's figures as JSON to this file, for programs, however the run ends
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Folder of the members' data while they run; in memory, if there is enough, when not given
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            tested: Tested::default(),
            members: 3,
            profile: Name::Default,
            faults: Vec::new(),
            duration: None,
            seed: None,
            schedule: None,
            write_schedule: None,
            workloads: Vec::new(),
            clients: None,
            keys: None,
            rate: None,
            least_faults: None,
            least_operations: None,
            asking: Asking::default(),
            kept: Kept::default(),
            report: None,
            summary: None,
            scratch: None,
        }
    }
}

/// What is run: flags with all choices made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The faults.
    pub schedule: Schedule,
    /// The traffic.
    pub profile: Profile,
    /// What must come of it.
    pub demands: Demands,
}

impl Flags {
    /// The profile, with what other flags say instead.
    fn profile(&self, members: usize) -> Profile {
        let duration = self.duration.map(Duration::from_secs);
        let mut profile = self.profile.profile_of(members, duration);
        if !self.faults.is_empty() {
            profile.kinds.clone_from(&self.faults);
        }
        if !self.workloads.is_empty() {
            profile.workloads.clone_from(&self.workloads);
        }
        profile.clients = self.clients.unwrap_or(profile.clients);
        profile.keys = self.keys.unwrap_or(profile.keys);
        profile.rate = self.rate.unwrap_or(profile.rate);
        profile
    }

    /// Makes all choices.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let read = self.schedule.as_deref().map(Schedule::read).transpose()?;
        let members = read.as_ref().map_or(self.members, |schedule| schedule.members);
        ensure!([1, 3, 5].contains(&members), "a run has 1, 3 or 5 members, not {members}");
        let profile = self.profile(members);
        ensure!(profile.clients > 0 && profile.keys > 0, "a run needs clients and keys");
        let is_read = read.is_some();
        let seed = self.seed.unwrap_or_else(|| rand::rng().random());
        let schedule = read.unwrap_or_else(|| generate::schedule(seed, &profile, members));
        ensure!(!schedule.events.is_empty(), "no fault of these kinds fits into the time");
        let scheduled = schedule.events.iter().map(|event| event.fault);
        // A file is what somebody wants to see again, whole or in part; a shorter run has no time
        // for everything. A whole one has, and must.
        let is_whole = !is_read && self.duration.is_none();
        let demanded = profile.kinds.iter().copied().filter(|k| generate::suits(*k, members));
        let kinds = if is_whole { demanded.collect() } else { scheduled.collect() };
        let (effects, operations) =
            if is_read { (0, 0) } else { (profile.least.effects, profile.least.operations) };
        let demands = Demands {
            effects: self.least_faults.unwrap_or(effects),
            kinds: if is_read { Default::default() } else { kinds },
            operations: self.least_operations.unwrap_or(operations),
            operations_around_fault: profile.least.operations_around_fault,
        };
        Ok(Plan { schedule, profile, demands })
    }

    /// What members are started from.
    pub(super) fn launcher(&self) -> anyhow::Result<Launcher> {
        let mut launcher = self.tested.launcher()?;
        // Flags given by hand come later, and win.
        launcher.extra.insert(0, format!("--snapshot-count={}", limits::RUN_SNAPSHOT_COUNT));
        Ok(launcher)
    }
}
