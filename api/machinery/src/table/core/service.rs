//! Services and their endpoints.

use serde_json::Value;

use crate::View;
use crate::table::Printer;
use crate::table::column::{AGE, NAME, SELECTOR, text};
use crate::table::row::{self, Row};

pub(super) static SERVICE: Printer = Printer {
    columns: &[
        NAME,
        text("Type"),
        text("Cluster-IP"),
        text("External-IP"),
        text("Port(s)"),
        AGE,
        SELECTOR,
    ],
    cells: service,
};

pub(super) static ENDPOINTS: Printer = Printer {
    columns: &[NAME, text("Endpoints"), AGE],
    cells: |row| vec![row.name(), endpoints(row.object.get("subsets")).into(), row.age()],
};

fn service(row: &Row<'_>) -> Vec<Value> {
    let spec = row.spec;
    let cluster_ip = match spec.get("clusterIPs").items().next() {
        Some(first) => first.text(),
        None => spec.get("clusterIP").text(),
    };
    let ports: Vec<String> = spec.get("ports").items().map(port).collect();
    vec![
        row.name(),
        row::text(spec, "type"),
        row::or(&cluster_ip, "<none>").into(),
        external_ip(row).into(),
        row::or(&ports.join(","), "<none>").into(),
        row.age(),
        row::labels_text(spec.get("selector")).into(),
    ]
}

fn external_ip(row: &Row<'_>) -> String {
    let external = row::join_texts(row.spec.get("externalIPs"));
    match &*row.spec.get("type").text() {
        "ClusterIP" | "NodePort" => row::or(&external, "<none>"),
        "LoadBalancer" => {
            let balanced = row::load_balancer(row.status);
            let comma = if balanced.is_empty() || external.is_empty() { "" } else { "," };
            row::or(&format!("{balanced}{comma}{external}"), "<pending>")
        }
        "ExternalName" => row.spec.get("externalName").text().into_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn port(port: View<'_>) -> String {
    let (number, protocol) = (row::number(port, "port"), port.get("protocol").text());
    match row::number(port, "nodePort") {
        node_port if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

/// `address:port` of every address of the subsets.
fn endpoints(subsets: View<'_>) -> String {
    if subsets.count() == 0 {
        return "<none>".to_owned();
    }
    let mut named = Vec::new();
    for subset in subsets.items() {
        let addresses: Vec<_> =
            subset.get("addresses").items().map(|one| one.get("ip").text()).collect();
        let ports = subset.get("ports");
        if ports.count() == 0 {
            named.extend(addresses.iter().map(|address| address.clone().into_owned()));
        }
        for port in ports.items() {
            let port = row::number(port, "port");
            named.extend(addresses.iter().map(|address| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            }));
        }
    }
    row::some_of(&named, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::cells_at_one;

    #[test]
    fn long_lists_of_addresses_are_counted() {
        let addresses: Vec<Value> =
            (1..=5).map(|last| json!({"ip": format!("10.0.0.{last}")})).collect();
        for (subsets, shown) in [
            (json!([]), "<none>"),
            (json!([{"notReadyAddresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 9}]}]), ""),
            (json!([{"addresses": addresses[..3]}]), "10.0.0.1,10.0.0.2,10.0.0.3"),
            (
                json!([{"addresses": addresses, "ports": [{"port": 80}]}]),
                "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...",
            ),
            (
                json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]),
                "[fd00::1]:80,[fd00::1]:81",
            ),
        ] {
            let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": "e"}, "subsets": subsets});
            assert_eq!(cells_at_one(&endpoints), [json!("e"), json!(shown), json!("<unknown>")]);
        }
    }

    #[test]
    fn a_service_shows_its_ports_and_addresses() {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9",
                "selector": {"a": "b", "a-b": "c"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}});
        let ports = "80:30080/TCP";
        let wanted = ["s", "LoadBalancer", "10.96.0.9", "<pending>", ports, "60m", "a-b=c,a=b"];
        assert_eq!(cells_at_one(&service), wanted.map(Value::from));
    }

    #[test]
    fn the_address_outside_depends_on_the_type() {
        let ingress = json!([{"ip": "2.2.2.2"}, {"hostname": "a.b"}, {"ip": "1.1.1.1"},
            {"ip": "2.2.2.2"}, {}]);
        let external = json!(["3.3.3.3", "0.0.0.1"]);
        for (kind, ingress, external, shown) in [
            ("ClusterIP", json!([]), json!([]), "<none>"),
            ("NodePort", json!([]), external.clone(), "3.3.3.3,0.0.0.1"),
            ("LoadBalancer", json!([]), external.clone(), "3.3.3.3,0.0.0.1"),
            ("LoadBalancer", ingress.clone(), json!([]), "1.1.1.1,2.2.2.2,a.b"),
            ("LoadBalancer", ingress, external, "1.1.1.1,2.2.2.2,a.b,3.3.3.3,0.0.0.1"),
            ("ExternalName", json!([]), json!([]), "x.y"),
            ("", json!([]), json!([]), "<unknown>"),
        ] {
            let service = json!({"apiVersion": "v1", "kind": "Service",
                "spec": {"type": kind, "externalIPs": external, "externalName": "x.y"},
                "status": {"loadBalancer": {"ingress": ingress}}});
            assert_eq!(cells_at_one(&service)[3], json!(shown), "{kind}");
        }
    }
}
