//! Addresses and node ports of Services, taken by compare-and-swap in the store.
//!
//! An address is taken by creating its IPAddress object, as upstream does, so that no two servers
//! can take the same one. Node ports are a bitmap under upstream's key.

use std::fmt;
use std::net::Ipv4Addr;

use api_machinery::field::{Error, Path};
use api_machinery::kinds::ResourceInfo;
use api_machinery::{Object, Status, kinds};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::Rng;
use serde_json::{Value, json};

use crate::limits::UPDATE_TRIES_MAX;
use crate::service_cidrs;
use crate::state::Server;
use crate::storage::{self, Outcome, Storage, Write};

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

/// Fills in what the server allocates for a new Service. On a later failure the caller calls
/// [`release_all`].
pub(crate) async fn allocate(
    server: &Server,
    info: &ResourceInfo,
    service: &mut Object,
) -> Result<(), Status> {
    let (storage, node_ports) = (&*server.storage, server.config.node_ports);
    if service.text(&["spec", "type"]) == "ExternalName" {
        return Ok(());
    }
    let asked = service.text(&["spec", "clusterIP"]).to_owned();
    let ip = match asked.as_str() {
        "None" => "None".to_owned(),
        "" => any(server, service).await?.to_string(),
        text => exact(server, info, service, text).await?,
    };
    service.set(&["spec", "clusterIP"], ip.clone().into());
    service.set(&["spec", "clusterIPs"], json!([ip]));
    if service.at(&["spec", "ipFamilies"]).is_none() {
        service.set(&["spec", "ipFamilies"], json!(["IPv4"]));
    }
    if service.text(&["spec", "ipFamilyPolicy"]).is_empty() {
        service.set(&["spec", "ipFamilyPolicy"], "SingleStack".into());
    }
    if matches!(service.text(&["spec", "type"]), "NodePort" | "LoadBalancer")
        && let Err(error) = ports(storage, node_ports, info, service, &[]).await
    {
        // No port was taken: those that it asks for may be somebody else's.
        let taken = Taken { address: ip.parse().ok(), ports: Vec::new() };
        give_back(storage, node_ports, &taken).await;
        return Err(error);
    }
    Ok(())
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
    info: &ResourceInfo,
    service: &Object,
    text: &str,
) -> Result<String, Status> {
    let refuse = |why: &str| {
        let detail = format!("failed to allocate IP {text}: {why}");
        let error = Error::invalid(&Path::new("spec").child("clusterIPs"), json!([text]), detail);
        Status::invalid(&info.group_kind(), service.name(), &[error])
    };
    let address: Ipv4Addr = text.parse().map_err(|_| refuse("invalid IP address"))?;
    if !service_cidrs::ranges(server)?.into_iter().any(|range| range.contains(address)) {
        return Err(refuse("the provided network does not match the current range"));
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

/// Gives back everything of a Service that is gone. Failures are logged: the address is lost
/// until somebody deletes its IPAddress.
pub(crate) async fn release_all(storage: &Storage, service: &Object, node_ports: (u16, u16)) {
    if let Ok(address) = service.text(&["spec", "clusterIP"]).parse()
        && let Err(error) = release(storage, address).await
    {
        tracing::warn!(%address, %error, "service address not given back");
    }
    free_ports(storage, node_ports, &port_list(service)).await;
}

async fn free_ports(storage: &Storage, node_ports: (u16, u16), used: &[u16]) {
    if used.is_empty() {
        return;
    }
    let freed = change_ports(storage, node_ports, |taken| {
        taken.retain(|port| !used.contains(port));
        Ok(())
    });
    if let Err(error) = freed.await {
        tracing::warn!(ports = ?used, %error, "node ports not given back");
    }
}

/// What an update took, to be given back should it not come to pass.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    address: Option<Ipv4Addr>,
    ports: Vec<u16>,
}

/// Allocates what a changed Service needs and the old one did not have.
pub(crate) async fn allocate_change(
    server: &Server,
    info: &ResourceInfo,
    (new, old): (&mut Object, &Object),
) -> Result<Taken, Status> {
    let (storage, node_ports) = (&*server.storage, server.config.node_ports);
    let mut taken = Taken::default();
    if new.text(&["spec", "type"]) == "ExternalName" {
        return Ok(taken);
    }
    if new.text(&["spec", "clusterIP"]) != old.text(&["spec", "clusterIP"])
        || new.text(&["spec", "clusterIP"]).is_empty()
    {
        let kind = new.text(&["spec", "type"]).to_owned();
        // The address alone; the ports follow, with those that the Service has.
        new.set(&["spec", "type"], "ClusterIP".into());
        let done = allocate(server, info, new).await;
        new.set(&["spec", "type"], kind.into());
        done?;
        taken.address = new.text(&["spec", "clusterIP"]).parse().ok();
    }
    if matches!(new.text(&["spec", "type"]), "NodePort" | "LoadBalancer") {
        let own = port_list(old);
        if let Err(error) = ports(storage, node_ports, info, new, &own).await {
            give_back(storage, node_ports, &taken).await;
            return Err(error);
        }
        taken.ports = port_list(new).into_iter().filter(|port| !own.contains(port)).collect();
    }
    Ok(taken)
}

/// Gives back what an update took that did not come to pass.
pub(crate) async fn give_back(storage: &Storage, node_ports: (u16, u16), taken: &Taken) {
    if let Some(address) = taken.address
        && let Err(error) = release(storage, address).await
    {
        tracing::warn!(%address, %error, "service address not given back");
    }
    free_ports(storage, node_ports, &taken.ports).await;
}

/// Gives back what a Service had and has no more since it changed.
pub(crate) async fn release_dropped(
    storage: &Storage,
    node_ports: (u16, u16),
    (new, old): (&Object, &Object),
) {
    let kept = port_list(new);
    let has_moved = new.text(&["spec", "clusterIP"]) != old.text(&["spec", "clusterIP"]);
    let address = old.text(&["spec", "clusterIP"]).parse().ok().filter(|_| has_moved);
    let ports = port_list(old).into_iter().filter(|port| !kept.contains(port)).collect();
    give_back(storage, node_ports, &Taken { address, ports }).await;
}

fn port_list(service: &Object) -> Vec<u16> {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| u16::try_from(port["nodePort"].as_u64()?).ok())
        .filter(|port| *port > 0)
        .collect()
}

/// Gives every port of a Service a node port. `own` are those that it had before.
async fn ports(
    storage: &Storage,
    range: (u16, u16),
    info: &ResourceInfo,
    service: &mut Object,
    own: &[u16],
) -> Result<(), Status> {
    let Some(Value::Array(listed)) = service.at(&["spec", "ports"]).cloned() else {
        return Ok(());
    };
    let name = service.name().to_owned();
    let refuse = |index: usize, port: u16, why: &str| {
        let path = Path::new("spec").child("ports").index(index).child("nodePort");
        let error = Error::invalid(&path, u64::from(port), why);
        Status::invalid(&info.group_kind(), &name, &[error])
    };
    let filled = change_ports(storage, range, |taken| {
        let mut filled = listed.clone();
        let mut used = Vec::new();
        for (index, port) in filled.iter_mut().enumerate() {
            let asked = port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
            let chosen = match asked.filter(|port| *port > 0) {
                Some(port) if port < range.0 || port > range.1 => {
                    let why = format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        range.0, range.1
                    );
                    return Err(refuse(index, port, &why));
                }
                Some(port) if own.contains(&port) || used.contains(&port) => port,
                Some(port) if taken.contains(&port) => {
                    return Err(refuse(index, port, "provided port is already allocated"));
                }
                Some(port) => port,
                None => free_port(range, taken)
                    .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?,
            };
            if !taken.contains(&chosen) {
                taken.push(chosen);
            }
            used.push(chosen);
            port["nodePort"] = chosen.into();
        }
        Ok(filled)
    })
    .await?;
    service.set(&["spec", "ports"], Value::Array(filled));
    Ok(())
}

fn free_port(range: (u16, u16), taken: &[u16]) -> Option<u16> {
    let start = rand::rng().random_range(range.0..=range.1);
    (start..=range.1).chain(range.0..start).find(|port| !taken.contains(port))
}

/// Changes the set of taken ports by compare-and-swap.
async fn change_ports<T>(
    storage: &Storage,
    range: (u16, u16),
    change: impl Fn(&mut Vec<u16>) -> Result<T, Status>,
) -> Result<T, Status> {
    let key = storage.raw_key("ranges/servicenodeports");
    for _ in 0..UPDATE_TRIES_MAX {
        let found = storage.get_raw(&key).await?;
        // A kube-apiserver writes protobuf. What cannot be read is not taken for empty: ports would
        // be given twice.
        let document = match &found {
            Some(found) => storage::decode(found.value()?)?,
            None => Object::default(),
        };
        let mut taken = read_bitmap(range.0, document.text(&["data"]));
        let result = change(&mut taken)?;
        let next = json!({
            "kind": "RangeAllocation",
            "apiVersion": "v1",
            "metadata": {},
            "range": format!("{}-{}", range.0, range.1),
            "data": write_bitmap(range.0, &taken),
        });
        let write = Write::Put { value: Bytes::from(next.to_string()), lease: 0 };
        let expected = found.map_or(0, |found| found.revision);
        if let Outcome::Done(_) = storage.commit(&key, expected, write).await? {
            return Ok(result);
        }
    }
    Err(Status::internal("too many servers allocate node ports at once"))
}

/// Upstream's bitmap: a big-endian number whose bit N is port FIRST + N.
fn read_bitmap(first: u16, data: &str) -> Vec<u16> {
    let bytes = STANDARD.decode(data).unwrap_or_default();
    let mut ports = Vec::new();
    for (index, byte) in bytes.iter().rev().enumerate() {
        for bit in 0..8 {
            if byte & (1 << bit) != 0
                && let Ok(offset) = u16::try_from(index * 8 + bit)
            {
                ports.push(first.saturating_add(offset));
            }
        }
    }
    ports
}

fn write_bitmap(first: u16, ports: &[u16]) -> String {
    let size = ports.iter().map(|port| usize::from(port - first) / 8 + 1).max().unwrap_or(0);
    let mut bytes = vec![0_u8; size];
    for port in ports {
        let offset = usize::from(port - first);
        bytes[size - 1 - offset / 8] |= 1 << (offset % 8);
    }
    STANDARD.encode(bytes)
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

    #[test]
    fn bitmap_round_trips() {
        let ports = vec![30000, 30007, 30008, 32767];
        assert_eq!(read_bitmap(30000, &write_bitmap(30000, &ports)), ports);
        assert_eq!(write_bitmap(30000, &[]), "");
        assert_eq!(STANDARD.decode(write_bitmap(30000, &[30009])).unwrap(), [2, 0]);
    }
}
