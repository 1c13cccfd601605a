//! The command line: etcd's own flags, their defaults and their environment variables.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::builder::BoolishValueParser;

use crate::config::{AutoCompaction, Config, ConfigError, InitialState, ListenUrl, TlsFiles};

/// The flags of a store member: etcd's names, meanings and defaults.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Human-readable name of this member.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Data directory [default: ${name}.etcd].
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// URLs to serve clients on, separated by commas.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", default_value = "http://localhost:2379")]
    pub listen_client_urls: String,
    /// This member's client URLs to tell the rest of the cluster.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", default_value = "http://localhost:2379")]
    pub advertise_client_urls: String,
    /// URLs to serve peers on, separated by commas.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", default_value = "http://localhost:2380")]
    pub listen_peer_urls: String,
    /// This member's peer URLs to tell the rest of the cluster.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// The members at the start, as `name=url,...` [default: this member alone].
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    pub initial_cluster: Option<String>,
    /// `new`, or `existing` for a member that was added to a running cluster.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub initial_cluster_state: String,
    /// Tells clusters with equal URLs apart.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Certificate for clients.
    #[arg(long, env = "ETCD_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
    /// Key of the certificate for clients.
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Demands certificates of clients.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", default_value = "false",
          default_missing_value = "true", num_args = 0..=1, require_equals = true,
          value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub client_cert_auth: bool,
    /// Authorities that sign client certificates.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificate for peers, both as server and as client.
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    pub peer_cert_file: Option<PathBuf>,
    /// Key of the certificate for peers.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    pub peer_key_file: Option<PathBuf>,
    /// Demands certificates of peers.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", default_value = "false",
          default_missing_value = "true", num_args = 0..=1, require_equals = true,
          value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub peer_client_cert_auth: bool,
    /// Authorities that sign peer certificates.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Milliseconds between heartbeats.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat before an election.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub election_timeout: u64,
    /// Log entries between two flushes of the state [default: 100000].
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT")]
    pub snapshot_count: Option<u64>,
    /// Bytes of the largest client request.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: usize,
    /// Operations in one transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    pub max_txn_ops: usize,
    /// Bytes that the store may take: 0 means 2 GiB, a negative number means no limit.
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0, allow_hyphen_values = true)]
    pub quota_backend_bytes: i64,
    /// `periodic` or `revision`.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    pub auto_compaction_mode: String,
    /// History to keep: hours or a duration such as 5m, or a number of revisions; 0 is off.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,
    /// Time between progress notifications of an idle watch.
    #[arg(long, env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", default_value = "10m", aliases =
          ["experimental-watch-progress-notify-interval"])]
    pub watch_progress_notify_interval: String,
    /// debug, info, warn or error; read by the program's start.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

fn error(flag: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { flag, problem: problem.into() }
}

impl Flags {
    /// Checks every flag.
    ///
    /// # Errors
    /// Names the first flag that cannot be used, and why.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        if self.name.is_empty() {
            return Err(error("name", "must not be empty"));
        }
        let advertise_peer_urls =
            urls("initial-advertise-peer-urls", &self.initial_advertise_peer_urls)?;
        let default_cluster = || {
            let pair = |url: &String| format!("{}={url}", self.name);
            advertise_peer_urls.iter().map(pair).collect::<Vec<_>>().join(",")
        };
        let initial_cluster =
            cluster(&self.initial_cluster.clone().unwrap_or_else(default_cluster))?;
        let initial_state = match self.initial_cluster_state.as_str() {
            "new" => InitialState::New,
            "existing" => InitialState::Existing,
            other => {
                let problem = format!("{other:?} is neither \"new\" nor \"existing\"");
                return Err(error("initial-cluster-state", problem));
            }
        };
        self.check_cluster(&initial_cluster, &advertise_peer_urls)?;
        self.check_times()?;
        let client_tls = TlsFiles {
            cert: self.cert_file.clone(),
            key: self.key_file.clone(),
            ca: self.trusted_ca_file.clone(),
            require_client_cert: self.client_cert_auth,
        };
        let peer_tls = TlsFiles {
            cert: self.peer_cert_file.clone(),
            key: self.peer_key_file.clone(),
            ca: self.peer_trusted_ca_file.clone(),
            require_client_cert: self.peer_client_cert_auth,
        };
        let listen_client = listen("listen-client-urls", &self.listen_client_urls)?;
        let listen_peer = listen("listen-peer-urls", &self.listen_peer_urls)?;
        check_tls("cert-file", &client_tls, &listen_client)?;
        check_tls("peer-cert-file", &peer_tls, &listen_peer)?;
        Ok(Config {
            data_dir: self
                .data_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("{}.etcd", self.name))),
            listen_client,
            listen_peer,
            advertise_client_urls: urls("advertise-client-urls", &self.advertise_client_urls)?,
            advertise_peer_urls,
            initial_cluster,
            initial_state,
            initial_token: self.initial_cluster_token.clone(),
            client_tls,
            peer_tls,
            heartbeat: Duration::from_millis(self.heartbeat_interval),
            election: Duration::from_millis(self.election_timeout),
            snapshot_count: self.snapshot_count.unwrap_or(100_000).max(1),
            max_request_bytes: self.max_request_bytes,
            max_txn_ops: self.max_txn_ops,
            quota_bytes: match self.quota_backend_bytes {
                0 => 2 << 30,
                bytes => u64::try_from(bytes).unwrap_or(0),
            },
            auto_compaction: self.auto_compaction()?,
            watch_progress_interval: duration(&self.watch_progress_notify_interval)
                .filter(|interval| *interval >= Duration::from_millis(100))
                .ok_or_else(|| {
                    error("watch-progress-notify-interval", "is not a duration of at least 100ms")
                })?,
            name: self.name,
        })
    }

    fn check_cluster(
        &self,
        cluster: &[(String, Vec<String>)],
        advertised: &[String],
    ) -> Result<(), ConfigError> {
        let Some((_, own)) = cluster.iter().find(|(name, _)| *name == self.name) else {
            let problem = format!("does not name this member ({:?})", self.name);
            return Err(error("initial-cluster", problem));
        };
        let (mut own, mut advertised) = (own.clone(), advertised.to_vec());
        own.sort();
        advertised.sort();
        if own != advertised {
            let problem = format!(
                "has {own:?} for {:?}, but --initial-advertise-peer-urls is {advertised:?}",
                self.name
            );
            return Err(error("initial-cluster", problem));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        if self.heartbeat_interval == 0 {
            return Err(error("heartbeat-interval", "must be at least 1 (milliseconds)"));
        }
        if self.election_timeout < 5 * self.heartbeat_interval {
            let problem = format!(
                "must be at least five times the heartbeat interval ({} ms)",
                self.heartbeat_interval
            );
            return Err(error("election-timeout", problem));
        }
        if self.election_timeout > 50_000 {
            return Err(error("election-timeout", "must be at most 50000 (milliseconds)"));
        }
        Ok(())
    }

    fn auto_compaction(&self) -> Result<AutoCompaction, ConfigError> {
        const FLAG: &str = "auto-compaction-retention";
        let text = self.auto_compaction_retention.trim();
        match self.auto_compaction_mode.as_str() {
            "periodic" => {
                let hours = text.parse::<u64>().ok().map(|h| Duration::from_secs(h * 3600));
                let length = hours
                    .or_else(|| duration(text))
                    .ok_or_else(|| error(FLAG, format!("{text:?} is not a duration")))?;
                let off = length.is_zero();
                Ok(if off { AutoCompaction::Off } else { AutoCompaction::Periodic(length) })
            }
            "revision" => match text.parse::<i64>() {
                Ok(0) => Ok(AutoCompaction::Off),
                Ok(count) if count > 0 => Ok(AutoCompaction::Revisions(count)),
                _ => Err(error(FLAG, format!("{text:?} is not a number of revisions"))),
            },
            other => Err(error(
                "auto-compaction-mode",
                format!("{other:?} is neither \"periodic\" nor \"revision\""),
            )),
        }
    }
}

fn check_tls(
    flag: &'static str,
    files: &TlsFiles,
    listen: &[ListenUrl],
) -> Result<(), ConfigError> {
    if files.cert.is_some() != files.key.is_some() {
        return Err(error(flag, "certificate and key must be given together"));
    }
    if listen.iter().any(|url| url.secure) && files.cert.is_none() {
        return Err(error(flag, "is needed to listen on an https URL"));
    }
    if files.require_client_cert && files.ca.is_none() {
        return Err(error(flag, "certificates can only be demanded with a trusted CA file"));
    }
    Ok(())
}

/// Splits `scheme://host:port` into its parts.
fn split_url(flag: &'static str, url: &str) -> Result<(bool, String), ConfigError> {
    let (secure, rest) = if let Some(rest) = url.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = url.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err(error(flag, format!("{url:?} does not start with http:// or https://")));
    };
    let host_port = rest.trim_end_matches('/');
    let has_port = host_port.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if host_port.contains('/') || !has_port {
        return Err(error(flag, format!("{url:?} is not of the form scheme://host:port")));
    }
    Ok((secure, host_port.to_owned()))
}

fn urls(flag: &'static str, list: &str) -> Result<Vec<String>, ConfigError> {
    let mut out = Vec::new();
    for url in list.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        split_url(flag, url)?;
        out.push(url.trim_end_matches('/').to_owned());
    }
    if out.is_empty() { Err(error(flag, "must not be empty")) } else { Ok(out) }
}

fn listen(flag: &'static str, list: &str) -> Result<Vec<ListenUrl>, ConfigError> {
    let mut out = Vec::new();
    for url in urls(flag, list)? {
        let (secure, host_port) = split_url(flag, &url)?;
        let found: Vec<SocketAddr> = host_port
            .to_socket_addrs()
            .map_err(|why| error(flag, format!("{host_port:?} is no address: {why}")))?
            .collect();
        // `localhost` may be both ::1 and 127.0.0.1; one listener is enough, the older one.
        let address = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
        let address =
            address.ok_or_else(|| error(flag, format!("{host_port:?} has no address")))?;
        out.push(ListenUrl { address: *address, secure });
    }
    Ok(out)
}

fn cluster(text: &str) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    const FLAG: &str = "initial-cluster";
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, url) = pair
            .split_once('=')
            .ok_or_else(|| error(FLAG, format!("{pair:?} is not of the form name=url")))?;
        split_url(FLAG, url)?;
        let url = url.trim_end_matches('/').to_owned();
        if members.values().flatten().any(|other| *other == url) {
            return Err(error(FLAG, format!("{url:?} is given twice")));
        }
        members.entry(name.to_owned()).or_default().push(url);
    }
    if members.is_empty() {
        return Err(error(FLAG, "must not be empty"));
    }
    Ok(members.into_iter().collect())
}

/// A duration as Go writes it: numbers with the units h, m, s, ms.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn parse(arguments: &[&str]) -> Result<Config, ConfigError> {
        let line = std::iter::once("store").chain(arguments.iter().copied());
        Line::try_parse_from(line).unwrap().flags.into_config()
    }

    #[test]
    fn defaults_are_etcds() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(config.listen_client[0].address.port(), 2379);
        let alone = vec![("default".to_owned(), vec!["http://localhost:2380".to_owned()])];
        assert_eq!(config.initial_cluster, alone);
        assert_eq!(config.request_timeout(), Duration::from_secs(7));
        assert_eq!(config.lease_ttl_min(), 2);
        assert_eq!(config.quota_bytes, 2 << 30);
    }

    #[test]
    fn wrong_flags_say_what_is_wrong() {
        let flag = |arguments: &[&str]| parse(arguments).unwrap_err().flag;
        assert_eq!(flag(&["--initial-cluster=other=http://localhost:2380"]), "initial-cluster");
        assert_eq!(flag(&["--listen-client-urls=localhost:2379"]), "listen-client-urls");
        assert_eq!(flag(&["--listen-client-urls=https://127.0.0.1:1"]), "cert-file");
        assert_eq!(flag(&["--election-timeout=300"]), "election-timeout");
        assert_eq!(flag(&["--auto-compaction-retention=x"]), "auto-compaction-retention");
        assert_eq!(flag(&["--client-cert-auth"]), "cert-file");
    }

    #[test]
    fn durations_read_as_go_writes_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5x"), None);
    }
}
