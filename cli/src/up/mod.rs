//! `orlop up`: starts a whole cluster, keeps it running, and stops it in order.

mod balancer;
mod certificates;
pub(crate) mod control;
pub(crate) mod folder;
mod kubeconfig;
pub(crate) mod layout;
pub(crate) mod nodes;
mod parts;
mod pki;
mod ports;
pub(crate) mod probe;
pub(crate) mod process;
mod runtime;
mod screen;
mod supervise;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use self::balancer::Balancer;
use self::control::Control;
use self::folder::{Asked, Folder};
use self::layout::Layout;
use self::probe::{Answer, Identity, Probe};
use self::process::Kind;
use self::runtime::{Choice, Runtime};
use self::screen::{Screen, rounded};
use self::supervise::Supervisor;
use crate::limits;

/// Flags of `orlop up`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    /// The cluster's folder: data, certificates, logs. Made if it is not there; a second `up` on
    /// the same folder resumes
    #[arg(long, default_value = ".orlop", value_name = "FOLDER")]
    dir: PathBuf,
    /// Store members, each on a control-plane host of its own: 1, 3 or 5 [default: 3]
    #[arg(long, value_name = "N")]
    members: Option<u8>,
    /// Node agents; 0 is a control plane alone [default: 1]
    #[arg(long, value_name = "N")]
    nodes: Option<u16>,
    /// What pods run on
    #[arg(long, value_enum, default_value = "auto")]
    runtime: Choice,
    /// Port of the API: on 127.0.0.1, where a load balancer finds a living API server, and on
    /// every host [default: 6443]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Port of every store member for its clients; members talk to each other on the next one
    /// [default: 2379]
    #[arg(long, value_name = "PORT")]
    store_client_port: Option<u16>,
    /// Say everything as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// First three numbers of the loopback addresses, so that two clusters can run side by side
    #[arg(long, hide = true, value_name = "127.X.Y.")]
    host_prefix: Option<String>,
}

/// Why a running `up` ends.
struct Ending {
    /// Fired by the first signal or by `orlop down`.
    stop: CancellationToken,
    /// Fired by the second signal.
    now: CancellationToken,
}

/// Runs until it is told to stop.
pub(crate) async fn run(flags: Flags) -> anyhow::Result<()> {
    let screen = Screen::new(flags.json);
    let ended = run_on(&screen, flags).await;
    if let Err(error) = &ended {
        // People read it on standard error, where every command says its error.
        screen.data("failed", &format!("{error:#}"), json!({}));
    }
    ended
}

async fn run_on(screen: &Screen, flags: Flags) -> anyhow::Result<()> {
    let ending = watch_signals()?;
    let asked = Asked {
        members: flags.members,
        nodes: flags.nodes,
        host_prefix: flags.host_prefix.clone(),
        api_port: flags.api_port,
        store_client_port: flags.store_client_port,
    };
    let choice = flags.runtime;
    let (runtime, remark) = tokio::task::spawn_blocking(move || {
        let machine = node_agent::containerd::check_machine().map_err(|error| error.to_string());
        runtime::choose(choice, machine)
    })
    .await
    .context("looking at the machine broke")??;
    let folder = set_up(&flags, &asked, screen).await?;
    if let Some(remark) = remark.filter(|_| folder.layout.shape.nodes > 0) {
        screen.warn("degraded", &remark, json!({"runtime": runtime.to_string()}));
    }

    let supervisor = Arc::new(RwLock::new(Supervisor::new(screen.clone())?));
    let ready = CancellationToken::new();
    let socket = folder.layout.control_socket();
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    let control = Arc::new(Control {
        supervisor: Arc::clone(&supervisor),
        ready: ready.clone(),
        stop: ending.stop.clone(),
        runtime: runtime.to_string(),
    });
    let serving = tokio::spawn(control.serve(listener));

    let cluster = Cluster { folder: &folder, runtime, supervisor: &supervisor, screen };
    let brought_up = tokio::select! {
        result = cluster.bring_up(&ending.stop) => result,
        () = ending.stop.cancelled() => Err(anyhow::anyhow!("told to stop before it was ready")),
    };
    if brought_up.is_ok() {
        ready.cancel();
        ending.stop.cancelled().await;
    }
    let stopped = cluster.stop(&ending).await;
    serving.abort();
    drop(std::fs::remove_file(&socket));
    brought_up.and(stopped)
}

/// Takes the folder and makes all that is in it, before any process is started.
async fn set_up(flags: &Flags, asked: &Asked, screen: &Screen) -> anyhow::Result<Folder> {
    let step = screen.step("folder", "certificates and kubeconfigs");
    let (dir, asked) = (flags.dir.clone(), asked.clone());
    // Files, fsync and key generation: not for the threads that answer others.
    let work = tokio::task::spawn_blocking(move || {
        let mut folder = Folder::claim(&dir, &asked)?;
        let patience = match folder.resumed {
            true => limits::LEFTOVER_PORTS_DEADLINE,
            false => Duration::ZERO,
        };
        ports::check(&folder.layout, patience)?;
        folder.begin()?;
        folder.write_pid()?;
        let made = certificates::ensure(&folder.layout, !folder.resumed)?;
        folder.set_complete()?;
        anyhow::Ok((folder, made))
    });
    let (folder, made) = work.await.context("the set-up broke")??;
    let how = match (folder.resumed, folder.unfinished, made) {
        (true, _, 0) => "resumed".to_owned(),
        (true, _, made) => format!("resumed; {made} certificates made or renewed"),
        (false, true, made) => format!("finished a set-up cut short; {made} certificates"),
        (false, false, made) => format!("made; {made} certificates"),
    };
    step.done(&how);
    Ok(folder)
}

/// The first signal asks for an orderly stop, the second ends everything at once.
fn watch_signals() -> anyhow::Result<Ending> {
    let ending = Ending { stop: CancellationToken::new(), now: CancellationToken::new() };
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("cannot watch signals")?;
        let (stop, now) = (ending.stop.clone(), ending.now.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stop.is_cancelled() {
                    now.cancel();
                }
                stop.cancel();
            }
        });
    }
    Ok(ending)
}

struct Cluster<'a> {
    folder: &'a Folder,
    runtime: Runtime,
    supervisor: &'a RwLock<Supervisor>,
    screen: &'a Screen,
}

impl Cluster<'_> {
    fn layout(&self) -> &Layout {
        &self.folder.layout
    }

    async fn bring_up(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let began = Instant::now();
        let layout = self.layout();
        let program = std::env::current_exe().context("cannot find this binary")?;
        let hosts = layout.hosts();
        let stores: Vec<_> = hosts.iter().map(|host| layout.store_data(host)).collect();
        let quota_bytes = store_server::shared_quota(&stores)
            .context("cannot see the room that the store's members have")?;
        let writer = parts::Writer {
            layout,
            program: &program,
            token: &self.folder.token,
            runtime: self.runtime,
            quota_bytes,
            store_identity: Identity::load(&layout.store_ca().certificate, &layout.store_admin())?,
            api_identity: Identity::load(&layout.ca().certificate, &layout.admin())?,
        };

        let step = self.screen.step("store", "waiting for the members");
        for host in &hosts {
            self.supervisor.write().await.add(writer.store(host));
        }
        self.wait_ready(Kind::Store).await?;
        let members = counted(hosts.len(), "member");
        step.doing("waiting for a leader");
        step.done(&format!("{members}, {} leads", self.store_leader().await?));

        let step = self.screen.step("apiserver", "waiting for the API");
        for host in &hosts {
            self.supervisor.write().await.add(writer.apiserver(host));
        }
        self.wait_ready(Kind::ApiServer).await?;
        self.balance(&writer, stop).await?;
        step.done(&format!("{} at {}", counted(hosts.len(), "API server"), layout.api_url()));

        let step = self.screen.step("controllers", "waiting for controllers and scheduler");
        for host in &hosts {
            let mut supervisor = self.supervisor.write().await;
            supervisor.add(writer.controller_manager(host));
            supervisor.add(writer.scheduler(host));
        }
        self.wait_ready(Kind::ControllerManager).await?;
        self.wait_ready(Kind::Scheduler).await?;
        step.done("controller manager and scheduler on each host");

        if layout.shape.nodes > 0 {
            self.bring_up_nodes(&writer).await?;
        }
        self.say_ready(began.elapsed());
        Ok(())
    }

    /// The host of the member that leads, as soon as there is one.
    async fn store_leader(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + limits::STEP_DEADLINE;
        loop {
            if let Some(leader) = crate::status::store_leader(self.layout()).await {
                return Ok(leader);
            }
            self.supervisor.read().await.check_dying(Kind::Store)?;
            if Instant::now() > deadline {
                bail!("the store has no leader: see {}", self.layout().logs().display());
            }
            tokio::time::sleep(limits::READY_POLL).await;
        }
    }

    async fn wait_ready(&self, kind: Kind) -> anyhow::Result<()> {
        self.supervisor.read().await.wait_ready(kind).await
    }

    /// Starts the one address that works while any API server does.
    async fn balance(
        &self,
        writer: &parts::Writer<'_>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let probe = |address: String| Probe {
            address,
            port: self.layout().shape.api_port,
            path: "/readyz",
            identity: Some(writer.api_identity.clone()),
        };
        let probes = self.layout().hosts().into_iter().map(|host| probe(host.address)).collect();
        let balancer = Balancer::new(probes);
        let supervisor = self.supervisor.read().await;
        let servers = supervisor.parts().filter(|part| part.spec.kind == Kind::ApiServer);
        for (index, part) in servers.enumerate() {
            tokio::spawn(Arc::clone(&balancer).watch(index, part.view.clone()));
        }
        let address = ("127.0.0.1", self.layout().shape.api_port);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {}:{}: choose another --api-port", address.0, address.1)
        })?;
        tokio::spawn(balancer.serve(listener, stop.child_token()));
        let whole = probe("127.0.0.1".to_owned());
        let deadline = Instant::now() + limits::STEP_DEADLINE;
        while whole.ask(limits::PROBE_DEADLINE).await != Answer::Ready {
            if Instant::now() > deadline {
                bail!("the API does not answer at {}", self.layout().api_url());
            }
            tokio::time::sleep(limits::READY_POLL).await;
        }
        Ok(())
    }

    async fn bring_up_nodes(&self, writer: &parts::Writer<'_>) -> anyhow::Result<()> {
        let nodes = self.layout().nodes();
        if self.runtime == Runtime::Containerd {
            let step = self.screen.step("containerd", "starting one for each node");
            for node in &nodes {
                let (layout, node) = (self.layout().clone(), node.clone());
                let program = writer.program.to_owned();
                let prepared =
                    tokio::task::spawn_blocking(move || nodes::prepare(&layout, &node, &program));
                let spec = prepared.await.context("preparing containerd broke")??;
                self.supervisor.write().await.add(spec);
            }
            for node in &nodes {
                let supervisor = self.supervisor.read().await;
                nodes::make_usable(self.layout(), node, &supervisor).await?;
            }
            step.done(&format!("{} with the sandbox image", counted(nodes.len(), "containerd")));
        }

        let step = self.screen.step("nodes", "waiting for the agents");
        for node in &nodes {
            self.supervisor.write().await.add(writer.node(node));
        }
        self.wait_ready(Kind::Node).await?;
        step.doing("waiting for the nodes to be Ready");
        let deadline = Instant::now() + limits::STEP_DEADLINE;
        loop {
            // A first answer may be an error while the agents register.
            let seen = crate::status::nodes(self.layout()).await.unwrap_or_default();
            let ready = |name: &str| seen.iter().any(|node| node.name == name && node.ready);
            if nodes.iter().all(|node| ready(&node.name)) {
                break;
            }
            self.supervisor.read().await.check_dying(Kind::Node)?;
            if Instant::now() > deadline {
                bail!(
                    "the nodes are not Ready after {} s: see {}",
                    limits::STEP_DEADLINE.as_secs(),
                    self.layout().logs().display()
                );
            }
            tokio::time::sleep(limits::READY_POLL).await;
        }
        step.done(&format!("{} Ready, runtime {}", counted(nodes.len(), "node"), self.runtime));
        Ok(())
    }

    /// Ends all containers: after their agents, which would start them again.
    async fn stop_pods(&self) {
        let stopping = self.layout().nodes().into_iter().map(|node| async move {
            let socket = nodes::containerd(self.layout(), &node).socket();
            let endpoint = format!("unix://{}", socket.display());
            node_agent::stop_all_pods(&endpoint, limits::STOP_PODS_GRACE_SECONDS).await
        });
        let all = futures::future::join_all(stopping);
        match tokio::time::timeout(limits::STOP_PODS_DEADLINE, all).await {
            Ok(results) => results.into_iter().filter_map(Result::err).for_each(|error| {
                tracing::warn!(%error, "pods of a node were not stopped");
            }),
            Err(_) => tracing::warn!("pods were not stopped in time; the next start adopts them"),
        }
    }

    /// No secret stays in memory, and no mount below the folder, when its pods have ended.
    async fn unmount_pods(&self) {
        for node in self.layout().nodes() {
            let root = self.layout().home(&node).join("kubelet");
            let done = tokio::task::spawn_blocking(move || node_agent::unmount_pods(&root)).await;
            if let Ok(Err(error)) = done {
                tracing::warn!(%error, node = node.name, "volumes of pods were not unmounted");
            }
        }
    }

    fn say_ready(&self, took: Duration) {
        let kubeconfig = self.layout().kubeconfig();
        let shown = kubeconfig.display();
        let dir = self.layout().dir.display();
        let commands = [
            format!("export KUBECONFIG={shown}"),
            "kubectl get nodes,deployments,pods -A".to_owned(),
            format!("{} status --dir {dir}", own_name()),
        ];
        if self.layout().shape.nodes == 0 {
            self.screen.text("no nodes: this is a control plane alone");
        }
        self.screen.text(&format!(
            "\nReady in {:.1} s. The kubeconfig is {shown}\n\nTry:\n  {}\n\nCtrl-C stops it all; \
             the same command resumes.",
            took.as_secs_f64(),
            commands.join("\n  ")
        ));
        self.screen.data(
            "ready",
            &format!("ready in {:.1} s", took.as_secs_f64()),
            json!({
                "seconds": rounded(took),
                "kubeconfig": kubeconfig,
                "api": self.layout().api_url(),
                "commands": commands,
            }),
        );
    }

    /// Stops everything in order, within [`limits::STOP_DEADLINE`]; kills what is left after it.
    async fn stop(&self, ending: &Ending) -> anyhow::Result<()> {
        ending.stop.cancel();
        let step = self.screen.step("stop", "stopping in order");
        let in_order = tokio::time::timeout(limits::STOP_DEADLINE, self.stop_in_order(&step));
        let ended = tokio::select! {
            ended = in_order => ended.is_ok(),
            () = ending.now.cancelled() => false,
        };
        if ended {
            step.done("everything is stopped");
            return Ok(());
        }
        match self.supervisor.try_read() {
            Ok(supervisor) => supervisor.kill_all(),
            // Its parts die with this process.
            Err(_) => tracing::warn!("the supervisor is busy"),
        }
        step.done("killed what was left");
        bail!(
            "not everything stopped by itself: it was killed; all data that was acknowledged is safe"
        )
    }

    async fn stop_in_order(&self, step: &screen::Step<'_>) {
        // Dropping out of the start may leave a writer; it is never held for long.
        let supervisor = self.supervisor.read().await;
        step.doing("nodes");
        supervisor.stop(&[Kind::Node]).await;
        if supervisor.parts().any(|part| part.spec.kind == Kind::Containerd) {
            step.doing("pods");
            self.stop_pods().await;
            self.unmount_pods().await;
        }
        supervisor.stop(&[Kind::Containerd]).await;
        if self.runtime == Runtime::Containerd {
            for node in self.layout().nodes() {
                nodes::remove_bridge(&self.layout().bridge(&node)).await;
            }
        }
        step.doing("controllers and schedulers");
        supervisor.stop(&[Kind::ControllerManager, Kind::Scheduler]).await;
        step.doing("API servers");
        supervisor.stop(&[Kind::ApiServer]).await;
        step.doing("store members");
        supervisor.stop(&[Kind::Store]).await;
    }
}

/// How a shell finds this program: by its name when that leads here, else by its path.
fn own_name() -> String {
    let Ok(program) = std::env::current_exe() else { return "orlop".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("orlop")).find(|file| file.is_file());
    match found.and_then(|file| file.canonicalize().ok()) {
        Some(file) if file == program => "orlop".to_owned(),
        _ => program.display().to_string(),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
