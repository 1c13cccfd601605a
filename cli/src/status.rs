//! Commands that talk to a running `orlop up` from another terminal.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use crate::limits;
use crate::up::control::{PartStatus, Reply, Request, Status, ask};
use crate::up::folder;
use crate::up::layout::Layout;
use crate::up::probe::{Identity, fetch};

/// Flags of `orlop status`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatusFlags {
    #[command(flatten)]
    dir: crate::Dir,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `orlop down`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DownFlags {
    #[command(flatten)]
    dir: crate::Dir,
}

/// `orlop host`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum HostCommand {
    /// End every process of a host with SIGKILL, as a power cut would
    Kill {
        /// The host, as `orlop status` names it: host-1, node-1
        host: String,
        /// Keep it down until `orlop host start`; without this its parts are started again
        #[arg(long)]
        hold: bool,
        #[command(flatten)]
        dir: crate::Dir,
    },
    /// Start a host that `orlop host kill --hold` keeps down
    Start {
        /// The host, as `orlop status` names it
        host: String,
        #[command(flatten)]
        dir: crate::Dir,
    },
}

/// All that `orlop status` knows.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    status: Status,
    store: Vec<Member>,
    api: Api,
    nodes: Vec<Node>,
}

/// A store member's own word.
#[derive(Debug, Serialize)]
struct Member {
    host: String,
    revision: Option<i64>,
    leader: bool,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Api {
    url: String,
    ready: bool,
    error: Option<String>,
}

/// A node as the API knows it.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ready: bool,
}

fn not_running(layout: &Layout) -> anyhow::Error {
    anyhow::anyhow!(
        "no `orlop up` runs on {dir}: start it with `orlop up --dir {dir}`",
        dir = layout.dir.display()
    )
}

/// Prints what runs. Fails when nothing does; exit code 2 when not all of it is well.
pub(crate) async fn status(flags: StatusFlags) -> anyhow::Result<ExitCode> {
    let layout = folder::find(&flags.dir.dir)?;
    let reply = ask(&layout.control_socket(), &Request::Status).await?;
    let Some(Reply::Status(status)) = reply else { return Err(not_running(&layout)) };
    let mut api = api(&layout).await;
    // It may be lost between two questions: what is known of the rest is still worth showing.
    let nodes = match api.ready {
        true => nodes(&layout).await.unwrap_or_else(|error| {
            api.ready = false;
            api.error = Some(format!("{error:#}"));
            Vec::new()
        }),
        false => Vec::new(),
    };
    let report = Report { store: members(&layout).await, status, api, nodes };
    let text = match flags.json {
        true => serde_json::to_string_pretty(&report)?,
        false => table(&report),
    };
    writeln!(std::io::stdout(), "{text}")?;
    let well =
        report.api.ready && report.status.ready && report.nodes.iter().all(|node| node.ready);
    let well = well && report.store.iter().all(|member| member.error.is_none());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

async fn api(layout: &Layout) -> Api {
    let answer = match Identity::load(&layout.ca().certificate, &layout.admin()) {
        Ok(identity) => fetch(&identity, "127.0.0.1", layout.shape.api_port, "/readyz").await,
        Err(error) => Err(error),
    };
    let error = match answer {
        Ok((200, _)) => None,
        Ok((status, body)) => {
            let first = String::from_utf8_lossy(&body).lines().next().unwrap_or("").to_owned();
            Some(format!("{status} {first}"))
        }
        Err(error) => Some(format!("{error:#}")),
    };
    Api { url: layout.api_url(), ready: error.is_none(), error }
}

/// The nodes as the API knows them.
pub(crate) async fn nodes(layout: &Layout) -> anyhow::Result<Vec<Node>> {
    let identity = Identity::load(&layout.ca().certificate, &layout.admin())?;
    let port = layout.shape.api_port;
    let (status, body) = fetch(&identity, "127.0.0.1", port, "/api/v1/nodes").await?;
    if status != 200 {
        bail!("the API answered {status} when asked for the nodes");
    }
    let list: Value = serde_json::from_slice(&body).context("the API answered no JSON")?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let ready = |node: &Value| {
        node["status"]["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        })
    };
    let name = |node: &Value| node["metadata"]["name"].as_str().unwrap_or("?").to_owned();
    Ok(items.iter().map(|node| Node { name: name(node), ready: ready(node) }).collect())
}

/// The host whose member says that it leads.
pub(crate) async fn store_leader(layout: &Layout) -> Option<String> {
    members(layout).await.into_iter().find(|member| member.leader).map(|member| member.host)
}

async fn members(layout: &Layout) -> Vec<Member> {
    let asked = layout.hosts().into_iter().map(|host| async move {
        let answer = member(layout, &layout.store_client_url(&host)).await;
        match answer {
            Ok((revision, leader)) => {
                Member { host: host.name, revision: Some(revision), leader, error: None }
            }
            Err(error) => Member {
                host: host.name,
                revision: None,
                leader: false,
                error: Some(format!("{error:#}")),
            },
        }
    });
    futures::future::join_all(asked).await
}

/// The revision of one member, and whether it leads, in its own words.
async fn member(layout: &Layout, url: &str) -> anyhow::Result<(i64, bool)> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let pair = layout.store_admin();
    let tls = store_client::Tls {
        ca: read(&layout.store_ca().certificate)?,
        identity: Some((read(&pair.certificate)?, read(&pair.key)?)),
    };
    let config = store_client::Config::new([url]).with_tls(tls);
    let asked = async { anyhow::Ok(store_client::Client::new(&config)?.status(url).await?) };
    let status = tokio::time::timeout(limits::PROBE_DEADLINE, asked)
        .await
        .context("no answer in time")??;
    let header = status.header.unwrap_or_default();
    Ok((header.revision, status.leader == header.member_id))
}

fn table(report: &Report) -> String {
    let mut rows =
        vec![["HOST", "PART", "STATE", "PID", "RESTARTS", "UP", "ADDRESS"].map(str::to_owned)];
    let mut parts: Vec<&PartStatus> = report.status.parts.iter().collect();
    // Hosts together: who looks for one wants to see it whole. The order within is by start.
    parts.sort_by(|a, b| a.host.cmp(&b.host));
    for part in parts {
        rows.push([
            part.host.clone(),
            part.part.clone(),
            part.state.name().to_owned(),
            part.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            part.restarts.to_string(),
            part.uptime_seconds.map_or_else(|| "-".to_owned(), |up| short(Duration::from_secs(up))),
            part.address.clone(),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    for line in summary(report) {
        text.push_str(&line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

fn summary(report: &Report) -> Vec<String> {
    let leader = report.store.iter().find(|member| member.leader);
    let answering = report.store.iter().filter(|member| member.error.is_none()).count();
    let leader = leader.map_or_else(
        || "no leader".to_owned(),
        |member| {
            format!("leader {}, revision {}", member.host, member.revision.unwrap_or_default())
        },
    );
    let mut lines =
        vec![format!("store    {leader}, {answering} of {} members answer", report.store.len())];
    lines.extend(report.store.iter().filter_map(|member| {
        member.error.as_ref().map(|error| format!("         {}: {error}", member.host))
    }));
    lines.push(match &report.api.error {
        None => format!("api      ready at {}", report.api.url),
        Some(error) => format!("api      not ready at {}: {error}", report.api.url),
    });
    let ready = report.nodes.iter().filter(|node| node.ready).count();
    lines.push(format!(
        "nodes    {ready} of {} ready, runtime {}",
        report.nodes.len(),
        report.status.runtime
    ));
    lines.extend(report.nodes.iter().filter(|node| !node.ready).map(|node| {
        format!("         {} is not ready: kubectl describe node {}", node.name, node.name)
    }));
    lines
}

/// Like kubectl's ages: the two units that matter.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// Asks the running `up` to stop and waits until it has.
pub(crate) async fn down(flags: DownFlags) -> anyhow::Result<()> {
    let layout = folder::find(&flags.dir.dir)?;
    let socket = layout.control_socket();
    let began = Instant::now();
    let told = match ask(&socket, &Request::Down).await? {
        None => return Err(not_running(&layout)),
        Some(Reply::Told(told)) => told,
        Some(Reply::Refused(why)) => bail!("{why}"),
        Some(Reply::Status(_)) => bail!("`orlop up` answered something else"),
    };
    let deadline = began + limits::STOP_DEADLINE + limits::CONTROL_DEADLINE;
    // The socket's file goes last, when everything has ended.
    while socket.exists() {
        if Instant::now() > deadline {
            bail!("`orlop up` on {} has not ended: stop it with SIGTERM", layout.dir.display());
        }
        tokio::time::sleep(limits::READY_POLL).await;
    }
    writeln!(
        std::io::stdout(),
        "stopped {} parts in {:.1} s: {}",
        told.len(),
        began.elapsed().as_secs_f64(),
        told.join(", ")
    )?;
    Ok(())
}

/// Kills or starts a host of the running `up`.
pub(crate) async fn host(command: HostCommand) -> anyhow::Result<()> {
    let (dir, request, what) = match command {
        HostCommand::Kill { host, hold, dir } => (dir, Request::KillHost { host, hold }, "killed"),
        HostCommand::Start { host, dir } => (dir, Request::StartHost { host }, "starting"),
    };
    let layout = folder::find(&dir.dir)?;
    match ask(&layout.control_socket(), &request).await? {
        None => Err(not_running(&layout)),
        Some(Reply::Told(told)) => {
            writeln!(std::io::stdout(), "{what} {}", told.join(", "))?;
            Ok(())
        }
        Some(Reply::Refused(why)) => bail!("{why}"),
        Some(Reply::Status(_)) => bail!("`orlop up` answered something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let shown = [5, 65, 3_700, 90_000].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(shown, ["5s", "1m5s", "1h1m", "1d1h"]);
    }
}
