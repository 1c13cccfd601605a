//! From flags to a checked configuration.

use std::{path::PathBuf, time::Duration};

use super::{
    Flags, Given, declared, quota,
    values::{cluster, duration, error, list, listen, urls},
};
use crate::{
    auth::TokenKind,
    config::{AutoCompaction, Config, ConfigError, InitialState, ListenUrl, TlsFiles, TlsVersion},
};

const GATES: [&str; 11] = [
    "AllAlpha",
    "AllBeta",
    "StopGRPCServiceOnDefrag",
    "InitialCorruptCheck",
    "CompactHashCheck",
    "TxnModeWriteWithSharedBuffer",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "SetMemberLocalAddr",
    "FastLeaseKeepAlive",
    "PriorityRequest",
];

pub(super) fn config(flags: Flags) -> Result<Config, ConfigError> {
    let Flags { given, client_allowed_cn, mut notes } = flags;
    let Given { member, clustering, security, monitoring, .. } = &given;
    if member.name.is_empty() {
        return Err(error("name", "must not be empty"));
    }
    check_times(member)?;
    check_formation(clustering)?;
    let initial_check = check_gates(&member.feature_gates, &mut notes)?;
    let advertise_peer_urls =
        urls("initial-advertise-peer-urls", &clustering.initial_advertise_peer_urls)?;
    let initial_cluster = initial_cluster(member, clustering, &advertise_peer_urls)?;
    let (client_tls, peer_tls) = tls(security, client_allowed_cn)?;
    let given_client_urls = member.listen_client_urls.as_deref();
    let listen_client =
        listen("listen-client-urls", given_client_urls.unwrap_or("http://localhost:2379"))?;
    let listen_peer = listen("listen-peer-urls", &member.listen_peer_urls)?;
    let some = |flag, text: &Option<String>| match text.as_deref().map(str::trim) {
        None | Some("") => Ok(Vec::new()),
        Some(text) => listen(flag, text),
    };
    let listen_client_http = some("listen-client-http-urls", &member.listen_client_http_urls)?;
    let listen_metrics = some("listen-metrics-urls", &monitoring.listen_metrics_urls)?;
    check_shared(&listen_client, &listen_client_http)?;
    let clients = [&listen_client[..], &listen_client_http, &listen_metrics].concat();
    check_tls("cert-file", &client_tls, &clients)?;
    check_tls("peer-cert-file", &peer_tls, &listen_peer)?;
    let advertise_client_urls = match (&clustering.advertise_client_urls, given_client_urls) {
        (Some(text), _) => urls("advertise-client-urls", text)?,
        (None, None) => vec!["http://localhost:2379".to_owned()],
        (None, Some(_)) => {
            let problem = "is required when --listen-client-urls is set explicitly";
            return Err(error("advertise-client-urls", problem));
        }
    };
    let default_dir = || PathBuf::from(format!("{}.etcd", member.name));
    let data_dir = member.data_dir.clone().unwrap_or_else(default_dir);
    let quota_bytes = quota::quota(member.quota_backend_bytes, &data_dir);
    Ok(Config {
        data_dir,
        wal_dir: member.wal_dir.clone().filter(|path| !path.as_os_str().is_empty()),
        listen_client,
        listen_client_http,
        listen_metrics,
        listen_peer,
        advertise_client_urls,
        advertise_peer_urls,
        initial_cluster,
        initial_state: initial_state(clustering)?,
        initial_token: clustering.initial_cluster_token.clone(),
        client_tls,
        peer_tls,
        heartbeat: Duration::from_millis(member.heartbeat_interval),
        election: Duration::from_millis(member.election_timeout),
        snapshot_count: member.snapshot_count.unwrap_or(100_000).max(1),
        max_request_bytes: member.max_request_bytes,
        max_txn_ops: member.max_txn_ops,
        quota_bytes,
        auto_compaction: auto_compaction(clustering)?,
        watch_progress_interval: Some(monitoring.watch_progress_notify_interval)
            .filter(|interval| *interval >= Duration::from_millis(100))
            .ok_or_else(|| error("watch-progress-notify-interval", "must be at least 100ms"))?,
        corrupt_check_every: monitoring.corrupt_check_time,
        compact_check_after: monitoring.compact_hash_check_time,
        initial_corrupt_check: initial_check || monitoring.experimental_initial_corrupt_check,
        max_learners: clustering.max_learners,
        strict_reconfig_check: clustering.strict_reconfig_check,
        max_concurrent_streams: member
            .max_concurrent_streams
            .unwrap_or(crate::limits::STREAMS_PER_CONNECTION_MAX),
        client_keepalive: keepalive(member),
        reuse_port: member.socket_reuse_port,
        gateway: member.enable_grpc_gateway,
        cors: list(&security.cors),
        host_whitelist: list(&security.host_whitelist),
        extensive_metrics: extensive(&monitoring.metrics)?,
        slow_request: monitoring.warning_unary_request_duration,
        lease_checkpoint_every: monitoring.lease_checkpoint_interval.max(Duration::from_secs(1)),
        auth_token: auth_token(security)?,
        bcrypt_cost: security.bcrypt_cost,
        notes,
        name: given.member.name,
    })
}

fn keepalive(member: &declared::Member) -> Option<(Duration, Duration)> {
    let (every, answer) = (member.grpc_keepalive_interval, member.grpc_keepalive_timeout);
    (!every.is_zero() && !answer.is_zero()).then_some((every, answer))
}

fn extensive(metrics: &str) -> Result<bool, ConfigError> {
    match metrics {
        "basic" => Ok(false),
        "extensive" => Ok(true),
        other => Err(error("metrics", format!("{other:?} is neither \"basic\" nor \"extensive\""))),
    }
}

fn auth_token(security: &declared::Security) -> Result<TokenKind, ConfigError> {
    if !(4..=31).contains(&security.bcrypt_cost) {
        return Err(error("bcrypt-cost", "must be from 4 to 31"));
    }
    // As etcd, zero is the default.
    let ttl = if security.auth_token_ttl == 0 { 300 } else { security.auth_token_ttl };
    let ttl = Duration::from_secs(ttl.into());
    TokenKind::parse(&security.auth_token, ttl, duration)
        .map_err(|problem| error("auth-token", problem))
}

fn initial_state(clustering: &declared::Clustering) -> Result<InitialState, ConfigError> {
    match clustering.initial_cluster_state.as_str() {
        "new" => Ok(InitialState::New),
        "existing" => Ok(InitialState::Existing),
        other => {
            let problem = format!("{other:?} is neither \"new\" nor \"existing\"");
            Err(error("initial-cluster-state", problem))
        }
    }
}

/// Ways to form a cluster that this store does not know must not be passed over.
fn check_formation(clustering: &declared::Clustering) -> Result<(), ConfigError> {
    let given = |value: &Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    let instead = "is not supported: name the members with --initial-cluster";
    if given(&clustering.discovery_srv) {
        return Err(error("discovery-srv", instead));
    }
    if given(&clustering.discovery_endpoints) || given(&clustering.discovery_token) {
        return Err(error("discovery-endpoints", instead));
    }
    if clustering.force_new_cluster {
        let problem = "is not supported: restore a backup into a new cluster instead";
        return Err(error("force-new-cluster", problem));
    }
    Ok(())
}

/// Answers whether the data are to be compared at the start, the one gate that means something here.
fn check_gates(text: &str, notes: &mut Vec<String>) -> Result<bool, ConfigError> {
    const FLAG: &str = "feature-gates";
    let mut on = Vec::new();
    for gate in list(text) {
        let (name, value) = gate
            .split_once('=')
            .ok_or_else(|| error(FLAG, format!("missing bool value for {gate}")))?;
        let (name, value) = (name.trim(), value.trim());
        if !GATES.contains(&name) {
            return Err(error(FLAG, format!("unrecognized feature gate: {name}")));
        }
        let value: bool = value.to_lowercase().parse().map_err(|_| {
            error(FLAG, format!("invalid value of {name}={value}, it is neither true nor false"))
        })?;
        if value {
            on.push(name.to_owned());
        }
    }
    if on.iter().any(|name| name == "LeaseCheckpointPersist")
        && !on.iter().any(|name| name == "LeaseCheckpoint")
    {
        let problem = "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
                       LeaseCheckpoint";
        return Err(error(FLAG, problem));
    }
    let initial_check = on.iter().any(|name| name == "InitialCorruptCheck");
    on.retain(|name| name != "InitialCorruptCheck");
    if !on.is_empty() {
        notes.push(format!("--{FLAG}: {} change nothing here", on.join(", ")));
    }
    Ok(initial_check)
}

fn initial_cluster(
    member: &declared::Member,
    clustering: &declared::Clustering,
    advertised: &[String],
) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    let alone = || {
        let pair = |url: &String| format!("{}={url}", member.name);
        advertised.iter().map(pair).collect::<Vec<_>>().join(",")
    };
    let given = clustering.initial_cluster.clone().filter(|text| !text.is_empty());
    let cluster = cluster(&given.unwrap_or_else(alone))?;
    let Some((_, own)) = cluster.iter().find(|(name, _)| *name == member.name) else {
        let problem = format!("does not name this member ({:?})", member.name);
        return Err(error("initial-cluster", problem));
    };
    let (mut own, mut advertised) = (own.clone(), advertised.to_vec());
    own.sort();
    advertised.sort();
    if own != advertised {
        let problem = format!(
            "has {own:?} for {:?}, but --initial-advertise-peer-urls is {advertised:?}",
            member.name
        );
        return Err(error("initial-cluster", problem));
    }
    Ok(cluster)
}

fn check_times(member: &declared::Member) -> Result<(), ConfigError> {
    let (heartbeat, election) = (member.heartbeat_interval, member.election_timeout);
    if heartbeat == 0 {
        return Err(error("heartbeat-interval", "must be at least 1 (milliseconds)"));
    }
    if election < 5 * heartbeat {
        let problem =
            format!("must be at least five times the heartbeat interval ({heartbeat} ms)");
        return Err(error("election-timeout", problem));
    }
    if election > 50_000 {
        return Err(error("election-timeout", "must be at most 50000 (milliseconds)"));
    }
    Ok(())
}

fn auto_compaction(clustering: &declared::Clustering) -> Result<AutoCompaction, ConfigError> {
    const FLAG: &str = "auto-compaction-retention";
    let text = clustering.auto_compaction_retention.trim();
    match clustering.auto_compaction_mode.as_str() {
        "periodic" => {
            let hours = text.parse::<u64>().ok().and_then(|hours| hours.checked_mul(3600));
            let length = hours
                .map(Duration::from_secs)
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

/// One socket cannot serve both everything and HTTP alone.
fn check_shared(clients: &[ListenUrl], http: &[ListenUrl]) -> Result<(), ConfigError> {
    let taken = |url: &&ListenUrl| {
        url.address.port() != 0 && clients.iter().any(|other| other.address == url.address)
    };
    match http.iter().find(taken) {
        None => Ok(()),
        Some(url) => {
            let problem = format!("{} is one of --listen-client-urls as well", url.address);
            Err(error("listen-client-http-urls", problem))
        }
    }
}

fn version(flag: &'static str, text: &str) -> Result<Option<TlsVersion>, ConfigError> {
    match text {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(TlsVersion::V1_2)),
        "TLS1.3" => Ok(Some(TlsVersion::V1_3)),
        other => Err(error(
            flag,
            format!("unexpected TLS version {other:?} (must be one of TLS1.2, TLS1.3)"),
        )),
    }
}

fn tls(
    security: &declared::Security,
    client_allowed_cn: Vec<String>,
) -> Result<(TlsFiles, TlsFiles), ConfigError> {
    let min = version("tls-min-version", &security.tls_min_version)?;
    let max = version("tls-max-version", &security.tls_max_version)?;
    let min = min.unwrap_or(TlsVersion::V1_2);
    let max = max.unwrap_or(TlsVersion::V1_3);
    if min > max {
        return Err(error("tls-min-version", "is higher than --tls-max-version"));
    }
    let cipher_suites = list(&security.cipher_suites);
    if min == TlsVersion::V1_3 && !cipher_suites.is_empty() {
        let problem = "cipher suites cannot be configured when only TLS1.3 is enabled";
        return Err(error("cipher-suites", problem));
    }
    crate::tls::check_suites(&cipher_suites).map_err(|why| error("cipher-suites", why))?;
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let shared = TlsFiles { versions: (min, max), cipher_suites, ..TlsFiles::default() };
    let years = |wanted: bool| wanted.then_some(security.self_signed_cert_validity);
    if (security.auto_tls || security.peer_auto_tls) && security.self_signed_cert_validity == 0 {
        return Err(error("self-signed-cert-validity", "must be at least 1 (year)"));
    }
    let client = TlsFiles {
        cert: given(&security.cert_file),
        key: given(&security.key_file),
        ca: given(&security.trusted_ca_file),
        require_client_cert: security.client_cert_auth,
        crl: given(&security.client_crl_file),
        allowed_cn: client_allowed_cn,
        allowed_hostname: list(&security.client_cert_allowed_hostname),
        self_signed_years: years(security.auto_tls),
        ..shared.clone()
    };
    let peer = TlsFiles {
        cert: given(&security.peer_cert_file),
        key: given(&security.peer_key_file),
        client_cert: given(&security.peer_client_cert_file),
        client_key: given(&security.peer_client_key_file),
        ca: given(&security.peer_trusted_ca_file),
        require_client_cert: security.peer_client_cert_auth,
        crl: given(&security.peer_crl_file),
        allowed_cn: list(&security.peer_cert_allowed_cn),
        allowed_hostname: list(&security.peer_cert_allowed_hostname),
        check_address: !security.peer_skip_client_san_verification,
        self_signed_years: years(security.peer_auto_tls),
        ..shared
    };
    for (flag, files) in
        [("client-cert-allowed-hostname", &client), ("peer-cert-allowed-hostname", &peer)]
    {
        if !files.allowed_cn.is_empty() && !files.allowed_hostname.is_empty() {
            return Err(error(flag, "and allowed common names are mutually exclusive"));
        }
    }
    if peer.client_cert.is_some() != peer.client_key.is_some() {
        return Err(error("peer-client-cert-file", "certificate and key must be given together"));
    }
    Ok((client, peer))
}

fn check_tls(
    flag: &'static str,
    files: &TlsFiles,
    listen: &[ListenUrl],
) -> Result<(), ConfigError> {
    if files.cert.is_some() != files.key.is_some() {
        return Err(error(flag, "certificate and key must be given together"));
    }
    let none = files.cert.is_none() && files.self_signed_years.is_none();
    if listen.iter().any(|url| url.secure) && none {
        return Err(error(flag, "is needed to listen on an https URL"));
    }
    if files.require_client_cert && files.ca.is_none() && files.self_signed_years.is_none() {
        return Err(error(flag, "certificates can only be demanded with a trusted CA file"));
    }
    Ok(())
}
