//! The API servers that are loaded: found by a kubeconfig, or started with a store of their own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::HeaderValue;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::flags::ApiFlags;
use super::processes;
use super::wire::{Ask, Connection};
use crate::cluster::{Launcher, Process};
use crate::limits;

const TOKEN: &str = "bench-admin";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Peer,
    Orlop,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Orlop => "orlop",
        }
    }
}

/// An API server that is loaded.
#[derive(Debug)]
pub(super) struct Server {
    pub side: Side,
    pub host: String,
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    pub token: Option<HeaderValue>,
    /// Its own process; unknown when it is another machine's.
    pub pids: Vec<u32>,
    pub store_pids: Vec<u32>,
    /// Processes that end with the run.
    own: Option<Own>,
}

/// The processes of a server that this run started, and how long that took.
#[derive(Debug)]
struct Own {
    _parts: Vec<Process>,
    _dir: tempfile::TempDir,
    ready_after: Duration,
}

impl Server {
    /// All processes of it that are known.
    pub(super) fn all_pids(&self) -> Vec<u32> {
        self.pids.iter().chain(&self.store_pids).copied().collect()
    }

    pub(super) fn origin(&self) -> String {
        format!("https://{}:{}", self.host, self.port)
    }

    /// How long it took to be ready, if this run started it.
    pub(super) fn ready_after(&self) -> Option<Duration> {
        self.own.as_ref().map(|own| own.ready_after)
    }

    /// The server that an administrator's kubeconfig names.
    pub(super) async fn of_kubeconfig(side: Side, path: &Path) -> anyhow::Result<Self> {
        let file = Kubeconfig::read_from(path)?;
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // The token is a secret that only its serialized form shows.
        let user = serde_json::to_value(&config.auth_info)?;
        let token = user.get("token").and_then(|token| token.as_str());
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let host = config.cluster_url.host().context("the kubeconfig names no host")?.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let pids = processes::listening_on(port).into_iter().collect();
        let (tls, token) = (Arc::new(tls), token.transpose()?);
        Ok(Self { side, host, port, tls, token, pids, store_pids: Vec::new(), own: None })
    }

    /// Starts a store of one member and a server, and waits until it is ready. Both kinds take
    /// upstream's flags.
    pub(super) async fn start(
        side: Side,
        store: &Launcher,
        api: &Launcher,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("orlop-bench-api-").tempdir()?;
        let ports = free_ports()?;
        let certificate = certificate(dir.path())?;
        let began = Instant::now();
        let log = |name: &str| dir.path().join(format!("{name}.log"));
        let member = Process::spawn(store, &store_flags(dir.path(), ports), &log("store"))?;
        let flags = api_flags(dir.path(), ports);
        let mut process = Process::spawn(api, &flags, &log("api"))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let mut server = Self {
            side,
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: ports[2],
            tls: Arc::new(tls),
            token: Some(HeaderValue::from_str(&format!("Bearer {TOKEN}"))?),
            pids: vec![process.id()],
            store_pids: vec![member.id()],
            own: None,
        };
        let is_alive = || process.exited().is_none();
        server.wait_ready(began, is_alive).await.with_context(|| tail(&log("api")))?;
        let ready_after = began.elapsed();
        server.own = Some(Own { _parts: vec![process, member], _dir: dir, ready_after });
        Ok(server)
    }

    /// Waits until `/readyz` says so.
    pub(super) async fn wait_ready(
        &self,
        began: Instant,
        mut is_alive: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        loop {
            let asked = async {
                let mut connection = Connection::open(self).await?;
                connection.call(Ask::get("/readyz")).await
            };
            if let Ok(Ok(answer)) = tokio::time::timeout(limits::OPERATION_DEADLINE, asked).await
                && answer.code == 200
            {
                return Ok(());
            }
            ensure!(is_alive(), "{} ended before it was ready", self.side.name());
            let within = limits::BRING_UP_DEADLINE;
            ensure!(began.elapsed() < within, "not ready within {within:?}");
            tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
        }
    }
}

/// The servers of a run: the peer first, if there is one.
pub(super) async fn all(flags: &ApiFlags) -> anyhow::Result<Vec<Server>> {
    let mut servers = Vec::new();
    if let Some(path) = &flags.peer {
        let mut peer = Server::of_kubeconfig(Side::Peer, path).await?;
        peer.pids = flags.peer_pid.map_or(peer.pids, |pid| vec![pid]);
        peer.store_pids.clone_from(&flags.peer_store_pids);
        servers.push(peer);
    } else if let Some((store, api)) = peer_programs(flags) {
        servers.push(Server::start(Side::Peer, &store, &api).await?);
    }
    let server = match &flags.kubeconfig {
        Some(path) => {
            let mut server = Server::of_kubeconfig(Side::Orlop, path).await?;
            server.pids = flags.pid.map_or(server.pids, |pid| vec![pid]);
            server.store_pids.clone_from(&flags.store_pids);
            server
        }
        None => {
            let (store, api) = own_programs(flags)?;
            Server::start(Side::Orlop, &store, &api).await?
        }
    };
    servers.push(server);
    Ok(servers)
}

/// The programs of a peer that is started, if it is to be.
pub(super) fn peer_programs(flags: &ApiFlags) -> Option<(Launcher, Launcher)> {
    let api = flags.peer_apiserver.clone()?;
    let store = Launcher::etcd(flags.peer_etcd.as_ref()?);
    Some((store, Launcher { program: api, arguments: Vec::new(), extra: Vec::new() }))
}

/// Ours.
pub(super) fn own_programs(flags: &ApiFlags) -> anyhow::Result<(Launcher, Launcher)> {
    let program = own_program(flags)?;
    let api = Launcher {
        program: program.clone(),
        arguments: vec!["apiserver".to_owned()],
        extra: Vec::new(),
    };
    Ok((Launcher::orlop(&program), api))
}

/// The binary that is measured.
pub(super) fn own_program(flags: &ApiFlags) -> anyhow::Result<PathBuf> {
    match &flags.orlop {
        Some(path) => Ok(path.clone()),
        None => Ok(std::env::current_exe()?),
    }
}

fn store_flags(dir: &Path, ports: [u16; 3]) -> Vec<String> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    [
        ("name", "one".to_owned()),
        ("data-dir", dir.join("store").display().to_string()),
        ("listen-client-urls", url(ports[0])),
        ("advertise-client-urls", url(ports[0])),
        ("listen-peer-urls", url(ports[1])),
        ("initial-advertise-peer-urls", url(ports[1])),
        ("initial-cluster", format!("one={}", url(ports[1]))),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .to_vec()
}

fn api_flags(dir: &Path, ports: [u16; 3]) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    [
        ("etcd-servers", format!("http://127.0.0.1:{}", ports[0])),
        ("bind-address", "127.0.0.1".to_owned()),
        // Upstream gives its endpoints no loopback address.
        ("advertise-address", "192.0.2.1".to_owned()),
        ("secure-port", ports[2].to_string()),
        ("tls-cert-file", file("serving.crt")),
        ("tls-private-key-file", file("serving.key")),
        ("token-auth-file", file("tokens.csv")),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("service-account-issuer", "https://bench.test".to_owned()),
        ("service-account-key-file", file("serving.pub")),
        ("service-account-signing-key-file", file("serving.key")),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .to_vec()
}

/// Writes what both kinds of servers want to find.
fn certificate(dir: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let names = [Ipv4Addr::LOCALHOST.to_string(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(dir.join("serving.crt"), made.cert.pem())?;
    std::fs::write(dir.join("serving.key"), made.signing_key.serialize_pem())?;
    std::fs::write(dir.join("serving.pub"), made.signing_key.public_key_pem())?;
    let user = format!("{TOKEN},admin,1,\"system:masters\"\n");
    std::fs::write(dir.join("tokens.csv"), user)?;
    Ok(CertificateDer::from_pem_slice(made.cert.pem().as_bytes())?)
}

/// Ports that nobody listened on a moment ago.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The last words of a log.
fn tail(path: &Path) -> String {
    const LINES: usize = 8;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
