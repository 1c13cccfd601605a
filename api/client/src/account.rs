//! Clients that speak as service accounts, as upstream's controllers do when each has its own rights.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | T1 | A token is asked for again when four fifths of its life are over, or when it is refused. |
//! | T2 | All accounts share the connections of one client, which has no identity of its own. |

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    client::Body,
};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{is_conflict, is_not_found, limits};

/// Where the accounts of the control plane are.
const NAMESPACE: &str = "kube-system";

/// Gives out clients that speak as service accounts.
#[derive(Clone)]
pub struct Accounts {
    /// Asks for tokens.
    asking: Client,
    /// Speaks as nobody.
    bare: Client,
}

/// A token, as it goes into a request.
struct Token {
    header: HeaderValue,
    refresh_after: Duration,
}

/// What the requests of one account are sent with.
struct Identity {
    header: RwLock<HeaderValue>,
    refused: Notify,
}

impl Accounts {
    /// Accounts whose tokens `asking` may ask for; `bare` reaches the same server without an identity.
    #[must_use]
    pub fn new(asking: Client, bare: Client) -> Self {
        Self { asking, bare }
    }

    /// A client that speaks as an account until `shutdown`. The account is made when it is missing.
    ///
    /// Waits until the server gives a token; `None` when `shutdown` comes first.
    pub async fn client(&self, account: &str, shutdown: &CancellationToken) -> Option<Client> {
        let first = tokio::select! {
            () = shutdown.cancelled() => return None,
            token = self.insist(account) => token,
        };
        let header = RwLock::new(first.header);
        let identity = Arc::new(Identity { header, refused: Notify::new() });
        let (this, account) = (self.clone(), account.to_owned());
        let (shutdown, kept) = (shutdown.clone(), Arc::clone(&identity));
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = this.renew(&account, &kept, first.refresh_after) => {}
            }
        });
        Some(speaking(&self.bare, identity))
    }

    /// T1.
    async fn renew(&self, account: &str, identity: &Identity, mut after: Duration) {
        loop {
            // A server that refuses every token is not asked for more all the time.
            tokio::time::sleep(after.min(limits::TOKEN_AGE_MIN)).await;
            tokio::select! {
                () = tokio::time::sleep(after.saturating_sub(limits::TOKEN_AGE_MIN)) => {}
                () = identity.refused.notified() => {}
            }
            let token = self.insist(account).await;
            *identity.header.write() = token.header;
            after = token.refresh_after;
        }
    }

    async fn insist(&self, account: &str) -> Token {
        let mut wait = limits::TOKEN_RETRY_MIN;
        loop {
            match tokio::time::timeout(limits::TOKEN_DEADLINE, self.ask(account)).await {
                Ok(Ok(token)) => return token,
                Ok(Err(error)) => warn!(account, %error, "no token for a service account"),
                Err(_) => warn!(account, "no token for a service account in time"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(limits::TOKEN_RETRY_MAX);
        }
    }

    async fn ask(&self, account: &str) -> Result<Token, kube::Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.asking.clone(), NAMESPACE);
        let spec = Some(TokenRequestSpec::default());
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let post = PostParams::default();
        let answer = match accounts.create_token_request(account, &post, &request).await {
            Err(error) if is_not_found(&error) => {
                let name = Some(account.to_owned());
                let metadata = ObjectMeta { name, ..ObjectMeta::default() };
                let made = ServiceAccount { metadata, ..ServiceAccount::default() };
                match accounts.create(&post, &made).await {
                    Err(error) if !is_conflict(&error) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
                accounts.create_token_request(account, &post, &request).await?
            }
            answer => answer?,
        };
        let status = answer.status.unwrap_or_default();
        let left = status.expiration_timestamp.map(|end| end.0.duration_since(clock::now()));
        let life = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::ZERO);
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", status.token.unwrap_or_default()))
                .map_err(|error| kube::Error::Service(error.into()))?;
        header.set_sensitive(true);
        Ok(Token { header, refresh_after: life * 4 / 5 })
    }
}

/// T2.
fn speaking(bare: &Client, identity: Arc<Identity>) -> Client {
    let namespace = bare.default_namespace().to_owned();
    let bare = bare.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let (bare, identity) = (bare.clone(), Arc::clone(&identity));
        async move {
            let header = identity.header.read().clone();
            request.headers_mut().insert(AUTHORIZATION, header);
            let response = bare.send(request).await?;
            if response.status() == http::StatusCode::UNAUTHORIZED {
                identity.refused.notify_one();
            }
            Ok::<_, kube::Error>(response)
        }
    });
    Client::new(service, namespace)
}
