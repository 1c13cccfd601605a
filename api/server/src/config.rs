//! The command line as kube-apiserver names it, and the checked configuration made of it.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::admission::Plugins;
use crate::audit::{AuditConfig, AuditFlags};
use crate::authn::{FrontProxyConfig, FrontProxyFlags};
use crate::authz::Mode;
use crate::cluster_ip::ServiceRange;
use crate::connection::Patience;
use crate::encryption::EncryptionConfig;
use crate::kubernetes_service::EndpointTimes;

/// Flags of the API server, with the names and meaning of kube-apiserver.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Store members to connect to (scheme://ip:port), comma separated.
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// CA that signed the store's serving certificates.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for the store.
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for the store.
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// Prefix of all keys in the store.
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// Port that HTTPS is served on; 0 takes a free one.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Address that the cluster reaches this server at (endpoint of Service `kubernetes`).
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// CA of client certificates: CN is the user, O the groups.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Serving certificate chain, PEM.
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate, PEM.
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    /// CSV file of bearer tokens: token,user,uid,"group1,group2".
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Client certificate for node agents.
    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Key of the client certificate for node agents.
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    /// CA that signed the node agents' serving certificates.
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Addresses for Services; the first belongs to Service `kubernetes`.
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: String,
    /// Ports for Services of type NodePort.
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: String,
    /// Who decides what is allowed, in this order: Node, RBAC, AlwaysAllow, AlwaysDeny.
    #[arg(long, value_delimiter = ',', default_value = "AlwaysAllow")]
    pub authorization_mode: Vec<String>,
    /// Plugins of admission besides those that are always on: `NodeRestriction`.
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Plugins of admission that are not to be on; those that are always on are refused.
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// Requests that only read and may run at once; 0 is no limit.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Requests that write and may run at once; 0 is no limit.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// Issuer of service account tokens; given several times, the first one issues.
    #[arg(long)]
    pub service_account_issuer: Vec<String>,
    /// Keys that verify service account tokens, PEM; without it, the signing key.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// Key that signs service account tokens, PEM: RSA, or ECDSA on P-256 or P-384.
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Audiences of this server; without it, the issuer.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Requests without credentials are user system:anonymous instead of being refused.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub anonymous_auth: bool,
    /// Secrets of type bootstrap.kubernetes.io/token in kube-system are tokens of machines that join.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub enable_bootstrap_token_auth: bool,
    /// File that says which resources are sealed in the store, and with what.
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether that file is put in force again when it changes.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub encryption_provider_config_automatic_reload: bool,
    /// Authenticating proxies.
    #[command(flatten)]
    pub front_proxy: FrontProxyFlags,
    /// The audit log.
    #[command(flatten)]
    pub audit: AuditFlags,
    /// A serving certificate from who starts the server; the flags have the last word.
    #[arg(skip)]
    pub serving: Option<Identity>,
}

/// Why the command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag is missing.
    #[error("--{0} must be given")]
    Missing(&'static str),
    /// A flag has a value that cannot be.
    #[error("--{flag}: {why}")]
    Invalid {
        /// The flag without its dashes.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file that a flag names cannot be read.
    #[error("--{flag}: cannot read {path}: {source}")]
    File {
        /// The flag without its dashes.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate chain.
    pub certificate: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
}

/// What the store is reached with.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Members, each `scheme://host:port`.
    pub endpoints: Vec<String>,
    /// CA of the members' certificates, PEM.
    pub ca: Option<Vec<u8>>,
    /// Our client certificate.
    pub identity: Option<Identity>,
    /// Prefix of all keys, with a leading and no trailing slash.
    pub prefix: String,
    /// What of it is sealed.
    pub encryption: Option<EncryptionConfig>,
}

/// What node agents are reached with.
#[derive(Debug, Clone, Default)]
pub struct KubeletConfig {
    /// Our client certificate.
    pub identity: Option<Identity>,
    /// CA of the agents' serving certificates, PEM; without it they are not verified (as upstream).
    pub ca: Option<Vec<u8>>,
}

/// What service account tokens are signed and checked with.
#[derive(Debug, Clone, Default)]
pub struct ServiceAccountConfig {
    /// Who issues tokens: the first one here, the others are believed.
    pub issuers: Vec<String>,
    /// Keys that tokens are checked with, PEM; empty for the signing key.
    pub keys: Vec<Vec<u8>>,
    /// Key that tokens are signed with, PEM; without it none are given out.
    pub signing_key: Option<Vec<u8>>,
    /// Who this server is, for tokens; empty for the first issuer.
    pub audiences: Vec<String>,
}

/// A user of the token file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUser {
    /// User name.
    pub name: String,
    /// User id, may be empty.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// Checked configuration: what [`crate::run`] takes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store.
    pub store: StoreConfig,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Address written into the endpoints of Service `kubernetes`.
    pub advertise: IpAddr,
    /// How the servers of a cluster know of each other.
    pub endpoint_times: EndpointTimes,
    /// How long clients may take.
    pub patience: Patience,
    /// Serving certificate.
    pub serving: Identity,
    /// CA of client certificates, PEM.
    pub client_ca: Option<Vec<u8>>,
    /// Proxies that say in headers who asks.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Service account tokens.
    pub service_accounts: ServiceAccountConfig,
    /// Bearer tokens.
    pub tokens: HashMap<String, TokenUser>,
    /// Node agents.
    pub kubelet: KubeletConfig,
    /// Service addresses.
    pub service_range: ServiceRange,
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// Who may do what: the first that allows a request decides.
    pub authorization: Vec<Mode>,
    /// Which plugins of admission run.
    pub admission: Plugins,
    /// Reading requests at once; 0 is no limit.
    pub readonly_inflight_max: usize,
    /// Writing requests at once; 0 is no limit.
    pub mutating_inflight_max: usize,
    /// Whether requests without credentials are let in as system:anonymous.
    pub anonymous: bool,
    /// Whether bootstrap tokens are accepted.
    pub bootstrap_tokens: bool,
    /// The audit log, if there is one.
    pub audit: Option<AuditConfig>,
}

impl Flags {
    /// Checks every flag and reads every file it names.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        if self.etcd_servers.iter().all(|server| server.trim().is_empty()) {
            return Err(ConfigError::Missing("etcd-servers"));
        }
        let serving = identity(
            ("tls-cert-file", self.tls_cert_file.as_deref()),
            ("tls-private-key-file", self.tls_private_key_file.as_deref()),
        )?
        .or(self.serving)
        .ok_or(ConfigError::Missing("tls-cert-file"))?;
        let store = StoreConfig {
            endpoints: self.etcd_servers.iter().map(|server| server.trim().to_owned()).collect(),
            ca: optional("etcd-cafile", self.etcd_cafile.as_deref())?,
            identity: identity(
                ("etcd-certfile", self.etcd_certfile.as_deref()),
                ("etcd-keyfile", self.etcd_keyfile.as_deref()),
            )?,
            prefix: format!("/{}", self.etcd_prefix.trim_matches('/')),
            encryption: encryption(
                self.encryption_provider_config,
                self.encryption_provider_config_automatic_reload,
            )?,
        };
        let kubelet = KubeletConfig {
            identity: identity(
                ("kubelet-client-certificate", self.kubelet_client_certificate.as_deref()),
                ("kubelet-client-key", self.kubelet_client_key.as_deref()),
            )?,
            ca: optional(
                "kubelet-certificate-authority",
                self.kubelet_certificate_authority.as_deref(),
            )?,
        };
        let key_flag = "service-account-key-file";
        let keys = self.service_account_key_file.iter().map(|path| read(key_flag, path));
        let service_accounts = ServiceAccountConfig {
            issuers: self.service_account_issuer,
            keys: keys.collect::<Result<_, _>>()?,
            signing_key: optional(
                "service-account-signing-key-file",
                self.service_account_signing_key_file.as_deref(),
            )?,
            audiences: self.api_audiences,
        };
        let tokens = match self.token_auth_file.as_deref() {
            Some(path) => parse_tokens(&read("token-auth-file", path)?)?,
            None => HashMap::new(),
        };
        let advertise = match (self.advertise_address, self.bind_address) {
            (Some(address), _) => address,
            (None, bind) if !bind.is_unspecified() => bind,
            (None, _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let client_ca = optional("client-ca-file", self.client_ca_file.as_deref())?;
        let front_proxy = self.front_proxy.into_config(client_ca.as_deref())?;
        Ok(Config {
            store,
            listen: SocketAddr::new(self.bind_address, self.secure_port),
            advertise,
            endpoint_times: EndpointTimes::default(),
            patience: Patience::default(),
            serving,
            client_ca,
            front_proxy,
            tokens,
            service_accounts,
            kubelet,
            service_range: ServiceRange::parse(&self.service_cluster_ip_range)
                .map_err(|why| invalid("service-cluster-ip-range", why))?,
            node_ports: parse_ports(&self.service_node_port_range)?,
            authorization: parse_modes(&self.authorization_mode)?,
            admission: Plugins::parse(
                &self.enable_admission_plugins,
                &self.disable_admission_plugins,
            )
            .map_err(|(flag, why)| invalid(flag, why))?,
            readonly_inflight_max: self.max_requests_inflight,
            mutating_inflight_max: self.max_mutating_requests_inflight,
            anonymous: self.anonymous_auth,
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            audit: self.audit.into_config()?,
        })
    }
}

fn invalid(flag: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { flag, why: why.into() }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::File { flag, path: path.to_owned(), source })
}

fn optional(flag: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, ConfigError> {
    path.map(|path| read(flag, path)).transpose()
}

fn identity(
    certificate: (&'static str, Option<&Path>),
    key: (&'static str, Option<&Path>),
) -> Result<Option<Identity>, ConfigError> {
    match (certificate.1, key.1) {
        (None, None) => Ok(None),
        (Some(certificate_path), Some(key_path)) => Ok(Some(Identity {
            certificate: read(certificate.0, certificate_path)?,
            key: read(key.0, key_path)?,
        })),
        (Some(_), None) => Err(ConfigError::Missing(key.0)),
        (None, Some(_)) => Err(ConfigError::Missing(certificate.0)),
    }
}

fn encryption(
    file: Option<PathBuf>,
    reload: bool,
) -> Result<Option<EncryptionConfig>, ConfigError> {
    match file {
        Some(path) => EncryptionConfig::load(path, reload)
            .map(Some)
            .map_err(|why| invalid("encryption-provider-config", why)),
        None if reload => Err(ConfigError::Missing("encryption-provider-config")),
        None => Ok(None),
    }
}

fn parse_ports(text: &str) -> Result<(u16, u16), ConfigError> {
    let ports = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, last)| *first > 0 && first <= last);
    ports.ok_or_else(|| invalid("service-node-port-range", format!("{text:?} is not FIRST-LAST")))
}

fn parse_modes(modes: &[String]) -> Result<Vec<Mode>, ConfigError> {
    let flag = "authorization-mode";
    let mut read = Vec::new();
    for mode in modes {
        let one = match mode.as_str() {
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "ABAC" | "Webhook" => {
                return Err(invalid(flag, format!("{mode} is not implemented")));
            }
            other => return Err(invalid(flag, format!("{other:?} is not a valid mode"))),
        };
        if read.contains(&one) {
            return Err(invalid(flag, format!("{mode:?} is named more than once")));
        }
        read.push(one);
    }
    if read.is_empty() {
        return Err(invalid(flag, "at least one mode must be named"));
    }
    Ok(read)
}

/// Lines of `token,user,uid,"group1,group2"`; the groups may be missing.
fn parse_tokens(text: &[u8]) -> Result<HashMap<String, TokenUser>, ConfigError> {
    let text = std::str::from_utf8(text)
        .map_err(|_| invalid("token-auth-file", "the file is not UTF-8"))?;
    let mut tokens = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields = csv_fields(line);
        let [token, name, uid, rest @ ..] = fields.as_slice() else {
            let why = format!("line {} has fewer than three columns", index + 1);
            return Err(invalid("token-auth-file", why));
        };
        if token.is_empty() {
            return Err(invalid("token-auth-file", format!("line {} has no token", index + 1)));
        }
        let groups = rest.first().map(|groups| {
            groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned)
        });
        let user = TokenUser {
            name: name.clone(),
            uid: uid.clone(),
            groups: groups.into_iter().flatten().collect(),
        };
        tokens.insert(token.clone(), user);
    }
    Ok(tokens)
}

fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("there is always one field").push(other),
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_file_reads_quoted_groups() {
        let tokens =
            parse_tokens(b"abc,ann,7,\"system:masters, dev\"\n\n# x\ndef,bob,8\n").unwrap();
        assert_eq!(tokens["abc"].groups, ["system:masters", "dev"]);
        assert_eq!(tokens["def"].name, "bob");
        assert!(tokens["def"].groups.is_empty());
        assert!(parse_tokens(b"only,two").is_err());
    }

    #[test]
    fn modes_other_than_known_are_refused() {
        let modes =
            |text: &str| parse_modes(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(modes("Node,RBAC").unwrap(), [Mode::Node, Mode::Rbac]);
        assert_eq!(modes("AlwaysDeny").unwrap(), [Mode::AlwaysDeny]);
        for refused in ["ABAC", "Webhook", "RBAC,RBAC", "rbac", ""] {
            assert!(modes(refused).is_err(), "{refused}");
        }
    }
}
