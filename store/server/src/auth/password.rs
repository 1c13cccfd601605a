//! Passwords: hashed and checked with bcrypt, off the async threads, few at a time.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use crate::{error::Error, limits};

/// bcrypt looks at no more of a password; etcd refuses longer ones.
const BYTES_MAX: usize = 72;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    cost: u32,
    slots: Semaphore,
    /// For each user a fingerprint of the password that was found right last, and the hash that it
    /// was checked with. The fingerprint is keyed: it is of no use outside this process.
    right: Mutex<HashMap<String, [u8; 32]>>,
    key: [u8; 32],
}

impl Passwords {
    pub(crate) fn new(cost: u32) -> Self {
        // Raft and reads go on while passwords are tried.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = Semaphore::new((cores / 2).max(1));
        Self { cost, slots, right: Mutex::default(), key: rand::random() }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let slot = timeout(limits::PASSWORD_TIMEOUT, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| Error::TooManyRequests)?.map_err(|_| Error::Stopped)?;
        crate::exec::blocking(work).await.map_err(|_| Error::Stopped)
    }

    /// The hash of a password, as text for the log.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        if password.len() > BYTES_MAX {
            return Err(Error::PasswordTooLong);
        }
        let (cost, salt) = (self.cost, rand::random());
        let hashed = self.in_turn(move || bcrypt::hash_with_salt(password, cost, salt)).await?;
        let parts = hashed.expect("the cost was checked, and the password is not too long");
        // The prefix that etcd's hashes have.
        Ok(STANDARD.encode(parts.format_for_version(bcrypt::Version::TwoA)))
    }

    /// Whether the password is the one that was hashed.
    pub(crate) async fn is_right(
        &self,
        user: &str,
        password: String,
        stored: &[u8],
    ) -> Result<bool, Error> {
        let fingerprint = self.fingerprint(user, &password, stored);
        if self.right.lock().get(user) == Some(&fingerprint) {
            return Ok(true);
        }
        let Ok(stored) = String::from_utf8(stored.to_vec()) else { return Ok(false) };
        // A hash that cannot be read fits no password.
        let right =
            self.in_turn(move || bcrypt::verify(password, &stored).unwrap_or(false)).await?;
        if right {
            let mut known = self.right.lock();
            if known.len() >= limits::PASSWORDS_REMEMBERED_MAX {
                known.clear();
            }
            known.insert(user.to_owned(), fingerprint);
        }
        Ok(right)
    }

    fn fingerprint(&self, user: &str, password: &str, stored: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        for part in [user.as_bytes(), stored, password.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        // Twice with the key: what is known of one hash says nothing of a longer one.
        Sha256::new().chain_update(self.key).chain_update(hash.finalize()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_until_its_hash_is_another() {
        let passwords = Passwords::new(4);
        let hash = |password: &str| passwords.hash(password.to_owned());
        let first = STANDARD.decode(hash("first").await.unwrap()).unwrap();
        let second = STANDARD.decode(hash("second").await.unwrap()).unwrap();
        assert!(first.starts_with(b"$2a$04$"), "{}", String::from_utf8_lossy(&first));

        let is_right = |password: &str, stored: &[u8]| {
            let (password, stored) = (password.to_owned(), stored.to_vec());
            let passwords = &passwords;
            async move { passwords.is_right("alice", password, &stored).await.unwrap() }
        };
        assert!(!is_right("second", &first).await);
        assert!(is_right("first", &first).await);
        assert!(is_right("first", &first).await, "the second time from memory");
        assert!(!is_right("first", &second).await, "what was right before does not count");
        assert!(!is_right("first", b"").await);
        assert!(!is_right("first", b"no hash").await);
        assert_eq!(hash(&"x".repeat(73)).await, Err(Error::PasswordTooLong));
    }

    #[tokio::test]
    async fn hashes_made_by_etcd_are_understood() {
        // Made by etcd 3.5.1 from `secret-1`.
        let stored = include_str!("testdata/etcd.hash").trim();
        let passwords = Passwords::new(4);
        let right = passwords.is_right("alice", "secret-1".to_owned(), stored.as_bytes());
        assert!(right.await.unwrap());
    }
}
