//! Stores for tests: members of ours inside this process, or an etcd beside it.

use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use parking_lot::Mutex;
use store_client::Client;
use tokio_util::sync::CancellationToken;

use super::DEADLINE;

/// How long the remains of a killed member may take to end.
const REMAINS_MAX: Duration = Duration::from_secs(5);

/// A running store with its data; dropping it ends both.
pub(crate) struct Store {
    endpoints: Vec<String>,
    parts: Parts,
    _dir: tempfile::TempDir,
}

enum Parts {
    Own(Vec<Mutex<Option<Member>>>),
    Etcd(Child),
}

impl Drop for Store {
    fn drop(&mut self) {
        match &mut self.parts {
            Parts::Own(members) => {
                for member in members.iter_mut() {
                    drop(member.get_mut().take());
                }
                databases_are_closed();
            }
            Parts::Etcd(child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

/// Waits until no thread of a member is left: one that still closes its RocksDB while the process ends
/// aborts it.
fn databases_are_closed() {
    let until = Instant::now() + REMAINS_MAX;
    let runs = |task: std::io::Result<std::fs::DirEntry>| {
        let name = task.and_then(|task| std::fs::read_to_string(task.path().join("comm")));
        name.is_ok_and(|name| ["apply", "raft-log"].contains(&name.trim_end()))
    };
    // Those of other stores in this process are nobody's fault: what is waited for has its end.
    while Instant::now() < until && std::fs::read_dir("/proc/self/task").unwrap().any(runs) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Store {
    /// Members of ours, each on threads of its own.
    pub(crate) fn own(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let urls = || (0..count).map(|_| testbed::free_url()).collect::<Vec<_>>();
        let (clients, peers) = (urls(), urls());
        let named = peers.iter().enumerate().map(|(n, url)| format!("m{n}={url}"));
        let all = named.collect::<Vec<_>>().join(",");
        let members = clients.iter().zip(&peers).enumerate().map(|(n, (client, peer))| {
            let line = [
                "store".to_owned(),
                format!("--name=m{n}"),
                format!("--data-dir={}", dir.path().join(format!("m{n}")).display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={all}"),
                "--heartbeat-interval=100".to_owned(),
                "--election-timeout=500".to_owned(),
            ];
            let config = Line::parse_from(line).flags.into_config().unwrap();
            Mutex::new(Some(Member::start(config)))
        });
        let parts = Parts::Own(members.collect());
        Self { endpoints: clients, parts, _dir: dir }
    }

    /// A real etcd; `None`, counted as skipped, when there is none to be had.
    pub(crate) fn etcd() -> Option<Self> {
        let binary = testbed::program("etcd")?;
        let dir = tempfile::tempdir().unwrap();
        let (client, peer) = (testbed::free_url(), testbed::free_url());
        let child = Command::new(binary)
            .args(["--name", "one", "--log-level", "error", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { endpoints: vec![client], parts: Parts::Etcd(child), _dir: dir })
    }

    /// Where clients find the members.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Ends a member without telling anybody: no hand-over, connections just break.
    pub(crate) fn kill(&self, number: usize) {
        let Parts::Own(members) = &self.parts else { unreachable!("only our own are killed") };
        drop(members[number].lock().take().unwrap());
    }

    /// The number of the member that leads, once there is one.
    pub(crate) async fn leader(&self) -> usize {
        let client = Client::new(&store_client::Config::new(self.endpoints.clone())).unwrap();
        let until = tokio::time::Instant::now() + DEADLINE;
        loop {
            for (number, endpoint) in self.endpoints.iter().enumerate() {
                if let Ok(status) = client.status(endpoint).await
                    && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return number;
                }
            }
            assert!(tokio::time::Instant::now() < until, "no leader in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: store_server::Flags,
}

/// One member of ours. It has a runtime of its own, so that it can be ended in the middle of
/// anything; of one thread, because then nothing of it runs on while it is being ended.
struct Member {
    thread: Option<JoinHandle<()>>,
    kill: CancellationToken,
}

impl Member {
    fn start(config: store_server::Config) -> Self {
        let kill = CancellationToken::new();
        let killed = kill.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = store_server::run(config, CancellationToken::new()) => ended.unwrap(),
                    () = killed.cancelled() => {}
                }
            });
            runtime.shutdown_timeout(REMAINS_MAX);
        });
        Self { thread: Some(thread), kill }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Nobody needs the data: an orderly stop would only wait for the clients.
        self.kill.cancel();
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        // A second panic would hide the first.
        assert!(ended || std::thread::panicking(), "a member of the store panicked");
    }
}
