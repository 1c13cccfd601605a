//! Repairs what a server that died left behind: addresses without a Service, Services without theirs.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | The address of a Service becomes an IPAddress that names it, unless another one has it. |
//! | D2 | An IPAddress goes when it is old enough for its Service to be there, and the store has none with this address. |
//! | D3 | Only what the allocator made is touched. |

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use api_machinery::{Object, Status, View, kinds, time};
use jiff::Timestamp;

use crate::admission::lookup;
use crate::cluster_ip;
use crate::state::Server;

/// Upstream's.
const INTERVAL: Duration = Duration::from_secs(180);
/// How old an address must be to count as left behind; upstream's.
const GRACE: Duration = Duration::from_secs(60);

/// Runs until the server stops.
pub(crate) async fn run(server: &Server) {
    loop {
        if let Err(error) = repair(server).await {
            tracing::warn!(%error, "addresses of Services were not looked through");
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
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
    missing: BTreeSet<Name>,
    stray: BTreeMap<Ipv4Addr, Name>,
}

fn doubts(services: &BTreeMap<Name, Ipv4Addr>, taken: &BTreeMap<Ipv4Addr, Taken>) -> Doubts {
    let is_missing = |(_, address): &(&Name, &Ipv4Addr)| !taken.contains_key(address);
    let is_stray = |(address, taken): &(&Ipv4Addr, &Taken)| {
        taken.is_old && services.get(&taken.parent) != Some(*address)
    };
    let missing = services.iter().filter(is_missing).map(|(name, _)| name.clone());
    let stray = taken.iter().filter(is_stray);
    Doubts {
        missing: missing.collect(),
        stray: stray.map(|(address, taken)| (*address, taken.parent.clone())).collect(),
    }
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
    let mut services = BTreeMap::new();
    for version in lookup::list(server, ("", "services"), "")? {
        if let Ok(address) = version.view().get("spec").get("clusterIP").text().parse() {
            let (namespace, name) = (&version.header.namespace, &version.header.name);
            services.insert((namespace.clone(), name.clone()), address);
        }
    }
    let addresses = lookup::list(server, ("networking.k8s.io", "ipaddresses"), "")?;
    let addresses = addresses.iter().filter_map(|version| taken(version.view(), now)).collect();
    let doubts = doubts(&services, &addresses);
    for name in doubts.missing {
        let Some(service) = stored(server, &name).await? else { continue };
        let Ok(address) = service.text(&["spec", "clusterIP"]).parse() else { continue };
        if cluster_ip::take(&server.storage, address, &service).await? {
            tracing::warn!(%address, service = ?name, "a Service had lost its address");
        }
    }
    for (address, name) in doubts.stray {
        let service = stored(server, &name).await?;
        let text = address.to_string();
        if service.is_none_or(|service| service.text(&["spec", "clusterIP"]) != text) {
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
        let services = [("right", 1), ("moved", 5), ("lost", 7)];
        let services = services.map(|(one, last)| (name(one), address(last)));
        let found = doubts(&services.into(), &all);
        assert_eq!(
            found,
            Doubts {
                missing: [name("lost"), name("moved")].into(),
                stray: [(address(2), name("gone")), (address(4), name("moved"))].into(),
            }
        );
    }
}
