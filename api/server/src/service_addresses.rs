//! Repairs what a server that died left behind: addresses without a Service, Services without theirs;
//! and with [`repair::Rounds`](Rounds) ports.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | The address of a Service becomes an IPAddress that names it, unless another one has it. |
//! | D2 | An IPAddress goes when it is old enough for its Service to be there, and the store has none with this address. |
//! | D3 | Only what the allocator made is touched. |

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::{Object, Status, View, kinds, time};
use jiff::Timestamp;

use crate::admission::lookup;
use crate::cluster_ip;
use crate::node_ports::repair::Rounds;
use crate::state::Server;

/// Upstream's.
const INTERVAL: Duration = Duration::from_secs(180);
/// After a failure: until it was done once the server is not healthy.
const RETRY: Duration = Duration::from_secs(1);
/// How old an address must be to count as left behind; upstream's.
const GRACE: Duration = Duration::from_secs(60);

/// Runs until the server stops.
pub(crate) async fn run(server: &Server) {
    let mut ports = Rounds::default();
    loop {
        let (addresses, ports) = tokio::join!(repair(server), ports.repair(server));
        let wait = match addresses.and(ports) {
            Ok(()) => {
                server.first_rounds.addresses.store(true, Ordering::Relaxed);
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "addresses and ports of Services were not looked through");
                RETRY
            }
        };
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// A Service by namespace and name.
type Name = (String, String);

/// An IPAddress of the allocator.
#[derive(Debug)]
struct Taken {
    /// Whom it says it is for.
    parent: Name,
    is_old: bool,
}

/// What the store is asked about, because the caches say that it is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doubts {
    missing: BTreeSet<(Ipv4Addr, Name)>,
    stray: BTreeSet<(Ipv4Addr, Name)>,
}

/// `held` are the addresses that Services have.
fn doubts(held: &BTreeSet<(Ipv4Addr, Name)>, taken: &BTreeMap<Ipv4Addr, Taken>) -> Doubts {
    let missing = held.iter().filter(|(address, _)| !taken.contains_key(address));
    let old = taken.iter().filter(|(_, taken)| taken.is_old);
    let old = old.map(|(address, taken)| (*address, taken.parent.clone()));
    Doubts {
        missing: missing.cloned().collect(),
        stray: old.filter(|one| !held.contains(one)).collect(),
    }
}

/// The addresses of a Service; a second one may be of this family, too.
fn addresses(service: View<'_>) -> impl Iterator<Item = Ipv4Addr> {
    let spec = service.get("spec");
    let all = std::iter::once(spec.get("clusterIP")).chain(spec.get("clusterIPs").items());
    all.filter_map(|address| address.text().parse().ok())
}

/// D3: an address of the allocator, and for whom it is.
fn taken(object: View<'_>, now: Timestamp) -> Option<(Ipv4Addr, Taken)> {
    let metadata = object.get("metadata");
    let by = metadata.get("labels").get("ipaddress.kubernetes.io/managed-by");
    let parent = object.get("spec").get("parentRef");
    if !by.is("ipallocator.k8s.io") || !parent.get("resource").is("services") {
        return None;
    }
    let made = time::parse(&metadata.get("creationTimestamp").text())?;
    let age = Duration::try_from(now.duration_since(made)).unwrap_or(Duration::ZERO);
    let parent =
        (parent.get("namespace").text().into_owned(), parent.get("name").text().into_owned());
    let address = metadata.get("name").text().parse().ok()?;
    Some((address, Taken { parent, is_old: age > GRACE }))
}

async fn repair(server: &Server) -> Result<(), Status> {
    server.caches.wait_until_fresh(&server.storage).await?;
    let now = clock::now();
    let mut held = BTreeSet::new();
    for version in lookup::list(server, ("", "services"), "")? {
        let name = (version.header.namespace().to_owned(), version.header.name().to_owned());
        let json = version.json();
        held.extend(addresses(View::new(&json)).map(|address| (address, name.clone())));
    }
    let known = lookup::list(server, ("networking.k8s.io", "ipaddresses"), "")?;
    let known = known.iter().filter_map(|version| taken(View::new(&version.json()), now)).collect();
    let Doubts { missing, stray } = doubts(&held, &known);
    for (address, name) in missing {
        let Some(service) = stored(server, &name).await? else { continue };
        let is_its = addresses(View::new(&service.to_json())).any(|one| one == address);
        if is_its && cluster_ip::take(&server.storage, address, &service).await? {
            tracing::warn!(%address, service = ?name, "a Service had lost its address");
        }
    }
    for (address, name) in stray {
        let service = stored(server, &name).await?.map(|service| service.to_json());
        let is_its = |json: &Vec<u8>| addresses(View::new(json)).any(|one| one == address);
        if !service.as_ref().is_some_and(is_its) {
            tracing::warn!(%address, service = ?name, "an address was left behind");
            cluster_ip::release(&server.storage, address).await?;
        }
    }
    Ok(())
}

async fn stored(server: &Server, (namespace, name): &Name) -> Result<Option<Object>, Status> {
    let info = kinds::find("", "v1", "services").ok_or_else(Status::no_such_path)?;
    let found = server.storage.get(info, namespace, name).await?;
    Ok(found.map(|found| found.object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> Name {
        ("a".to_owned(), name.to_owned())
    }

    #[test]
    fn only_what_the_allocator_made_and_nobody_has_is_doubted() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
        let address = |last: u8| Ipv4Addr::new(10, 0, 0, last);
        let object = |last: u8, parent: &str, by: &str, made: &str| {
            let tree = json!({
                "metadata": {"name": address(last), "creationTimestamp": made,
                    "labels": {"ipaddress.kubernetes.io/managed-by": by}},
                "spec": {"parentRef": {"resource": "services", "namespace": "a", "name": parent}},
            });
            taken(View::new(tree.to_string().as_bytes()), now)
        };
        let (ours, old, young) =
            ("ipallocator.k8s.io", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z");
        let all = [
            object(1, "right", ours, old),
            object(2, "gone", ours, old),
            object(3, "soon", ours, young),
            object(4, "moved", ours, old),
            object(6, "gone", "somebody", old),
        ];
        let all: BTreeMap<Ipv4Addr, Taken> = all.into_iter().flatten().collect();
        assert_eq!(all.len(), 4, "D3");
        let held =
            [(address(1), name("right")), (address(5), name("moved")), (address(7), name("lost"))];
        let found = doubts(&held.into(), &all);
        assert_eq!(
            found,
            Doubts {
                missing: [(address(5), name("moved")), (address(7), name("lost"))].into(),
                stray: [(address(2), name("gone")), (address(4), name("moved"))].into(),
            }
        );
        let both = br#"{"spec": {"clusterIP": "::1", "clusterIPs": ["::1", "10.0.0.9"]}}"#;
        assert_eq!(addresses(View::new(both)).collect::<Vec<_>>(), [address(9)]);
    }
}
