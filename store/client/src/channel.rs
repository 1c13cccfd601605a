//! Endpoints: which one is used, when another is tried, and what may be sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::Config;
use crate::error::{Error, Happened};
use crate::limits::{
    ATTEMPTS_MAX, BACKOFF_MAX, BACKOFF_MIN, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, READ_ATTEMPT_MAX,
};
use crate::local::Local;
use crate::login::{Authed, Login, Token};

/// A client of a store. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Member>,
    /// The member that answered last; kept until it fails.
    preferred: AtomicUsize,
    request_timeout: Duration,
    login: Option<Login>,
    /// A store in this process; then there are no members.
    local: Option<Arc<dyn Local>>,
}

/// The endpoint of a store in this process.
pub(crate) const LOCAL: &str = "memory:";

struct Member {
    endpoint: String,
    channel: Channel,
}

/// Whether a call may be sent again when its fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    Read,
    Write,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints: Vec<&str> = self.inner.members.iter().map(|m| m.endpoint.as_str()).collect();
        f.debug_struct("Client").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Config`] for no endpoint, a malformed one, or TLS material that does not parse.
    pub fn new(config: &Config) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(Error::Config("no store endpoint is given".to_owned()));
        }
        let members =
            config.endpoints.iter().map(|e| member(e, config)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                members,
                preferred: AtomicUsize::new(0),
                request_timeout: config.request_timeout,
                login: config.user.clone().map(Login::new),
                local: None,
            }),
        })
    }

    /// A client of a store in this process. It has what [`Local`] has; other calls are refused.
    #[must_use]
    pub fn local(store: Arc<dyn Local>) -> Self {
        Self {
            inner: Arc::new(Inner {
                members: Vec::new(),
                preferred: AtomicUsize::new(0),
                request_timeout: Duration::ZERO,
                login: None,
                local: Some(store),
            }),
        }
    }

    /// The store in this process, if it is one of that kind.
    pub(crate) fn here(&self) -> Option<&dyn Local> {
        self.inner.local.as_deref()
    }

    /// The endpoints in the order given.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        let local = self.inner.local.iter().map(|_| LOCAL);
        self.inner.members.iter().map(|m| m.endpoint.as_str()).chain(local)
    }

    /// Which endpoint the next call goes to, and its channel.
    pub(crate) fn pick(&self) -> (usize, Channel) {
        let at = self.inner.preferred.load(Ordering::Relaxed) % self.inner.members.len();
        (at, self.inner.members[at].channel.clone())
    }

    /// Says that the endpoint at `at` failed: the next call goes to the one after it.
    pub(crate) fn failed(&self, at: usize) {
        let next = (at + 1) % self.inner.members.len();
        // Only the first of many callers that saw the same failure moves on.
        let _ =
            self.inner.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn member_count(&self) -> usize {
        self.inner.members.len()
    }

    pub(crate) fn channel_of(&self, endpoint: &str) -> Option<Channel> {
        self.inner.members.iter().find(|m| m.endpoint == endpoint).map(|m| m.channel.clone())
    }

    /// The channel with the user's token, if there is a user.
    pub(crate) async fn authed(&self, channel: Channel, until: Instant) -> Result<Authed, Error> {
        let token = match &self.inner.login {
            Some(login) => {
                let within = until.saturating_duration_since(Instant::now());
                login.token(channel.clone(), within.min(READ_ATTEMPT_MAX)).await?
            }
            None => Token::default(),
        };
        Ok(Authed::new(channel, token))
    }

    /// Makes the next call log in again.
    pub(crate) fn forget_token(&self) {
        if let Some(login) = &self.inner.login {
            login.forget();
        }
    }

    /// Carries out one call on the preferred member, and on others as far as `safety` allows (S2).
    pub(crate) async fn call<T, F, Fut>(&self, safety: Safety, call: F) -> Result<T, Error>
    where
        F: Fn(Authed) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        if self.inner.members.is_empty() {
            return Err(Error::Config("a store in this process has no such call".to_owned()));
        }
        let deadline = Instant::now() + self.inner.request_timeout;
        let mut backoff = BACKOFF_MIN;
        let mut last = Error::Unavailable { message: "no attempt was made".to_owned() };
        let mut renewed = false;
        for attempt in 1..=ATTEMPTS_MAX {
            let (at, channel) = self.pick();
            let until = match safety {
                Safety::Read => deadline.min(Instant::now() + READ_ATTEMPT_MAX),
                Safety::Write => deadline,
            };
            last = match self.authed(channel, until).await {
                Ok(channel) => match tokio::time::timeout_at(until, call(channel)).await {
                    Ok(Ok(response)) => return Ok(response.into_inner()),
                    Ok(Err(status)) => Error::from_status(&status),
                    Err(_) => {
                        Error::Unknown { message: "no answer before the deadline".to_owned() }
                    }
                },
                // The call itself was not made.
                Err(Error::Unknown { message }) => Error::Unavailable { message },
                Err(error) => error,
            };
            let stale = |login: &Login| login.is_stale(&last);
            if !renewed && self.inner.login.as_ref().is_some_and(stale) {
                renewed = true;
                self.forget_token();
                continue;
            }
            match &last {
                Error::Config(_) | Error::Compacted { .. } | Error::Refused { .. } => {
                    return Err(last);
                }
                Error::Unavailable { .. } | Error::Unknown { .. } => {}
            }
            self.failed(at);
            if safety == Safety::Write && last.happened() == Happened::Unknown {
                return Err(last);
            }
            // A round over all endpoints failed: let the cluster elect before the next.
            if attempt % self.member_count() == 0 {
                tokio::time::sleep_until(deadline.min(Instant::now() + backoff)).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(last)
    }
}

fn member(endpoint: &str, config: &Config) -> Result<Member, Error> {
    let wrong = |why: String| Error::Config(format!("store endpoint {endpoint:?}: {why}"));
    let mut builder = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|e| wrong(e.to_string()))?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if endpoint.starts_with("https://") {
        let tls =
            config.tls.as_ref().ok_or_else(|| wrong("https needs TLS material".to_owned()))?;
        let mut client = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((cert, key)) = &tls.identity {
            client = client.identity(Identity::from_pem(cert, key));
        }
        builder = builder.tls_config(client).map_err(|e| wrong(e.to_string()))?;
    } else if !endpoint.starts_with("http://") {
        return Err(wrong("must start with http:// or https://".to_owned()));
    }
    Ok(Member { endpoint: endpoint.to_owned(), channel: builder.connect_lazy() })
}
