//! Who gets which certificate and kubeconfig: kubeadm's list, per host.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::kubeconfig;
use super::layout::{Host, Layout};
use super::pki::{Authority, Leaf, Usage, ensure_token_keys};

/// Kubernetes' own name for "may do everything": for people, not for parts.
const MASTERS: &str = "system:masters";
/// Those whose rights the authorizer for nodes and `NodeRestriction` measure out.
const NODES: &str = "system:nodes";

/// Makes what is missing, renews what is old, and writes all kubeconfigs anew. Answers how many
/// certificates were made.
pub(crate) fn ensure(layout: &Layout, may_create_roots: bool) -> anyhow::Result<usize> {
    for folder in [layout.pki(), layout.pki().join("etcd"), layout.logs()] {
        private(&folder)?;
    }
    let api = Authority::ensure(&layout.ca(), "kubernetes", may_create_roots)?;
    let store = Authority::ensure(&layout.store_ca(), "etcd-ca", may_create_roots)?;
    ensure_token_keys(&layout.token_key(), &layout.token_public_key(), may_create_roots)?;

    let mut made = 0;
    let admin = client("kubernetes-admin", vec![MASTERS]);
    made += usize::from(api.ensure_leaf(&layout.admin(), &admin)?);
    let checker = client("kube-etcd-healthcheck-client", vec![]);
    made += usize::from(store.ensure_leaf(&layout.store_admin(), &checker)?);
    kubeconfig::write(
        &layout.kubeconfig(),
        &layout.api_url(),
        "kubernetes-admin",
        &api.certificate,
        &layout.admin(),
    )?;
    for host in layout.hosts() {
        made += ensure_host(layout, &host, &api, &store)?;
    }
    for node in layout.nodes() {
        made += ensure_node(layout, &node, &api)?;
    }
    Ok(made)
}

fn ensure_host(
    layout: &Layout,
    host: &Host,
    api: &Authority,
    store: &Authority,
) -> anyhow::Result<usize> {
    private(&layout.home(host).join("pki").join("etcd"))?;
    let own = [host.name.as_str(), host.address.as_str(), "localhost", "127.0.0.1"];
    let api_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        SERVICE_ADDRESS,
    ];
    // The agents ask the API what this one may: everything, as in upstream's installations.
    let kubelet_client = client("kube-apiserver-kubelet-client", vec![MASTERS]);
    let etcd_client = client("kube-apiserver-etcd-client", vec![]);
    let leaves = [
        (store, "etcd/server", leaf(&host.name, &own, Usage::Both)),
        (store, "etcd/peer", leaf(&host.name, &own, Usage::Both)),
        (store, "apiserver-etcd-client", etcd_client),
        (api, "apiserver", leaf("kube-apiserver", &[&own[..], &api_names].concat(), Usage::Server)),
        (api, "apiserver-kubelet-client", kubelet_client),
        (api, "controller-manager", leaf("kube-controller-manager", &own, Usage::Server)),
        (api, "scheduler", leaf("kube-scheduler", &own, Usage::Server)),
    ];
    let mut made = 0;
    for (authority, stem, leaf) in leaves {
        made += usize::from(authority.ensure_leaf(&layout.pair(host, stem), &leaf)?);
    }
    // These two talk to their own host's API server: a host that is whole works by itself. Their
    // names are what upstream's policy binds their roles to.
    let server = format!("https://{}:{}", host.address, layout.shape.api_port);
    for who in ["controller-manager", "scheduler"] {
        let user = format!("system:kube-{who}");
        let pair = layout.pair(host, &format!("{who}-client"));
        made += usize::from(api.ensure_leaf(&pair, &client(&user, vec![]))?);
        let path = layout.kubeconfig_of(host, who);
        kubeconfig::write(&path, &server, &user, &api.certificate, &pair)?;
    }
    Ok(made)
}

fn ensure_node(layout: &Layout, node: &Host, api: &Authority) -> anyhow::Result<usize> {
    private(&layout.home(node).join("pki"))?;
    private(&layout.manifests(node))?;
    let user = format!("system:node:{}", node.name);
    let own = [node.name.as_str(), node.address.as_str(), "localhost", "127.0.0.1"];
    let serving = layout.pair(node, "kubelet");
    let talking = layout.pair(node, "kubelet-client");
    let mut made = usize::from(api.ensure_leaf(&serving, &leaf(&user, &own, Usage::Server))?);
    made += usize::from(api.ensure_leaf(&talking, &client(&user, vec![NODES]))?);
    let path = layout.kubeconfig_of(node, "kubelet");
    kubeconfig::write(&path, &layout.api_url(), &user, &api.certificate, &talking)?;
    Ok(made)
}

/// The first address of the services' range: the API as seen from inside pods.
pub(crate) const SERVICE_ADDRESS: &str = "10.96.0.1";

fn client(name: &str, organizations: Vec<&'static str>) -> Leaf {
    Leaf { common_name: name.to_owned(), organizations, names: vec![], usage: Usage::Client }
}

fn leaf(name: &str, names: &[&str], usage: Usage) -> Leaf {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Leaf { common_name: name.to_owned(), organizations: vec![], names, usage }
}

fn private(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::layout::Shape;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    /// Whom a certificate speaks for: name and groups.
    fn speaks_for(certificate: &Path) -> (String, Vec<String>) {
        let text = fs::read(certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let subject = parsed.subject();
        let name = subject.iter_common_name().map(|name| name.as_str().unwrap()).collect();
        let groups = subject.iter_organization().map(|group| group.as_str().unwrap().to_owned());
        (name, groups.collect())
    }

    #[test]
    fn only_people_may_do_everything_and_api_servers_towards_agents() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape {
            members: 1,
            nodes: 1,
            host_prefix: "127.0.0.".to_owned(),
            api_port: 6443,
            store_client_port: 2379,
        };
        let layout = Layout { dir: dir.path().to_owned(), shape };
        ensure(&layout, true).unwrap();
        let mut found = Vec::new();
        files(dir.path(), &mut found);
        let node = &layout.nodes()[0];
        let talking = layout.pair(node, "kubelet-client");
        for path in found.iter().filter(|path| path.extension().is_some_and(|end| end == "crt")) {
            let (name, groups) = speaks_for(path);
            let wanted: &[&str] = match name.as_str() {
                "kubernetes-admin" | "kube-apiserver-kubelet-client" => &[MASTERS],
                _ if *path == talking.certificate => &[NODES],
                _ => &[],
            };
            assert_eq!(groups, wanted, "{name}");
        }
        // Folders of an earlier version have certificates that may do everything.
        let ca = Authority::ensure(&layout.ca(), "", false).unwrap();
        let name = format!("system:node:{}", node.name);
        fs::remove_file(&talking.key).unwrap();
        assert!(ca.ensure_leaf(&talking, &client(&name, vec![NODES, MASTERS])).unwrap());
        assert_eq!(ensure(&layout, false).unwrap(), 1, "P4");
        assert_eq!(ensure(&layout, false).unwrap(), 0);
    }

    #[test]
    fn everything_that_holds_a_key_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape {
            members: 3,
            nodes: 2,
            host_prefix: "127.0.0.".to_owned(),
            api_port: 6443,
            store_client_port: 2379,
        };
        let layout = Layout { dir: dir.path().to_owned(), shape };
        // Two for the admin, nine for a host, two for a node.
        assert_eq!(ensure(&layout, true).unwrap(), 2 + 3 * 9 + 2 * 2);
        assert_eq!(ensure(&layout, false).unwrap(), 0, "the second start makes nothing");

        let mut found = Vec::new();
        files(dir.path(), &mut found);
        let secret = |text: &str| text.contains("PRIVATE KEY") || text.contains("client-key-data");
        let secrets: Vec<_> = found
            .iter()
            .filter(|path| fs::read_to_string(path).is_ok_and(|text| secret(&text)))
            .collect();
        // Every leaf, three roots; kubeconfigs: admin, two per host, one per node.
        assert_eq!(secrets.len(), 33 + 3 + 1 + 3 * 2 + 2);
        for path in secrets {
            let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}
