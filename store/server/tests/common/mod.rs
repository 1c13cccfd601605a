//! Clusters of members inside the test process.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]

use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use proto::etcdserverpb::{
    PutRequest, RangeRequest, cluster_client::ClusterClient, kv_client::KvClient,
    lease_client::LeaseClient, maintenance_client::MaintenanceClient, watch_client::WatchClient,
};
use store_server::{Flags, Member};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) struct Cluster {
    pub(crate) members: Vec<Option<Member>>,
    client_urls: Vec<String>,
    peer_urls: Vec<String>,
    dir: TempDir,
    /// Flags of every member that is started from now on.
    pub(crate) extra: Vec<String>,
}

/// Writes what a member says to the standard error of its process.
pub(crate) struct Said;

impl tracing::Subscriber for Said {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line.push_str(&format!("{field}={value:?} "));
        });
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A configuration from a command line.
pub(crate) fn config(line: impl Iterator<Item = String>) -> store_server::Config {
    Line::parse_from(line).flags.into_config().unwrap()
}

impl Cluster {
    pub(crate) async fn start(count: usize, extra: &[&str]) -> Self {
        Self::start_some(count, count, extra).await
    }

    /// A cluster of `count` members, of which only the first `started` ones run.
    pub(crate) async fn start_some(count: usize, started: usize, extra: &[&str]) -> Self {
        let urls = || (0..count).map(|_| testbed::free_url()).collect::<Vec<_>>();
        let mut cluster = Self {
            members: (0..count).map(|_| None).collect(),
            client_urls: urls(),
            peer_urls: urls(),
            dir: tempfile::tempdir().unwrap(),
            extra: extra.iter().map(|text| (*text).to_owned()).collect(),
        };
        for number in 0..started {
            cluster.start_member(number).await;
        }
        cluster
    }

    /// A cluster on data folders that `make` makes: it is given the flag `--initial-cluster`, and the
    /// members' names and folders.
    pub(crate) async fn restored(
        count: usize,
        make: impl FnOnce(&str, &[(String, PathBuf)]),
    ) -> (Self, Vec<(String, PathBuf)>) {
        let mut cluster = Self::start(0, &[]).await;
        for _ in 0..count {
            cluster.prepare();
        }
        let peers = cluster.peer_urls.iter().enumerate();
        let peers: Vec<String> = peers.map(|(n, url)| format!("m{n}={url}")).collect();
        let folder = |number: usize| cluster.dir.path().join(format!("m{number}"));
        let folders: Vec<_> = (0..count).map(|n| (format!("m{n}"), folder(n))).collect();
        make(&peers.join(","), &folders);
        for number in 0..count {
            cluster.start_member(number).await;
        }
        (cluster, folders)
    }

    /// Room for one more member, that is not started: its number, and its peer URL.
    pub(crate) fn prepare(&mut self) -> (usize, String) {
        self.members.push(None);
        self.client_urls.push(testbed::free_url());
        self.peer_urls.push(testbed::free_url());
        let number = self.members.len() - 1;
        (number, self.peer_urls[number].clone())
    }

    /// Starts a prepared member, which joins the members that run.
    ///
    /// # Errors
    /// What the member says when it refuses to start.
    pub(crate) async fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let running = self.members.iter().map(Option::is_some).collect::<Vec<_>>();
        let mut line = self.line(number, |other| other == number || running[other]);
        line.push("--initial-cluster-state=existing".to_owned());
        let config = Line::parse_from(line).flags.into_config().unwrap();
        self.members[number] = Some(Member::start(config).await?);
        Ok(())
    }

    pub(crate) async fn start_member(&mut self, number: usize) {
        let config = Line::parse_from(self.line(number, |_| true)).flags.into_config().unwrap();
        self.members[number] = Some(Member::start(config).await.unwrap());
    }

    /// Starts a member that may refuse to.
    ///
    /// # Errors
    /// What it says then.
    pub(crate) async fn try_start_member(&mut self, number: usize) -> anyhow::Result<()> {
        let config = Line::parse_from(self.line(number, |_| true)).flags.into_config().unwrap();
        self.members[number] = Some(Member::start(config).await?);
        Ok(())
    }

    /// A member's data folder.
    pub(crate) fn folder(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("m{number}"))
    }

    fn line(&self, number: usize, belongs: impl Fn(usize) -> bool) -> Vec<String> {
        let peers = self.peer_urls.iter().enumerate();
        let peers = peers.filter(|(n, _)| belongs(*n));
        let all: Vec<String> = peers.map(|(n, url)| format!("m{n}={url}")).collect();
        let mut line = vec![
            "store".to_owned(),
            format!("--name=m{number}"),
            format!("--data-dir={}", self.dir.path().join(format!("m{number}")).display()),
            format!("--listen-client-urls={}", self.client_urls[number]),
            format!("--advertise-client-urls={}", self.client_urls[number]),
            format!("--listen-peer-urls={}", self.peer_urls[number]),
            format!("--initial-advertise-peer-urls={}", self.peer_urls[number]),
            format!("--initial-cluster={}", all.join(",")),
        ];
        line.extend(self.extra.iter().cloned());
        line
    }

    pub(crate) async fn stop_member(&mut self, number: usize) {
        self.members[number].take().unwrap().stop().await;
    }

    pub(crate) async fn stop(&mut self) {
        for number in 0..self.members.len() {
            if self.members[number].is_some() {
                self.stop_member(number).await;
            }
        }
    }

    pub(crate) fn endpoints(&self) -> String {
        self.client_urls.join(",")
    }

    /// The answer of a plain HTTP request to a member's client port.
    pub(crate) fn http(&self, number: usize, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let address = self.client_urls[number].trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn channel(&self, number: usize) -> Channel {
        Endpoint::from_shared(self.client_urls[number].clone()).unwrap().connect_lazy()
    }

    pub(crate) fn kv(&self, number: usize) -> KvClient<Channel> {
        KvClient::new(self.channel(number))
    }

    pub(crate) fn watch(&self, number: usize) -> WatchClient<Channel> {
        WatchClient::new(self.channel(number))
    }

    pub(crate) fn cluster(&self, number: usize) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel(number))
    }

    pub(crate) fn lease(&self, number: usize) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel(number))
    }

    pub(crate) fn maintenance(&self, number: usize) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel(number))
    }

    /// Where a member's peers reach it, as `ADDRESS:PORT`.
    pub(crate) fn peer_address(&self, number: usize) -> String {
        self.peer_urls[number].trim_start_matches("http://").to_owned()
    }

    /// How many members vote, as one of them sees it.
    pub(crate) fn voters(&self, number: usize) -> usize {
        self.members[number].as_ref().map_or(0, Member::voters)
    }

    /// Waits until a member has deleted its log up to this entry: who missed it gets a snapshot.
    pub(crate) async fn log_gone(&self, number: usize, index: u64) {
        eventually("the log to be deleted", || async {
            let metrics = self.http(number, "/metrics");
            let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
            let (_, purged) = lines.find(|(name, _)| *name == "orlop_store_log_purged_index")?;
            (purged.parse::<u64>().unwrap() >= index).then_some(())
        })
        .await;
    }

    /// Waits until a member has counted a snapshot that it installed: what came is seen before that.
    pub(crate) async fn snapshot_came(&self, number: usize) {
        eventually("a snapshot to be counted", || async {
            let metrics = self.http(number, "/metrics");
            metrics.contains("orlop_store_snapshots_installed_total 1").then_some(())
        })
        .await;
    }

    /// The number of the member that leads, once one does and all running members agree.
    pub(crate) async fn leader(&self) -> usize {
        eventually("a leader", || async {
            let running: Vec<_> = self.members.iter().flatten().collect();
            let leader = running[0].leader()?;
            let agreed = running.iter().all(|member| member.leader() == Some(leader));
            let number = self
                .members
                .iter()
                .position(|member| member.as_ref().is_some_and(|member| member.id() == leader))?;
            agreed.then_some(number)
        })
        .await
    }
}

/// Waits until `probe` finds something; fails after twenty seconds.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) -> i64 {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    kv.put(request).await.unwrap().into_inner().header.unwrap().revision
}

pub(crate) async fn get(
    kv: &mut KvClient<Channel>,
    key: &str,
    serializable: bool,
) -> Option<String> {
    let key = key.to_owned().into();
    let request = RangeRequest { key, serializable, ..RangeRequest::default() };
    let response = kv.range(request).await.unwrap().into_inner();
    response.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}
