//! Who a request comes from: who a proxy says, client certificate, bearer token, or nobody.

mod bootstrap_token;
mod certificate;
mod front_proxy;
mod impersonate;
mod service_account;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::config::TokenUser;
use crate::request::decode_percent;
use crate::state::Server;
use crate::websocket;

pub(crate) use certificate::{Certificate, Verifiers};
pub use front_proxy::{FrontProxyConfig, FrontProxyFlags};
pub(crate) use impersonate::{Impersonated, LastModes, impersonated};
pub(crate) use service_account::{Audiences, Bound, Claims, Reference, Tokens};

/// The name of nobody.
const ANONYMOUS: &str = "system:anonymous";
/// Everybody with a name is in this group.
const ALL: &str = "system:authenticated";
/// Nobody is in this one.
const NOBODY: &str = "system:unauthenticated";

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// Name, for example `system:node:n1`.
    pub name: String,
    /// Id, may be empty.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` among them.
    pub groups: Vec<String>,
    /// What else the credentials say.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn authenticated(name: String, uid: String, mut groups: Vec<String>) -> Self {
        let is_grouped = groups.iter().any(|group| group == ALL || group == NOBODY);
        if !is_grouped && name != ANONYMOUS {
            groups.push(ALL.to_owned());
        }
        Self { name, uid, groups, extra: BTreeMap::new() }
    }

    /// The server itself, as upstream's loopback client names it.
    pub(crate) fn the_server() -> &'static Self {
        static SERVER: LazyLock<User> = LazyLock::new(|| {
            let groups = vec!["system:masters".to_owned()];
            User::authenticated("system:apiserver".to_owned(), String::new(), groups)
        });
        &SERVER
    }

    fn anonymous() -> Self {
        let groups = vec![NOBODY.to_owned()];
        Self { name: ANONYMOUS.to_owned(), groups, ..Self::default() }
    }

    /// The `UserInfo` of reviews; what is empty is left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = json!({"username": self.name});
        if !self.uid.is_empty() {
            out["uid"] = self.uid.as_str().into();
        }
        if !self.groups.is_empty() {
            out["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            out["extra"] = json!(self.extra);
        }
        out
    }
}

/// The ways that are switched on, tried in the order of the fields.
#[derive(Debug)]
pub(crate) struct Authenticator {
    pub(crate) front_proxy: Option<FrontProxyConfig>,
    pub(crate) tokens: HashMap<String, TokenUser>,
    pub(crate) service_accounts: Tokens,
    pub(crate) bootstrap_tokens: bool,
    pub(crate) anonymous: bool,
    pub(crate) last_modes: LastModes,
}

impl Authenticator {
    /// The user of a request, or `None` when its credentials are wrong or missing: 401.
    ///
    /// `certificate` is what the connection showed.
    pub(crate) async fn user(
        &self,
        server: &Server,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
    ) -> Option<User> {
        let mut is_refused = false;
        if let Some(certificate) = certificate {
            let now_s = clock::now().as_second();
            let proxied = self.front_proxy.as_ref().map(|proxy| {
                let name = certificate.proxy(now_s)?;
                proxy.allows(name).then(|| proxy.user(headers)).ok_or("its name is not a proxy's")
            });
            match proxied {
                Some(Ok(Some(user))) => return Some(user),
                Some(Ok(None)) | None => {}
                Some(Err(why)) => {
                    is_refused = true;
                    tracing::debug!(why, "a client certificate is not a proxy's");
                }
            }
            match certificate.user(now_s) {
                Ok(Some(user)) => return Some(user.clone()),
                Ok(None) => {}
                Err(why) => {
                    is_refused = true;
                    tracing::debug!(why, "a client certificate is not accepted");
                }
            }
        }
        let protocol = websocket::token(headers).unwrap_or_else(|why| {
            is_refused = true;
            tracing::debug!(why, "unable to authenticate the web socket");
            None
        });
        for token in bearer(headers).into_iter().chain(protocol.as_deref()) {
            match self.token(server, token, &self.service_accounts.audiences).await {
                Ok(Some((user, _))) => return Some(user),
                Ok(None) => is_refused = true,
                Err(error) => {
                    is_refused = true;
                    tracing::debug!(%error, "unable to authenticate the request");
                }
            }
        }
        // Wrong credentials are refused, never demoted to anonymous.
        (!is_refused && self.anonymous).then(User::anonymous)
    }

    /// The user of a bearer token, and which of the wanted audiences it is for; `None` when it is
    /// nobody's. The error says what is wrong with a token that could be somebody's.
    pub(crate) async fn token(
        &self,
        server: &Server,
        token: &str,
        wanted: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        if let Some(user) = self.tokens.get(token) {
            let user =
                User::authenticated(user.name.clone(), user.uid.clone(), user.groups.clone());
            return Ok(self.for_this_server(user, wanted));
        }
        if !self.service_accounts.is_ours(token) {
            let user = self.bootstrap_tokens.then(|| bootstrap_token::user(server, token));
            return Ok(user.flatten().and_then(|user| self.for_this_server(user, wanted)));
        }
        self.service_accounts.user(server, token, wanted).await.map(Some)
    }

    /// Tokens that say nothing of it are for this server, whatever it calls itself.
    fn for_this_server(&self, user: User, wanted: &[String]) -> Option<(User, Vec<String>)> {
        let own = &self.service_accounts.audiences;
        let audiences: Vec<String> =
            own.iter().filter(|one| wanted.contains(one)).cloned().collect();
        let is_for_others = audiences.is_empty() && !wanted.is_empty();
        (!is_for_others).then_some((user, audiences))
    }
}

/// The key that a header's name stands for; what is not well escaped is taken as it is.
fn extra_key(escaped: &str) -> String {
    let is_hex = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if escaped.split('%').skip(1).all(is_hex) {
        decode_percent(escaped, false).into_owned()
    } else {
        escaped.to_owned()
    }
}

/// The bearer token of a request. Other schemes are nothing that anybody here knows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let mut parts = text.trim().splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next().filter(|token| !token.is_empty())?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
