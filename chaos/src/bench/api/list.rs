//! B11: lists of many pods in every form, and the memory of a server that has them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::crud::{self, Load, Phase};
use super::figures::{Comparison, CostMeter, RSS, Round};
use super::flags::ApiFlags;
use super::objects::PODS;
use super::server::Server;
use super::wire::{Answer, Ask, Connection, JSON};
use crate::bench::measure;
use crate::bench::versus::goal::Goal::{self, AtMost, TimesAtLeast, TimesAtMost};
use crate::limits;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PAGE: u64 = 500;

/// Lists a second, from the median of a round.
const LISTS: &str = "lists/s";
const CPU_MS: &str = "server CPU ms/list";

/// How a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    title: &'static str,
    accept: &'static str,
    query: &'static str,
    is_paged: bool,
    /// Lists at the same time.
    at_once: u64,
}

const FORMS: [Form; 6] = [
    Form { title: "JSON", accept: JSON, query: "", is_paged: false, at_once: 1 },
    Form {
        title: "JSON, resourceVersion=0",
        accept: JSON,
        query: "?resourceVersion=0",
        is_paged: false,
        at_once: 1,
    },
    Form { title: "protobuf", accept: PROTOBUF, query: "", is_paged: false, at_once: 1 },
    Form { title: "JSON in pages of 500", accept: JSON, query: "", is_paged: true, at_once: 1 },
    Form { title: "Table", accept: TABLE, query: "", is_paged: false, at_once: 1 },
    Form { title: "JSON, 4 at once", accept: JSON, query: "", is_paged: false, at_once: 4 },
];

/// Fills, reads the memory and lists, for each number of pods.
pub(super) async fn run(flags: &ApiFlags, servers: &[Server]) -> anyhow::Result<Vec<Comparison>> {
    let mut all = vec![memory(servers, "idle", AtMost(30.0))?];
    let mut there = 0;
    for pods in &flags.pods {
        for server in servers {
            super::progress(&format!("B11: {pods} pods into {}", server.side.name()));
            fill(flags, server, there, *pods).await?;
        }
        let goal = AtMost(if *pods <= 10_000 { 100.0 } else { 600.0 });
        all.push(memory(servers, &format!("{pods} pods"), goal)?);
        all.extend(at_rest(flags, servers, &format!("{pods} pods"), goal).await?);
        if there == 0 {
            for form in FORMS {
                all.push(in_turns(flags, servers, form, *pods).await?);
            }
            let when = format!("{pods} pods, after the lists");
            all.push(memory(servers, &when, goal)?);
            all.extend(at_rest(flags, servers, &when, goal).await?);
        }
        there = *pods;
    }
    Ok(all)
}

/// Most objects of a cluster are asked for by nobody most of the time: what they take then.
async fn at_rest(
    flags: &ApiFlags,
    servers: &[Server],
    when: &str,
    goal: Goal,
) -> anyhow::Result<Option<Comparison>> {
    if flags.rest == 0 {
        return Ok(None);
    }
    super::progress(&format!("B11: {when}, at rest for {} s", flags.rest));
    tokio::time::sleep(Duration::from_secs(flags.rest)).await;
    memory(servers, &format!("{when}, at rest"), goal).map(Some)
}

fn memory(servers: &[Server], when: &str, goal: Goal) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::new("B11", format!("memory, {when}"), vec![(RSS, goal)]);
    for server in servers {
        let mib = |pids: &[u32], kib: fn(&measure::Memory) -> u64| -> anyhow::Result<f64> {
            let memory = pids.iter().map(|pid| measure::memory(*pid));
            let memory = memory.collect::<anyhow::Result<Vec<_>>>()?;
            let sum = memory.iter().map(kib).sum::<u64>() as f64 / 1024.0;
            Ok(if pids.is_empty() { f64::NAN } else { sum })
        };
        let figures = vec![
            (RSS, mib(&server.pids, |memory| memory.rss_kib)?),
            ("of it anonymous", mib(&server.pids, |memory| memory.anon_kib)?),
            ("store RSS MiB", mib(&server.store_pids, |memory| memory.rss_kib)?),
        ];
        comparison.push(server.side, Round { figures, ..Round::default() });
    }
    Ok(comparison)
}

/// Creates the pods from `there` on.
async fn fill(flags: &ApiFlags, server: &Server, there: u64, pods: u64) -> anyhow::Result<()> {
    let connections = Connection::open_many(server, flags.conns).await?;
    let load = Load {
        phase: Phase::Create,
        round: 0,
        workers: flags.workers,
        first: there,
        requests: pods - there,
    };
    crud::carry_out(&connections, load).await?.all_succeeded("the pods cannot be created")
}

async fn in_turns(
    flags: &ApiFlags,
    servers: &[Server],
    form: Form,
    pods: u64,
) -> anyhow::Result<Comparison> {
    let title = format!("list {pods} pods: {}", form.title);
    let times = if form.is_paged { 5.0 } else { 8.0 };
    let goals = vec![(LISTS, TimesAtLeast(times)), (CPU_MS, TimesAtMost(0.125))];
    let mut comparison = Comparison::new("B11", title, goals);
    for round in 0..=flags.rounds {
        for server in servers {
            let (title, name) = (form.title, server.side.name());
            super::progress(&format!(
                "B11: {pods} pods, {title}, {round}/{}, {name}",
                flags.rounds
            ));
            let measured = one(flags, server, form, pods).await?;
            if round > 0 {
                comparison.push(server.side, measured);
            }
        }
    }
    Ok(comparison)
}

async fn one(flags: &ApiFlags, server: &Server, form: Form, pods: u64) -> anyhow::Result<Round> {
    let connections = Connection::open_many(server, usize::try_from(form.at_once)?).await?;
    let meter = CostMeter::start(server)?;
    let mut round = Round::default();
    let (mut took, mut lengths) = (Vec::new(), Vec::new());
    for _ in 0..flags.lists {
        let lists = connections.iter().map(|connection| list(connection.clone(), form, pods));
        for listed in futures::future::join_all(lists).await {
            match listed {
                Ok((time, length)) => {
                    took.push(time.as_secs_f64());
                    lengths.push(length as f64 / f64::from(1 << 20));
                }
                Err(error) => {
                    round.failed += 1;
                    *round.errors.entry(format!("{error:#}")).or_default() += 1;
                }
            }
        }
    }
    let cost = meter.stop()?;
    let lists = took.len() as u64;
    took.sort_by(f64::total_cmp);
    let median = took.get(took.len() / 2).copied().unwrap_or(f64::NAN);
    round.figures = vec![
        (LISTS, 1.0 / median),
        ("s", median),
        ("MiB", lengths.first().copied().unwrap_or(f64::NAN)),
        (CPU_MS, cost.server_us(lists) / 1e3),
        ("with its store ms", cost.all_us(lists) / 1e3),
        (RSS, cost.rss_mib()),
    ];
    Ok(round)
}

/// One whole list: how long it took, and its bytes. Its items are counted after the clock stopped.
async fn list(
    mut connection: Connection,
    form: Form,
    pods: u64,
) -> anyhow::Result<(Duration, usize)> {
    let (mut took, mut length, mut items) = (Duration::ZERO, 0, 0);
    let mut token = String::new();
    loop {
        let path = match (form.is_paged, token.is_empty()) {
            (false, _) => format!("{PODS}{}", form.query),
            (true, true) => format!("{PODS}?limit={PAGE}"),
            (true, false) => format!("{PODS}?limit={PAGE}&continue={token}"),
        };
        let ask = Ask { accept: form.accept, ..Ask::get(&path) };
        let begun = Instant::now();
        let answer = connection.call_within(limits::BENCH_API_LONG_DEADLINE, ask).await?;
        took += begun.elapsed();
        length += answer.length;
        let (counted, next) = judge(answer, form)?;
        items += counted;
        ensure!(items <= pods, "a list has {items} items of {pods}");
        if next.is_empty() {
            break;
        }
        token = next;
    }
    ensure!(items == pods, "a list has {items} items, not {pods}");
    Ok((took, length))
}

#[derive(Deserialize)]
struct Listed {
    metadata: ListedMeta,
    #[serde(default)]
    items: Vec<IgnoredAny>,
    /// Those of a Table.
    #[serde(default)]
    rows: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct ListedMeta {
    #[serde(default, rename = "continue")]
    next: String,
}

/// The number of items, and where the next page begins.
fn judge(answer: Answer, form: Form) -> anyhow::Result<(u64, String)> {
    let body = answer.expect(&[200], "a list")?;
    if form.accept == PROTOBUF {
        return Ok((protobuf_items(&body)?, String::new()));
    }
    let listed: Listed = serde_json::from_slice(&body)?;
    Ok(((listed.items.len() + listed.rows.len()) as u64, listed.metadata.next))
}

/// Items of a list in protobuf: fields 2 of the message in field 2 of the envelope.
fn protobuf_items(body: &[u8]) -> anyhow::Result<u64> {
    let envelope = body.strip_prefix(b"k8s\0").context("no envelope of Kubernetes")?;
    let mut items = 0;
    for raw in fields(envelope, 2)? {
        items += fields(raw, 2)?.len() as u64;
    }
    Ok(items)
}

/// The values of a field of a message all of whose fields have lengths.
fn fields(mut message: &[u8], number: u64) -> anyhow::Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        ensure!(tag & 7 == 2, "a field of an unexpected type");
        let length = usize::try_from(varint(&mut message)?)?;
        let (value, rest) = message.split_at_checked(length).context("a message is cut short")?;
        if tag >> 3 == number {
            found.push(value);
        }
        message = rest;
    }
    Ok(found)
}

fn varint(message: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first().context("a message is cut short")?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_protobuf_list_are_counted_and_broken_ones_refused() {
        // An envelope: its type, then the list: metadata, two items.
        let list = [0x0a, 1, b'm', 0x12, 2, b'i', b'i', 0x12, 0];
        let mut body = b"k8s\0".to_vec();
        body.extend([0x0a, 2, b't', b't', 0x12, 9]);
        body.extend(list);
        assert_eq!(protobuf_items(&body).unwrap(), 2);
        assert!(protobuf_items(&body[..body.len() - 1]).is_err());
        assert!(protobuf_items(b"{}").is_err());
    }
}
