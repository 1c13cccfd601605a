//! B10: pods created, read, patched, applied and deleted.

use std::sync::Arc;

use anyhow::ensure;
use http::Method;

use super::figures::{CPU, Comparison, CostMeter, P99, RATE, Round};
use super::flags::ApiFlags;
use super::objects::{self, PODS, bytes};
use super::server::Server;
use super::wire::{Ask, Connection};
use crate::bench::pace::{Client, Turns, drive};
use crate::bench::tally::{Done, Tally};
use crate::bench::versus::goal::Goal::{self, TimesAtLeast, TimesAtMost};

/// What is done to each pod, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Create,
    Get,
    PatchStatus,
    Apply,
    Delete,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Create, Self::Get, Self::PatchStatus, Self::Apply, Self::Delete];

    fn title(self) -> &'static str {
        match self {
            Self::Create => "create pods of 4.4 KB",
            Self::Get => "get them",
            Self::PatchStatus => "patch their status (strategic merge)",
            Self::Apply => "apply labels to them (server-side apply)",
            Self::Delete => "delete them",
        }
    }

    fn goals(self) -> Vec<(&'static str, Goal)> {
        let (rate, cpu, p99) = (
            |times| (RATE, TimesAtLeast(times)),
            (CPU, TimesAtMost(0.125)),
            (P99, TimesAtMost(0.25)),
        );
        match self {
            Self::Create => vec![rate(5.0), p99, cpu],
            Self::Get | Self::PatchStatus => vec![rate(8.0), p99, cpu],
            // No goal was set for these.
            Self::Apply | Self::Delete => vec![(RATE, TimesAtLeast(1.0)), (CPU, TimesAtMost(1.0))],
        }
    }
}

/// All rounds, in turns.
pub(super) async fn run(flags: &ApiFlags, servers: &[Server]) -> anyhow::Result<Vec<Comparison>> {
    let mut all: Vec<Comparison> = Phase::ALL
        .iter()
        .map(|phase| {
            let title = format!(
                "{}, {} workers on {} connections",
                phase.title(),
                flags.workers,
                flags.conns
            );
            Comparison::new("B10", title, phase.goals())
        })
        .collect();
    let mut connections = Vec::new();
    for server in servers {
        connections.push(Connection::open_many(server, flags.conns).await?);
    }
    for round in 0..=flags.rounds {
        // The first one warms up.
        let requests = if round == 0 { flags.requests.div_ceil(4) } else { flags.requests };
        for (phase, comparison) in Phase::ALL.into_iter().zip(&mut all) {
            for (server, connections) in servers.iter().zip(&connections) {
                let name = server.side.name();
                super::progress(&format!(
                    "B10: {}, {round}/{}, {name}",
                    phase.title(),
                    flags.rounds
                ));
                let load = Load { phase, round, workers: flags.workers, first: 0, requests };
                let measured = one(server, connections, load).await?;
                if round > 0 {
                    comparison.push(server.side, measured);
                }
            }
        }
    }
    Ok(all)
}

/// What workers do together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub phase: Phase,
    pub round: usize,
    pub workers: usize,
    /// Number of the first pod.
    pub first: u64,
    pub requests: u64,
}

async fn one(server: &Server, connections: &[Connection], load: Load) -> anyhow::Result<Round> {
    let meter = CostMeter::start(server)?;
    let tally = carry_out(connections, load).await?;
    Round::of_requests(&tally, &meter.stop()?)
}

/// Carries out one phase; what failed is in the tally.
pub(super) async fn carry_out(connections: &[Connection], load: Load) -> anyhow::Result<Tally> {
    ensure!(!connections.is_empty(), "at least one connection");
    let template: Arc<str> = objects::pod(NAME).to_string().into();
    let word = format!("word-{}-{}", load.round, std::process::id());
    let status = bytes(&objects::status(&word));
    let workers = (0..load.workers)
        .map(|number| Worker {
            connection: connections[number % connections.len()].clone(),
            load,
            template: Arc::clone(&template),
            status: status.clone(),
            word: word.clone(),
        })
        .collect();
    drive(workers, Turns::count(load.requests), 1).await
}

/// Stands for a pod's name in the template.
const NAME: &str = "pod-template";

struct Worker {
    connection: Connection,
    load: Load,
    template: Arc<str>,
    status: bytes::Bytes,
    word: String,
}

/// The name of a pod.
pub(super) fn name(number: u64) -> String {
    format!("pod-{number:07}")
}

impl Client for Worker {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        let name = name(self.load.first + turn);
        let own = format!("{PODS}/{name}");
        let status = format!("{own}/status");
        let applied = format!("{own}?fieldManager=bench-applier");
        let ask = match self.load.phase {
            Phase::Create => {
                Ask::with(Method::POST, PODS, self.template.replace(NAME, &name).into())
            }
            Phase::Get => Ask::get(&own),
            Phase::Delete => Ask { method: Method::DELETE, ..Ask::get(&own) },
            Phase::PatchStatus => Ask {
                content_type: "application/strategic-merge-patch+json",
                ..Ask::with(Method::PATCH, &status, self.status.clone())
            },
            Phase::Apply => Ask {
                content_type: "application/apply-patch+yaml",
                ..Ask::with(Method::PATCH, &applied, bytes(&objects::applied(&name, &self.word)))
            },
        };
        let code = if self.load.phase == Phase::Create { 201 } else { 200 };
        let body = self.connection.call(ask).await?.expect(&[code], self.load.phase.title())?;
        self.judge(&name, &body)?;
        Ok(Done { kind: 0, bytes: body.len(), lost: false })
    }
}

impl Worker {
    /// Whether an answer shows the pod, and what was done to it.
    fn judge(&self, name: &str, body: &[u8]) -> anyhow::Result<()> {
        let text = std::str::from_utf8(body)?;
        let shows = match self.load.phase {
            Phase::Create | Phase::Get | Phase::Delete => name,
            Phase::PatchStatus | Phase::Apply => self.word.as_str(),
        };
        ensure!(text.contains(shows), "an answer does not show {shows}");
        Ok(())
    }
}
