//! Who asks, and may they? Tokens, certificates, and the checks of what is not decided in the log.
//!
//! What goes through the log carries its caller along, and is judged by the users and roles of its
//! place in the log. Reads are judged here. Where auth is off all of it costs one atomic load.

mod jwt;
mod options;
mod password;
mod simple;

use std::sync::Arc;

use proto::{
    etcdserverpb::TxnRequest,
    orlop::store::v1::{AuthChange, AuthChanged, Caller, auth_change::Change},
};
use store_state_machine::{Access, Auth, Refusal};
use tonic::{Extensions, Request, Status, metadata::MetadataMap};
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use self::options::{JwtOptions, TokenKind};
use self::simple::SimpleTokens;
pub(crate) use self::{
    jwt::{Jwt, read_keys},
    password::Passwords,
    simple::{made_at, prefix},
};
use crate::{error::Error, read::Reader, state::State, watch::Permit};

/// The member itself: everything is permitted to it.
#[expect(clippy::unnecessary_wraps, reason = "a caller is always optional")]
pub(crate) fn member() -> Option<Caller> {
    Some(Caller { member: true, ..Caller::default() })
}

/// The common name in the certificate of a client.
#[derive(Debug, Clone)]
pub(crate) struct CommonName(Arc<str>);

impl CommonName {
    /// From a certificate that was verified; none if it has no such name.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        (!name.is_empty()).then(|| Self(name.into()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// What a request says about its sender.
#[derive(Clone)]
pub(crate) struct Sender {
    metadata: MetadataMap,
    extensions: Extensions,
}

/// Takes a request apart, so that its sender can be asked for after its message was taken.
pub(crate) fn split<T>(request: Request<T>) -> (Sender, T) {
    let (metadata, extensions, message) = request.into_parts();
    (Sender { metadata, extensions }, message)
}

impl Sender {
    /// etcd's two places for a token. An error if there is one that is no text.
    fn token(&self) -> Result<Option<&str>, Error> {
        let found = self.metadata.get("token").or_else(|| self.metadata.get("authorization"));
        let Some(value) = found else { return Ok(None) };
        let text = value.to_str().map_err(|_| Error::InvalidAuthToken)?;
        Ok(Some(text.strip_prefix("Bearer ").unwrap_or(text)))
    }

    fn common_name(&self) -> Option<&CommonName> {
        // The gateway would speak with its own certificate, not with the client's.
        let by_gateway = self.metadata.contains_key("grpcgateway-accept");
        self.extensions.get::<CommonName>().filter(|_| !by_gateway)
    }
}

/// The token of a sender with this header.
pub(crate) fn token_of(header: &'static str, value: &[u8]) -> Result<Option<String>, String> {
    let value = http::HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
    let mut headers = http::HeaderMap::new();
    headers.insert(header, value);
    let metadata = MetadataMap::from_headers(headers);
    let sender = Sender { metadata, extensions: Extensions::default() };
    let token = sender.token().map_err(|error| Status::from(error).message().to_owned())?;
    Ok(token.map(str::to_owned))
}

/// The tokens that this member gives out and knows.
pub(crate) enum Tokens {
    Nothing,
    /// With the last log index of before this start: the tokens that were made up to there are
    /// forgotten, however long ago that was.
    Simple(SimpleTokens, u64),
    Jwt(Box<Jwt>),
}

/// What the apply thread must tell the tokens.
pub(crate) enum Note {
    Assign { user: String, prefix: String },
    Forget(String),
    ForgetAll,
}

impl Note {
    /// Nothing for the changes that do not matter to tokens.
    pub(crate) fn of(change: &AuthChange) -> Option<Self> {
        Some(match change.change.as_ref()? {
            Change::Authenticate(request) => {
                Self::Assign { user: request.name.clone(), prefix: request.token_prefix.clone() }
            }
            Change::UserDelete(request) => Self::Forget(request.name.clone()),
            Change::UserChangePassword(request) => Self::Forget(request.name.clone()),
            Change::Disable(_) => Self::ForgetAll,
            Change::Enable(_)
            | Change::UserAdd(_)
            | Change::UserGrantRole(_)
            | Change::UserRevokeRole(_)
            | Change::RoleAdd(_)
            | Change::RoleDelete(_)
            | Change::RoleGrantPermission(_)
            | Change::RoleRevokePermission(_) => return None,
        })
    }
}

impl Tokens {
    /// Reads the keys, if there are any to read. `last_index`: where the log ends at the start.
    pub(crate) fn load(kind: &TokenKind, last_index: u64) -> anyhow::Result<Self> {
        Ok(match kind {
            TokenKind::Nothing => Self::Nothing,
            TokenKind::Simple(ttl) => Self::Simple(SimpleTokens::new(*ttl), last_index),
            TokenKind::Jwt(options) => Self::Jwt(Box::new(Jwt::load(options)?)),
        })
    }

    /// A change was applied, by the log entry at `index`. Called before anybody can know of it.
    pub(crate) fn applied(&self, index: u64, note: Note, changed: &mut AuthChanged) {
        let Self::Simple(tokens, last_index) = self else { return };
        match note {
            Note::Assign { .. } if index <= *last_index => {}
            Note::Assign { user, prefix } => {
                changed.token = format!("{prefix}.{index}");
                tokens.assign(&changed.token, &user);
            }
            Note::Forget(user) => tokens.forget(&user),
            Note::ForgetAll => tokens.forget_all(),
        }
    }

    /// The state was replaced by another member's: whose tokens are still good is not known.
    pub(crate) fn replaced(&self) {
        if let Self::Simple(tokens, _) = self {
            tokens.forget_all();
        }
    }

    /// The token of a user that `changed` permits to have one.
    pub(crate) fn issue(&self, user: &str, changed: AuthChanged) -> Result<String, Error> {
        match self {
            Self::Nothing => Err(Refusal::AuthFailed.into()),
            Self::Simple(..) => Ok(changed.token),
            Self::Jwt(jwt) => jwt.sign(user, changed.auth_revision),
        }
    }
}

/// Finds out who asks.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) state: State,
    pub(crate) reader: Reader,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) passwords: Arc<Passwords>,
    /// Clients show certificates, whose names are users.
    pub(crate) by_certificate: bool,
}

/// Users and roles as of one moment, and the caller that is judged by them. Empty if auth is off.
pub(crate) struct Pass {
    auth: Option<Arc<Auth>>,
    caller: Option<Caller>,
}

impl Gate {
    /// Who sent a request.
    ///
    /// # Errors
    /// If it has a token that is not good.
    pub(crate) async fn pass(&self, sender: &Sender) -> Result<Pass, Error> {
        if !self.state.auth_enabled() {
            return Ok(Pass { auth: None, caller: None });
        }
        let token = sender.token()?;
        if let Some(token) = token {
            self.wait_for(token).await?;
        }
        // Before the token is looked up: one that is dropped right after counts as older.
        let auth = self.state.view().auth();
        let (user, revision) = match token {
            Some(token) => match self.user_of(token)? {
                // A signed token says itself how old it is.
                (user, Some(revision)) => (user, revision),
                (user, None) => (user, auth.revision()),
            },
            None => match sender.common_name().filter(|_| self.by_certificate) {
                Some(CommonName(name)) => (name.to_string(), auth.revision()),
                None => return Ok(Pass { auth: Some(auth), caller: None }),
            },
        };
        let caller = Caller { user, auth_revision: revision, member: false };
        Ok(Pass { auth: Some(auth), caller: Some(caller) })
    }

    /// The caller to send along with a command.
    pub(crate) async fn caller(&self, sender: &Sender) -> Result<Option<Caller>, Error> {
        Ok(self.pass(sender).await?.caller)
    }

    /// Another member may have made a simple token a moment ago: then this one catches up first.
    async fn wait_for(&self, token: &str) -> Result<(), Error> {
        if matches!(&*self.tokens, Tokens::Simple(..)) {
            let made_at = made_at(token).ok_or(Error::InvalidAuthToken)?;
            if made_at > self.reader.applied() {
                self.reader.linearizable().await.map_err(|_| Error::InvalidAuthToken)?;
            }
        }
        Ok(())
    }

    fn user_of(&self, token: &str) -> Result<(String, Option<u64>), Error> {
        match &*self.tokens {
            Tokens::Nothing => Err(Error::InvalidAuthToken),
            Tokens::Simple(tokens, _) => {
                let user = tokens.user(token).ok_or(Error::InvalidAuthToken)?;
                Ok((user.to_string(), None))
            }
            Tokens::Jwt(jwt) => {
                let (user, revision) = jwt.check(token).ok_or(Error::InvalidAuthToken)?;
                Ok((user, Some(revision)))
            }
        }
    }
}

impl Pass {
    fn check(
        &self,
        check: impl FnOnce(&Auth, Option<&Caller>) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        match &self.auth {
            Some(auth) => Ok(check(auth, self.caller.as_ref())?),
            None => Ok(()),
        }
    }

    pub(crate) fn range(&self, key: &[u8], range_end: &[u8]) -> Result<(), Error> {
        self.check(|auth, caller| auth.permit(caller, Access::Read, key, range_end))
    }

    pub(crate) fn reads(&self, txn: &TxnRequest) -> Result<(), Error> {
        self.check(|auth, caller| auth.permit_reads(caller, txn))
    }

    /// Every key that is attached to a lease.
    pub(crate) fn keys<K: AsRef<[u8]>>(&self, access: Access, keys: &[K]) -> Result<(), Error> {
        self.check(|auth, caller| auth.permit_keys(caller, access, keys.iter().map(AsRef::as_ref)))
    }

    pub(crate) fn user(&self) -> Result<(), Error> {
        self.check(Auth::require_user)
    }

    pub(crate) fn root(&self) -> Result<(), Error> {
        self.check(Auth::require_root)
    }

    /// The name of the caller; empty if it has none.
    pub(crate) fn name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| caller.user.as_str())
    }

    /// The users and roles that the caller is judged by, or those of now if they do not count.
    pub(crate) fn users(&self, state: &State) -> Arc<Auth> {
        self.auth.clone().unwrap_or_else(|| state.view().auth())
    }

    /// For after a check: what it was about may be newer than the users and roles that it asked.
    pub(crate) fn unchanged(&self, state: &State) -> Result<(), Error> {
        match &self.auth {
            Some(auth) => Self::known_at(auth.revision(), state),
            None => Ok(()),
        }
    }

    /// For after a read, in addition: a signed token may be newer than what this member knows. Then
    /// it was judged by users and roles that are no more.
    pub(crate) fn still_good(&self, state: &State) -> Result<(), Error> {
        self.unchanged(state)?;
        match &self.caller {
            Some(caller) => Self::known_at(caller.auth_revision, state),
            None => Ok(()),
        }
    }

    fn known_at(revision: u64, state: &State) -> Result<(), Error> {
        let now = state.view().auth();
        if now.enabled() && now.revision() != revision {
            return Err(Refusal::AuthOldRevision.into());
        }
        Ok(())
    }

    /// Whether there is anything to check.
    pub(crate) fn counts(&self) -> bool {
        self.auth.is_some()
    }

    pub(crate) fn into_caller(self) -> Option<Caller> {
        self.caller
    }
}

/// Judges each watch of a stream when it is made, as the one who opened the stream.
pub(crate) struct Watchman {
    pub(crate) gate: Gate,
    pub(crate) sender: Sender,
}

impl Permit for Watchman {
    async fn permit(&self, key: &[u8], range_end: &[u8]) -> Result<(), String> {
        let pass = self.gate.pass(&self.sender).await;
        pass.and_then(|pass| pass.range(key, range_end)).map_err(|error| {
            let status = Status::from(error);
            format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
        })
    }
}
