//! Puts right what is said to be taken, by what Services have: a server that dies between the two
//! writes leaves a port that nobody has, and another flag another range.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | A port that a Service has, and that is of the range, is taken. |
//! | P2 | A port that no Service has is given back when three rounds in a row found it so: its Service may be about to be written. |
//! | P3 | What is written follows from Services as new as what it replaces, or is not written. |

use std::collections::{BTreeMap, BTreeSet};

use api_machinery::{Status, View};

use super::Range;
use super::stored::Stored;
use crate::admission::lookup;
use crate::limits::UPDATE_TRIES_MAX;
use crate::state::Server;

/// In how many rounds in a row a port must be nobody's to be given back; upstream's
/// (`numRepairsBeforeLeakCleanup`).
const ROUNDS: u32 = 3;

/// What rounds remember.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Ports that were nobody's, and in how many rounds in a row.
    strays: BTreeMap<u16, u32>,
}

/// What one round comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rebuilt {
    taken: BTreeSet<u16>,
    strays: BTreeMap<u16, u32>,
    /// Which Services have, and nobody had taken for them.
    missing: BTreeSet<u16>,
    /// Which Services have, and the range has not.
    outside: BTreeSet<u16>,
    given_back: BTreeSet<u16>,
}

/// P1 and P2. `held` are the ports that Services have.
fn rebuild(
    (first, last): Range,
    stored: &BTreeSet<u16>,
    held: &BTreeSet<u16>,
    strays: &BTreeMap<u16, u32>,
) -> Rebuilt {
    let (inside, outside): (BTreeSet<u16>, BTreeSet<u16>) =
        held.iter().partition(|port| (first..=last).contains(port));
    let mut next =
        Rebuilt { missing: &inside - stored, taken: inside, outside, ..Rebuilt::default() };
    for port in stored.difference(held).filter(|port| (first..=last).contains(port)) {
        let rounds = strays.get(port).unwrap_or(&0) + 1;
        if rounds < ROUNDS {
            next.taken.insert(*port);
            next.strays.insert(*port, rounds);
        } else {
            next.given_back.insert(*port);
        }
    }
    next
}

/// The ports of a Service, each once: several protocols may share one.
fn ports(service: View<'_>) -> BTreeSet<u16> {
    let spec = service.get("spec");
    let listed = spec.get("ports").items().map(|port| port.get("nodePort"));
    let all = listed.chain(std::iter::once(spec.get("healthCheckNodePort")));
    let numbers = all.filter_map(|port| u16::try_from(port.number()?).ok());
    numbers.filter(|port| *port > 0).collect()
}

impl Rounds {
    /// One round; upstream's `Repair.doRunOnce`.
    pub(crate) async fn repair(&mut self, server: &Server) -> Result<(), Status> {
        let range = server.config.node_ports;
        for _ in 0..UPDATE_TRIES_MAX {
            // P3: Services are read after it, and it must not have changed until it is written.
            let stored = Stored::read(&server.storage).await?;
            let held = held(server).await?;
            let before: BTreeSet<u16> = stored.taken.iter().copied().collect();
            let next = rebuild(range, &before, &held, &self.strays);
            let is_right = stored.is_of(range) && next.taken == before;
            let taken: Vec<u16> = next.taken.iter().copied().collect();
            if is_right || stored.replace(&server.storage, range, &taken).await? {
                next.tell(range, &self.strays);
                self.strays = next.strays;
                return Ok(());
            }
        }
        Err(Status::internal("too many servers allocate node ports at once"))
    }
}

impl Rebuilt {
    fn tell(&self, (first, last): Range, known: &BTreeMap<u16, u32>) {
        for port in &self.missing {
            tracing::warn!(port, "the node port of a Service was not taken for it");
        }
        for port in &self.outside {
            tracing::warn!(port, "a Service has a node port that is not of {first}-{last}");
        }
        for port in self.strays.keys().filter(|port| !known.contains_key(port)) {
            tracing::debug!(port, "a node port may have been left behind");
        }
        for port in &self.given_back {
            tracing::warn!(port, "a node port was left behind");
        }
    }
}

/// The ports that Services have now.
async fn held(server: &Server) -> Result<BTreeSet<u16>, Status> {
    server.caches.wait_until_fresh(&server.storage).await?;
    let mut held = BTreeSet::new();
    for version in lookup::list(server, ("", "services"), "")? {
        for port in ports(View::new(&version.json())) {
            if !held.insert(port) {
                tracing::warn!(port, service = ?version.header.name(), "two Services have one node port");
            }
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = (30000, 30099);

    fn set(ports: &[u16]) -> BTreeSet<u16> {
        ports.iter().copied().collect()
    }

    #[test]
    fn a_port_that_a_service_has_is_taken_if_there_is_such_a_port() {
        let next = rebuild(RANGE, &set(&[30001]), &set(&[30001, 30002, 20001]), &BTreeMap::new());
        let right = Rebuilt {
            taken: set(&[30001, 30002]),
            missing: set(&[30002]),
            outside: set(&[20001]),
            ..Rebuilt::default()
        };
        assert_eq!(next, right);
    }

    /// The Service of a port that was just taken is not there yet.
    #[test]
    fn a_port_is_given_back_when_three_rounds_in_a_row_found_it_nobodys() {
        let (mut stored, mut strays) = (set(&[30001, 30002]), BTreeMap::new());
        // 30002 gets its Service between the first two rounds, and loses it after them.
        let story: [(&[u16], &[u16]); 5] =
            [(&[], &[]), (&[30002], &[]), (&[], &[30001]), (&[], &[]), (&[], &[30002])];
        for (round, (held, given_back)) in story.into_iter().enumerate() {
            let next = rebuild(RANGE, &stored, &set(held), &strays);
            assert_eq!(next.given_back, set(given_back), "round {round}");
            (stored, strays) = (next.taken, next.strays);
        }
        assert_eq!((stored, strays), (set(&[]), BTreeMap::new()));
    }

    #[test]
    fn a_port_of_another_range_is_given_up_at_once() {
        let next = rebuild(RANGE, &set(&[20001]), &set(&[]), &BTreeMap::new());
        assert_eq!(next, Rebuilt::default());
    }

    #[test]
    fn a_port_that_protocols_share_is_one() {
        let service = br#"{"spec": {"healthCheckNodePort": 30005, "ports": [
            {"protocol": "TCP", "nodePort": 30001}, {"protocol": "UDP", "nodePort": 30001},
            {"port": 1}, {"nodePort": 0}]}}"#;
        assert_eq!(ports(View::new(service)), set(&[30001, 30005]));
        assert_eq!(ports(View::new(br#"{"spec": {"clusterIP": "None"}}"#)), set(&[]));
    }
}
