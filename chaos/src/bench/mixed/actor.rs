//! One client of the mix: what it asks, and what the answers must say.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::ensure;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::mix::{self, Kind};
use super::registry::{EVENT_BYTES, LEASE_BYTES, Object, POD_BYTES, Registry};
use crate::bench::operation::{RANGE, TXN, end_of, messages, request_op, whole};
use crate::bench::pace::Client;
use crate::bench::tally::Done;
use crate::bench::wire::{Connection, frame, scan};

const PUT: &str = "/etcdserverpb.KV/Put";

/// Objects of one page of a list.
pub(super) const PAGE: u64 = 500;

/// One client.
pub(super) struct Actor {
    connection: Connection,
    registry: Arc<Registry>,
    /// Leases of events.
    event_leases: Arc<Vec<i64>>,
    value: Bytes,
    rng: StdRng,
}

impl Actor {
    pub(super) fn new(
        connection: Connection,
        registry: &Arc<Registry>,
        event_leases: &Arc<Vec<i64>>,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let value: Vec<u8> = (0..POD_BYTES).map(|_| rng.random()).collect();
        let (registry, event_leases) = (Arc::clone(registry), Arc::clone(event_leases));
        Self { connection, registry, event_leases, value: value.into(), rng }
    }

    fn put(&self, key: &Bytes, size: usize) -> Request {
        let (key, value) = (key.clone(), self.value.slice(..size));
        Request::RequestPut(pb::PutRequest { key, value, ..pb::PutRequest::default() })
    }

    /// Does something to a key if its revision is the one that is known; otherwise reads it.
    async fn swap(&mut self, key: &Bytes, known: i64, change: Request) -> anyhow::Result<Bytes> {
        let get = pb::RangeRequest { key: key.clone(), ..pb::RangeRequest::default() };
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(known)),
            ..pb::Compare::default()
        };
        let request = pb::TxnRequest {
            compare: vec![compare],
            success: vec![request_op(change)],
            failure: vec![request_op(Request::RequestRange(get))],
        };
        self.connection.call(TXN, frame(&request)).await
    }

    /// Compares and swaps an object that others may swap, too.
    async fn update(&mut self, kind: Kind) -> anyhow::Result<Done> {
        let registry = Arc::clone(&self.registry);
        let (object, slots, size) = match kind {
            Kind::LeaseSwap => (Object::Lease, &registry.leases, LEASE_BYTES),
            _ => (Object::Pod, &registry.pods, POD_BYTES),
        };
        let number = self.rng.random_range(0..slots.len());
        let slot: &AtomicI64 = &slots[number];
        let key = object.key(number as u64);
        let change = self.put(&key, size);
        let answer = self.swap(&key, slot.load(Ordering::Acquire), change).await?;
        let lost = scan::number(&answer, 2)? == 0;
        let revision = if lost {
            // ResponseOp, its range, the key-value, its modification.
            let range = scan::bytes(scan::bytes(&answer, 3)?, 1)?;
            let revision = scan::signed(scan::bytes(range, 2)?, 3)?;
            ensure!(revision > 0, "an object that is never deleted is not there");
            revision
        } else {
            let revision = scan::revision(&answer)?;
            registry.changed(object, revision);
            revision
        };
        slot.fetch_max(revision, Ordering::AcqRel);
        Ok(Done { kind: kind.place(), bytes: answer.len(), lost })
    }

    async fn create(&mut self) -> anyhow::Result<Done> {
        let number = self.registry.new_pod();
        let key = Object::Pod.key(number);
        let change = self.put(&key, POD_BYTES);
        let answer = self.swap(&key, 0, change).await?;
        ensure!(scan::number(&answer, 2)? == 1, "a pod that nobody made is there");
        let revision = scan::revision(&answer)?;
        self.registry.changed(Object::Pod, revision);
        self.registry.created.lock().push_back((number, revision));
        Ok(Done { kind: Kind::Create.place(), bytes: answer.len(), lost: false })
    }

    async fn delete(&mut self) -> anyhow::Result<Done> {
        let oldest = self.registry.created.lock().pop_front();
        let Some((number, revision)) = oldest else { return self.create().await };
        let key = Object::Pod.key(number);
        let request = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let change = Request::RequestDeleteRange(request);
        let answer = self.swap(&key, revision, change).await?;
        ensure!(scan::number(&answer, 2)? == 1, "a pod that only its maker knew is not as it was");
        self.registry.changed(Object::Pod, scan::revision(&answer)?);
        Ok(Done { kind: Kind::Delete.place(), bytes: answer.len(), lost: false })
    }

    async fn event(&mut self) -> anyhow::Result<Done> {
        let number = self.registry.new_event();
        let lease = self.event_leases[self.rng.random_range(0..self.event_leases.len())];
        let request = pb::PutRequest {
            key: Object::Event.key(number),
            value: self.value.slice(..EVENT_BYTES),
            lease,
            ..pb::PutRequest::default()
        };
        let answer = self.connection.call(PUT, frame(&request)).await?;
        self.registry.changed(Object::Event, scan::revision(&answer)?);
        Ok(Done { kind: Kind::Event.place(), bytes: answer.len(), lost: false })
    }

    async fn read(&mut self, kind: Kind) -> anyhow::Result<Done> {
        let pods = self.registry.pods.len() as u64;
        let (request, at_least) = match kind {
            Kind::List => {
                let start = self.rng.random_range(0..=pods.saturating_sub(PAGE));
                let prefix = Object::Pod.prefix();
                let request = pb::RangeRequest {
                    key: Object::Pod.key(start),
                    range_end: end_of(prefix),
                    limit: PAGE.cast_signed(),
                    ..pb::RangeRequest::default()
                };
                (request, pods - start)
            }
            Kind::Count => {
                (pb::RangeRequest { count_only: true, ..whole(Object::Pod.prefix()) }, pods)
            }
            _ => {
                let (key, ..) = self.registry.item(self.rng.random_range(0..self.registry.len()));
                (pb::RangeRequest { key, ..pb::RangeRequest::default() }, 1)
            }
        };
        let is_list = kind == Kind::List;
        let answer = self.connection.call(RANGE, frame(&request)).await?;
        let count = scan::number(&answer, 4)?;
        ensure!(count >= at_least, "{count} objects, where at least {at_least} are");
        if is_list {
            let listed = messages(&answer, 2)?;
            ensure!(listed == PAGE, "a page has {listed} objects, not {PAGE}");
        }
        Ok(Done { kind: kind.place(), bytes: answer.len(), lost: false })
    }
}

impl Client for Actor {
    async fn turn(&mut self, _: u64) -> anyhow::Result<Done> {
        match mix::pick(self.rng.random_range(0..100)) {
            kind @ (Kind::LeaseSwap | Kind::PodSwap) => self.update(kind).await,
            Kind::Create => self.create().await,
            Kind::Delete => self.delete().await,
            Kind::Event => self.event().await,
            kind @ (Kind::Get | Kind::List | Kind::Count) => self.read(kind).await,
        }
    }
}
