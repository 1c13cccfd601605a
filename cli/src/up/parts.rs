//! The command line of every part: upstream's own flags, so that a twin could stand in for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::certificates::SERVICE_ADDRESS;
use super::layout::{self, Host, Layout};
use super::pki::Pair;
use super::probe::{Identity, Probe};
use super::process::{Kind, Spec};
use super::runtime::Runtime;

/// The addresses that services get.
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// What is needed to write down any part.
pub(crate) struct Writer<'a> {
    pub(crate) layout: &'a Layout,
    /// This binary.
    pub(crate) program: &'a Path,
    /// Tells this cluster's members from any other's.
    pub(crate) token: &'a str,
    pub(crate) runtime: Runtime,
    /// Bytes that each member of the store may take of the disk that they share.
    pub(crate) quota_bytes: u64,
    /// Health checks of the store, and of everything else.
    pub(crate) store_identity: Identity,
    pub(crate) api_identity: Identity,
}

/// Collects `--name value` pairs.
struct Flags(Vec<OsString>);

impl Flags {
    fn of(part: &str) -> Self {
        Self(vec![part.into()])
    }

    fn set(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        self.0.push(flag);
        self
    }

    fn pair(&mut self, certificate: &str, key: &str, pair: &Pair) -> &mut Self {
        self.set(certificate, &pair.certificate).set(key, &pair.key)
    }
}

impl Writer<'_> {
    fn spec(&self, host: &Host, kind: Kind, port: u16, flags: Flags, path: &'static str) -> Spec {
        let store = matches!(kind, Kind::Store);
        let identity = if store { &self.store_identity } else { &self.api_identity };
        Spec {
            host: host.name.clone(),
            kind,
            address: format!("https://{}:{port}", host.address),
            program: self.program.to_owned(),
            arguments: flags.0,
            log: self.log(host, kind),
            probe: Some(Probe {
                address: host.address.clone(),
                port,
                path,
                identity: Some(identity.clone()),
            }),
        }
    }

    fn log(&self, host: &Host, kind: Kind) -> PathBuf {
        self.layout.logs().join(format!("{}-{}.log", host.name, kind.name()))
    }

    pub(crate) fn store(&self, host: &Host) -> Spec {
        let layout = self.layout;
        let (client, peer) = (layout.store_client_url(host), layout.store_peer_url(host));
        let members: Vec<String> = layout
            .hosts()
            .iter()
            .map(|host| format!("{}={}", host.name, layout.store_peer_url(host)))
            .collect();
        let mut flags = Flags::of("store");
        flags
            .set("name", &host.name)
            .set("data-dir", layout.store_data(host))
            .set("listen-client-urls", &client)
            .set("advertise-client-urls", &client)
            .set("listen-peer-urls", &peer)
            .set("initial-advertise-peer-urls", &peer)
            .set("initial-cluster", members.join(","))
            .set("initial-cluster-state", "new")
            .set("initial-cluster-token", self.token)
            .set("quota-backend-bytes", self.quota_bytes.to_string())
            .set("log-format", "console")
            // Members of one machine hear each other at once: a lost leader is noticed quickly.
            .set("heartbeat-interval", "100")
            .set("election-timeout", "500")
            .pair("cert-file", "key-file", &layout.pair(host, "etcd/server"))
            .set("trusted-ca-file", &layout.store_ca().certificate)
            .set("client-cert-auth", "true")
            .pair("peer-cert-file", "peer-key-file", &layout.pair(host, "etcd/peer"))
            .set("peer-trusted-ca-file", &layout.store_ca().certificate)
            .set("peer-client-cert-auth", "true");
        self.spec(host, Kind::Store, layout.shape.store_client_port, flags, "/health")
    }

    pub(crate) fn apiserver(&self, host: &Host) -> Spec {
        let layout = self.layout;
        // The own host's member first; the others for when that one is gone.
        let mut hosts = layout.hosts();
        hosts.sort_by_key(|other| other.name != host.name);
        let members: Vec<String> = hosts.iter().map(|host| layout.store_client_url(host)).collect();
        let ca = layout.ca().certificate;
        let kubelet_client = layout.pair(host, "apiserver-kubelet-client");
        let mut flags = Flags::of("apiserver");
        flags
            .set("bind-address", &host.address)
            .set("advertise-address", &host.address)
            .set("secure-port", layout.shape.api_port.to_string())
            .set("etcd-servers", members.join(","))
            .set("etcd-cafile", &layout.store_ca().certificate)
            .pair("etcd-certfile", "etcd-keyfile", &layout.pair(host, "apiserver-etcd-client"))
            .set("client-ca-file", &ca)
            .set("authorization-mode", "Node,RBAC")
            .set("enable-admission-plugins", "NodeRestriction")
            .pair("tls-cert-file", "tls-private-key-file", &layout.pair(host, "apiserver"))
            .pair("kubelet-client-certificate", "kubelet-client-key", &kubelet_client)
            .set("kubelet-certificate-authority", &ca)
            .set("service-account-key-file", layout.token_public_key())
            .set("service-account-signing-key-file", layout.token_key())
            .set("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
            .set("service-cluster-ip-range", SERVICE_RANGE);
        debug_assert!(SERVICE_RANGE.starts_with("10.96.") && SERVICE_ADDRESS.starts_with("10.96."));
        self.spec(host, Kind::ApiServer, layout.shape.api_port, flags, "/readyz")
    }

    pub(crate) fn controller_manager(&self, host: &Host) -> Spec {
        let mut flags = self.manager(host, Kind::ControllerManager);
        flags
            .set("root-ca-file", &self.layout.ca().certificate)
            .set("use-service-account-credentials", "true");
        self.spec(host, Kind::ControllerManager, layout::CONTROLLER_MANAGER_PORT, flags, "/healthz")
    }

    pub(crate) fn scheduler(&self, host: &Host) -> Spec {
        let flags = self.manager(host, Kind::Scheduler);
        self.spec(host, Kind::Scheduler, layout::SCHEDULER_PORT, flags, "/healthz")
    }

    pub(crate) fn node(&self, node: &Host) -> Spec {
        let mut flags = Flags::of("node");
        for (name, value) in super::nodes::agent_flags(self.layout, node, self.runtime) {
            flags.set(&name, value);
        }
        self.spec(node, Kind::Node, layout::KUBELET_PORT, flags, "/healthz")
    }

    /// What the two have in common. Leases are short: on one machine a lost leader should be
    /// followed within seconds, and renewing costs little.
    fn manager(&self, host: &Host, kind: Kind) -> Flags {
        let port = match kind {
            Kind::ControllerManager => layout::CONTROLLER_MANAGER_PORT,
            _ => layout::SCHEDULER_PORT,
        };
        let mut flags = Flags::of(kind.name());
        flags
            .set("kubeconfig", self.layout.kubeconfig_of(host, kind.name()))
            .set("bind-address", &host.address)
            .set("secure-port", port.to_string())
            .pair("tls-cert-file", "tls-private-key-file", &self.layout.pair(host, kind.name()))
            .set("leader-elect", "true")
            .set("leader-elect-lease-duration", "6s")
            .set("leader-elect-renew-deadline", "4s")
            .set("leader-elect-retry-period", "2s");
        flags
    }
}
