//! Whether a dead container may run again, and how long it has to wait first.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::limits::{BACK_OFF_FIRST, BACK_OFF_MAX};

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    /// The policy of a whole pod.
    pub(crate) fn of_pod(spec: &PodSpec) -> Self {
        Self::named(spec.restart_policy.as_deref())
    }

    /// The policy of one container: its own when it has one (a sidecar says `Always`).
    pub(crate) fn of_container(spec: &PodSpec, container: &Container, init: bool) -> Self {
        match (container.restart_policy.as_deref(), init) {
            (Some(name), _) => Self::named(Some(name)),
            // A pod that restarts always restarts an init container only until it succeeded.
            (None, true) => match Self::of_pod(spec) {
                Self::Always => Self::OnFailure,
                other => other,
            },
            (None, false) => Self::of_pod(spec),
        }
    }

    fn named(name: Option<&str>) -> Self {
        match name {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with this code runs again.
    pub(crate) fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// Waiting times that double with every failure: 10 s, 20 s … 300 s; forgotten after a good while.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    wait: SignedDuration,
    updated: Timestamp,
}

fn first() -> SignedDuration {
    SignedDuration::try_from(BACK_OFF_FIRST).expect("ten seconds fit")
}

fn longest() -> SignedDuration {
    SignedDuration::try_from(BACK_OFF_MAX).expect("five minutes fit")
}

impl BackOff {
    /// When `key` may be tried again, if it has to wait at all. `failed` is when it failed.
    pub(crate) fn until(&self, key: &str, failed: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if is_forgotten(entry, failed) {
            return None;
        }
        let until = failed + entry.wait;
        (now < until).then_some(until)
    }

    /// The wait that `key` has earned so far, for messages.
    pub(crate) fn wait(&self, key: &str) -> SignedDuration {
        self.entries.get(key).map_or_else(first, |entry| entry.wait)
    }

    /// Notes that `key` is tried again: the first time costs nothing, each next wait doubles.
    pub(crate) fn tried(&mut self, key: &str, failed: Timestamp, now: Timestamp) {
        let wait = match self.entries.get(key) {
            Some(entry) if !is_forgotten(entry, failed) => (entry.wait * 2).min(longest()),
            _ => first(),
        };
        self.entries.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Forgets `key` altogether, as when it was replaced.
    pub(crate) fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

/// A failure long after the last attempt says nothing about the next one.
fn is_forgotten(entry: &Entry, failed: Timestamp) -> bool {
    failed.duration_since(entry.updated) > longest() * 2
}

/// `10s`, `1m20s`, `5m0s`: how upstream prints a wait.
pub(crate) fn human(wait: SignedDuration) -> String {
    let seconds = wait.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_and_each_next_wait_doubles_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            // It dies at once after each start.
            let failed = at(now);
            let wait = back_off
                .until("c", failed, failed)
                .map_or(0, |until| until.duration_since(failed).as_secs());
            waits.push(wait);
            now += wait;
            back_off.tried("c", failed, at(now));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_good_minutes_make_a_container_start_at_once_again() {
        let mut back_off = BackOff::default();
        back_off.tried("c", at(0), at(0));
        back_off.tried("c", at(1), at(11));
        assert!(back_off.until("c", at(12), at(13)).is_some());
        assert_eq!(back_off.until("c", at(11 + 601), at(11 + 602)), None);
        back_off.tried("c", at(612), at(613));
        assert_eq!(back_off.wait("c").as_secs(), 10);
    }

    #[test]
    fn a_wait_ends_by_itself_and_other_keys_do_not_wait() {
        let mut back_off = BackOff::default();
        back_off.tried("c", at(0), at(0));
        assert_eq!(back_off.until("c", at(1), at(5)), Some(at(11)));
        assert_eq!(back_off.until("c", at(1), at(11)), None);
        assert_eq!(back_off.until("d", at(1), at(5)), None);
    }

    #[test]
    fn restart_policies_by_exit_code() {
        let table = [
            (Policy::Always, 0, true),
            (Policy::Always, 1, true),
            (Policy::OnFailure, 0, false),
            (Policy::OnFailure, 137, true),
            (Policy::Never, 0, false),
            (Policy::Never, 1, false),
        ];
        for (policy, code, want) in table {
            assert_eq!(policy.restarts(code), want, "{policy:?} {code}");
        }
        assert_eq!(human(SignedDuration::from_secs(10)), "10s");
        assert_eq!(human(SignedDuration::from_secs(80)), "1m20s");
        assert_eq!(human(SignedDuration::from_secs(300)), "5m0s");
    }
}
