//! What a client is made from.

use std::time::Duration;

/// Endpoints, identity and deadlines.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://host:port` or `https://host:port`; at least one. The first that answers is kept.
    pub endpoints: Vec<String>,
    /// Needed for `https` endpoints.
    pub tls: Option<Tls>,
    /// Who asks, where the store has users.
    pub user: Option<User>,
    /// Deadline of one connection attempt.
    pub connect_timeout: Duration,
    /// Deadline of one call, all attempts together. etcd itself gives up on a proposal after 7 s.
    pub request_timeout: Duration,
}

impl Config {
    /// A configuration with the default deadlines: 2 s to connect, 10 s for a call.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            user: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// The same with TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same as a user; without effect where the store has authentication switched off.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// A user of the store.
#[derive(Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password must never reach a log.
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// TLS material, PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Authorities that may have signed the members' certificates.
    pub ca: Vec<u8>,
    /// Our certificate chain and key, when members ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must never reach a log.
        f.debug_struct("Tls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}
