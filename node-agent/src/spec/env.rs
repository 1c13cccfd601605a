//! `$(VAR)` expansion, and the environment of a container from its sources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

use super::SpecError;
use crate::quantity::milli;

/// Replaces `$(NAME)` by its value. `$$` is a literal `$`; an unknown name stays as it is written.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('(')
            && let Some(end) = inner.find(')')
        {
            let name = &inner[..end];
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = &inner[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The configMaps and secrets of one namespace that a pod refers to, fetched before they are used.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, ConfigMap>,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

impl Sources {
    /// The text under a key of a configMap. `None`: there is no such map; `Some(None)`: no such key.
    pub(crate) fn config_map(&self, name: &str, key: &str) -> Option<Option<String>> {
        let map = self.config_maps.get(name)?;
        // Binary data is for files: an environment has no room for it.
        Some(map.data.as_ref().and_then(|data| data.get(key)).cloned())
    }

    /// The text under a key of a secret, as [`Self::config_map`].
    pub(crate) fn secret(&self, name: &str, key: &str) -> Option<Option<String>> {
        let secret = self.secrets.get(name)?;
        let found = secret.data.as_ref().and_then(|data| data.get(key));
        Some(found.map(|value| String::from_utf8_lossy(&value.0).into_owned()))
    }
}

/// What the downward API can say about a pod beside the object itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) pod_ips: Vec<String>,
    pub(crate) node_ip: String,
    pub(crate) node_name: String,
    /// Thousandths of a core that the machine has.
    pub(crate) cpu_capacity: i64,
    /// Bytes of memory that the machine has.
    pub(crate) memory_capacity: i64,
    /// Bytes of disk that the machine has.
    pub(crate) disk_capacity: i64,
}

/// The environment in order; later values of the same name replace earlier ones in place.
///
/// # Errors
/// When a source that is not optional is missing.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    identity: &Identity,
    services: &[(String, String)],
) -> Result<Vec<(String, String)>, SpecError> {
    let mut env: Vec<(String, String)> = services.to_vec();
    let set = |env: &mut Vec<(String, String)>, name: String, value: String| match env
        .iter_mut()
        .find(|(known, _)| *known == name)
    {
        Some(entry) => entry.1 = value,
        None => env.push((name, value)),
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let mut pairs = Vec::new();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => {
                    pairs.extend(map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone())))
                }
                None if reference.optional == Some(true) => {}
                None => return Err(SpecError::missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => pairs.extend(
                    secret
                        .data
                        .iter()
                        .flatten()
                        .map(|(k, v)| (k.clone(), String::from_utf8_lossy(&v.0).into_owned())),
                ),
                None if reference.optional == Some(true) => {}
                None => return Err(SpecError::missing("secret", &reference.name)),
            }
        }
        for (key, value) in pairs {
            set(&mut env, format!("{prefix}{key}"), value);
        }
    }
    for var in container.env.iter().flatten() {
        let given = var.value.as_deref().unwrap_or_default();
        let value = match &var.value_from {
            Some(from) if given.is_empty() => {
                referred(pod, container, &var.name, from, sources, identity)?
            }
            Some(_) | None => {
                let lookup =
                    |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
                Some(expand(given, &lookup))
            }
        };
        if let Some(value) = value {
            set(&mut env, var.name.clone(), value);
        }
    }
    Ok(env)
}

/// The value that a variable refers to; `None` when it is optional and not there.
fn referred(
    pod: &Pod,
    container: &Container,
    name: &str,
    from: &EnvVarSource,
    sources: &Sources,
    identity: &Identity,
) -> Result<Option<String>, SpecError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    if let Some(field) = &from.field_ref {
        field_value(pod, &field.field_path, identity).map(Some)
    } else if let Some(resource) = &from.resource_field_ref {
        let divisor = resource.divisor.as_ref().map(|q| q.0.as_str());
        let named = resource.container_name.as_deref().filter(|name| !name.is_empty());
        let of = named.map_or(Some(container), |name| find(pod, name));
        let of = of.ok_or_else(|| {
            SpecError::Invalid(format!("container {} not found", named.unwrap_or_default()))
        })?;
        resource_value(of, &resource.resource, divisor, identity).map(Some)
    } else if let Some(key) = &from.config_map_key_ref {
        let found = sources.config_map(&key.name, &key.key);
        let names = [namespace, &*key.name, &*key.key];
        keyed(found, key.optional, ("configmap", "ConfigMap"), names)
    } else if let Some(key) = &from.secret_key_ref {
        let found = sources.secret(&key.name, &key.key);
        let names = [namespace, &*key.name, &*key.key];
        keyed(found, key.optional, ("secret", "Secret"), names)
    } else {
        Err(SpecError::Invalid(format!(
            "environment variable {name:?}: this source is not supported"
        )))
    }
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

fn keyed(
    found: Option<Option<String>>,
    optional: Option<bool>,
    (kind, title): (&str, &str),
    [namespace, name, key]: [&str; 3],
) -> Result<Option<String>, SpecError> {
    match found {
        Some(Some(value)) => Ok(Some(value)),
        Some(None) | None if optional == Some(true) => Ok(None),
        Some(None) => {
            let text = format!("couldn't find key {key} in {title} {namespace}/{name}");
            Err(SpecError::Config(text))
        }
        None => Err(SpecError::missing(kind, name)),
    }
}

/// A field of the pod, as the downward API names it.
///
/// # Errors
/// When the path is none that the downward API knows.
pub(crate) fn field_value(pod: &Pod, path: &str, identity: &Identity) -> Result<String, SpecError> {
    let meta = &pod.metadata;
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let one = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default()
    };
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        return match map {
            "metadata.labels" => Ok(one(&meta.labels, key)),
            "metadata.annotations" => Ok(one(&meta.annotations, key)),
            _ => Err(SpecError::Invalid(format!("fieldPath {path:?} does not support subscript"))),
        };
    }
    let spec = pod.spec.as_ref();
    Ok(match path {
        "metadata.name" => owned(meta.name.as_deref()),
        "metadata.namespace" => owned(meta.namespace.as_deref()),
        "metadata.uid" => owned(meta.uid.as_deref()),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => identity.node_name.clone(),
        "spec.serviceAccountName" => owned(spec.and_then(|s| s.service_account_name.as_deref())),
        "status.hostIP" | "status.hostIPs" => identity.node_ip.clone(),
        "status.podIP" => identity.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => identity.pod_ips.join(","),
        _ => return Err(SpecError::Invalid(format!("unsupported fieldPath: {path}"))),
    })
}

/// A map as lines `key="value"`, sorted, the way files of the downward API show it.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text in quotes, with the escapes that Go's `%q` uses: programs parse these files.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if letter < ' ' || letter == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            _ if letter.is_control() || (letter.is_whitespace() && letter != ' ') => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// A request or limit of a container, divided and rounded up. An absent limit is the machine's own.
///
/// # Errors
/// When the resource is none that can be asked for, or the divisor is no quantity.
pub(crate) fn resource_value(
    container: &Container,
    resource: &str,
    divisor: Option<&str>,
    identity: &Identity,
) -> Result<String, SpecError> {
    let refuse = || SpecError::Invalid(format!("unsupported container resource : {resource}"));
    let (kind, name) = resource.split_once('.').ok_or_else(refuse)?;
    let resources = container.resources.as_ref();
    let limit = resources.and_then(|r| r.limits.as_ref()?.get(name));
    let asked = match kind {
        "limits" => limit,
        // A limit without a request is the request too.
        "requests" => resources.and_then(|r| r.requests.as_ref()?.get(name)).or(limit),
        _ => return Err(refuse()),
    };
    let asked = asked.and_then(|amount| milli(&amount.0).ok()).filter(|amount| *amount > 0);
    let bytes = |value: i64| i128::from(value) * 1000;
    let machines = match name {
        "cpu" => i128::from(identity.cpu_capacity),
        "memory" => bytes(identity.memory_capacity),
        "ephemeral-storage" => bytes(identity.disk_capacity),
        _ if name.starts_with("hugepages-") => 0,
        _ => return Err(refuse()),
    };
    let amount = asked.unwrap_or(if kind == "limits" { machines } else { 0 });
    let divisor = milli(divisor.unwrap_or("1")).map_err(|e| SpecError::Invalid(e.to_string()))?;
    let divisor = if divisor <= 0 { 1000 } else { divisor };
    Ok(((amount + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_upstreams_table() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            "R" => Some("$(A)".to_owned()),
            _ => None,
        };
        let table = [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("$(A)$(A)x", "11x"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(NOPE)", "$(NOPE)"),
            ("$(E)", ""),
            ("$(R)", "$(A)"),
            ("$", "$"),
            ("a$b", "a$b"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ];
        for (text, want) in table {
            assert_eq!(expand(text, &lookup), want, "{text}");
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x y"}},
            "spec": {"containers": [{
                "name": "c",
                "resources": {"limits": {"memory": "64Mi", "cpu": "200m"}},
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
                "env": [
                    {"name": "A", "value": "hello"},
                    {"name": "GREET", "value": "$(A)-world $(LATER)"},
                    {"name": "LATER", "value": "no"},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "LIM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef":
                        {"resource": "limits.cpu", "divisor": "1m"}}},
                    {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                    {"name": "OPT", "valueFrom": {"secretKeyRef":
                        {"name": "s", "key": "k", "optional": true}}}
                ]}]}
        }))
        .unwrap()
    }

    #[test]
    fn values_come_from_everywhere_and_only_earlier_names_expand() {
        let pod = pod();
        let mut sources = Sources::default();
        let map = serde_json::from_value(serde_json::json!({"data": {"k": "v"}})).unwrap();
        sources.config_maps.insert("m".to_owned(), map);
        let identity = Identity { pod_ips: vec!["10.0.0.9".to_owned()], ..Default::default() };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let env = environment(&pod, container, &sources, &identity, &[]).unwrap();
        let want = [
            ("P_k", "v"),
            ("A", "hello"),
            ("GREET", "hello-world $(LATER)"),
            ("LATER", "no"),
            ("IP", "10.0.0.9"),
            ("LIM", "67108864"),
            ("CPU", "200"),
            ("KEY", "v"),
        ];
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, want);
    }

    #[test]
    fn a_missing_source_is_an_error_that_names_it() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let error = environment(&pod, container, &Sources::default(), &Identity::default(), &[])
            .unwrap_err();
        assert_eq!(error.to_string(), "configmap \"m\" not found");
        let mut sources = Sources::default();
        sources.config_maps.insert("m".to_owned(), ConfigMap::default());
        let error = environment(&pod, container, &sources, &Identity::default(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "couldn't find key k in ConfigMap n/m");
    }

    #[test]
    fn fields_and_resources_are_written_as_upstream_writes_them() {
        let mut pod = pod();
        let identity = Identity {
            cpu_capacity: 2000,
            memory_capacity: 8 << 30,
            disk_capacity: 5 << 30,
            ..Default::default()
        };
        let labels = field_value(&pod, "metadata.labels", &identity).unwrap();
        assert_eq!(labels, "a=\"x y\"\nb=\"2\"");
        let note = "q\" b\\ n\n t\t nul\0 é \u{a0}".to_owned();
        pod.metadata.annotations = Some([("k".to_owned(), note.clone())].into());
        let annotations = field_value(&pod, "metadata.annotations", &identity).unwrap();
        assert_eq!(annotations, r#"k="q\" b\\ n\n t\t nul\x00 é \u00a0""#);
        assert_eq!(field_value(&pod, "metadata.annotations['k']", &identity), Ok(note));
        assert!(field_value(&pod, "spec.containers", &identity).is_err());

        let container = &pod.spec.as_ref().unwrap().containers[0];
        let of = |resource: &str, divisor: &str| {
            resource_value(container, resource, Some(divisor), &identity).unwrap()
        };
        assert_eq!(of("limits.memory", "1Mi"), "64");
        assert_eq!(of("requests.memory", "1Mi"), "64");
        assert_eq!(of("requests.ephemeral-storage", "1Mi"), "0");
        assert_eq!(of("limits.cpu", "1"), "1", "rounded up");
        assert_eq!(of("limits.ephemeral-storage", "1Gi"), "5", "the machine's");
        assert_eq!(of("limits.hugepages-2Mi", "1Mi"), "0");
        assert!(resource_value(container, "limits.pods", None, &identity).is_err());
    }

    #[test]
    fn services_come_first_and_a_containers_own_values_win() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [{
            "name": "c", "env": [
                {"name": "URL", "value": "http://$(API_SERVICE_HOST)"},
                {"name": "API_SERVICE_PORT", "value": "1"}]}]}}))
        .unwrap();
        let services = [("API_SERVICE_HOST", "10.0.0.1"), ("API_SERVICE_PORT", "443")];
        let services = services.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let env =
            environment(&pod, container, &Sources::default(), &Identity::default(), &services);
        let want = [
            ("API_SERVICE_HOST", "10.0.0.1"),
            ("API_SERVICE_PORT", "1"),
            ("URL", "http://10.0.0.1"),
        ];
        assert_eq!(env.unwrap(), want.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
