//! What is seen of the other members: bytes, failures, how far away they are, snapshots.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Histogram, Labels};

type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Times = Family<Labels, Histogram, fn() -> Histogram>;

fn round_trips() -> Histogram {
    Histogram::seconds(Duration::from_micros(100), 16)
}

fn transfer_times() -> Histogram {
    Histogram::seconds(Duration::from_millis(100), 10)
}

/// The numbers of all peers. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Peers {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// This member's id, and the time between two heartbeats of a leader.
    own: OnceLock<(u64, Duration)>,
    known: RwLock<BTreeMap<u64, Arc<Peer>>>,
    families: Families,
    late_heartbeats: Counter,
}

struct Families {
    sent: Counters,
    received: Counters,
    sent_failures: Counters,
    received_failures: Counters,
    round_trips: Times,
    active: Gauges,
    disconnected: Counters,
    sending: Transfers,
    receiving: Transfers,
}

/// Snapshots in one direction.
struct Transfers {
    good: Counters,
    bad: Counters,
    in_flight: Gauges,
    times: Times,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            good: Family::default(),
            bad: Family::default(),
            in_flight: Family::default(),
            times: Family::new_with_constructor(transfer_times),
        }
    }
}

impl Default for Families {
    fn default() -> Self {
        Self {
            sent: Family::default(),
            received: Family::default(),
            sent_failures: Family::default(),
            received_failures: Family::default(),
            round_trips: Family::new_with_constructor(round_trips),
            active: Family::default(),
            disconnected: Family::default(),
            sending: Transfers::default(),
            receiving: Transfers::default(),
        }
    }
}

/// The numbers of one peer.
pub(crate) struct Peer {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) sent_failures: Counter,
    pub(crate) received_failures: Counter,
    round_trips: Histogram,
    active: Gauge,
    disconnected: Counter,
    is_active: AtomicBool,
    sending: Direction,
    receiving: Direction,
}

/// Snapshots from or to one peer.
struct Direction {
    good: Counter,
    bad: Counter,
    in_flight: Gauge,
    times: Histogram,
}

impl Transfers {
    fn of(&self, labels: &Labels) -> Direction {
        Direction {
            good: self.good.get_or_create(labels).clone(),
            bad: self.bad.get_or_create(labels).clone(),
            in_flight: self.in_flight.get_or_create(labels).clone(),
            times: self.times.get_or_create(labels).clone(),
        }
    }

    fn register(&self, r: &mut Registry, verb: &str, prefix: &str) {
        let name = |name: &str| format!("{prefix}_{name}");
        let help = |what: &str| format!("Snapshots {verb} {what}");
        r.register(name("success"), help("whole"), self.good.clone());
        r.register(name("failures"), help("in vain"), self.bad.clone());
        r.register(name("inflights_total"), help("now"), self.in_flight.clone());
        let times = format!("Time of a snapshot {verb}");
        r.register(name("total_duration_seconds"), times, self.times.clone());
    }
}

impl Peers {
    /// Who this member is; to be told before anything is counted.
    pub(crate) fn set_own(&self, id: u64, heartbeat: Duration) {
        self.inner.own.get_or_init(|| (id, heartbeat));
    }

    /// This member's id, once it is known.
    pub(crate) fn own(&self) -> Option<u64> {
        self.inner.own.get().map(|(id, _)| *id)
    }

    /// The numbers of a member of this cluster.
    pub(crate) fn of(&self, id: u64) -> Arc<Peer> {
        if let Some(known) = self.find(id) {
            return known;
        }
        let mut known = self.inner.known.write();
        known.entry(id).or_insert_with(|| Arc::new(self.make(id))).clone()
    }

    /// The numbers of somebody who says that he is a member, if there is such a member.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Peer>> {
        self.inner.known.read().get(&id).cloned()
    }

    fn make(&self, id: u64) -> Peer {
        let families = &self.inner.families;
        let named = |label: &'static str| -> Labels { vec![(label, format!("{id:x}"))] };
        let (to, from) = (named("To"), named("From"));
        let own = self.own().unwrap_or_default();
        let both: Labels = vec![("Local", format!("{own:x}")), ("Remote", format!("{id:x}"))];
        let counter = |family: &Counters, labels: &Labels| family.get_or_create(labels).clone();
        Peer {
            sent: counter(&families.sent, &to),
            received: counter(&families.received, &from),
            sent_failures: counter(&families.sent_failures, &to),
            received_failures: counter(&families.received_failures, &from),
            round_trips: families.round_trips.get_or_create(&to).clone(),
            active: families.active.get_or_create(&both).clone(),
            disconnected: counter(&families.disconnected, &both),
            is_active: AtomicBool::new(false),
            sending: families.sending.of(&to),
            receiving: families.receiving.of(&from),
        }
    }

    /// This leader sends a heartbeat, and could have done so for this time. As etcd, after two
    /// intervals it is late.
    pub(crate) fn heartbeat(&self, idle: Duration) {
        if self.inner.own.get().is_some_and(|(_, interval)| idle > *interval * 2) {
            self.inner.late_heartbeats.inc();
        }
    }

    pub(super) fn register(&self, r: &mut Registry) {
        let families = &self.inner.families;
        let name = |name: &str| format!("etcd_network_{name}");
        let sent = "Bytes sent to a peer";
        r.register(name("peer_sent_bytes"), sent, families.sent.clone());
        let received = "Bytes received from a peer";
        r.register(name("peer_received_bytes"), received, families.received.clone());
        let failures = "Requests to a peer that failed";
        r.register(name("peer_sent_failures"), failures, families.sent_failures.clone());
        let failures = "Messages of a peer that could not be read";
        r.register(name("peer_received_failures"), failures, families.received_failures.clone());
        let trip = "Time until a peer answers";
        r.register(name("peer_round_trip_time_seconds"), trip, families.round_trips.clone());
        let active = "1 for a peer that answers";
        r.register(name("active_peers"), active, families.active.clone());
        let lost = "How often a peer stopped answering";
        r.register(name("disconnected_peers"), lost, families.disconnected.clone());
        families.sending.register(r, "sent", &name("snapshot_send"));
        families.receiving.register(r, "received", &name("snapshot_receive"));
        let late = "Heartbeats of this leader that it sent later than it should have";
        let counter = self.inner.late_heartbeats.clone();
        r.register("etcd_server_heartbeat_send_failures", late, counter);
    }
}

impl Peer {
    /// The peer answered after such a time, or not at all.
    pub(crate) fn probed(&self, answered: Option<Duration>) {
        if let Some(took) = answered {
            self.round_trips.observe(took);
        }
        self.active.set(i64::from(answered.is_some()));
        let was_active = self.is_active.swap(answered.is_some(), Ordering::Relaxed);
        if was_active && answered.is_none() {
            self.disconnected.inc();
        }
    }

    /// A snapshot is being sent there.
    pub(crate) fn sending(&self) -> Transfer<'_> {
        Transfer::begin(&self.sending)
    }

    /// A snapshot is being received from there.
    pub(crate) fn receiving(&self) -> Transfer<'_> {
        Transfer::begin(&self.receiving)
    }
}

/// A snapshot under way; it failed if it is dropped before its end.
pub(crate) struct Transfer<'a> {
    direction: &'a Direction,
    began: Instant,
    whole: bool,
}

impl<'a> Transfer<'a> {
    fn begin(direction: &'a Direction) -> Self {
        direction.in_flight.inc();
        Self { direction, began: Instant::now(), whole: false }
    }

    /// It arrived.
    pub(crate) fn end(mut self) {
        self.whole = true;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.direction.in_flight.dec();
        if self.whole {
            self.direction.good.inc();
            self.direction.times.observe(self.began.elapsed());
        } else {
            self.direction.bad.inc();
        }
    }
}

/// A connection that a peer made: until it has said who it is, its bytes are kept apart.
#[derive(Default)]
pub(crate) struct Caller {
    peer: OnceLock<Arc<Peer>>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Caller {
    /// The peer, once it is known.
    pub(crate) fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.get()
    }

    /// It is this one.
    pub(crate) fn is(&self, peer: Arc<Peer>) {
        self.peer.get_or_init(|| peer);
    }

    pub(super) fn sent(&self, bytes: u64) {
        match self.peer.get() {
            Some(peer) => {
                peer.sent.inc_by(bytes + self.sent.swap(0, Ordering::Relaxed));
            }
            None => {
                self.sent.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        match self.peer.get() {
            Some(peer) => {
                peer.received.inc_by(bytes + self.received.swap(0, Ordering::Relaxed));
            }
            None => {
                self.received.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_before_a_peer_said_its_name_are_its_own() {
        let peers = Peers::default();
        let (caller, peer) = (Caller::default(), peers.of(7));
        caller.received(10);
        caller.sent(3);
        assert_eq!((peer.received.get(), peer.sent.get()), (0, 0));
        caller.is(peers.find(7).unwrap());
        caller.received(1);
        caller.sent(1);
        assert_eq!((peer.received.get(), peer.sent.get()), (11, 4));
        assert!(peers.find(8).is_none(), "nobody becomes a peer by saying so");
    }

    #[test]
    fn a_peer_is_lost_once_however_long_it_is_away() {
        let peer = Peers::default().of(7);
        for answered in [false, true, true, false, false, true] {
            peer.probed(answered.then_some(Duration::from_millis(1)));
        }
        assert_eq!((peer.disconnected.get(), peer.active.get()), (1, 1));
        peer.sending().end();
        drop(peer.sending());
        assert_eq!((peer.sending.good.get(), peer.sending.bad.get()), (1, 1));
        assert_eq!(peer.sending.in_flight.get(), 0);
    }
}
