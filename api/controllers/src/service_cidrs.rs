//! Ranges of Service addresses: each is kept as long as an address would be left without one.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | I1 | A range that stays has its finalizer and is marked as ready. |
//! | I2 | The finalizer goes only when each address of the range is in another one too, or is gone. |
//! | I3 | It goes no sooner than every allocator can know that the range is going. |

use std::{net::IpAddr, sync::Arc, time::Duration};

use api_client::{Outcome, WorkQueue, key_of, lenient};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use crate::{context::Context, limits, world::World};

/// Keeps a `ServiceCIDR`.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGER: &str = "service-cidr-controller";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
const BLOCKED: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// A range of addresses, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    is_v6: bool,
    network: u128,
    /// Bits of an address that are free.
    host_bits: u32,
}

fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address))),
        IpAddr::V6(address) => (true, u128::from(address)),
    }
}

/// A number without its lowest bits.
fn without(number: u128, bits: u32) -> u128 {
    number.checked_shr(bits).and_then(|high| high.checked_shl(bits)).unwrap_or(0)
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (is_v6, address) = number(address.parse().ok()?);
        let width: u32 = if is_v6 { 128 } else { 32 };
        let host_bits = width.checked_sub(prefix.parse().ok()?)?;
        Some(Self { is_v6, network: without(address, host_bits), host_bits })
    }

    /// Whether all of another range is in this one.
    fn covers(self, other: Self) -> bool {
        self.is_v6 == other.is_v6
            && self.host_bits >= other.host_bits
            && without(other.network, self.host_bits) == self.network
    }

    /// Whether an address may be given out of it: not the first one, nor the last of IPv4.
    fn gives(self, address: IpAddr) -> bool {
        let (is_v6, address) = number(address);
        let last = self.network | !without(u128::MAX, self.host_bits);
        is_v6 == self.is_v6
            && without(address, self.host_bits) == self.network
            && address != self.network
            && (is_v6 || address != last)
    }
}

fn ranges(object: &ServiceCIDR) -> impl Iterator<Item = Range> + '_ {
    let spec = object.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    spec.into_iter().flatten().filter_map(|text| Range::parse(text))
}

/// The address of an object, if it was taken for a Service.
fn address(object: &IPAddress) -> Option<IpAddr> {
    let labels = object.metadata.labels.as_ref()?;
    let is_ours = labels.get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    object.metadata.name.as_deref().filter(|_| is_ours)?.parse().ok()
}

/// What should become of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// I1.
    Stays,
    /// I2: an address would be left without a range.
    IsBlocked,
    /// I3.
    Waits(Duration),
    /// Nothing holds it.
    Goes,
}

/// Decides about one range.
#[must_use]
pub fn judge(world: &World, object: &ServiceCIDR, now: Timestamp) -> Verdict {
    let Some(deleted) = &object.metadata.deletion_timestamp else { return Verdict::Stays };
    if is_needed(world, object) {
        return Verdict::IsBlocked;
    }
    let since = Duration::try_from(now.duration_since(deleted.0)).unwrap_or(Duration::ZERO);
    match limits::SERVICE_CIDR_GRACE.saturating_sub(since) {
        Duration::ZERO => Verdict::Goes,
        left => Verdict::Waits(left),
    }
}

/// I2.
fn is_needed(world: &World, object: &ServiceCIDR) -> bool {
    let own: Vec<Range> = ranges(object).collect();
    let all = world.service_cidrs.list();
    let others = all.iter().filter(|other| other.metadata.name != object.metadata.name);
    let others: Vec<Range> = others.flat_map(|other| ranges(other)).collect();
    if own.iter().all(|range| others.iter().any(|other| other.covers(*range))) {
        return false;
    }
    let addresses = world.ip_addresses.list();
    let mut given = addresses.iter().filter_map(|object| address(object));
    given.any(|address| {
        own.iter().any(|range| range.gives(address))
            && !others.iter().any(|other| other.gives(address))
    })
}

/// Queues what a range concerns: itself, and those that it is in or that are in it.
pub(crate) fn range_changed(
    queue: &WorkQueue<String>,
    world: &World,
    before: Option<&Arc<ServiceCIDR>>,
    after: Option<&Arc<ServiceCIDR>>,
) {
    let Some(object) = after.or(before) else { return };
    queue.add(key_of(object.as_ref()));
    if before.is_some() && after.is_some() {
        return;
    }
    let own: Vec<Range> = ranges(object).collect();
    for other in world.service_cidrs.list() {
        let overlaps = |range: &Range| own.iter().any(|o| o.covers(*range) || range.covers(*o));
        if ranges(&other).any(|range| overlaps(&range)) {
            queue.add(key_of(other.as_ref()));
        }
    }
}

/// Queues the ranges that an address is in: it may hold one that is going.
pub(crate) fn address_changed(
    queue: &WorkQueue<String>,
    world: &World,
    before: Option<&Arc<IPAddress>>,
    after: Option<&Arc<IPAddress>>,
) {
    if before.is_some() && after.is_some() {
        return;
    }
    let Some(address) = after.or(before).and_then(|object| address(object)) else { return };
    for object in world.service_cidrs.list() {
        if ranges(&object).any(|range| range.gives(address)) {
            queue.add(key_of(object.as_ref()));
        }
    }
}

/// Carries the decision out.
///
/// # Errors
/// A write failed.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let world = &context.world;
    // Without all addresses nothing is known to be free.
    tokio::join!(world.service_cidrs.synced(), world.ip_addresses.synced());
    let Some(object) = world.service_cidrs.get(&key) else { return Ok(Outcome::Done) };
    let api = lenient::api::<ServiceCIDR>(context.client.clone());
    let has_finalizer = object.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
    match judge(world, &object, clock::now()) {
        Verdict::Stays => {
            if !has_finalizer {
                write(&api, &key, json!({"finalizers": [FINALIZER]})).await?;
            }
            tell(&api, &object, ("True", "", "Kubernetes Service CIDR is ready")).await?;
        }
        Verdict::IsBlocked => tell(&api, &object, ("False", "Terminating", BLOCKED)).await?,
        Verdict::Waits(left) => return Ok(Outcome::After(left)),
        Verdict::Goes if has_finalizer => {
            write(&api, &key, json!({"$deleteFromPrimitiveList/finalizers": [FINALIZER]})).await?;
        }
        Verdict::Goes => {}
    }
    Ok(Outcome::Done)
}

async fn write(
    api: &Api<DynamicObject>,
    name: &str,
    metadata: serde_json::Value,
) -> Result<(), kube::Error> {
    let patch = Patch::Strategic(json!({ "metadata": metadata }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Err(error) if api_client::is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// Marks a range as ready or not, unless that is said already.
async fn tell(
    api: &Api<DynamicObject>,
    object: &ServiceCIDR,
    (status, reason, message): (&str, &str, &str),
) -> Result<(), kube::Error> {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_said = conditions.into_iter().flatten().any(|one| {
        one.type_ == "Ready"
            && (one.status.as_str(), one.reason.as_str(), one.message.as_str())
                == (status, reason, message)
    });
    if is_said {
        return Ok(());
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let now = Timestamp::from_second(clock::now().as_second()).unwrap_or_default();
    let patch = Patch::Apply(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": status, "reason": reason,
            "message": message, "lastTransitionTime": now.to_string()}]},
    }));
    match api.patch_status(name, &PatchParams::apply(MANAGER).force(), &patch).await {
        Err(error) if api_client::is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOING: &str = "2026-01-01T00:00:00Z";

    fn range(name: &str, cidrs: &[&str], deleted: bool) -> Arc<ServiceCIDR> {
        let deleted = deleted.then_some(GOING);
        let tree = json!({"metadata": {"name": name, "deletionTimestamp": deleted},
            "spec": {"cidrs": cidrs}});
        Arc::new(serde_json::from_value(tree).unwrap())
    }

    fn taken(address: &str, by: &str) -> Arc<IPAddress> {
        let tree = json!({"metadata": {"name": address, "labels": {MANAGED_BY: by}}});
        Arc::new(serde_json::from_value(tree).unwrap())
    }

    #[test]
    fn a_range_gives_all_but_its_ends() {
        for (text, address, gives) in [
            ("10.0.0.0/30", "10.0.0.0", false),
            ("10.0.0.0/30", "10.0.0.1", true),
            ("10.0.0.0/30", "10.0.0.2", true),
            ("10.0.0.0/30", "10.0.0.3", false),
            ("10.0.0.0/30", "10.0.0.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("2001:db8::/126", "2001:db8::3", true),
            ("2001:db8::/126", "2001:db8::", false),
            ("2001:db8::/126", "10.0.0.1", false),
        ] {
            let range = Range::parse(text).unwrap();
            assert_eq!(range.gives(address.parse().unwrap()), gives, "{text} {address}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "::/129"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
        let covers = |a, b| Range::parse(a).unwrap().covers(Range::parse(b).unwrap());
        assert!(covers("10.0.0.0/8", "10.1.0.0/16") && covers("10.1.0.0/16", "10.1.0.0/16"));
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8") && !covers("::/0", "10.0.0.0/8"));
    }

    #[test]
    fn a_range_stays_while_an_address_would_be_left_without_one() {
        let now: Timestamp = "2026-01-01T00:00:04Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let going = range("going", &["10.1.0.0/24"], true);
        let verdict = |others: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>], now| {
            let world = World::new();
            world.service_cidrs.put(Arc::clone(&going));
            for one in others {
                world.service_cidrs.put(Arc::clone(one));
            }
            for one in addresses {
                world.ip_addresses.put(Arc::clone(one));
            }
            judge(&world, &going, now)
        };
        let ours = |address: &str| [taken(address, ALLOCATOR)];
        assert_eq!(verdict(&[], &ours("10.1.0.7"), later), Verdict::IsBlocked);
        assert_eq!(verdict(&[], &ours("10.2.0.7"), later), Verdict::Goes);
        assert_eq!(verdict(&[], &[taken("10.1.0.7", "somebody")], later), Verdict::Goes);
        let wait = Verdict::Waits(Duration::from_secs(6));
        assert_eq!(verdict(&[], &[], now), wait, "I3");
        let wider = [range("wider", &["10.0.0.0/8"], false)];
        assert_eq!(verdict(&wider, &ours("10.1.0.7"), later), Verdict::Goes);
        let same = [range("same", &["10.1.0.0/24"], false)];
        assert_eq!(verdict(&same, &ours("10.1.0.7"), later), Verdict::Goes);
        let half = [range("half", &["10.1.0.0/28"], false)];
        assert_eq!(verdict(&half, &ours("10.1.0.7"), later), Verdict::Goes);
        assert_eq!(verdict(&half, &ours("10.1.0.70"), later), Verdict::IsBlocked);
        let staying = range("x", &["10.1.0.0/24"], false);
        assert_eq!(judge(&World::new(), &staying, now), Verdict::Stays);
    }
}
