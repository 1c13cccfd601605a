//! Hosts with addresses of their own, and a switch between them that does what a schedule says.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | T1 | After a link was cut nothing passes it, not even what was under way. |
//! | T2 | The same seed and the same frames on a link, at the same times, have the same fate. |
//! | T3 | What a link holds back is released, in order, when its policy changes. |
//! | T4 | Each link counts what it did, so that a fault can prove that it took effect. |
//! | T5 | No frame of a host leaves its topology, and all of it goes with its last user. |
//!
//! Start: [`Topo`]. `host.rs` makes namespaces, each with a TAP interface; `switch.rs` is the
//! thread at their other ends, which asks `fabric.rs`, which asks `policy.rs`; both of these are
//! pure. [`shapes`] names the usual partitions.
//!
//! Needs root, `/dev/net/tun` and iproute2's `ip`; no module of the kernel that shapes traffic.

mod fabric;
mod host;
mod policy;
pub mod shapes;
mod switch;

pub use fabric::Counts;
pub use host::Host;
pub use policy::Policy;
pub use switch::Switch;

use anyhow::ensure;

use crate::limits;

/// Several hosts on one switch. By custom the harness's own clients are on host zero.
#[derive(Debug)]
pub struct Topo {
    // Dropped first, with the interfaces of all hosts.
    switch: Switch,
    hosts: Vec<Host>,
}

impl Topo {
    /// Makes so many hosts. All chance on the links follows from the seed.
    pub fn start(hosts: usize, seed: u64) -> anyhow::Result<Self> {
        let most = limits::TOPO_HOSTS_MAX;
        ensure!((1..=most).contains(&hosts), "a topology has 1 to {most} hosts, not {hosts}");
        let plugged_in = |host| host::plugged_in(host, hosts);
        let made = (0..hosts).map(plugged_in).collect::<anyhow::Result<Vec<_>>>()?;
        let (hosts, cables) = made.into_iter().unzip();
        Ok(Self { switch: Switch::start(cables, seed)?, hosts })
    }

    /// Whether this machine can have one, tried out on a single host.
    pub fn check() -> anyhow::Result<()> {
        Self::start(1, 0).map(drop)
    }

    /// One of the hosts, from zero.
    pub fn host(&self, host: usize) -> &Host {
        &self.hosts[host]
    }

    /// What is between them.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }
}
