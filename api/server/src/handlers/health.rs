//! `/healthz`, `/livez`, `/readyz` and each of their checks at a path of its own, as upstream has
//! them: the same names as far as there is something here that they tell of, in the same order.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Response;
use http::header::HeaderValue;

use crate::authz::Mode;
use crate::body::Body;
use crate::encoding;
use crate::request::Query;
use crate::state::Server;

/// A health check of the store takes no longer than this (upstream's 2 s).
const STORE_CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const TEXT: &str = "text/plain; charset=utf-8";

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// That it can be asked.
    Alive,
    /// The store answers.
    Store,
    /// The caches have been filled.
    Caches,
    /// Custom kinds that were there at the start are served, and told of by OpenAPI.
    Kinds,
    /// What must be there from the start is there.
    Bootstrap,
    /// The same, where access is decided by roles.
    Roles,
    /// The APIServices of this server have been made.
    ApiServices,
    /// All APIServices say whether they are available.
    Availability,
    /// The authorities of clients are published for other servers.
    Authorities,
    /// The addresses of Services have been looked through.
    Addresses,
    /// The default ServiceCIDR is there.
    ServiceCidr,
    /// The file of encryption is followed.
    Reload,
    /// The server does not stop.
    Serving,
}

/// Which endpoints have a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    All,
    /// `/readyz` alone.
    Ready,
    /// All but `/livez`.
    NotLive,
}

/// Upstream's checks in upstream's order.
const CHECKS: [(&str, On, Probe); 34] = [
    ("ping", On::All, Probe::Alive),
    ("log", On::All, Probe::Alive),
    ("etcd", On::All, Probe::Store),
    ("etcd-readiness", On::Ready, Probe::Store),
    ("kms-providers", On::NotLive, Probe::Reload),
    ("informer-sync", On::Ready, Probe::Caches),
    ("poststarthook/start-encryption-provider-config-automatic-reload", On::All, Probe::Reload),
    ("poststarthook/start-apiserver-admission-initializer", On::All, Probe::Alive),
    ("poststarthook/generic-apiserver-start-informers", On::All, Probe::Alive),
    ("poststarthook/priority-and-fairness-config-consumer", On::All, Probe::Alive),
    ("poststarthook/priority-and-fairness-filter", On::All, Probe::Alive),
    ("poststarthook/storage-object-count-tracker-hook", On::All, Probe::Alive),
    ("poststarthook/start-apiextensions-informers", On::All, Probe::Alive),
    ("poststarthook/start-apiextensions-controllers", On::All, Probe::Alive),
    ("poststarthook/crd-informer-synced", On::All, Probe::Kinds),
    ("poststarthook/start-system-namespaces-controller", On::All, Probe::Alive),
    ("poststarthook/start-cluster-authentication-info-controller", On::All, Probe::Authorities),
    ("poststarthook/storage-readiness", On::All, Probe::Caches),
    ("poststarthook/start-service-ip-repair-controllers", On::All, Probe::Addresses),
    ("poststarthook/rbac/bootstrap-roles", On::All, Probe::Roles),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", On::All, Probe::Bootstrap),
    ("poststarthook/priority-and-fairness-config-producer", On::All, Probe::Bootstrap),
    ("poststarthook/bootstrap-controller", On::All, Probe::Bootstrap),
    ("poststarthook/start-kubernetes-service-cidr-controller", On::All, Probe::ServiceCidr),
    ("poststarthook/start-kube-aggregator-informers", On::All, Probe::Caches),
    ("poststarthook/apiservice-status-local-available-controller", On::All, Probe::Alive),
    ("poststarthook/apiservice-status-remote-available-controller", On::All, Probe::Availability),
    ("poststarthook/apiservice-registration-controller", On::All, Probe::Alive),
    ("poststarthook/apiservice-wait-for-first-sync", On::All, Probe::Availability),
    ("poststarthook/kube-apiserver-autoregistration", On::All, Probe::Alive),
    ("autoregister-completion", On::All, Probe::ApiServices),
    ("poststarthook/apiservice-openapi-controller", On::All, Probe::Kinds),
    ("poststarthook/apiservice-openapiv3-controller", On::All, Probe::Kinds),
    ("shutdown", On::Ready, Probe::Serving),
];

/// The checks of an endpoint of this server.
fn checks(server: &Server, endpoint: &str) -> impl Iterator<Item = (&'static str, Probe)> {
    let reloads = server.config.store.encryption.as_ref().is_some_and(|one| one.reload.is_some());
    let has_roles = server.config.authorization.contains(&Mode::Rbac);
    let endpoint = endpoint.to_owned();
    CHECKS.into_iter().filter_map(move |(name, on, probe)| {
        let is_on = match on {
            On::All => true,
            On::Ready => endpoint == "readyz",
            On::NotLive => endpoint != "livez",
        };
        let is_here = match probe {
            Probe::Reload => reloads,
            Probe::Roles => has_roles,
            Probe::Alive
            | Probe::Store
            | Probe::Caches
            | Probe::Kinds
            | Probe::Bootstrap
            | Probe::ApiServices
            | Probe::Availability
            | Probe::Authorities
            | Probe::Addresses
            | Probe::ServiceCidr
            | Probe::Serving => true,
        };
        (is_on && is_here).then_some((name, probe))
    })
}

/// Runs the checks of an endpoint, or the one at `path`.
pub(crate) async fn health(
    server: &Server,
    endpoint: &str,
    path: &str,
    query: &Query,
) -> Response<Body> {
    if path != format!("/{endpoint}") {
        return one(server, endpoint, path).await;
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut unknown: Vec<&str> = excluded.clone();
    let (mut text, mut failed) = (String::new(), Vec::new());
    let mut looks = Looks::new(server);
    for (name, probe) in checks(server, endpoint) {
        unknown.retain(|one| *one != name);
        let line = if excluded.contains(&name) {
            format!("[+]{name} excluded: ok\n")
        } else if let Err(why) = looks.at(probe).await {
            failed.push(format!("{name}: {why}"));
            format!("[-]{name} failed: reason withheld\n")
        } else {
            format!("[+]{name} ok\n")
        };
        text.push_str(&line);
    }
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        let quoted: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = quoted.join(",");
        let warning = "warn: some health checks cannot be excluded: no matches for";
        writeln!(text, "{warning} {names}").expect("writing to a String cannot fail");
    }
    if !failed.is_empty() {
        tracing::debug!(endpoint, failed = failed.join(", "), "a health check failed");
        return answer(500, format!("{text}{endpoint} check failed\n"));
    }
    if query.get("verbose").is_some() {
        return answer(200, format!("{text}{endpoint} check passed\n"));
    }
    answer(200, "ok".to_owned())
}

/// Whether `/readyz` says that the server is ready.
pub(crate) async fn is_ready(server: &Server) -> bool {
    let mut looks = Looks::new(server);
    for (_, probe) in checks(server, "readyz") {
        if looks.at(probe).await.is_err() {
            return false;
        }
    }
    true
}

/// One check, which says what is wrong to who may ask for it.
async fn one(server: &Server, endpoint: &str, path: &str) -> Response<Body> {
    let name = path.strip_prefix(&format!("/{endpoint}/")).unwrap_or_default();
    let found = checks(server, endpoint).find(|(known, _)| *known == name);
    let Some((_, probe)) = found else {
        return answer(404, "404 page not found\n".to_owned());
    };
    match Looks::new(server).at(probe).await {
        Ok(()) => encoding::plain(200, TEXT, "ok".to_owned()),
        Err(why) => answer(500, format!("internal server error: {why}\n")),
    }
}

fn answer(code: u16, text: String) -> Response<Body> {
    let mut response = encoding::plain(code, TEXT, text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The checks of one answer. Two of them want to know the same of the store: it is asked once.
struct Looks<'a> {
    server: &'a Server,
    store: Option<Result<(), String>>,
}

impl<'a> Looks<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, store: None }
    }

    async fn at(&mut self, probe: Probe) -> Result<(), String> {
        let server = self.server;
        let done = |is_done: bool| is_done.then_some(()).ok_or_else(|| "not finished".to_owned());
        let rounds = &server.first_rounds;
        match probe {
            Probe::Alive | Probe::Reload => Ok(()),
            Probe::Store => {
                let said = match self.store.take() {
                    Some(said) => said,
                    None => ask_store(server).await,
                };
                self.store.insert(said).clone()
            }
            Probe::Caches => done(server.caches.is_synced()),
            Probe::Kinds => done(server.custom.is_ready()),
            Probe::Bootstrap | Probe::Roles => done(server.is_bootstrapped.load(Ordering::Relaxed)),
            Probe::ApiServices => done(server.has_api_services.load(Ordering::Relaxed)),
            Probe::Availability => done(rounds.availability.load(Ordering::Relaxed)),
            Probe::Authorities => done(rounds.authorities.load(Ordering::Relaxed)),
            Probe::Addresses => done(rounds.addresses.load(Ordering::Relaxed)),
            Probe::ServiceCidr => done(rounds.service_cidr.load(Ordering::Relaxed)),
            Probe::Serving if server.shutdown.is_cancelled() => {
                Err("process is shutting down".to_owned())
            }
            Probe::Serving => Ok(()),
        }
    }
}

async fn ask_store(server: &Server) -> Result<(), String> {
    let read = server.storage.revision();
    let why = match tokio::time::timeout(STORE_CHECK_TIMEOUT, read).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(status)) => status.message,
        Err(_) => "context deadline exceeded".to_owned(),
    };
    Err(format!("error getting data from etcd: {why}"))
}
