//! The environment variables by which containers find services, as Docker links began them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// The service of the API itself, which every pod is told about.
const API: (&str, &str) = ("default", "kubernetes");

/// `web-1` becomes `WEB_1`.
fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// `10.0.0.1:80`, `[fd00::1]:80`.
fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The address of a service that has one.
fn cluster_ip(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn variables_of(service: &Service) -> Vec<(String, String)> {
    let (Some(ip), Some(spec)) = (cluster_ip(service), &service.spec) else { return Vec::new() };
    let prefix = variable(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let mut out = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = variable(name);
            out.push((format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{}", host_port(ip, port.port));
        if index == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        out.push((format!("{link}_PROTO"), lower));
        out.push((format!("{link}_PORT"), port.port.to_string()));
        out.push((format!("{link}_ADDR"), ip.to_owned()));
        out.push((link, url));
    }
    out
}

/// What a container in `namespace` is told: the API always, the namespace's services when the
/// pod wants links to them. A service of the pod's own namespace hides the API's of the same name.
pub(crate) fn variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    wants_links: bool,
) -> Vec<(String, String)> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services.filter(|service| cluster_ip(service).is_some()) {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        if (of, name) == API {
            chosen.entry(name).or_insert(service);
        } else if of == namespace && wants_links {
            chosen.insert(name, service);
        }
    }
    let all: BTreeMap<String, String> = chosen.into_values().flat_map(variables_of).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, ip: &str, ports: serde_json::Value) -> Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": ip, "ports": ports}}))
        .unwrap()
    }

    #[test]
    fn a_pod_is_told_about_the_api_and_about_its_own_namespace() {
        let all = [
            service(
                "default",
                "kubernetes",
                "10.96.0.1",
                serde_json::json!([
                {"name": "https", "port": 443, "protocol": "TCP"}]),
            ),
            service(
                "n",
                "my-dns",
                "fd00::a",
                serde_json::json!([
                {"name": "dns-udp", "port": 53, "protocol": "UDP"}, {"name": "m", "port": 9153}]),
            ),
            service("n", "headless", "None", serde_json::json!([{"port": 1}])),
            service("other", "x", "10.96.0.9", serde_json::json!([{"port": 1}])),
        ];
        let api = [
            ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
            ("KUBERNETES_PORT_443_TCP", "tcp://10.96.0.1:443"),
            ("KUBERNETES_PORT_443_TCP_ADDR", "10.96.0.1"),
            ("KUBERNETES_PORT_443_TCP_PORT", "443"),
            ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ];
        let own = [
            ("MY_DNS_PORT", "udp://[fd00::a]:53"),
            ("MY_DNS_PORT_53_UDP", "udp://[fd00::a]:53"),
            ("MY_DNS_PORT_53_UDP_ADDR", "fd00::a"),
            ("MY_DNS_PORT_53_UDP_PORT", "53"),
            ("MY_DNS_PORT_53_UDP_PROTO", "udp"),
            ("MY_DNS_PORT_9153_TCP", "tcp://[fd00::a]:9153"),
            ("MY_DNS_PORT_9153_TCP_ADDR", "fd00::a"),
            ("MY_DNS_PORT_9153_TCP_PORT", "9153"),
            ("MY_DNS_PORT_9153_TCP_PROTO", "tcp"),
            ("MY_DNS_SERVICE_HOST", "fd00::a"),
            ("MY_DNS_SERVICE_PORT", "53"),
            ("MY_DNS_SERVICE_PORT_DNS_UDP", "53"),
            ("MY_DNS_SERVICE_PORT_M", "9153"),
        ];
        let told = |namespace: &str, links| variables(all.iter(), namespace, links);
        let text = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(told("n", true), text(&[&api[..], &own].concat()));
        assert_eq!(told("n", false), text(&api), "without links the API stays");
        assert_eq!(told("empty", true), text(&api));
    }

    #[test]
    fn a_service_named_like_the_apis_hides_it_in_its_own_namespace() {
        let port = serde_json::json!([{"port": 80}]);
        let all = [
            service("n", "kubernetes", "10.96.0.7", port.clone()),
            service("default", "kubernetes", "10.96.0.1", port),
        ];
        let host = |list: Vec<(String, String)>| {
            list.into_iter().find(|(name, _)| name == "KUBERNETES_SERVICE_HOST").unwrap().1
        };
        for all in [[&all[0], &all[1]], [&all[1], &all[0]]] {
            assert_eq!(host(variables(all.into_iter(), "n", true)), "10.96.0.7");
            assert_eq!(host(variables(all.into_iter(), "n", false)), "10.96.0.1");
        }
    }
}
