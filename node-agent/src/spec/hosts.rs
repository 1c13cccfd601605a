//! The names of a pod: its host name, its domain, and its hosts file.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

use super::SpecError;
use crate::limits::{FQDN_BYTES_MAX, HOSTNAME_BYTES_MAX};

const HEADER: &str = "# Kubernetes-managed hosts file.\n\
    127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
const HEADER_OF_MACHINE: &str = "# Kubernetes-managed hosts file (host network).\n";

/// A pod's host name, at most 63 bytes, and its domain if it has one.
pub(crate) fn names(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    let given = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    if let Some(name) = given(spec.and_then(|s| s.hostname_override.as_ref())) {
        return (cut(name), None);
    }
    let name = given(spec.and_then(|s| s.hostname.as_ref()));
    let name = name.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let domain = given(spec.and_then(|s| s.subdomain.as_ref()))
        .map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    (cut(name), domain)
}

fn cut(mut name: String) -> String {
    if name.len() > HOSTNAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(HOSTNAME_BYTES_MAX));
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    name
}

/// What the pod's processes see as their host's name; `setHostnameAsFQDN` makes it the full one.
///
/// # Errors
/// When the full name is too long for the kernel.
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> Result<String, SpecError> {
    let (name, domain) = names(pod, cluster_domain);
    let is_full = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    let Some(domain) = domain.filter(|_| is_full) else { return Ok(name) };
    let full = format!("{name}.{domain}");
    if full.len() > FQDN_BYTES_MAX {
        return Err(SpecError::Invalid(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({FQDN_BYTES_MAX} characters is the max, {} characters requested)",
            full.len()
        )));
    }
    Ok(full)
}

/// The hosts file of a pod with these addresses; `machine` is the machine's own for a pod in the
/// machine's network.
pub(crate) fn file(
    pod: &Pod,
    ips: &[String],
    cluster_domain: &str,
    machine: Option<&str>,
) -> String {
    let mut text = match machine {
        Some(own) => format!("{HEADER_OF_MACHINE}{own}"),
        None => {
            let (name, domain) = names(pod, cluster_domain);
            let line = |ip: &String| match &domain {
                Some(domain) => format!("{ip}\t{name}.{domain}\t{name}\n"),
                None => format!("{ip}\t{name}\n"),
            };
            HEADER.to_owned() + &ips.iter().map(line).collect::<String>()
        }
    };
    let aliases = pod.spec.as_ref().and_then(|s| s.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        aliases.iter().for_each(|alias| text.push_str(&alias_line(alias)));
    }
    text
}

fn alias_line(alias: &HostAlias) -> String {
    let names: Vec<&str> = alias.hostnames.iter().flatten().map(String::as_str).collect();
    format!("{}\t{}\n", alias.ip, names.join("\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let metadata = serde_json::json!({"name": "web-0", "namespace": "n"});
        serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_subdomain_makes_a_full_name_and_an_override_has_none() {
        let none = pod(serde_json::json!({"containers": []}));
        assert_eq!(names(&none, "c.local"), ("web-0".to_owned(), None));
        let full = pod(serde_json::json!({"containers": [], "hostname": "h", "subdomain": "s",
            "setHostnameAsFQDN": true}));
        assert_eq!(hostname(&full, "c.local").unwrap(), "h.s.n.svc.c.local");
        assert!(
            file(&full, &["10.0.0.9".to_owned()], "c.local", None)
                .ends_with("10.0.0.9\th.s.n.svc.c.local\th\n")
        );
        let own = pod(serde_json::json!({"containers": [], "hostname": "h", "subdomain": "s",
            "hostnameOverride": "other.name"}));
        assert_eq!(names(&own, "c.local"), ("other.name".to_owned(), None));
    }

    #[test]
    fn a_long_name_is_cut_and_a_long_full_name_is_an_error() {
        let mut long = pod(serde_json::json!({"containers": [], "subdomain": "s",
            "setHostnameAsFQDN": true}));
        long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(9)));
        assert_eq!(names(&long, "c.local").0, "a".repeat(62));
        let error = hostname(&long, "c.local").unwrap_err().to_string();
        assert!(error.contains("is too long (64 characters is the max, 78"), "{error}");
    }

    #[test]
    fn aliases_come_after_the_pods_own_or_the_machines_names() {
        let pod = pod(serde_json::json!({"containers": [], "hostAliases": [
            {"ip": "10.1.2.3", "hostnames": ["foo.local", "bar"]}]}));
        let alias = "\n# Entries added by HostAliases.\n10.1.2.3\tfoo.local\tbar\n";
        let own = file(&pod, &["10.0.0.9".to_owned()], "c.local", None);
        assert_eq!(own, format!("{HEADER}10.0.0.9\tweb-0\n{alias}"));
        let machines = file(&pod, &[], "c.local", Some("127.0.0.1\tlocalhost\n"));
        assert_eq!(machines, format!("{HEADER_OF_MACHINE}127.0.0.1\tlocalhost\n{alias}"));
    }
}
