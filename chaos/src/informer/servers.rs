//! API servers as processes: each on an address of its own, with its own store member first.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::{HeaderName, HeaderValue, Request};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use rand::Rng as _;

use super::balancer::Balancer;
use super::tap::Tap;
use super::wire::Wire;
use crate::cluster::{Launcher, Process};
use crate::limits;

const PORT: u16 = 6443;
/// Of the way to member 0; the others' follow.
const WIRE_PORT: u16 = 12379;
const TOKEN: &str = "chaos-admin";

/// API servers, and a balancer before them. Dropping it kills every process.
#[derive(Debug)]
pub(super) struct Servers {
    launcher: Launcher,
    dir: PathBuf,
    addresses: Vec<SocketAddr>,
    /// Of each server, its ways to the store members.
    wires: Vec<Vec<Wire>>,
    processes: Vec<Option<Process>>,
    balanced: SocketAddr,
    authority: Vec<u8>,
    _balancer: Balancer,
}

impl Servers {
    /// Starts `count` servers of the store at `stores`, with their files in `dir`, and waits until
    /// all are ready.
    pub(super) async fn start(
        launcher: Launcher,
        count: usize,
        stores: &[String],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut addresses = free_addresses(count + 1)?;
        let balanced = addresses.pop().context("one more address was asked for")?;
        let names = addresses.iter().chain([&balanced]).map(|address| address.ip().to_string());
        let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>())?;
        std::fs::write(dir.join("serving.crt"), made.cert.pem())?;
        std::fs::write(dir.join("serving.key"), made.signing_key.serialize_pem())?;
        std::fs::write(dir.join("serving.pub"), made.signing_key.public_key_pem())?;
        let user = format!("{TOKEN},admin,1,\"system:masters\"\n");
        std::fs::write(dir.join("tokens.csv"), user)?;
        let balancer = Balancer::start(balanced, addresses.clone()).await?;
        let mut servers = Self {
            launcher,
            dir: dir.to_owned(),
            wires: wires(&addresses, stores).await?,
            processes: addresses.iter().map(|_| None).collect(),
            addresses,
            balanced,
            authority: made.cert.der().to_vec(),
            _balancer: balancer,
        };
        for server in 0..count {
            servers.spawn(server)?;
        }
        for server in 0..count {
            servers.wait_ready(server, limits::BRING_UP_DEADLINE).await?;
        }
        Ok(servers)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Starts a server.
    pub(super) fn spawn(&mut self, server: usize) -> anyhow::Result<()> {
        let address = self.addresses[server].ip().to_string();
        let ports = (WIRE_PORT..).take(self.wires[server].len());
        let mut stores: Vec<String> =
            ports.map(|port| format!("http://{address}:{port}")).collect();
        let own = server % stores.len().max(1);
        stores.rotate_left(own);
        let file = |name: &str| self.dir.join(name).display().to_string();
        let arguments = [
            ("etcd-servers", stores.join(",")),
            ("bind-address", address),
            ("secure-port", PORT.to_string()),
            ("tls-cert-file", file("serving.crt")),
            ("tls-private-key-file", file("serving.key")),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "RBAC".to_owned()),
            ("service-account-issuer", "https://chaos.test".to_owned()),
            ("service-account-key-file", file("serving.pub")),
            ("service-account-signing-key-file", file("serving.key")),
        ]
        .map(|(flag, value)| format!("--{flag}={value}"));
        let process = Process::spawn(&self.launcher, &arguments, &self.log_file(server))
            .with_context(|| format!("API server {server} did not start"))?;
        self.processes[server] = Some(process);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self, server: usize) -> anyhow::Result<()> {
        match self.processes[server].take() {
            Some(process) => process.kill(),
            None => bail!("API server {server} does not run"),
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&self, server: usize) -> anyhow::Result<()> {
        self.running(server)?.pause()
    }

    /// SIGCONT.
    pub(super) fn resume(&self, server: usize) -> anyhow::Result<()> {
        self.running(server)?.resume()
    }

    /// From now on a server does not hear of the store, nor the store of it.
    pub(super) fn cut(&self, server: usize) {
        self.wires[server].iter().for_each(Wire::cut);
    }

    /// Undoes a cut.
    pub(super) fn mend(&self, server: usize) {
        self.wires[server].iter().for_each(Wire::mend);
    }

    fn running(&self, server: usize) -> anyhow::Result<&Process> {
        let process = self.processes[server].as_ref();
        process.with_context(|| format!("API server {server} does not run"))
    }

    /// Waits until a server says that it is ready.
    pub(super) async fn wait_ready(
        &mut self,
        server: usize,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let client = self.client(Some(server))?;
        let start = Instant::now();
        loop {
            let asked = client.request_text(Request::get("/readyz").body(Vec::new())?);
            let answer = tokio::time::timeout(limits::OPERATION_DEADLINE, asked).await;
            let reason = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if let Some(crash) = self.crashed() {
                bail!("{crash}");
            }
            ensure!(
                start.elapsed() < deadline,
                "API server {server} is not ready within {deadline:?} ({reason}):\n{}",
                self.tail(server)
            );
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }

    /// Whether any server's process ended without being asked to, and which.
    pub(super) fn crashed(&mut self) -> Option<String> {
        for server in 0..self.processes.len() {
            let process = self.processes[server].as_mut();
            if let Some(status) = process.and_then(Process::exited) {
                let tail = self.tail(server);
                return Some(format!("API server {server} ended: {status}\n{tail}"));
            }
        }
        None
    }

    /// A client of one server, or of the balancer.
    pub(super) fn client(&self, server: Option<usize>) -> anyhow::Result<Client> {
        Ok(ClientBuilder::try_from(self.config(server)?)?.build())
    }

    /// The same with a tap.
    pub(super) fn tapped(&self, server: Option<usize>, tap: &Tap) -> anyhow::Result<Client> {
        Ok(ClientBuilder::try_from(self.config(server)?)?.with_layer(tap).build())
    }

    fn config(&self, server: Option<usize>) -> anyhow::Result<Config> {
        let address = server.map_or(self.balanced, |server| self.addresses[server]);
        let mut config = Config::new(format!("https://{address}").parse()?);
        config.root_cert = Some(vec![self.authority.clone()]);
        config.connect_timeout = Some(limits::CONNECT_DEADLINE);
        // One attempt for each call: what is tried again behind the caller's back has no outcome.
        config.default_retry = false;
        let token = HeaderValue::from_str(&format!("Bearer {TOKEN}"))?;
        config.headers.push((HeaderName::from_static("authorization"), token));
        if server.is_none() {
            // A new connection for each request: the balancer sends each somewhere else.
            config.headers.push((HeaderName::from_static("connection"), "close".parse()?));
        }
        Ok(config)
    }

    fn log_file(&self, server: usize) -> PathBuf {
        self.dir.join(format!("api-{server}.log"))
    }

    fn tail(&self, server: usize) -> String {
        let log = std::fs::read(self.log_file(server)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// Each server's ways to the members, on its own address.
async fn wires(servers: &[SocketAddr], stores: &[String]) -> anyhow::Result<Vec<Vec<Wire>>> {
    let mut all = Vec::new();
    for server in servers {
        let mut own = Vec::new();
        for (store, port) in stores.iter().zip(WIRE_PORT..) {
            let target = store.trim_start_matches("http://").to_owned();
            own.push(Wire::start(SocketAddr::new(server.ip(), port), target).await?);
        }
        all.push(own);
    }
    Ok(all)
}

/// Loopback addresses that nobody else uses, of one network: see `cluster` for why not ports.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let [net, subnet] = [rand::rng().random_range(64..214), rand::rng().random::<u8>()];
        let hosts = (101..).take(count);
        let addresses: Vec<SocketAddr> =
            hosts.map(|host| (Ipv4Addr::new(127, net, subnet, host), PORT).into()).collect();
        if addresses.iter().all(|address| TcpListener::bind(address).is_ok()) {
            return Ok(addresses);
        }
    }
    bail!("no free loopback addresses in 127.64.0.0 to 127.213.255.255")
}
