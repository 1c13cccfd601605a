//! Simple tokens: random, remembered by every member that applied their making, and forgotten when
//! they are not used for a while.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use rand::Rng as _;
use tokio::time::Instant;

use crate::limits;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LENGTH: usize = 16;

/// The random part of a new token. The generator is a cryptographic one.
pub(crate) fn prefix() -> String {
    let mut random = rand::rng();
    (0..PREFIX_LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// The index of the log entry that made a token, as the token itself tells it.
pub(crate) fn made_at(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    index.parse().ok()
}

struct Token {
    user: Arc<str>,
    /// Milliseconds after the start of this process.
    deadline: AtomicU64,
}

/// The tokens that this member knows.
pub(crate) struct SimpleTokens {
    ttl: Duration,
    started: Instant,
    known: RwLock<HashMap<String, Token>>,
}

impl SimpleTokens {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, started: Instant::now(), known: RwLock::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self, now: u64) -> u64 {
        now.saturating_add(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX))
    }

    /// Remembers a new token.
    pub(crate) fn assign(&self, token: &str, user: &str) {
        let now = self.now();
        let mut known = self.known.write();
        known.retain(|_, token| token.deadline.load(Ordering::Relaxed) > now);
        if known.len() >= limits::SIMPLE_TOKENS_MAX {
            let oldest = known.iter().min_by_key(|(_, t)| t.deadline.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                known.remove(&oldest);
            }
        }
        let deadline = AtomicU64::new(self.deadline(now));
        known.insert(token.to_owned(), Token { user: user.into(), deadline });
    }

    /// Whose token it is. Using it gives it its whole time again.
    pub(crate) fn user(&self, token: &str) -> Option<Arc<str>> {
        let now = self.now();
        let known = self.known.read();
        let token = known.get(token)?;
        if token.deadline.load(Ordering::Relaxed) <= now {
            return None;
        }
        token.deadline.store(self.deadline(now), Ordering::Relaxed);
        Some(token.user.clone())
    }

    /// Forgets the tokens of a user that is gone, or has another password.
    pub(crate) fn forget(&self, user: &str) {
        self.known.write().retain(|_, token| token.user.as_ref() != user);
    }

    pub(crate) fn forget_all(&self) {
        self.known.write().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_as_long_as_it_is_used_and_its_user_is_the_same() {
        let tokens = SimpleTokens::new(Duration::from_secs(300));
        tokens.assign("a.1", "alice");
        tokens.assign("b.2", "bob");
        assert_eq!(tokens.user("a.1").as_deref(), Some("alice"));
        tokens.forget("alice");
        assert_eq!(tokens.user("a.1"), None);
        assert_eq!(tokens.user("b.2").as_deref(), Some("bob"));
        tokens.forget_all();
        assert_eq!(tokens.user("b.2"), None);

        let short = SimpleTokens::new(Duration::ZERO);
        short.assign("c.3", "carol");
        assert_eq!(short.user("c.3"), None, "its time is over at once");
        short.assign("d.4", "dave");
        assert_eq!(short.known.read().len(), 1, "those that are over are removed");
    }

    #[test]
    fn prefixes_are_letters_and_never_the_same() {
        let (one, two) = (prefix(), prefix());
        assert_eq!(one.len(), PREFIX_LENGTH);
        assert!(one.bytes().all(|byte| LETTERS.contains(&byte)));
        assert_ne!(one, two);
        assert_eq!(made_at(&format!("{one}.17")), Some(17));
        assert_eq!(made_at("nothing"), None);
        assert_eq!(made_at("a.b.3"), None);
    }
}
