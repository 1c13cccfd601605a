//! Who a request comes from: client certificate, bearer token, or nobody.

mod impersonate;
mod service_account;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::TokenUser;
use crate::state::Server;

pub(crate) use impersonate::impersonated;
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
        if !groups.iter().any(|group| group == ALL) {
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
    pub(crate) tokens: HashMap<String, TokenUser>,
    pub(crate) service_accounts: Tokens,
    pub(crate) anonymous: bool,
}

impl Authenticator {
    /// The user of a request, or `None` when its credentials are wrong or missing: 401.
    ///
    /// `certificate_user` is what [`certificate_user`] made of the connection's client certificate.
    pub(crate) async fn user(
        &self,
        server: &Server,
        headers: &HeaderMap,
        certificate_user: Option<&User>,
    ) -> Option<User> {
        if let Some(user) = certificate_user {
            return Some(user.clone());
        }
        let Some(authorization) = headers.get(http::header::AUTHORIZATION) else {
            return self.anonymous.then(User::anonymous);
        };
        let (scheme, token) = authorization.to_str().ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        // Wrong credentials are refused, never demoted to anonymous.
        match self.token(server, token.trim(), &self.service_accounts.audiences).await {
            Ok(found) => found.map(|(user, _)| user),
            Err(error) => {
                tracing::debug!(%error, "unable to authenticate the request");
                None
            }
        }
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
            // These tokens are for this server, whatever it calls itself.
            let own = &self.service_accounts.audiences;
            let audiences: Vec<String> =
                own.iter().filter(|one| wanted.contains(one)).cloned().collect();
            let is_for_others = audiences.is_empty() && !wanted.is_empty();
            return Ok((!is_for_others).then_some((user, audiences)));
        }
        if !self.service_accounts.is_ours(token) {
            return Ok(None);
        }
        self.service_accounts.user(server, token, wanted).await.map(Some)
    }
}

/// The user of a verified client certificate: CN is the name, every O a group.
pub(crate) fn certificate_user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    let mut user = User::authenticated(name, String::new(), groups);
    let mut id = "X509SHA256=".to_owned();
    for byte in Sha256::digest(der) {
        write!(id, "{byte:02x}").expect("writing to a String cannot fail");
    }
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    Some(user)
}
