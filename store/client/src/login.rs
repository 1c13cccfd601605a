//! Who asks: a user's token, got when it is first needed and again when it has run out.

use std::time::Duration;

use parking_lot::Mutex;
use proto::etcdserverpb::AuthenticateRequest;
use proto::etcdserverpb::auth_client::AuthClient;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::config::User;
use crate::error::Error;

/// A channel that says who asks.
pub(crate) type Authed = InterceptedService<Channel, Token>;

/// What is put into the metadata of each call: nothing for nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    fn mark(&self, metadata: &mut MetadataMap) {
        if let Some(token) = &self.0 {
            metadata.insert("token", token.clone());
        }
    }

    /// A request that carries it.
    pub(crate) fn on<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.mark(request.metadata_mut());
        request
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.mark(request.metadata_mut());
        Ok(request)
    }
}

/// A user and its newest token. Every member knows the tokens of all.
pub(crate) struct Login {
    user: User,
    token: Mutex<Option<Token>>,
}

/// etcd's words for a token that was good once.
const STALE: [&str; 2] =
    ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"];
/// etcd's words for who shows no token.
const STRANGER: [&str; 2] = ["etcdserver: user name is empty", "etcdserver: permission denied"];
/// etcd's words where there are no users yet: then nobody needs a token.
const NOT_ENABLED: &str = "etcdserver: authentication is not enabled";

impl Login {
    pub(crate) fn new(user: User) -> Self {
        Self { user, token: Mutex::new(None) }
    }

    /// Whether a call was refused because of its token, and may be let in with a new one; it did not
    /// happen.
    pub(crate) fn is_stale(&self, error: &Error) -> bool {
        let Error::Refused { message, .. } = error else { return false };
        // Authentication may have been switched on since none was needed.
        let nobody = || self.token.lock().as_ref().is_some_and(|token| token.0.is_none());
        STALE.contains(&message.as_str()) || STRANGER.contains(&message.as_str()) && nobody()
    }

    /// Forgets the token, so that the next call gets a new one.
    pub(crate) fn forget(&self) {
        *self.token.lock() = None;
    }

    /// The token, asked for on `channel` where there is none yet.
    pub(crate) async fn token(&self, channel: Channel, within: Duration) -> Result<Token, Error> {
        if let Some(token) = self.token.lock().clone() {
            return Ok(token);
        }
        let token = authenticate(channel, &self.user, within).await?;
        *self.token.lock() = Some(token.clone());
        Ok(token)
    }
}

/// Logs in on one member.
pub(crate) async fn authenticate(
    channel: Channel,
    user: &User,
    within: Duration,
) -> Result<Token, Error> {
    let request = AuthenticateRequest { name: user.name.clone(), password: user.password.clone() };
    let mut client = AuthClient::new(channel);
    let answer = match timeout(within, client.authenticate(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status))
            if status.code() == Code::FailedPrecondition && status.message() == NOT_ENABLED =>
        {
            return Ok(Token(None));
        }
        // Nothing is written: whatever was lost, it can be asked again.
        Ok(Err(status)) => return Err(Error::from_status(&status)),
        Err(_) => {
            return Err(Error::Unavailable { message: "no answer to the log-in".to_owned() });
        }
    };
    let token = answer.token.parse();
    Ok(Token(Some(token.map_err(|_| Error::Config("the token is no text".to_owned()))?)))
}
