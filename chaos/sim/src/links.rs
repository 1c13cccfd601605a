//! The network as the faults of the moment want it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use turmoil::Sim;

use crate::world::World;

/// How a pair of hosts is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Nothing gets there, or back.
    cut: (bool, bool),
    /// Everything waits.
    held: bool,
    latency_max: Duration,
}

/// All links: of members, and of the clients' host, which is the last one.
#[derive(Debug)]
pub(crate) struct Links {
    hosts: Vec<IpAddr>,
    latency_max: Duration,
    now: BTreeMap<(usize, usize), State>,
}

impl Links {
    pub(crate) fn new(hosts: Vec<IpAddr>, latency_max: Duration) -> Self {
        Self { hosts, latency_max, now: BTreeMap::new() }
    }

    /// Changes what is to be changed.
    pub(crate) fn follow(&mut self, sim: &mut Sim<'_>, world: &World) {
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                self.follow_one(sim, world, (a, b));
            }
        }
    }

    fn follow_one(&mut self, sim: &mut Sim<'_>, world: &World, (a, b): (usize, usize)) {
        let is_cut = |link| world.cuts.values().any(|links| links.contains(&link));
        let cut = (is_cut((a, b)), is_cut((b, a)));
        let is_held = |link| world.holds.values().any(|links| links.contains(&link));
        let between_members = b + 1 < self.hosts.len();
        let slow = world.slow_links.values().max().filter(|_| between_members);
        let wanted = State {
            cut,
            held: cut == (false, false) && (is_held((a, b)) || is_held((b, a))),
            latency_max: slow.copied().unwrap_or(self.latency_max),
        };
        let whole = State { cut: (false, false), held: false, latency_max: self.latency_max };
        let old = self.now.insert((a, b), wanted).unwrap_or(whole);
        let (one, other) = (self.hosts[a], self.hosts[b]);
        if old.held && !wanted.held {
            sim.release(one, other);
        }
        for (from, to, was, is) in
            [(one, other, old.cut.0, wanted.cut.0), (other, one, old.cut.1, wanted.cut.1)]
        {
            match (was, is) {
                (false, true) => sim.partition_oneway(from, to),
                (true, false) => sim.repair_oneway(from, to),
                (true, true) | (false, false) => {}
            }
        }
        if wanted.held && !old.held {
            sim.hold(one, other);
        }
        if wanted.latency_max != old.latency_max {
            sim.set_link_max_message_latency(one, other, wanted.latency_max);
        }
    }
}
