//! What all hosts of the simulation share: one thread runs them all.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use store_engine::sim::{self, Disk};
use store_server::simulated::{self, Glance, WriteTimes};
use tokio::runtime::{Handle, Id};

use crate::member::host;
use crate::plan::{Place, Plan};

/// What the driver is asked to do, outside of all hosts.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// End a member's process at once; with `true` its machine's power goes.
    Crash(usize, bool),
    /// Bring the links into the state that the faults ask for.
    Links,
}

/// A member, as the world sees it.
pub(crate) struct Member {
    rng: StdRng,
    /// The folder of its data.
    folder: PathBuf,
    pub(crate) disk: Disk,
    /// Its disk fails, or did in this life: it may end by itself.
    pub(crate) excused: bool,
    /// How many faults make its disk fail.
    pub(crate) disk_faults: u32,
    /// How many lives it has had.
    pub(crate) lives: u32,
    pub(crate) is_up: bool,
    /// It is to stop in order.
    pub(crate) stops: bool,
    pub(crate) glance: Option<Glance>,
    /// Its id, once it ran.
    pub(crate) id: Option<u64>,
    /// Faults that slow it down: the time of a write, and of a step of the apply loop.
    pub(crate) slow_disk: Vec<Duration>,
    pub(crate) slow_apply: Vec<Duration>,
    /// How many faults want it to be down.
    pub(crate) held_down: u32,
    /// Bits of its data flipped: it may find out at any time, and then refuses to go on.
    pub(crate) is_damaged: bool,
    /// It did.
    pub(crate) has_refused: bool,
    /// Somebody is about to remove it and add it again.
    pub(crate) is_renewed: bool,
    /// It joins the others, who may not answer.
    pub(crate) joins: bool,
}

/// A member that ended by itself.
pub(crate) struct Ended {
    pub(crate) member: usize,
    pub(crate) why: String,
    /// Its host had no power then; by the time that anybody looks, what that left may be settled.
    pub(crate) power_went: bool,
}

/// The world's state.
#[derive(Default)]
pub(crate) struct World {
    disk_max: Duration,
    disk_slow_one_in: u32,
    pub(crate) members: Vec<Member>,
    runtimes: HashMap<Id, usize>,
    pub(crate) commands: Vec<Command>,
    /// Members that cannot go on.
    pub(crate) ended: Vec<Ended>,
    /// Broken laws.
    pub(crate) broken: Vec<String>,
    /// What a member at this applied index was like: all are.
    seen: BTreeMap<u64, (i64, (u64, u64))>,
    /// Links that lose everything, by the number of the fault.
    pub(crate) cuts: BTreeMap<usize, Vec<(usize, usize)>>,
    pub(crate) holds: BTreeMap<usize, Vec<(usize, usize)>>,
    pub(crate) slow_links: BTreeMap<usize, Duration>,
    /// Faults that took hold.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What they led to, beside what the disks count.
    pub(crate) led_to: BTreeMap<&'static str, u64>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Looks at the world, or changes it.
pub(crate) fn with<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(look)
}

/// Begins the world of a plan.
pub(crate) fn begin(plan: &Plan, folder: &Path) {
    simulated::decide_by(simulated::World { log_write, apply, installed, fatal });
    with(|world| {
        *world = World {
            disk_max: plan.disk_max,
            disk_slow_one_in: plan.disk_slow_one_in,
            ..World::default()
        };
        for member in 0..plan.members {
            let disk = Disk::new();
            let folder = folder.join(host(member));
            sim::register(&folder, &disk);
            world.members.push(Member {
                rng: StdRng::seed_from_u64(plan.seed ^ (member as u64 + 1).rotate_left(40)),
                folder,
                disk,
                excused: false,
                disk_faults: 0,
                lives: 0,
                is_up: false,
                stops: false,
                glance: None,
                id: None,
                slow_disk: Vec::new(),
                slow_apply: Vec::new(),
                held_down: 0,
                is_damaged: false,
                has_refused: false,
                is_renewed: false,
                joins: false,
            });
        }
    });
}

impl World {
    /// Begins a life of a member, in the runtime that runs now.
    pub(crate) fn born(&mut self, member: usize) {
        self.runtimes.insert(Handle::current().id(), member);
        let one = &mut self.members[member];
        one.lives += 1;
        one.excused = one.disk_faults > 0 || one.is_damaged || one.joins;
        one.is_up = true;
        one.stops = false;
        one.glance = None;
    }

    /// Whose code runs now; none if it is no member's.
    fn current(&mut self) -> Option<&mut Member> {
        let id = Handle::try_current().ok()?.id();
        let member = *self.runtimes.get(&id)?;
        self.members.get_mut(member)
    }

    /// A member's state, for the laws that hold at every instant.
    pub(crate) fn look(&mut self, member: usize, now: Glance) {
        let before = self.members[member].glance.replace(now);
        if let Some(before) = before
            && (now.revision < before.revision
                || now.applied_index < before.applied_index
                || now.compact_revision < before.compact_revision)
        {
            self.broken.push(format!("member {member} went back from {before:?} to {now:?}"));
        }
        let state = (now.revision, now.digest);
        let known = *self.seen.entry(now.applied_index).or_insert(state);
        if known != state {
            let index = now.applied_index;
            self.broken.push(format!(
                "at entry {index} member {member} has {state:?}, another one {known:?}"
            ));
        }
    }

    /// The leader, as most members say.
    pub(crate) fn leader(&self) -> Option<usize> {
        let mut said: BTreeMap<u64, usize> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.is_up) {
            if let Some(leader) = member.glance.and_then(|glance| glance.leader) {
                *said.entry(leader).or_default() += 1;
            }
        }
        let (id, _) = said.into_iter().max_by_key(|(_, times)| *times)?;
        self.members.iter().position(|member| member.id == Some(id))
    }

    /// The process of a member ends now: its disk is left as it is, or without power.
    pub(crate) fn end(&mut self, member: usize, power_goes: bool) {
        let member = &mut self.members[member];
        member.is_up = false;
        let left = if power_goes { member.disk.crash(&mut member.rng) } else { member.disk.kill() };
        if let Err(error) = left {
            self.broken.push(format!("the simulated disk is broken: {error}"));
        }
    }

    /// Flips bits of a member's data, while it is down.
    pub(crate) fn flip(&mut self, member: usize, place: Place, bits: u32) {
        let one = &mut self.members[member];
        let name = match place {
            Place::Log => "log",
            Place::State => "state",
        };
        let is_wanted = |path: &Path| path.components().any(|part| part.as_os_str() == name);
        for _ in 0..if one.is_up { 0 } else { bits } {
            match one.disk.flip(is_wanted, &mut one.rng) {
                Ok(flip) => one.is_damaged |= flip.is_some(),
                Err(error) => self.broken.push(format!("the simulated disk is broken: {error}")),
            }
        }
    }

    /// Throws a member's data away; it is to join the others when it starts.
    pub(crate) fn wipe(&mut self, member: usize) -> std::io::Result<()> {
        let one = &mut self.members[member];
        (one.is_damaged, one.has_refused, one.joins, one.id) = (false, false, true, None);
        match std::fs::remove_dir_all(&one.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    pub(crate) fn cannot_go_on(&mut self, member: usize, why: String) {
        let power_went = self.members[member].disk.is_down();
        self.ended.push(Ended { member, why, power_went });
    }

    pub(crate) fn led_to(&mut self, what: &'static str) {
        *self.led_to.entry(what).or_default() += 1;
    }

    /// What the faults led to.
    pub(crate) fn effects(&self) -> BTreeMap<&'static str, u64> {
        let mut effects = self.led_to.clone();
        for member in &self.members {
            let counts = member.disk.counts();
            for (name, times) in [
                ("batches-lost", counts.lost),
                ("batches-kept", counts.kept),
                ("died-in-a-write", counts.inside),
                ("records-torn", counts.torn),
                ("torn-records-cut", counts.cut),
                ("writes-failed", counts.write_errors),
                ("syncs-failed", counts.sync_errors),
                ("reads-failed", counts.read_errors),
                ("bits-flipped", counts.flips),
                ("damage-refused", counts.refused),
                ("damage-met", counts.damage),
                ("disk-operations", counts.operations),
            ] {
                *effects.entry(name).or_default() += times;
            }
        }
        effects.retain(|_, times| *times > 0);
        effects
    }

    /// What the members were like at every entry at which they were looked at.
    pub(crate) fn states(&self) -> String {
        format!("{:?}", self.seen)
    }
}

/// A write takes a moment, some take long; half of it passes before it is on disk.
fn log_write() -> WriteTimes {
    with(|world| {
        let (max, one_in) = (world.disk_max, world.disk_slow_one_in);
        let Some(member) = world.current() else {
            return WriteTimes { before: Duration::ZERO, after: Duration::ZERO };
        };
        let mut time = max.mul_f64(member.rng.random());
        if member.rng.random_range(0..one_in) == 0 {
            time = max.mul_f64(20.0 * member.rng.random::<f64>());
        }
        time += member.slow_disk.iter().sum::<Duration>();
        let before = time.mul_f64(member.rng.random());
        WriteTimes { before, after: time - before }
    })
}

fn apply() -> Duration {
    with(|world| world.current().map_or(Duration::ZERO, |member| member.slow_apply.iter().sum()))
}

fn installed() {
    with(|world| world.led_to("snapshots-installed"));
}

fn fatal(why: &str) {
    with(|world| {
        let id = Handle::try_current().ok().map(|handle| handle.id());
        let member = id.and_then(|id| world.runtimes.get(&id).copied());
        if let Some(member) = member {
            world.cannot_go_on(member, why.to_owned());
        } else {
            world.broken.push(format!("somebody who is no member cannot go on: {why}"));
        }
    });
}
