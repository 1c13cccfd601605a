//! Ports of the nodes that lead to Services: who gets which. What is taken stands in [`stored`];
//! [`repair`] puts right what a server that died left there.

pub(crate) mod repair;
mod stored;

use std::collections::HashMap;

use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, strategy};
use rand::Rng;
use serde_json::{Value, json};

use crate::limits::UPDATE_TRIES_MAX;
use crate::node_ports::stored::Stored;
use crate::storage::Storage;

/// First and last port.
type Range = (u16, u16);

/// What a dry run begins to count at, as upstream: no port of any default range.
const DRY_FIRST: i64 = 32768;

/// Where ports come from.
struct Pool<'a> {
    range: Range,
    /// Those that others have, and then also those that were taken here.
    taken: &'a mut Vec<u16>,
    /// Those that were taken here.
    own: Vec<i64>,
    is_dry: bool,
}

impl<'a> Pool<'a> {
    fn of(range: Range, taken: &'a mut Vec<u16>, is_dry: bool) -> Self {
        Self { range, taken, own: Vec::new(), is_dry }
    }

    /// Takes this port, or says why it cannot be had.
    fn take(&mut self, port: i64) -> Result<(), String> {
        let (first, last) = self.range;
        let number = u16::try_from(port).ok().filter(|port| (first..=last).contains(port));
        if number.is_some_and(|port| self.taken.contains(&port)) || self.own.contains(&port) {
            return Err("provided port is already allocated".to_owned());
        }
        match number {
            Some(number) if !self.is_dry => self.taken.push(number),
            // Upstream's dry run does not ask whether there is such a port.
            _ if self.is_dry => {}
            _ => {
                return Err(format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                ));
            }
        }
        self.own.push(port);
        Ok(())
    }

    /// Takes any port; `None` when there is none.
    fn any(&mut self) -> Option<i64> {
        let (first, last) = self.range;
        let port = if self.is_dry {
            self.own.iter().max().unwrap_or(&DRY_FIRST) + 1
        } else {
            let start = rand::rng().random_range(first..=last);
            let mut all = (start..=last).chain(first..start);
            let port = all.find(|port| !self.taken.contains(port))?;
            self.taken.push(port);
            port.into()
        };
        self.own.push(port);
        Some(port)
    }
}

fn number(port: &Value, field: &str) -> i64 {
    port[field].as_i64().unwrap_or(0)
}

fn invalid(service: &Object, index: usize, port: i64, why: String) -> Status {
    let path = Path::new("spec").child("ports").index(index).child("nodePort");
    let error = Error::invalid(&path, port, why);
    Status::invalid(&Grouped::new("", "Service"), service.name(), &[error])
}

fn no_port_left() -> Status {
    Status::internal("failed to allocate a nodePort: range is full")
}

fn uses_ports(service: &Object) -> bool {
    matches!(service.text(&["spec", "type"]), "NodePort" | "LoadBalancer")
}

fn ports_of(service: &Object) -> Vec<Value> {
    let listed = service.at(&["spec", "ports"]).and_then(Value::as_array);
    listed.cloned().unwrap_or_default()
}

/// Gives ports to a Service that needs some, as upstream: a new one (`initNodePorts`), or one that
/// was another (`updateNodePorts`).
fn give(service: &mut Object, old: Option<&Object>, pool: &mut Pool<'_>) -> Result<(), Status> {
    if uses_ports(service) {
        let mut ports = ports_of(service);
        match old {
            None => give_new(service, &mut ports, pool)?,
            Some(old) => give_changed(service, old, &mut ports, pool)?,
        }
        if !ports.is_empty() {
            service.set(&["spec", "ports"], Value::Array(ports));
        }
    }
    if strategy::needs_health_check(service) && !old.is_some_and(strategy::needs_health_check) {
        give_health_check(service, pool)?;
    }
    Ok(())
}

/// Ports of one number, of several protocols, share a port of the nodes.
fn give_new(service: &Object, ports: &mut [Value], pool: &mut Pool<'_>) -> Result<(), Status> {
    let may_choose = strategy::gives_node_ports(service);
    let asked: Vec<(i64, i64)> =
        ports.iter().map(|port| (number(port, "port"), number(port, "nodePort"))).collect();
    let mut given: HashMap<i64, i64> = HashMap::new();
    for (index, port) in ports.iter_mut().enumerate() {
        let (inner, wanted) = asked[index];
        if wanted == 0 && !may_choose {
            continue;
        }
        let refuse = |port: i64, why: String| invalid(service, index, port, why);
        let shared = given.get(&inner).copied();
        let chosen = match shared {
            Some(shared) if wanted == 0 || wanted == shared => shared,
            Some(_) => {
                pool.take(wanted).map_err(|why| refuse(wanted, why))?;
                wanted
            }
            None => {
                let named = asked.iter().find(|(one, wanted)| *one == inner && *wanted != 0);
                let chosen = match named {
                    Some((_, named)) => {
                        pool.take(*named).map_err(|why| refuse(*named, why))?;
                        *named
                    }
                    None => pool.any().ok_or_else(no_port_left)?,
                };
                given.insert(inner, chosen);
                chosen
            }
        };
        port["nodePort"] = chosen.into();
    }
    Ok(())
}

fn give_changed(
    service: &Object,
    old: &Object,
    ports: &mut [Value],
    pool: &mut Pool<'_>,
) -> Result<(), Status> {
    let may_choose = strategy::gives_node_ports(service);
    let had: Vec<i64> = ports_of(old).iter().map(|port| number(port, "nodePort")).collect();
    let mut given: Vec<(String, i64)> = Vec::new();
    for (index, port) in ports.iter_mut().enumerate() {
        let wanted = number(port, "nodePort");
        if wanted == 0 && !may_choose {
            continue;
        }
        let chosen = if wanted == 0 {
            pool.any().ok_or_else(no_port_left)?
        } else {
            if !had.contains(&wanted) && !pool.own.contains(&wanted) {
                pool.take(wanted).map_err(|why| invalid(service, index, wanted, why))?;
            }
            wanted
        };
        port["nodePort"] = chosen.into();
        let one = (port["protocol"].as_str().unwrap_or_default().to_owned(), chosen);
        if given.contains(&one) {
            let why = format!("duplicate nodePort: {{{} {}}}", one.0, one.1);
            return Err(Status::unexplained(&why));
        }
        given.push(one);
    }
    Ok(())
}

fn give_health_check(service: &mut Object, pool: &mut Pool<'_>) -> Result<(), Status> {
    const PORT: &[&str] = &["spec", "healthCheckNodePort"];
    let wanted = service.at(PORT).and_then(Value::as_i64).unwrap_or(0);
    if wanted != 0 {
        return pool.take(wanted).map_err(|why| {
            let what = "failed to allocate requested HealthCheck NodePort";
            Status::internal(&format!("{what} {wanted}: {why}"))
        });
    }
    let why = "failed to allocate a HealthCheck NodePort 0: range is full";
    let port = pool.any().ok_or_else(|| Status::internal(why))?;
    service.set(PORT, port.into());
    Ok(())
}

/// Whether a Service could be given its ports if nobody else had any.
pub(crate) fn rehearse(
    range: Range,
    (service, old): (&Object, Option<&Object>),
    is_dry: bool,
) -> Result<(), Status> {
    if !needs_any(service, old) {
        return Ok(());
    }
    let mut service = service.clone();
    give(&mut service, old, &mut Pool::of(range, &mut Vec::new(), is_dry))
}

fn needs_any(service: &Object, old: Option<&Object>) -> bool {
    let is_open = |port: &Value| number(port, "nodePort") == 0;
    let had = old.map(ports_of).unwrap_or_default();
    let is_new = |port: &Value| {
        let same = |one: &Value| number(one, "nodePort") == number(port, "nodePort");
        is_open(port) && strategy::gives_node_ports(service)
            || !is_open(port) && !had.iter().any(same)
    };
    let ports = ports_of(service);
    // A change is told at once that it names a port twice.
    let is_named_twice = old.is_some()
        && ports.iter().enumerate().any(|(index, port)| {
            let same = |one: &Value| {
                number(one, "nodePort") == number(port, "nodePort")
                    && one["protocol"] == port["protocol"]
            };
            !is_open(port) && ports[..index].iter().any(same)
        });
    uses_ports(service) && (ports.iter().any(is_new) || ports.len() > had.len() || is_named_twice)
        || strategy::needs_health_check(service) && !old.is_some_and(strategy::needs_health_check)
}

/// Gives a Service the ports that it needs and the old one did not have; those that were taken.
pub(crate) async fn take(
    storage: &Storage,
    range: Range,
    (service, old): (&mut Object, Option<&Object>),
    is_dry: bool,
) -> Result<Vec<u16>, Status> {
    if !needs_any(service, old) {
        return Ok(Vec::new());
    }
    let (next, own) = change(storage, range, is_dry, |taken| {
        let mut next = service.clone();
        let mut pool = Pool::of(range, taken, is_dry);
        give(&mut next, old, &mut pool)?;
        let own = pool.own.iter().filter_map(|port| u16::try_from(*port).ok()).collect();
        Ok((next, own))
    })
    .await?;
    *service = next;
    Ok(if is_dry { Vec::new() } else { own })
}

/// The ports that a Service has.
pub(crate) fn list(service: &Object) -> Vec<u16> {
    let mut ports = ports_of(service);
    if strategy::needs_health_check(service)
        && let Some(port) = service.at(&["spec", "healthCheckNodePort"])
    {
        ports.push(json!({"nodePort": port}));
    }
    let numbers = ports.iter().filter_map(|port| u16::try_from(number(port, "nodePort")).ok());
    numbers.filter(|port| *port > 0).collect()
}

/// Gives ports back. A failure is logged: [`repair`] finds them later.
pub(crate) async fn free(storage: &Storage, range: Range, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let freed = change(storage, range, false, |taken| {
        taken.retain(|port| !ports.contains(port));
        Ok(())
    });
    if let Err(error) = freed.await {
        tracing::warn!(?ports, %error, "node ports not given back");
    }
}

/// Changes the set of taken ports by compare-and-swap.
async fn change<T>(
    storage: &Storage,
    range: Range,
    is_dry: bool,
    change: impl Fn(&mut Vec<u16>) -> Result<T, Status>,
) -> Result<T, Status> {
    for _ in 0..UPDATE_TRIES_MAX {
        let stored = Stored::read(storage).await?;
        let mut taken = stored.of(range)?;
        let result = change(&mut taken)?;
        if is_dry || stored.replace(storage, range, &taken).await? {
            return Ok(result);
        }
    }
    Err(Status::internal("too many servers allocate node ports at once"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = (30000, 30099);

    fn service(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    /// The ports that come of it and the health check's, or the message.
    fn given(spec: Value, old: Option<Value>, taken: &[u16]) -> Result<Vec<u16>, String> {
        let (mut next, mut taken) = (service(spec), taken.to_vec());
        let old = old.map(service);
        give(&mut next, old.as_ref(), &mut Pool::of(RANGE, &mut taken, false))
            .map_err(|status| status.message)?;
        Ok(list(&next))
    }

    #[test]
    fn ports_of_one_number_share_a_node_port() {
        let both = |tcp: i64, udp: i64| {
            json!({"type": "NodePort", "ports": [
                {"port": 53, "protocol": "TCP", "nodePort": tcp},
                {"port": 53, "protocol": "UDP", "nodePort": udp}]})
        };
        let shared = given(both(0, 0), None, &[]).unwrap();
        assert_eq!(shared[0], shared[1]);
        assert_eq!(given(both(0, 30007), None, &[]).unwrap(), [30007, 30007]);
        assert_eq!(given(both(30008, 30007), None, &[]).unwrap(), [30008, 30007]);
        let refused = "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated";
        assert_eq!(given(both(0, 30007), None, &[30007]).unwrap_err(), refused);
    }

    #[test]
    fn a_port_that_is_asked_for_twice_is_refused() {
        let spec = json!({"type": "NodePort", "ports": [
            {"port": 53, "nodePort": 30054}, {"port": 54, "nodePort": 30054}]});
        let refused = "Service \"s\" is invalid: spec.ports[1].nodePort: Invalid value: 30054: provided port is already allocated";
        assert_eq!(given(spec.clone(), None, &[]).unwrap_err(), refused);
        let old = json!({"type": "ClusterIP", "ports": [{"port": 53}]});
        let refused = given(spec.clone(), Some(old), &[]).unwrap_err();
        assert_eq!(refused, "duplicate nodePort: { 30054}", "a change says it in other words");
        let own = json!({"type": "NodePort", "ports": [
            {"port": 53, "nodePort": 30054}, {"port": 54, "nodePort": 30055}]});
        let (own, next) = (service(own), service(spec));
        let refused = rehearse(RANGE, (&next, Some(&own)), false).unwrap_err().message;
        assert_eq!(refused, "duplicate nodePort: { 30054}", "also of a port of its own");
    }

    #[test]
    fn a_balancer_that_knows_the_pods_needs_no_node_ports() {
        let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}]});
        assert_eq!(given(spec, None, &[]).unwrap(), [30001]);
    }

    #[test]
    fn local_traffic_needs_a_port_for_health_checks() {
        let local = |check: i64| {
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": check, "ports": [{"port": 80, "nodePort": 30001}]})
        };
        assert_eq!(given(local(30002), None, &[]).unwrap(), [30001, 30002]);
        assert_eq!(given(local(0), None, &[]).unwrap().len(), 2);
        assert_eq!(given(local(30002), Some(local(30002)), &[30001, 30002]).unwrap().len(), 2);
        for (port, why) in [
            (30001, "provided port is already allocated"),
            (
                20001,
                "provided port is not in the valid range. The range of valid ports is 30000-30099",
            ),
        ] {
            let told = format!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort {port}: {why}"
            );
            assert_eq!(given(local(port), None, &[]).unwrap_err(), told);
        }
    }

    #[test]
    fn a_full_range_says_so() {
        let all: Vec<u16> = (RANGE.0..=RANGE.1).collect();
        let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
        let told = given(spec, None, &all).unwrap_err();
        assert_eq!(told, "Internal error occurred: failed to allocate a nodePort: range is full");
    }
}
