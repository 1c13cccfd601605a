//! The resolver configuration of a pod, from its policy, the cluster's DNS and the machine's own.

use k8s_openapi::api::core::v1::{PodDNSConfigOption, PodSpec};

use crate::limits::{
    DNS_SEARCH_BYTES_MAX, DNS_SEARCH_LINE_BYTES_MAX, DNS_SEARCHES_MAX, DNS_SERVERS_MAX,
};
use crate::runtime::cri;

/// The DNS of the cluster, as the agent's flags name it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    /// Empty: the cluster has none.
    pub(crate) servers: Vec<String>,
    pub(crate) domain: String,
}

/// Which configuration a pod starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Nothing,
    Cluster,
    Machine,
}

fn base(spec: &PodSpec) -> Base {
    match spec.dns_policy.as_deref() {
        Some("None") => Base::Nothing,
        Some("Default") => Base::Machine,
        Some("ClusterFirstWithHostNet") => Base::Cluster,
        _ if spec.host_network == Some(true) => Base::Machine,
        _ => Base::Cluster,
    }
}

/// Whether a pod asks for a DNS of the cluster that is not there.
pub(crate) fn lacks_cluster_dns(spec: &PodSpec, cluster: &Cluster) -> bool {
    base(spec) == Base::Cluster && cluster.servers.is_empty()
}

/// Reads a `resolv.conf`: servers add up, the last search line counts, options by name.
pub(crate) fn parse(text: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut fields = line.split_whitespace();
        match fields.next() {
            Some("nameserver") => dns.servers.extend(fields.next().map(str::to_owned)),
            Some("search") => {
                // The same domain with and without its last dot counts once.
                let domains = fields.filter(|domain| *domain != ".");
                dns.searches = domains
                    .map(|domain| domain.strip_suffix('.').unwrap_or(domain).to_owned())
                    .collect();
            }
            Some("options") => fields.for_each(|option| set_option(&mut dns.options, option)),
            Some(_) | None => {}
        }
    }
    dns
}

fn set_option(options: &mut Vec<String>, option: &str) {
    let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    match options.iter_mut().find(|known| name(known) == name(option)) {
        Some(known) => option.clone_into(known),
        None => options.push(option.to_owned()),
    }
}

fn unique(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}

/// The configuration of a pod, and what had to be left out, as events say it.
pub(crate) fn of_pod(
    spec: &PodSpec,
    namespace: &str,
    cluster: &Cluster,
    machine: &cri::DnsConfig,
) -> (cri::DnsConfig, Vec<String>) {
    let mut dns = match base(spec) {
        Base::Nothing => cri::DnsConfig::default(),
        Base::Cluster if !cluster.servers.is_empty() => {
            let domain = &cluster.domain;
            let own =
                [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            let own = own.into_iter().filter(|_| !domain.is_empty());
            let mut searches: Vec<String> = own.chain(machine.searches.iter().cloned()).collect();
            unique(&mut searches);
            let servers = cluster.servers.clone();
            cri::DnsConfig { servers, searches, options: vec!["ndots:5".to_owned()] }
        }
        Base::Cluster | Base::Machine => machine.clone(),
    };
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        unique(&mut dns.servers);
        dns.searches.extend(own.searches.iter().flatten().cloned());
        unique(&mut dns.searches);
        for option in own.options.iter().flatten() {
            set_option(&mut dns.options, &option_text(option));
        }
    }
    let left_out = fit(&mut dns);
    (dns, left_out)
}

fn option_text(option: &PodDNSConfigOption) -> String {
    let name = option.name.as_deref().unwrap_or_default();
    match option.value.as_deref().filter(|value| !value.is_empty()) {
        Some(value) => format!("{name}:{value}"),
        None => name.to_owned(),
    }
}

/// Cuts what resolvers do not take.
fn fit(dns: &mut cri::DnsConfig) -> Vec<String> {
    let mut said = Vec::new();
    if dns.servers.len() > DNS_SERVERS_MAX {
        dns.servers.truncate(DNS_SERVERS_MAX);
        let line = dns.servers.join(" ");
        said.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}"
        ));
    }
    let before = dns.searches.len();
    dns.searches.truncate(DNS_SEARCHES_MAX);
    dns.searches.retain(|domain| domain.len() <= DNS_SEARCH_BYTES_MAX);
    while dns.searches.join(" ").len() > DNS_SEARCH_LINE_BYTES_MAX {
        dns.searches.pop();
    }
    if dns.searches.len() < before {
        let line = dns.searches.join(" ");
        said.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}"
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        let mut value = value;
        value["containers"] = serde_json::json!([]);
        serde_json::from_value(value).unwrap()
    }

    fn machine() -> cri::DnsConfig {
        parse(
            "# made\nnameserver 1.1.1.1\nsearch old.\nsearch lan. . home\noptions ndots:2 rotate\noptions ndots:3\n",
        )
    }

    #[test]
    fn the_machines_file_is_read_as_upstream_reads_it() {
        let dns = machine();
        assert_eq!(dns.servers, ["1.1.1.1"]);
        assert_eq!(dns.searches, ["lan", "home"]);
        assert_eq!(dns.options, ["ndots:3", "rotate"]);
    }

    #[test]
    fn the_policy_says_what_a_pod_starts_from() {
        let cluster = Cluster { servers: vec!["10.96.0.10".into()], domain: "c.local".into() };
        let own = ["n.svc.c.local", "svc.c.local", "c.local", "lan", "home"];
        for (pod, servers, searches) in [
            (serde_json::json!({}), &["10.96.0.10"][..], &own[..]),
            (serde_json::json!({"dnsPolicy": "ClusterFirst"}), &["10.96.0.10"], &own),
            (serde_json::json!({"dnsPolicy": "Default"}), &["1.1.1.1"], &own[3..]),
            (serde_json::json!({"hostNetwork": true}), &["1.1.1.1"], &own[3..]),
            (
                serde_json::json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                &["10.96.0.10"],
                &own,
            ),
            (serde_json::json!({"dnsPolicy": "None"}), &[], &[]),
        ] {
            let (dns, left_out) = of_pod(&spec(pod.clone()), "n", &cluster, &machine());
            assert_eq!(
                (&*dns.servers, &*dns.searches),
                (
                    &*servers.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
                    &*searches.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
                ),
                "{pod}"
            );
            assert_eq!(left_out, Vec::<String>::new());
        }
        let (dns, _) = of_pod(&spec(serde_json::json!({})), "n", &Cluster::default(), &machine());
        assert_eq!(dns, machine(), "without a DNS of the cluster the machine's is used");
        assert!(lacks_cluster_dns(&spec(serde_json::json!({})), &Cluster::default()));
        let host = spec(serde_json::json!({"dnsPolicy": "Default"}));
        assert!(!lacks_cluster_dns(&host, &Cluster::default()));
    }

    #[test]
    fn a_pods_own_settings_are_added_and_its_options_win() {
        let pod = spec(serde_json::json!({"dnsPolicy": "Default", "dnsConfig": {
            "nameservers": ["1.1.1.1", "9.9.9.9"], "searches": ["lan", "x.y"],
            "options": [{"name": "ndots", "value": "5"}, {"name": "edns0"}]}}));
        let (dns, _) = of_pod(&pod, "n", &Cluster::default(), &machine());
        assert_eq!(dns.servers, ["1.1.1.1", "9.9.9.9"]);
        assert_eq!(dns.searches, ["lan", "home", "x.y"]);
        assert_eq!(dns.options, ["ndots:5", "rotate", "edns0"]);
    }

    #[test]
    fn what_resolvers_do_not_take_is_left_out_and_said() {
        let servers: Vec<String> = (1..6).map(|n| format!("10.0.0.{n}")).collect();
        let mut searches: Vec<String> =
            (0..40).map(|n| format!("{n}.{}", "d".repeat(100))).collect();
        searches[0] = "l".repeat(254);
        let pod = spec(serde_json::json!({"dnsPolicy": "None", "dnsConfig": {
            "nameservers": servers, "searches": searches}}));
        let (dns, left_out) = of_pod(&pod, "n", &Cluster::default(), &machine());
        assert_eq!(dns.servers, servers[..3]);
        assert_eq!(dns.searches[0], searches[1]);
        assert!(dns.searches.join(" ").len() <= 2048 && dns.searches.len() > 15);
        assert!(left_out[0].ends_with("is: 10.0.0.1 10.0.0.2 10.0.0.3"), "{left_out:?}");
        assert!(left_out[1].starts_with("Search Line limits were exceeded"), "{left_out:?}");
    }
}
