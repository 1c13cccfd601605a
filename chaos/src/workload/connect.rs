//! How clients get their connections: from outside, so that the same clients run on loopback, in a
//! network namespace and in a simulated network.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use tonic::transport::Channel;

use crate::client::{self, MemberClient, Tokens};

type Dial = dyn Fn(usize) -> anyhow::Result<Channel> + Send + Sync;

/// The way to every member.
#[derive(Clone)]
pub struct Connect {
    dial: Arc<Dial>,
    /// For each member.
    tokens: Arc<[Tokens]>,
}

impl Debug for Connect {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connect").field("members", &self.members()).finish_non_exhaustive()
    }
}

impl Connect {
    /// `dial` gives a new connection to a member, by its number. It is to connect when it is first
    /// used, and again after a loss.
    pub fn new(
        members: usize,
        dial: impl Fn(usize) -> anyhow::Result<Channel> + Send + Sync + 'static,
    ) -> Self {
        Self { dial: Arc::new(dial), tokens: (0..members).map(|_| Tokens::default()).collect() }
    }

    /// Over TCP to these URLs, from wherever the runtime's threads are.
    pub fn to(urls: &[String]) -> Self {
        let urls = urls.to_vec();
        Self::new(urls.len(), move |member| client::channel(&urls[member]))
    }

    /// Number of members.
    pub fn members(&self) -> usize {
        self.tokens.len()
    }

    /// From now on every client says who it is: root.
    pub(super) fn as_root(&self) {
        self.tokens.iter().for_each(Tokens::want);
    }

    /// The tokens at one member, for others who ask it.
    pub fn tokens(&self, member: usize) -> Tokens {
        self.tokens[member].clone()
    }

    /// A new client of one member.
    pub fn client(&self, member: usize) -> anyhow::Result<MemberClient> {
        Ok(MemberClient::over((self.dial)(member)?).sharing(self.tokens(member)))
    }

    /// New clients of all members.
    pub fn clients(&self) -> anyhow::Result<Vec<MemberClient>> {
        (0..self.members()).map(|member| self.client(member)).collect()
    }
}
