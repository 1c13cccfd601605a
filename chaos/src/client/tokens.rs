//! Who a client is, once a store wants to know: it logs in when it is first refused for that, and with
//! the next call. A call that was refused is never sent again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The user who may do everything. Like everybody's, its password is its name.
pub const ROOT: &str = "root";

/// Why a user has no token; nothing was asked in its name.
pub(super) struct NotLoggedIn(pub(super) String);

/// The tokens of the users at one member, shared by everybody who has a clone.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: Arc<Mutex<Known>>,
    /// Held while somebody logs in: a password costs the store a lot to look at.
    login: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the store said that it wants to know.
    wanted: bool,
    tokens: BTreeMap<String, AsciiMetadataValue>,
}

impl Tokens {
    /// From now on the store wants to know: nobody needs to be refused first.
    pub fn want(&self) {
        self.known.lock().wanted = true;
    }

    fn lacks(&self, user: &str) -> bool {
        let known = self.known.lock();
        (known.wanted || user != ROOT) && !known.tokens.contains_key(user)
    }

    /// Logs a user in, if that is wanted and not done.
    pub(super) async fn prepare(
        &self,
        user: &str,
        auth: &mut AuthClient<Channel>,
    ) -> Result<(), NotLoggedIn> {
        if !self.lacks(user) {
            return Ok(());
        }
        let _one_at_a_time = self.login.lock().await;
        if !self.lacks(user) {
            return Ok(());
        }
        let name = user.to_owned();
        let request = pb::AuthenticateRequest { password: name.clone(), name };
        match auth.authenticate(request).await {
            Ok(answer) => {
                let token = answer.into_inner().token;
                let token = token.parse().map_err(|_| NotLoggedIn("a strange token".to_owned()))?;
                self.known.lock().tokens.insert(user.to_owned(), token);
                Ok(())
            }
            Err(status) if status.message().contains("authentication is not enabled") => {
                self.known.lock().wanted = false;
                Ok(())
            }
            Err(status) => {
                let (code, text) = (status.code(), status.message());
                Err(NotLoggedIn(format!("not logged in: {code:?}: {text}")))
            }
        }
    }

    /// A request in the name of a user.
    pub(super) fn sign<T>(&self, user: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.known.lock().tokens.get(user) {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Takes a refusal in; whether it was for want of a token.
    pub(super) fn learn(&self, user: &str, refusal: &Status) -> bool {
        let wants = refusal.code() == Code::Unauthenticated || wants_token(refusal.message());
        if wants {
            self.forget(user);
        }
        wants
    }

    /// A token is no longer good.
    pub(super) fn forget(&self, user: &str) {
        let mut known = self.known.lock();
        known.wanted = true;
        known.tokens.remove(user);
    }
}

/// Whether a refusal is for want of a token.
fn wants_token(reason: &str) -> bool {
    ["user name is empty", "invalid auth token"].iter().any(|text| reason.contains(text))
}
