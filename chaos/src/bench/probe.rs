//! A put every so often, whether or not the ones before were answered: what a client notices of a
//! server that is busy with itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use proto::etcdserverpb as pb;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::tally::{histogram, record};
use super::wire::{Connection, frame, scan};
use crate::limits;

const PUT: &str = "/etcdserverpb.KV/Put";

/// Probes that go on until they are asked to end, through each connection in turn.
#[derive(Debug)]
pub(super) struct Probe {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Probed>>,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Probed {
    /// From when each was due.
    pub latency_us: Histogram<u64>,
    pub failed: u64,
    pub errors: BTreeMap<String, u64>,
}

impl Probe {
    pub(super) fn start(connections: Vec<Connection>, every: Duration) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(connections, every, stop.clone()));
        Self { stop, task }
    }

    /// Sends no more, and waits for the answers that are under way.
    pub(super) async fn finish(mut self) -> anyhow::Result<Probed> {
        self.stop.cancel();
        (&mut self.task).await?
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    connections: Vec<Connection>,
    every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<Probed> {
    ensure!(!connections.is_empty(), "probes need a connection");
    let mut probed = Probed { latency_us: histogram()?, failed: 0, errors: BTreeMap::new() };
    let mut under_way = JoinSet::new();
    let mut due = Instant::now();
    for number in 0_u64.. {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = stop.cancelled() => break,
        }
        let place = usize::try_from(number % connections.len() as u64)?;
        let mut connection = connections[place].clone();
        let deadline = limits::BENCH_OPERATION_DEADLINE;
        under_way.spawn(async move {
            let result = put(&mut connection, number, deadline).await;
            (due.elapsed(), result)
        });
        ensure!(under_way.len() <= limits::BENCH_PROBES_MAX, "too many probes have no answer");
        while let Some(answer) = under_way.try_join_next() {
            probed.note(answer?);
        }
        due += every;
    }
    while let Some(answer) = under_way.join_next().await {
        probed.note(answer?);
    }
    Ok(probed)
}

impl Probed {
    fn note(&mut self, (elapsed, result): (Duration, anyhow::Result<()>)) {
        match result {
            Ok(()) => record(&mut self.latency_us, elapsed),
            Err(error) => {
                self.failed += 1;
                *self.errors.entry(format!("{error:#}")).or_default() += 1;
            }
        }
    }
}

/// Writes 256 B, and waits for the answer.
pub(super) async fn put(
    connection: &mut Connection,
    number: u64,
    deadline: Duration,
) -> anyhow::Result<()> {
    let request = pb::PutRequest {
        key: format!("bench-probe/{:04}", number % 1_000).into_bytes().into(),
        value: vec![b'p'; 256].into(),
        ..pb::PutRequest::default()
    };
    let answer = connection.call_within(deadline, PUT, frame(&request)).await?;
    scan::revision(&answer).map(drop)
}
