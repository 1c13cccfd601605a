//! Informers of kube as a controller would run them: its watcher, its back-off, its cache.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watching};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::object::Kind;
use super::record::{InformerLog, Name, Scope};
use super::servers::Servers;
use super::tap::Tap;
use super::writers::GROUPS;
use crate::history::Recorder;
use crate::limits;

/// What an informer is, and how it lives.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Who it is, in words.
    pub(super) name: String,
    /// The API server that it talks to; `None` for the balancer.
    pub(super) server: Option<usize>,
    /// What it sees.
    pub(super) scope: Scope,
    /// How it lists and watches.
    pub(super) config: watcher::Config,
    /// Its process is started anew after this long, again and again.
    pub(super) life: Option<Duration>,
    /// How long it takes over each object of a list.
    pub(super) slowness: Duration,
}

/// The informers of a run: three of each API server and three that are special.
pub(super) fn plans(servers: usize, namespaces: &[String]) -> Vec<Plan> {
    let everything = |kind| Scope { kind, namespace: None, group: None };
    // Streams that end by themselves after a short while resume from a bookmark.
    let short = watcher::Config::default().timeout(limits::INFORMER_WATCH_SECONDS);
    let plan = |name: &str, server, scope, config| Plan {
        name: name.to_owned(),
        server,
        scope,
        config,
        life: None,
        slowness: Duration::ZERO,
    };
    let mut plans = Vec::new();
    for server in 0..servers {
        let on = |what: &str| format!("{what} on server {server}");
        let scope = everything(Kind::ConfigMap);
        plans.push(plan(&on("all"), Some(server), scope, watcher::Config::default()));
        let group = GROUPS[server % GROUPS.len()];
        let namespace = namespaces.get(server % namespaces.len().max(1)).cloned();
        let selector = format!("{}={group}", super::object::GROUP);
        let scope = Scope { kind: Kind::ConfigMap, namespace, group: Some(group.to_owned()) };
        plans.push(plan(&on("selected"), Some(server), scope, short.clone().labels(&selector)));
        let streaming = short.clone().streaming_lists();
        plans.push(plan(&on("streamed"), Some(server), everything(Kind::Secret), streaming));
    }
    let everything = everything(Kind::ConfigMap);
    plans.push(plan("moving", None, everything.clone(), short.clone()));
    plans.push(Plan {
        life: Some(limits::INFORMER_LIFE),
        slowness: limits::INFORMER_SLOWNESS,
        ..plan("paging", None, everything.clone(), short.clone().page_size(5))
    });
    plans.push(Plan {
        life: Some(limits::INFORMER_LIFE),
        ..plan("cached on server 0", Some(0), everything, short.any_semantic())
    });
    plans
}

/// Running informers.
#[derive(Debug)]
pub(super) struct Informers {
    running: Vec<Running>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// From now on nobody is started anew.
    settle: CancellationToken,
}

#[derive(Debug)]
struct Running {
    plan: Plan,
    tap: Tap,
    state: Arc<State>,
}

/// Shared by an informer's lives.
#[derive(Debug, Default)]
struct State {
    lives: AtomicUsize,
    /// That of the present life.
    cache: Mutex<Option<Store<DynamicObject>>>,
}

impl Informers {
    /// Starts one informer for each plan.
    pub(super) fn start(
        plans: Vec<Plan>,
        servers: &Servers,
        clock: &Recorder,
    ) -> anyhow::Result<Self> {
        let (stop, settle) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let mut running = Vec::new();
        for plan in plans {
            let tap = Tap::new(plan.scope.kind, clock);
            let client = servers.tapped(plan.server, &tap)?;
            let state = Arc::new(State::default());
            running.push(Running { plan: plan.clone(), tap, state: Arc::clone(&state) });
            tasks.spawn(live(plan, client, state, (stop.clone(), settle.clone())));
        }
        Ok(Self { running, tasks, stop, settle })
    }

    /// From now on nobody is started anew, so that all can come to rest.
    pub(super) fn settle(&self) {
        self.settle.cancel();
    }

    /// What each was told so far, and what it has in its cache.
    pub(super) fn logs(&self) -> Vec<InformerLog> {
        let log = |running: &Running| InformerLog {
            name: running.plan.name.clone(),
            server: running.plan.server,
            scope: running.plan.scope.clone(),
            exchanges: running.tap.exchanges(),
            lives: running.state.lives.load(Ordering::Relaxed),
            cache: running.cached(),
        };
        self.running.iter().map(log).collect()
    }

    /// The caches alone.
    pub(super) fn caches(&self) -> Vec<(Scope, BTreeMap<Name, i64>)> {
        self.running.iter().map(|one| (one.plan.scope.clone(), one.cached())).collect()
    }

    /// Ends all.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Running {
    fn cached(&self) -> BTreeMap<Name, i64> {
        let cache = self.state.cache.lock();
        let objects = cache.as_ref().map(Store::state).unwrap_or_default();
        objects.iter().map(|object| named(self.plan.scope.kind, object)).collect()
    }
}

/// An object's name and resourceVersion.
pub(super) fn named(kind: Kind, object: &DynamicObject) -> (Name, i64) {
    let namespace = object.namespace().unwrap_or_default();
    let name = Name { kind, namespace, name: object.name_any() };
    let version = object.resource_version().unwrap_or_default();
    (name, version.parse().unwrap_or(0))
}

async fn live(
    plan: Plan,
    client: Client,
    state: Arc<State>,
    (stop, settle): (CancellationToken, CancellationToken),
) {
    let resource = plan.scope.kind.resource();
    loop {
        state.lives.fetch_add(1, Ordering::Relaxed);
        let api: Api<DynamicObject> = match &plan.scope.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let writer = reflector::store::Writer::new(resource.clone());
        *state.cache.lock() = Some(writer.as_reader());
        let events = watching(api, plan.config.clone()).default_backoff();
        let mut events = pin!(reflector::reflector(writer, events));
        let life = async {
            match plan.life {
                Some(life) => tokio::time::sleep(life).await,
                None => std::future::pending().await,
            }
            // Nobody is reborn after the settling.
            if settle.is_cancelled() {
                std::future::pending::<()>().await;
            }
        };
        let listening = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::InitApply(_)) if !plan.slowness.is_zero() => {
                        tokio::time::sleep(plan.slowness).await;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(informer = plan.name, %error, "told an error"),
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = listening => {}
            () = life => {}
        }
    }
}
