//! Services: their number, the load balancers and the node ports among them.

use serde_json::Value;

use super::Amounts;
use crate::Object;
use crate::quantity::Quantity;

const ALL: &str = "services";
const BALANCERS: &str = "services.loadbalancers";
const PORTS: &str = "services.nodeports";

pub(super) const NAMES: [&str; 3] = [ALL, BALANCERS, PORTS];

pub(super) fn usage(service: &Object) -> Amounts {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    let number = |filter: fn(&Value) -> bool| {
        let count = ports.into_iter().flatten().filter(|port| filter(port)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    let allocates = service.at(&["spec", "allocateLoadBalancerNodePorts"]);
    let allocates = allocates.and_then(Value::as_bool).unwrap_or(true);
    let (balancers, node_ports) = match service.text(&["spec", "type"]) {
        "NodePort" => (0, number(|_| true)),
        "LoadBalancer" if allocates => (1, number(|_| true)),
        // Only the ports that were asked for.
        "LoadBalancer" => (1, number(|port| port["nodePort"].as_i64().unwrap_or(0) != 0)),
        _ => (0, 0),
    };
    let entries = [(ALL, 1), (BALANCERS, balancers), (PORTS, node_ports)];
    entries.map(|(name, number)| (name.to_owned(), Quantity::units(number))).into()
}
