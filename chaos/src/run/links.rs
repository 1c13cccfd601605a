//! The faults on the links of a switch, of which several may hold at the same time.

use std::collections::{BTreeMap, BTreeSet};

use crate::topo::shapes::Link;
use crate::topo::{Counts, Policy, Switch};

/// What is wrong with links, by the number of the fault that made it so.
#[derive(Debug, Default)]
pub(super) struct Links {
    active: BTreeMap<usize, Vec<(Link, Policy)>>,
}

impl Links {
    /// Adds a fault.
    pub(super) fn bend(&mut self, switch: &Switch, number: usize, links: &[Link], policy: &Policy) {
        self.active.insert(number, links.iter().map(|link| (*link, policy.clone())).collect());
        self.apply(switch, links.iter().copied().collect());
    }

    /// Takes a fault away again, and leaves the others.
    pub(super) fn mend(&mut self, switch: &Switch, number: usize) {
        let ended = self.active.remove(&number).unwrap_or_default();
        self.apply(switch, ended.into_iter().map(|(link, _)| link).collect());
    }

    /// What is not changed keeps what it holds back.
    fn apply(&self, switch: &Switch, links: BTreeSet<Link>) {
        for link in links {
            let about = self.active.values().flatten().filter(|(other, _)| *other == link);
            let policy = about.fold(Policy::default(), |sum, (_, policy)| both(&sum, policy));
            if switch.policy(link.0, link.1) != policy {
                switch.set(link.0, link.1, policy);
            }
        }
    }
}

/// Two policies on the same link.
fn both(one: &Policy, other: &Policy) -> Policy {
    Policy {
        cut: one.cut || other.cut,
        larger_than: match (one.larger_than, other.larger_than) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        },
        loss: 1.0 - (1.0 - one.loss) * (1.0 - other.loss),
        duplicate: one.duplicate.max(other.duplicate),
        corrupt: one.corrupt.max(other.corrupt),
        delay: one.delay + other.delay,
        jitter: one.jitter + other.jitter,
        reorder: one.reorder || other.reorder,
    }
}

/// What links did so far, in all.
pub(super) fn counted(switch: &Switch, links: &[Link]) -> Counts {
    links.iter().fold(Counts::default(), |sum, (from, to)| {
        let counts = switch.counts(*from, *to);
        Counts {
            sent: sum.sent + counts.sent,
            passed: sum.passed + counts.passed,
            dropped: sum.dropped + counts.dropped,
            delayed: sum.delayed + counts.delayed,
            duplicated: sum.duplicated + counts.duplicated,
            corrupted: sum.corrupted + counts.corrupted,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_faults_on_a_link_are_both_there() {
        let cut = Policy { cut: true, larger_than: Some(600), ..Policy::default() };
        let delay = Duration::from_millis(5);
        let slow = Policy { delay, loss: 0.5, larger_than: Some(200), ..Policy::default() };
        let sum = both(&both(&Policy::default(), &cut), &slow);
        assert!(sum.cut && sum.larger_than == Some(200) && sum.delay == delay);
        assert!((sum.loss - 0.5).abs() < 1e-9);
        assert_eq!(both(&slow, &Policy::default()), slow);
    }
}
