//! Informers of an unmodified client through API servers, while these and their store break.
//!
//! Writers change objects through several API servers; informers of kube keep caches of them. In
//! the end every cache must equal the store, and on the way nothing may be told that the store did
//! not do ([`check`] numbers the rules).

pub mod check;

mod balancer;
mod calls;
mod faults;
mod informers;
mod object;
pub mod record;
mod report;
mod servers;
mod tap;
mod truth;
mod wire;
mod writers;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
pub use self::faults::Trouble;
use self::faults::{Target, schedule};
use self::informers::{Informers, named, plans};
pub use self::object::Kind;
use self::record::{Fault, Finals, History, Name};
use self::servers::Servers;
use self::truth::Truth;
use self::writers::Writers;
use crate::checker::Verdict;
use crate::cluster::{Cluster, Launcher};
use crate::history::Recorder;
use crate::limits;
use crate::nemesis::await_writes;
use crate::tested::{Kept, Tested, launcher};

/// Flags of `orlop chaos informer`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub tested: Tested,
    /// Program of the API servers; this one when not given
    #[arg(long, value_name = "PATH")]
    pub apiserver_binary: Option<PathBuf>,
    /// Words between the program and kube-apiserver's flags; give "" for a real one
    #[arg(long, value_name = "WORDS", default_value = "apiserver")]
    pub apiserver_command: String,
    /// One more flag for every API server; may be repeated. A real one needs
    /// --storage-media-type=application/json, and an etcd of 3.5.13 or later for streamed lists
    #[arg(long = "apiserver-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub apiserver_flags: Vec<String>,
    /// Members of the store (odd)
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// API servers
    #[arg(long, default_value_t = 2)]
    pub servers: usize,
    /// Faults, of every kind before one comes twice
    #[arg(long, default_value_t = 8)]
    pub faults: usize,
    /// Only faults of this kind; may be repeated
    #[arg(long = "fault", value_enum, value_name = "KIND")]
    pub kinds: Vec<Trouble>,
    /// Clients that write
    #[arg(long, default_value_t = 6)]
    pub writers: usize,
    /// Calls a second and writer, at most
    #[arg(long, default_value_t = 40)]
    pub rate: u32,
    /// Names of each kind in each namespace
    #[arg(long, default_value_t = 8)]
    pub names: usize,
    /// Acknowledged writes between two faults, at least
    #[arg(long, default_value_t = 150)]
    pub writes_between: u64,
    /// Let writers apply on the server's side too
    #[arg(long)]
    pub server_side_apply: bool,
    /// Seed of all random choices; a random one when not given
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub kept: Kept,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            tested: Tested::default(),
            apiserver_binary: None,
            apiserver_command: "apiserver".to_owned(),
            apiserver_flags: Vec::new(),
            members: 3,
            servers: 2,
            faults: 8,
            kinds: Vec::new(),
            writers: 6,
            rate: 40,
            names: 8,
            writes_between: 150,
            server_side_apply: false,
            seed: None,
            kept: Kept::default(),
        }
    }
}

impl Flags {
    fn store(&self) -> anyhow::Result<Launcher> {
        self.tested.launcher()
    }

    fn apiserver(&self) -> anyhow::Result<Launcher> {
        launcher(self.apiserver_binary.as_deref(), &self.apiserver_command, &self.apiserver_flags)
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The seed that was used.
    pub seed: u64,
    /// What was recorded.
    pub history: History,
    /// What the checkers say.
    pub verdicts: Vec<Verdict>,
}

impl Run {
    /// Whether every checker passed.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(Verdict::passed)
    }

    /// What happened, in lines.
    pub fn summary(&self) -> String {
        report::summary(self)
    }
}

/// Runs the workload, prints its report, and fails if a promise was broken.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let run = tokio::select! {
        run = execute(&flags) => run?,
        () = shutdown.cancelled() => bail!("interrupted before the run was done"),
    };
    std::io::stdout().write_all(run.summary().as_bytes())?;
    if run.passed() { Ok(()) } else { bail!("a promise was broken (seed {})", run.seed) }
}

/// Runs the workload and judges it. The history is written to a folder when a promise was broken.
pub async fn execute(flags: &Flags) -> anyhow::Result<Run> {
    let has_work = flags.writers > 0 && flags.names > 0 && flags.servers > 0;
    ensure!(has_work, "a run needs writers, names and API servers");
    let seed = flags.seed.unwrap_or_else(|| rand::rng().random());
    let mut cluster = Cluster::start(flags.store()?, flags.members).await?;
    let dir = cluster.dir().to_owned();
    let started = Servers::start(flags.apiserver()?, flags.servers, &cluster.urls(), &dir).await;
    let recorded = match started {
        Ok(mut servers) => record(flags, seed, &mut cluster, &mut servers).await,
        Err(error) => Err(error),
    };
    let history = match recorded {
        Ok(history) => history,
        Err(error) => return Err(cluster.kept_after(error, seed)),
    };
    let (history, verdicts) = tokio::task::spawn_blocking(move || {
        let verdicts = check::check_all(&history);
        (history, verdicts)
    })
    .await?;
    let run = Run { seed, history, verdicts };
    if !run.passed() || flags.kept.keep {
        let saved = report::save(&flags.kept, &run)?;
        let data = cluster.keep();
        let note = format!(
            "history and verdicts: {}\ndata and logs: {}\n",
            saved.display(),
            data.display()
        );
        std::io::stderr().write_all(note.as_bytes())?;
    }
    Ok(run)
}

/// Everything up to the point where nothing changes any more.
async fn record(
    flags: &Flags,
    seed: u64,
    cluster: &mut Cluster,
    servers: &mut Servers,
) -> anyhow::Result<History> {
    let mut rng = StdRng::seed_from_u64(seed);
    let clock = Recorder::default();
    let urls = cluster.urls();
    let (base_revision, base) = truth::read(&urls[0]).await?;
    let truth = Truth::follow(&urls, base_revision)?;
    let namespaces = ["c-0", "c-1", "c-2"].map(str::to_owned).to_vec();
    let clients: Vec<Client> = (0..servers.count())
        .map(|server| servers.client(Some(server)))
        .collect::<Result<_, _>>()?;
    make(&clients[0], &namespaces).await?;

    let informers = Informers::start(plans(servers.count(), &namespaces), servers, &clock)?;
    let calls = Calls::new(&clock);
    let settings = writers::Settings {
        writers: flags.writers,
        rate: flags.rate,
        namespaces,
        names: flags.names,
        applies: flags.server_side_apply,
        seed,
    };
    let writers = Writers::start(&settings, &clients, &calls);
    let kinds = if flags.kinds.is_empty() { &Trouble::ALL[..] } else { &flags.kinds };
    let mut faults: Vec<Fault> = Vec::new();
    for trouble in schedule(kinds, flags.faults, &mut rng) {
        await_writes(|| calls.acknowledged(), flags.writes_between).await?;
        let mut target = Target { cluster, servers, truth: &truth, calls: &calls, clock: &clock };
        let struck = target.strike(trouble, &mut rng).await;
        faults.push(struck.with_context(|| format!("{trouble:?}"))?);
    }
    await_writes(|| calls.acknowledged(), flags.writes_between).await?;
    writers.stop().await;
    informers.settle();

    let finals = settled(&informers, &clients, &urls).await?;
    let (revision, _) = truth::read(&urls[0]).await?;
    let log = truth.finish(revision).await?;
    let logs = informers.logs();
    informers.stop().await;
    if let Some(crash) = cluster.crashed().or_else(|| servers.crashed()) {
        bail!("a process ended without being asked to: {crash}");
    }
    let calls = calls.all();
    Ok(History { base_revision, base, log, calls, informers: logs, faults, finals })
}

async fn make(client: &Client, namespaces: &[String]) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    for name in namespaces {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let made = api.create(&PostParams::default(), &namespace).await;
        made.with_context(|| format!("namespace {name} cannot be made"))?;
    }
    Ok(())
}

/// Gives all informers time to agree with the store, and reads the end. Whether they do is found by
/// the checker, not here.
async fn settled(
    informers: &Informers,
    clients: &[Client],
    urls: &[String],
) -> anyhow::Result<Finals> {
    let start = Instant::now();
    loop {
        // What was under way when the writers stopped may still happen: read again each time.
        let (_, objects) = truth::read(&urls[0]).await?;
        let lags = informers.caches().into_iter().any(|(scope, cache)| {
            let shown = objects.iter().filter(|object| scope.shows(object));
            let wanted: BTreeMap<Name, i64> =
                shown.map(|object| (object.name.clone(), object.revision)).collect();
            cache != wanted
        });
        if !lags || start.elapsed() > limits::INFORMER_SETTLE_DEADLINE {
            let store = objects.into_iter().map(|object| (object.name, object.revision)).collect();
            let mut servers = Vec::new();
            for client in clients {
                servers.push(list(client).await?);
            }
            return Ok(Finals { store, servers });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn list(client: &Client) -> anyhow::Result<BTreeMap<Name, i64>> {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let list = api.list(&ListParams::default()).await?;
        all.extend(list.items.iter().map(|object| named(kind, object)));
    }
    Ok(all)
}
