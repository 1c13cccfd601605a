//! Leader election by Lease, with upstream's record: one process works, the others wait for its lease to end.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A lease is judged by how long *we* have seen it unchanged, never by another machine's clock. |
//! | E2 | Work stops at `renew_deadline`, before anyone may take over at `lease_duration`. |
//! | E3 | A record read by nobody else's write is never overwritten: each update names the resourceVersion it saw. |

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{GetParams, ObjectMeta, PostParams},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{events::Severity, limits, process};

/// The `--leader-elect*` flags, under upstream's names and defaults.
#[derive(Debug, Clone, clap::Args)]
pub struct ElectionFlags {
    /// Hold an election and work only as the leader.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long the others wait after the leader's last renewal before they take over.
    #[arg(long, default_value = "15s", value_parser = process::parse_duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it stops working; less than the lease duration.
    #[arg(long, default_value = "10s", value_parser = process::parse_duration)]
    pub leader_elect_renew_deadline: Duration,
    /// The wait between two attempts to get or renew the lease.
    #[arg(long, default_value = "2s", value_parser = process::parse_duration)]
    pub leader_elect_retry_period: Duration,
    /// Namespace of the Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
    /// Name of the Lease; by default the component's own name.
    #[arg(long)]
    pub leader_elect_resource_name: Option<String>,
}

/// A checked election set-up.
#[derive(Debug, Clone)]
pub struct Election {
    /// Without an election the work starts at once.
    pub enabled: bool,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: `<host>_<uuid>`.
    pub identity: String,
    /// See [`ElectionFlags::leader_elect_lease_duration`].
    pub lease_duration: Duration,
    /// See [`ElectionFlags::leader_elect_renew_deadline`].
    pub renew_deadline: Duration,
    /// See [`ElectionFlags::leader_elect_retry_period`].
    pub retry_period: Duration,
}

/// Why the flags cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    /// Others could take over while we still work.
    #[error(
        "--leader-elect-lease-duration ({lease:?}) must be greater than --leader-elect-renew-deadline ({renew:?})"
    )]
    LeaseTooShort {
        /// The lease duration given.
        lease: Duration,
        /// The renew deadline given.
        renew: Duration,
    },
    /// There would be no second attempt (the wait is jittered by up to 20 %).
    #[error(
        "--leader-elect-renew-deadline ({renew:?}) must be greater than 1.2 times --leader-elect-retry-period ({retry:?})"
    )]
    RenewTooShort {
        /// The renew deadline given.
        renew: Duration,
        /// The retry period given.
        retry: Duration,
    },
    /// The record counts whole seconds.
    #[error(
        "--leader-elect-lease-duration must be at least 1s, and --leader-elect-retry-period more than 0s"
    )]
    TooShort,
}

impl ElectionFlags {
    /// Checks the flags; `component` is the default name of the Lease.
    pub fn into_election(self, component: &str) -> Result<Election, ElectionError> {
        let (lease, renew) = (self.leader_elect_lease_duration, self.leader_elect_renew_deadline);
        let retry = self.leader_elect_retry_period;
        if self.leader_elect {
            if lease < Duration::from_secs(1) || retry.is_zero() {
                return Err(ElectionError::TooShort);
            }
            if lease <= renew {
                return Err(ElectionError::LeaseTooShort { lease, renew });
            }
            if renew <= retry.mul_f64(JITTER) {
                return Err(ElectionError::RenewTooShort { renew, retry });
            }
        }
        Ok(Election {
            enabled: self.leader_elect,
            namespace: self.leader_elect_resource_namespace,
            name: self.leader_elect_resource_name.unwrap_or_else(|| component.to_owned()),
            identity: format!("{}_{}", process::host_name(), uuid::Uuid::new_v4()),
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
        })
    }
}

/// The lease went to someone else, or could not be renewed in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("leader election lost: lease {namespace}/{name} was not renewed within {deadline:?}")]
pub struct Lost {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The renew deadline that passed.
    pub deadline: Duration,
}

const JITTER: f64 = 1.2;

/// The record as last read, and since when we have seen it like that.
#[derive(Debug, Clone)]
struct Observed {
    lease: Lease,
    since: Instant,
}

/// What may be done with an observed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Wait,
    Renew,
    TakeOver { transitions: i32 },
}

/// Decides about a lease (E1).
fn claim(observed: &Observed, identity: &str, now: Instant) -> Claim {
    let spec = observed.lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    if holder == identity {
        return Claim::Renew;
    }
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    if !holder.is_empty() && observed.since + Duration::from_secs(seconds) > now {
        return Claim::Wait;
    }
    Claim::TakeOver { transitions: spec.lease_transitions.unwrap_or(0) + 1 }
}

struct Elector<'a> {
    api: Api<Lease>,
    election: &'a Election,
    observed: Option<Observed>,
}

impl Elector<'_> {
    fn spec(&self, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(clock::now());
        let seconds = self.election.lease_duration.as_secs();
        LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn observe(&mut self, lease: Lease) {
        let unchanged = self.observed.as_ref().is_some_and(|seen| seen.lease.spec == lease.spec);
        let since = match &self.observed {
            Some(seen) if unchanged => seen.since,
            _ => Instant::now(),
        };
        self.observed = Some(Observed { lease, since });
    }

    async fn write(&mut self, spec: LeaseSpec) -> Result<(), kube::Error> {
        let mut lease = match &self.observed {
            Some(observed) => observed.lease.clone(),
            None => Lease {
                metadata: ObjectMeta {
                    name: Some(self.election.name.clone()),
                    namespace: Some(self.election.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: None,
            },
        };
        lease.spec = Some(spec);
        let written = if self.observed.is_some() {
            self.api.replace(&self.election.name, &PostParams::default(), &lease).await?
        } else {
            self.api.create(&PostParams::default(), &lease).await?
        };
        self.observed = Some(Observed { lease: written, since: Instant::now() });
        Ok(())
    }

    /// One attempt to get or keep the lease; true when we hold it.
    async fn attempt(&mut self, holding: bool) -> Result<bool, kube::Error> {
        // The holder writes without reading first; it reads again only when that fails.
        if let Some(spec) = self.renewal().filter(|_| holding) {
            match self.write(spec).await {
                Ok(()) => return Ok(true),
                Err(error) => debug!(%error, "lease update failed, reading it again"),
            }
        }
        if !holding && self.must_wait().await? {
            return Ok(false);
        }
        match self.api.get_opt(&self.election.name).await? {
            Some(lease) => self.observe(lease),
            None => {
                self.observed = None;
                let spec = self.spec(None, 0);
                return self.write(spec).await.map(|()| true);
            }
        }
        let Some(observed) = &self.observed else { return Ok(false) };
        match claim(observed, &self.election.identity, Instant::now()) {
            Claim::Wait => Ok(false),
            Claim::Renew => {
                let spec = self.renewal().unwrap_or_else(|| self.spec(None, 0));
                self.write(spec).await.map(|()| true)
            }
            // Someone took it while we were away: never take it back within one term.
            Claim::TakeOver { .. } if holding => Ok(false),
            Claim::TakeOver { transitions } => {
                let spec = self.spec(None, transitions);
                self.write(spec).await.map(|()| true)
            }
        }
    }

    /// Whether what the server has in its cache says to wait, of a lease that was seen before. That may be older
    /// than what is stored, so it is a reason to wait only, never one to write; it costs the store nothing.
    async fn must_wait(&mut self) -> Result<bool, kube::Error> {
        if self.observed.is_none() {
            return Ok(false);
        }
        match self.api.get_with(&self.election.name, &GetParams::any()).await {
            Ok(lease) => self.observe(lease),
            Err(error) if crate::is_not_found(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        let claim = |seen| claim(seen, &self.election.identity, Instant::now());
        Ok(self.observed.as_ref().map(claim) == Some(Claim::Wait))
    }

    fn renewal(&self) -> Option<LeaseSpec> {
        let old = self.observed.as_ref()?.lease.spec.as_ref()?;
        Some(self.spec(old.acquire_time.clone(), old.lease_transitions.unwrap_or(0)))
    }

    async fn acquire(&mut self) {
        loop {
            let attempt = tokio::time::timeout(self.election.renew_deadline, self.attempt(false));
            match attempt.await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) if crate::is_conflict(&error) => {}
                Ok(Err(error)) => warn!(%error, lease = self.election.name, "cannot get the lease"),
                Err(_) => warn!(lease = self.election.name, "cannot get the lease: timed out"),
            }
            let jitter = 1.0 + rand::random::<f64>() * (JITTER - 1.0);
            let wait = self.election.retry_period.mul_f64(jitter);
            tokio::time::sleep(self.left(Instant::now()).map_or(wait, |left| left.min(wait))).await;
        }
    }

    /// How long the lease that somebody else holds has to be seen unchanged until it can be taken.
    fn left(&self, now: Instant) -> Option<Duration> {
        let observed = self.observed.as_ref()?;
        let seconds = observed.lease.spec.as_ref()?.lease_duration_seconds?;
        let ends = observed.since + Duration::from_secs(seconds.try_into().ok()?);
        ends.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Keeps the lease; returns when that has failed for `renew_deadline` (E2).
    async fn hold(&mut self) {
        let mut deadline = Instant::now() + self.election.renew_deadline;
        let mut wait = self.election.retry_period;
        loop {
            tokio::time::sleep(wait).await;
            wait = self.election.retry_period;
            match tokio::time::timeout_at(deadline, self.attempt(true)).await {
                Ok(Ok(true)) => deadline = Instant::now() + self.election.renew_deadline,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    warn!(%error, lease = self.election.name, "lease not renewed");
                    // A server that is started again is there soon, and the deadline near.
                    wait /= 2;
                }
                Err(_) => return,
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    async fn release(&mut self) {
        let Some(old) = self.observed.as_ref().and_then(|seen| seen.lease.spec.clone()) else {
            return;
        };
        let now = MicroTime(clock::now());
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: old.lease_transitions,
            ..LeaseSpec::default()
        };
        match tokio::time::timeout(limits::RELEASE_DEADLINE, self.write(spec)).await {
            Ok(Ok(())) => info!(lease = self.election.name, "lease released"),
            Ok(Err(error)) => warn!(%error, lease = self.election.name, "lease not released"),
            Err(_) => warn!(lease = self.election.name, "lease not released: timed out"),
        }
    }
}

/// Waits for the lease, runs `work` while it is held, and releases it on a clean stop.
///
/// `work` gets a token that fires when it must stop. When the lease is lost, `work` is dropped at once and
/// [`Lost`] is returned: the process should end and be started again, as upstream's does.
///
/// # Errors
/// [`Lost`] when the lease could not be kept.
pub async fn lead<F, Fut>(
    client: Client,
    election: &Election,
    leading: Arc<AtomicBool>,
    stop: CancellationToken,
    work: F,
) -> Result<(), Lost>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    let term = stop.child_token();
    if !election.enabled {
        leading.store(true, Ordering::Relaxed);
        work(term).await;
        return Ok(());
    }
    let mut elector = Elector {
        api: Api::namespaced(client.clone(), &election.namespace),
        election,
        observed: None,
    };
    info!(lease = election.name, identity = election.identity, "waiting for the lease");
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = elector.acquire() => {}
    }
    info!(lease = election.name, identity = election.identity, "became leader");
    leading.store(true, Ordering::Relaxed);
    if let Some(observed) = &elector.observed {
        let recorder = crate::Recorder::start(client, "leader-election");
        let message = format!("{} became leader", election.identity);
        recorder.note(&observed.lease, Severity::Normal, "LeaderElection", message);
    }

    let mut work = std::pin::pin!(work(term.clone()));
    let lost = tokio::select! {
        () = &mut work => false,
        () = elector.hold() => true,
    };
    leading.store(false, Ordering::Relaxed);
    if lost {
        term.cancel();
        return Err(Lost {
            namespace: election.namespace.clone(),
            name: election.name.clone(),
            deadline: election.renew_deadline,
        });
    }
    elector.release().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(holder: &str, seconds: i32, transitions: i32, since: Instant) -> Observed {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        Observed { lease: Lease { spec: Some(spec), ..Lease::default() }, since }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_over_only_after_we_saw_it_unchanged_for_its_duration() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let held = observed("other", 15, 3, start);
        assert_eq!(claim(&held, "me", start), Claim::Wait);
        assert_eq!(claim(&held, "me", start + 14 * second), Claim::Wait);
        assert_eq!(claim(&held, "me", start + 15 * second), Claim::TakeOver { transitions: 4 });
        assert_eq!(claim(&held, "other", start), Claim::Renew);
        let released = observed("", 1, 3, start);
        assert_eq!(claim(&released, "me", start), Claim::TakeOver { transitions: 4 });
    }

    /// A server with one lease, and what it was asked.
    #[derive(Clone, Default)]
    struct Asked {
        lease: Arc<parking_lot::Mutex<Lease>>,
        said: Arc<parking_lot::Mutex<Vec<String>>>,
    }

    impl Asked {
        fn client(&self) -> Client {
            let this = self.clone();
            let answer = move |request: http::Request<kube::client::Body>| {
                let this = this.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let query = head.uri.query().unwrap_or_default();
                    this.said.lock().push(format!("{} {query}", head.method));
                    if head.method == http::Method::PUT {
                        let sent = body.collect_bytes().await?;
                        *this.lease.lock() = serde_json::from_slice(&sent)?;
                    }
                    let lease = serde_json::to_vec(&*this.lease.lock())?;
                    Ok::<_, tower::BoxError>(http::Response::new(kube::client::Body::from(lease)))
                }
            };
            Client::new(tower::service_fn(answer), "default")
        }

        fn held_by(&self, holder: &str, renewed: i64) {
            let spec = LeaseSpec {
                renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
                ..observed(holder, 15, 3, Instant::now()).lease.spec.unwrap()
            };
            self.lease.lock().spec = Some(spec);
        }

        fn said(&self) -> Vec<String> {
            std::mem::take(&mut self.said.lock())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_asks_the_cache_and_who_takes_over_has_asked_the_store() {
        let server = Asked::default();
        server.held_by("other", 1);
        let election = flags(15, 10, 2).into_election("x").unwrap();
        let api = Api::namespaced(server.client(), &election.namespace);
        let mut elector = Elector { api, election: &election, observed: None };
        let attempts = async |elector: &mut Elector<'_>| elector.attempt(false).await.unwrap();

        assert!(!attempts(&mut elector).await);
        assert_eq!(server.said(), ["GET "], "what was never seen is asked of the store");
        tokio::time::advance(Duration::from_secs(10)).await;
        server.held_by("other", 2);
        assert!(!attempts(&mut elector).await);
        assert_eq!(server.said(), ["GET &resourceVersion=0"]);
        // E1: from when it was seen to change.
        assert_eq!(elector.left(Instant::now()), Some(Duration::from_secs(15)));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(elector.left(Instant::now()), Some(Duration::from_secs(1)));
        assert!(!attempts(&mut elector).await);
        assert_eq!(server.said(), ["GET &resourceVersion=0"]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(elector.left(Instant::now()), None);
        assert!(attempts(&mut elector).await);
        assert_eq!(server.said(), ["GET &resourceVersion=0", "GET ", "PUT "]);
        assert!(elector.attempt(true).await.unwrap());
        assert_eq!(server.said(), ["PUT "], "who holds it does not ask");
    }

    fn flags(lease: u64, renew: u64, retry: u64) -> ElectionFlags {
        ElectionFlags {
            leader_elect: true,
            leader_elect_lease_duration: Duration::from_secs(lease),
            leader_elect_renew_deadline: Duration::from_secs(renew),
            leader_elect_retry_period: Duration::from_secs(retry),
            leader_elect_resource_namespace: "kube-system".into(),
            leader_elect_resource_name: None,
        }
    }

    #[test]
    fn settings_that_allow_two_leaders_are_refused() {
        assert!(flags(15, 10, 2).into_election("x").is_ok());
        assert!(flags(10, 10, 2).into_election("x").is_err());
        assert!(flags(15, 10, 9).into_election("x").is_err());
        assert!(flags(0, 0, 0).into_election("x").is_err());
        let mut off = flags(0, 0, 0);
        off.leader_elect = false;
        assert!(off.into_election("x").is_ok(), "not checked without an election");
    }
}
