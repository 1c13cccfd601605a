//! What a Service is given: its address, and with [`node_ports`] its ports on the nodes.
//!
//! An address is taken by creating its IPAddress object, as upstream does, so that no two servers
//! can take the same one.

use std::fmt;
use std::net::Ipv4Addr;

use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, kinds, strategy};
use bytes::Bytes;
use rand::Rng;
use serde_json::json;

use crate::state::Server;
use crate::storage::{Outcome, Storage, Write};
use crate::{node_ports, service_cidrs};

/// An IPv4 range for Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRange {
    network: u32,
    prefix: u8,
}

impl ServiceRange {
    /// Reads `10.96.0.0/16`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IPv4 range such as 10.96.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=30).contains(&prefix) {
            return Err(format!("{text:?}: the prefix must be from 8 to 30"));
        }
        Ok(Self::of(address, prefix))
    }

    /// The range of an object, which was checked when it was made; none of the other family, and none
    /// that is too small to have an address.
    pub(crate) fn of_object(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| (1..=30).contains(prefix))?;
        Some(Self::of(address.parse().ok()?, prefix))
    }

    fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX << (32 - prefix);
        Self { network: u32::from(address) & mask, prefix }
    }

    /// Addresses that can be given out: without network and broadcast.
    fn size(self) -> u32 {
        (1 << (32 - self.prefix)) - 2
    }

    /// How many addresses are left to those who ask for one by name.
    fn reserved(self) -> u32 {
        let size = self.size() + 2;
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }

    fn nth(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1 + index)
    }

    /// The address that is nobody's: a dry run says it.
    fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The address of Service `kubernetes`.
    pub fn first(self) -> Ipv4Addr {
        self.nth(0)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address > self.network && address <= self.network + self.size()
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

fn address_key(storage: &Storage, address: Ipv4Addr) -> String {
    storage.raw_key(&format!("ipaddresses/{address}"))
}

/// Takes one address; false when somebody has it.
pub(crate) async fn take(
    storage: &Storage,
    address: Ipv4Addr,
    service: &Object,
) -> Result<bool, Status> {
    let now = api_machinery::time::seconds(clock::now());
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": now,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": "services",
            "namespace": service.namespace(), "name": service.name(),
        }},
    });
    let write = Write::Put { value: Bytes::from(object.to_string()), lease: 0 };
    match storage.commit(&address_key(storage, address), 0, write).await? {
        Outcome::Done(_) => Ok(true),
        Outcome::Conflict(_) => Ok(false),
    }
}

/// Gives an address back; one that is not taken is fine.
pub(crate) async fn release(storage: &Storage, address: Ipv4Addr) -> Result<(), Status> {
    let key = address_key(storage, address);
    let Some(found) = storage.get_raw(&key).await? else { return Ok(()) };
    storage.commit(&key, found.revision, Write::Delete).await.map(|_| ())
}

/// What upstream finds out about a Service before it validates it: of which families its addresses
/// are, and whether it asks for a port twice or for one that nobody can have.
pub(crate) fn settle(
    server: &Server,
    (service, old): (&mut Object, Option<&Object>),
    is_dry: bool,
) -> Result<(), Status> {
    if let Some(old) = old {
        strategy::keep_allocated(service, old);
    }
    strategy::fill_in_addresses(service, old);
    let errors = strategy::complete_families(service, old);
    if !errors.is_empty() {
        return Err(Status::invalid(&Grouped::new("", "Service"), service.name(), &errors));
    }
    node_ports::rehearse(server.config.node_ports, (service, old), is_dry)
}

/// Takes what a Service needs and the old one did not have. A dry run takes nothing, and says
/// something of the kind that it would be, as upstream's.
pub(crate) async fn allocate(
    server: &Server,
    (service, old): (&mut Object, Option<&Object>),
    is_dry: bool,
) -> Result<Taken, Status> {
    let mut taken = Taken::default();
    let is_outside = |service: &Object| service.text(&["spec", "type"]) == "ExternalName";
    if !is_outside(service) && old.is_none_or(is_outside) {
        let ip = match service.text(&["spec", "clusterIP"]) {
            "None" => "None".to_owned(),
            "" if is_dry => server.config.service_range.network().to_string(),
            "" => any(server, service).await?.to_string(),
            text => exact(server, service, text, is_dry).await?,
        };
        taken.address = ip.parse().ok().filter(|_| !is_dry);
        service.set(&["spec", "clusterIP"], ip.clone().into());
        service.set(&["spec", "clusterIPs"], json!([ip]));
    }
    let range = server.config.node_ports;
    match node_ports::take(&server.storage, range, (service, old), is_dry).await {
        Ok(ports) => taken.ports = ports,
        Err(error) => {
            give_back(&server.storage, range, &taken).await;
            return Err(error);
        }
    }
    Ok(taken)
}

/// Any free address of any range; a range that is full is passed over.
async fn any(server: &Server, service: &Object) -> Result<Ipv4Addr, Status> {
    for range in service_cidrs::ranges(server)? {
        // The first part is left to those who ask for an address by name, as upstream does.
        let reserved = range.reserved();
        for (first, last) in [(reserved, range.size()), (0, reserved)] {
            if first == last {
                continue;
            }
            let start = rand::rng().random_range(first..last);
            for index in (start..last).chain(first..start) {
                let address = range.nth(index);
                let is_free = !is_known(server, address)? && address != reserved_address(server);
                if is_free && take(&server.storage, address, service).await? {
                    return Ok(address);
                }
            }
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: range is full"))
}

/// Whether the caches know that somebody has an address.
fn is_known(server: &Server, address: Ipv4Addr) -> Result<bool, Status> {
    let of = ("networking.k8s.io", "ipaddresses");
    let info = kinds::find(of.0, "v1", of.1).ok_or_else(Status::no_such_path)?;
    let key = server.storage.key(info, "", &address.to_string());
    Ok(server.caches.of(info).get(&key).is_some())
}

/// The address that is kept for Service `kubernetes`.
fn reserved_address(server: &Server) -> Ipv4Addr {
    server.config.service_range.first()
}

async fn exact(
    server: &Server,
    service: &Object,
    text: &str,
    is_dry: bool,
) -> Result<String, Status> {
    let refuse = |why: &str| {
        let detail = format!("failed to allocate IP {text}: {why}");
        let error = Error::invalid(&Path::new("spec").child("clusterIPs"), json!([text]), detail);
        Status::invalid(&Grouped::new("", "Service"), service.name(), &[error])
    };
    let address: Ipv4Addr = text.parse().map_err(|_| refuse("invalid IP address"))?;
    let is_known = service_cidrs::ranges(server)?.into_iter().any(|range| range.contains(address));
    if is_dry && !is_known {
        let range = server.config.service_range;
        return Err(refuse(&format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
        )));
    }
    if !is_known {
        return Err(refuse("the provided network does not match the current range"));
    }
    if is_dry {
        return Ok(text.to_owned());
    }
    // Nobody else can have it, so servers that start at once need not quarrel about it, and one
    // that died after taking it does not keep the next from starting.
    let is_first = address == reserved_address(server);
    let own = is_kubernetes(service) && is_first;
    let reserved = is_first && !own;
    if !reserved && (take(&server.storage, address, service).await? || own) {
        Ok(text.to_owned())
    } else {
        Err(refuse("provided IP is already allocated"))
    }
}

/// The Service that the servers themselves are found at.
pub(crate) fn is_kubernetes(service: &Object) -> bool {
    (service.namespace(), service.name()) == ("default", "kubernetes")
}

/// Gives back everything of a Service that is gone. Failures are logged: what was not given back is
/// found by the next rounds of [`crate::service_addresses`].
pub(crate) async fn release_all(storage: &Storage, service: &Object, node_ports: (u16, u16)) {
    if let Ok(address) = service.text(&["spec", "clusterIP"]).parse()
        && let Err(error) = release(storage, address).await
    {
        tracing::warn!(%address, %error, "service address not given back");
    }
    node_ports::free(storage, node_ports, &node_ports::list(service)).await;
}

/// What was taken, to be given back should the write not come to pass.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    address: Option<Ipv4Addr>,
    ports: Vec<u16>,
}

/// Gives back what was taken for a write that did not come to pass.
pub(crate) async fn give_back(storage: &Storage, node_ports: (u16, u16), taken: &Taken) {
    if let Some(address) = taken.address
        && let Err(error) = release(storage, address).await
    {
        tracing::warn!(%address, %error, "service address not given back");
    }
    node_ports::free(storage, node_ports, &taken.ports).await;
}

/// Gives back what a Service had and has no more since it changed.
pub(crate) async fn release_dropped(
    storage: &Storage,
    node_ports: (u16, u16),
    (new, old): (&Object, &Object),
) {
    let kept = node_ports::list(new);
    let has_moved = new.text(&["spec", "clusterIP"]) != old.text(&["spec", "clusterIP"]);
    let address = old.text(&["spec", "clusterIP"]).parse().ok().filter(|_| has_moved);
    let ports = node_ports::list(old).into_iter().filter(|port| !kept.contains(port)).collect();
    give_back(storage, node_ports, &Taken { address, ports }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_gives_the_first_address_to_kubernetes() {
        let range = ServiceRange::parse("10.96.0.0/16").unwrap();
        assert_eq!(range.first(), Ipv4Addr::new(10, 96, 0, 1));
        assert!(range.contains(Ipv4Addr::new(10, 96, 255, 254)));
        assert!(!range.contains(Ipv4Addr::new(10, 96, 255, 255)));
        assert!(!range.contains(Ipv4Addr::new(10, 96, 0, 0)));
        assert!(ServiceRange::parse("10.96.0.0").is_err());
        assert!(ServiceRange::parse("10.96.0.0/31").is_err());
    }

    #[test]
    fn objects_have_ranges_of_any_size_that_has_an_address() {
        for (text, size) in [
            ("10.0.0.0/30", Some(2)),
            ("10.0.0.0/31", None),
            ("10.0.0.0/0", None),
            ("2001:db8::/64", None),
            ("128.0.0.0/1", Some((1 << 31) - 2)),
        ] {
            assert_eq!(ServiceRange::of_object(text).map(ServiceRange::size), size, "{text}");
        }
        let reserved = |text| ServiceRange::of_object(text).unwrap().reserved();
        let reserved = ["10.0.0.0/28", "10.0.0.0/27", "10.0.0.0/24", "10.0.0.0/8"].map(reserved);
        assert_eq!(reserved, [0, 16, 16, 256]);
        assert_eq!(ServiceRange::parse("10.96.3.1/16").unwrap().to_string(), "10.96.0.0/16");
    }
}
