//! How far a watch has come while nothing of ours changes.
//!
//! etcd before 3.4.31 and 3.5.13 answers a progress request with a revision whose events it may
//! not have sent yet (upstream refuses to use it there too). On those a small write of our own
//! stands in: its event comes after all others.

use bytes::Bytes;
use store_client::rpc;

use super::Storage;

const KEY: &str = "orlop/progress";

impl Storage {
    /// Whether every member that answers has progress requests that can be relied on.
    pub(crate) async fn has_reliable_progress(&self) -> bool {
        let endpoints: Vec<String> = self.client().endpoints().map(str::to_owned).collect();
        let mut answered = false;
        for endpoint in endpoints {
            if let Ok(status) = self.client().status(&endpoint).await {
                answered = true;
                if !is_reliable(&status.version) {
                    return false;
                }
            }
        }
        answered
    }

    /// Makes an event, for a store whose progress cannot be relied on.
    pub(crate) async fn make_progress(&self) {
        let request =
            rpc::PutRequest { key: Bytes::from(self.raw_key(KEY)), ..rpc::PutRequest::default() };
        if let Err(error) = self.client().put(request).await {
            tracing::debug!(%error, "the write that makes progress failed");
        }
    }
}

fn is_reliable(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    version >= (3, 5, 13) || ((3, 4, 31)..(3, 5, 0)).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_as_upstream_does() {
        for (version, reliable) in [
            ("3.5.1", false),
            ("3.5.13", true),
            ("3.4.31", true),
            ("3.4.30", false),
            ("3.6.0-orlop", true),
            ("", false),
        ] {
            assert_eq!(is_reliable(version), reliable, "{version}");
        }
    }
}
