//! API priority and fairness: every request belongs to a flow, flows share levels, and levels share
//! the server's seats.
//!
//! A request is classified by the `FlowSchema` objects, takes seats of its level or waits in one
//! of the level's queues, and gives them back when it is answered. A watch has its seat until it
//! has begun. Requests of a level without limits take none.
//!
//! What differs from upstream: seats are borrowed request by request, where upstream moves limits
//! between levels every ten seconds; a list takes a seat for each hundred objects of its kind, ten
//! at most; a write always takes one.

mod classify;
mod defaults;
mod keep;
mod metrics;
mod queues;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api_machinery::{Object, ResourceInfo, Status, kinds};
use http::HeaderMap;
use http::header::HeaderValue;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::authn::User;
use crate::limits::{FLOW_QUEUE_WAIT, LIST_OBJECTS_PER_SEAT, LIST_SEATS_MAX};
use crate::request::{Query, RequestInfo};
use crate::watch_cache::{Caches, Filter};
use classify::Plan;
use metrics::{FlowLabels, LevelLabels, RefusalLabels};
use queues::{Ask, Levels, Placed, Refused};

pub(crate) use classify::Class;
pub(crate) use keep::{ensure, run};
pub(crate) use metrics::FlowMetrics;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";

fn kind(plural: &str) -> Result<&'static ResourceInfo, Status> {
    kinds::find(GROUP, "v1", plural).ok_or_else(Status::no_such_path)
}

/// Revisions of the last changes of schemas and levels.
fn versions(caches: &Caches) -> (u64, u64) {
    let last = |plural: &str| kind(plural).map_or(0, |kind| caches.of(kind).last_event());
    (last(SCHEMAS), last(LEVELS))
}

/// Who is served when.
#[derive(Debug)]
pub(crate) struct FlowControl {
    /// All seats of the server; none are counted when it is 0.
    seats: u64,
    caches: Arc<Caches>,
    plan: RwLock<((u64, u64), Arc<Plan>)>,
    inner: Mutex<Inner>,
    metrics: Arc<FlowMetrics>,
}

#[derive(Debug, Default)]
struct Inner {
    levels: Levels,
    /// Those who wait, by id.
    waiters: HashMap<u64, oneshot::Sender<()>>,
    next_id: u64,
}

impl Inner {
    fn wake(&mut self) {
        for id in self.levels.started() {
            // Who is gone by now gives its seats back itself.
            let _ = self.waiters.remove(&id).map(|waiter| waiter.send(()));
        }
    }
}

impl FlowControl {
    pub(crate) fn new(seats: usize, caches: Arc<Caches>, metrics: Arc<FlowMetrics>) -> Arc<Self> {
        let control = Self {
            seats: u64::try_from(seats).unwrap_or(u64::MAX),
            caches,
            plan: RwLock::new(((0, 0), Arc::new(Plan::new(Vec::new(), Vec::new())))),
            inner: Mutex::default(),
            metrics,
        };
        let plan = control.plan.read().1.clone();
        control.configure(&plan);
        Arc::new(control)
    }

    /// The newest plan; made again when a schema or a level has changed.
    fn plan(&self) -> Arc<Plan> {
        let versions = versions(&self.caches);
        {
            let held = self.plan.read();
            if held.0 == versions {
                return held.1.clone();
            }
        }
        let all = |plural: &str| -> Vec<Object> {
            let Ok(kind) = kind(plural) else { return Vec::new() };
            let (versions, _) = self.caches.of(kind).list("", &Filter::default(), 0);
            versions.iter().filter_map(|version| version.object().ok()).collect()
        };
        let plan = Arc::new(Plan::new(all(SCHEMAS), all(LEVELS)));
        let mut held = self.plan.write();
        *held = (versions, plan.clone());
        self.configure(&plan);
        plan
    }

    fn configure(&self, plan: &Plan) {
        let mut inner = self.inner.lock();
        let limited = plan.levels.iter().filter_map(|(name, level)| {
            let limits = level.limits?;
            Some((name.as_str(), limits))
        });
        inner.levels.configure(limited, self.seats);
        for (name, seats) in inner.levels.nominal() {
            let labels = LevelLabels { priority_level: name.to_owned() };
            self.metrics.nominal_seats.get_or_create(&labels).set(signed(seats));
        }
        // More seats may be there now.
        inner.wake();
    }

    /// Where a request belongs.
    pub(crate) fn classify(&self, user: &User, info: &RequestInfo) -> Class {
        self.plan().classify(user, info)
    }

    /// Takes the seats that a request needs, as soon as it is its turn; 429 when that is too late.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        class: &Class,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Option<Seat>, Status> {
        let is_limited =
            self.plan.read().1.levels.get(&class.level).is_some_and(|level| level.limits.is_some());
        let is_stream = info.is_long_running(query) && info.verb != "watch";
        if self.seats == 0 || is_stream {
            return Ok(None);
        }
        if !is_limited {
            self.dispatched(class);
            return Ok(None);
        }
        let seats = self.needed(info, query);
        let (queue, waits) = {
            let mut inner = self.inner.lock();
            let id = inner.next_id;
            inner.next_id += 1;
            let ask = Ask { level: &class.level, flow: class.flow, seats, id };
            match inner.levels.ask(&ask).map_err(|why| self.refused(class, why))? {
                Placed::Runs { queue } => (queue, None),
                Placed::Waits { queue } => {
                    let (turn, heard) = oneshot::channel();
                    inner.waiters.insert(id, turn);
                    (queue, Some((id, heard)))
                }
            }
        };
        let level = class.level.clone();
        if let Some((id, heard)) = waits {
            let mut waiting =
                Waiting { control: self.clone(), level: level.clone(), queue, seats, id: Some(id) };
            self.show(&level);
            if !matches!(tokio::time::timeout(FLOW_QUEUE_WAIT, heard).await, Ok(Ok(()))) {
                return Err(self.refused(class, Refused::TimeOut));
            }
            waiting.id = None;
        }
        self.dispatched(class);
        self.show(&level);
        Ok(Some(Seat { control: self.clone(), level, queue, seats, since: Instant::now() }))
    }

    fn needed(&self, info: &RequestInfo, query: &Query) -> u64 {
        let found = kinds::find(&info.group, &info.version, &info.resource);
        let Some(kind) = found.filter(|kind| info.verb == "list" && kind.is_stored()) else {
            return 1;
        };
        let count = u64::try_from(self.caches.of(kind).object_count()).unwrap_or(u64::MAX);
        let limit = query.non_empty("limit").and_then(|text| text.parse::<u64>().ok());
        let count = limit.filter(|limit| *limit > 0).map_or(count, |limit| limit.min(count));
        count.div_ceil(LIST_OBJECTS_PER_SEAT).clamp(1, LIST_SEATS_MAX)
    }

    fn dispatched(&self, class: &Class) {
        let labels =
            FlowLabels { priority_level: class.level.clone(), flow_schema: class.schema.clone() };
        self.metrics.dispatched.get_or_create(&labels).inc();
    }

    fn refused(&self, class: &Class, why: Refused) -> Status {
        let labels = RefusalLabels {
            priority_level: class.level.clone(),
            flow_schema: class.schema.clone(),
            reason: why.reason(),
        };
        self.metrics.rejected.get_or_create(&labels).inc();
        let mut status = Status::too_many_requests("", 1);
        "Too many requests, please try again later.".clone_into(&mut status.message);
        status
    }

    fn show(&self, level: &str) {
        let (executing, waiting) = self.inner.lock().levels.load(level);
        let labels = LevelLabels { priority_level: level.to_owned() };
        self.metrics.executing_seats.get_or_create(&labels).set(signed(executing));
        self.metrics.inqueue_seats.get_or_create(&labels).set(signed(waiting));
    }

    fn give_back(&self, level: &str, taken: (usize, u64), seconds: f64) {
        let mut inner = self.inner.lock();
        inner.levels.finish(level, taken, seconds);
        inner.wake();
        drop(inner);
        self.show(level);
    }
}

fn signed(seats: u64) -> i64 {
    i64::try_from(seats).unwrap_or(i64::MAX)
}

/// A place in a queue. Whoever leaves it early, leaves nothing behind.
struct Waiting {
    control: Arc<FlowControl>,
    level: String,
    queue: usize,
    seats: u64,
    /// None once the seats are taken.
    id: Option<u64>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let waited = {
            let mut inner = self.control.inner.lock();
            inner.waiters.remove(&id);
            inner.levels.forget(&self.level, self.queue, id)
        };
        // Its turn came while it left.
        if !waited {
            self.control.give_back(&self.level, (self.queue, self.seats), 0.0);
        }
    }
}

/// Seats that a request has. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Seat {
    control: Arc<FlowControl>,
    level: String,
    queue: usize,
    seats: u64,
    since: Instant,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.control.give_back(&self.level, (self.queue, self.seats), seconds);
    }
}

impl Class {
    /// Tells the client where its request belongs, as upstream does.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (name, uid) in [
            ("x-kubernetes-pf-flowschema-uid", &self.schema_uid),
            ("x-kubernetes-pf-prioritylevel-uid", &self.level_uid),
        ] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                headers.insert(name, value);
            }
        }
    }
}
