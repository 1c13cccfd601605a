//! The objects, and what is known of them: the revision at which each was last seen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::bench::MixedFlags;

/// Below it lies everything, and nothing of anybody else: it is emptied before.
pub(super) const ROOT: &str = "/bench/registry/";

pub(super) const LEASE_BYTES: usize = 512;
pub(super) const POD_BYTES: usize = 4_096;
pub(super) const EVENT_BYTES: usize = 512;
const OTHER_BYTES: usize = 256;

/// A kind of object that watchers watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Lease,
    Pod,
    Event,
    /// Nothing changes them.
    Other,
}

impl Object {
    /// All of them, each at its place.
    pub(super) const ALL: [Self; 4] = [Self::Lease, Self::Pod, Self::Event, Self::Other];

    /// What their keys begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Lease => "/bench/registry/leases/kube-node-lease/",
            Self::Pod => "/bench/registry/pods/default/",
            Self::Event => "/bench/registry/events/default/",
            Self::Other => "/bench/registry/configmaps/default/",
        }
    }

    /// The key of one of them.
    pub(super) fn key(self, number: u64) -> Bytes {
        format!("{}{number:010}", self.prefix()).into_bytes().into()
    }
}

/// All objects.
#[derive(Debug)]
pub(super) struct Registry {
    /// Revisions of leases.
    pub leases: Vec<AtomicI64>,
    /// Revisions of the pods that are never deleted.
    pub pods: Vec<AtomicI64>,
    /// How many others there are.
    pub others: u64,
    /// Pods that may be deleted, with their revisions.
    pub created: Mutex<VecDeque<(u64, i64)>>,
    next_pod: AtomicU64,
    next_event: AtomicU64,
    /// The highest revision that was told.
    revision: AtomicI64,
    /// Changes of each kind of object.
    changes: [AtomicU64; Object::ALL.len()],
}

impl Registry {
    pub(super) fn new(flags: &MixedFlags) -> Self {
        Self {
            leases: (0..flags.leases).map(|_| AtomicI64::new(0)).collect(),
            pods: (0..flags.pods).map(|_| AtomicI64::new(0)).collect(),
            others: flags.others,
            created: Mutex::new(VecDeque::new()),
            next_pod: AtomicU64::new(flags.pods),
            next_event: AtomicU64::new(0),
            revision: AtomicI64::new(0),
            changes: Default::default(),
        }
    }

    /// Objects that are there from the start.
    pub(super) fn len(&self) -> u64 {
        self.leases.len() as u64 + self.pods.len() as u64 + self.others
    }

    /// One of them: its key, its size, and where its revision is kept if it will be compared.
    pub(super) fn item(&self, index: u64) -> (Bytes, usize, Option<&AtomicI64>) {
        let (leases, pods) = (self.leases.len() as u64, self.pods.len() as u64);
        if index < leases {
            (Object::Lease.key(index), LEASE_BYTES, slot_at(&self.leases, index))
        } else if index < leases + pods {
            let number = index - leases;
            (Object::Pod.key(number), POD_BYTES, slot_at(&self.pods, number))
        } else {
            (Object::Other.key(index - leases - pods), OTHER_BYTES, None)
        }
    }

    pub(super) fn new_pod(&self) -> u64 {
        self.next_pod.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn new_event(&self) -> u64 {
        self.next_event.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a change that was acknowledged.
    pub(super) fn changed(&self, object: Object, revision: i64) {
        self.changes[object as usize].fetch_add(1, Ordering::AcqRel);
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Changes of a kind of object until now.
    pub(super) fn changes(&self, object: Object) -> u64 {
        self.changes[object as usize].load(Ordering::Acquire)
    }

    /// The highest revision that was told.
    pub(super) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }
}

fn slot_at(slots: &[AtomicI64], number: u64) -> Option<&AtomicI64> {
    slots.get(usize::try_from(number).ok()?)
}
