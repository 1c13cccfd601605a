//! The flags as operators, kubeadm and etcd's own tests give them.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use super::*;
use crate::config::{InitialState, TlsVersion};

#[derive(Parser, Debug)]
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
    assert_eq!(config.advertise_client_urls, ["http://localhost:2379"]);
    let alone = vec![("default".to_owned(), vec!["http://localhost:2380".to_owned()])];
    assert_eq!(config.initial_cluster, alone);
    assert_eq!(config.request_timeout(), Duration::from_secs(7));
    assert_eq!(config.lease_ttl_min(), 2);
    assert!(config.quota_bytes > 0, "a part of the disk");
    assert!(config.gateway && config.strict_reconfig_check && !config.client_tls.check_address);
    assert!(config.peer_tls.check_address);
    assert_eq!(config.client_keepalive, Some((Duration::from_secs(7200), Duration::from_secs(20))));
    assert!(config.notes.is_empty(), "{:?}", config.notes);
}

#[test]
fn wrong_flags_say_what_is_wrong() {
    let flag = |arguments: &[&str]| parse(arguments).unwrap_err().flag;
    assert_eq!(flag(&["--initial-cluster=other=http://localhost:2380"]), "initial-cluster");
    assert_eq!(flag(&["--listen-client-urls=localhost:2379"]), "listen-client-urls");
    assert_eq!(flag(&["--listen-client-urls=http://host.example:1"]), "listen-client-urls");
    let https = ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=http://x:1"];
    assert_eq!(flag(&https), "cert-file");
    assert_eq!(flag(&["--listen-client-urls=http://127.0.0.1:1"]), "advertise-client-urls");
    assert_eq!(flag(&["--election-timeout=300"]), "election-timeout");
    assert_eq!(flag(&["--auto-compaction-retention=x"]), "auto-compaction-retention");
    assert_eq!(flag(&["--client-cert-auth"]), "cert-file");
    assert_eq!(flag(&["--auth-token=jwt"]), "auth-token");
    assert_eq!(flag(&["--bcrypt-cost=3"]), "bcrypt-cost");
    assert_eq!(flag(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]), "tls-min-version");
    assert_eq!(flag(&["--cipher-suites=X"]), "cipher-suites");
    assert_eq!(flag(&["--feature-gates=Nonsense=true"]), "feature-gates");
    assert_eq!(flag(&["--discovery-srv=example.com"]), "discovery-srv");
    assert_eq!(flag(&["--force-new-cluster"]), "force-new-cluster");
    let names = ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"];
    assert_eq!(flag(&names), "peer-cert-allowed-hostname");
}

#[test]
fn unknown_flags_are_errors_and_switches_take_values_as_in_go() {
    assert!(Line::try_parse_from(["store", "--no-such-flag"]).is_err());
    assert!(Line::try_parse_from(["store", "--client-cert-auth", "true"]).is_err());
    assert!(!parse(&["--strict-reconfig-check=false"]).unwrap().strict_reconfig_check);
    assert!(parse(&["--strict-reconfig-check"]).unwrap().strict_reconfig_check);
    // The last one counts.
    assert_eq!(parse(&["--name=a", "--name", "default"]).unwrap().name, "default");
}

#[test]
fn kubeadms_flags_are_taken_whole() {
    let line = "--name=cp --data-dir=/var/lib/etcd --listen-client-urls=https://127.0.0.1:2379 \
                --advertise-client-urls=https://10.0.0.1:2379 \
                --listen-peer-urls=https://10.0.0.1:2380 \
                --initial-advertise-peer-urls=https://10.0.0.1:2380 \
                --initial-cluster=cp=https://10.0.0.1:2380 --initial-cluster-state=existing \
                --cert-file=/c --key-file=/k --trusted-ca-file=/ca --client-cert-auth=true \
                --peer-cert-file=/c --peer-key-file=/k --peer-trusted-ca-file=/ca \
                --peer-client-cert-auth=true --snapshot-count=10000 \
                --listen-metrics-urls=http://127.0.0.1:2381 \
                --feature-gates=InitialCorruptCheck=true --watch-progress-notify-interval=5s";
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let config = parse(&arguments).unwrap();
    assert_eq!(config.initial_state, InitialState::Existing);
    assert_eq!(config.listen_metrics[0].address.port(), 2381);
    assert_eq!(config.watch_progress_interval, Duration::from_secs(5));
    assert_eq!(config.peer_tls.versions, (TlsVersion::V1_2, TlsVersion::V1_3));
    assert!(config.initial_corrupt_check);
    assert_eq!(config.notes, Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said() {
    let config = parse(&[
        "--max-wals=5",
        "--experimental-watch-progress-notify-interval=7s",
        "--experimental-warning-apply-duration=1h",
        "--enable-pprof",
        "--logger=zap",
    ])
    .unwrap();
    assert_eq!(config.watch_progress_interval, Duration::from_secs(7));
    let notes = config.notes.join("\n");
    for name in ["--max-wals ", "--warning-apply-duration ", "--enable-pprof "] {
        assert!(notes.contains(name), "{name}: {notes}");
    }
}

#[test]
fn one_dash_is_as_good_as_two() {
    let given = ["-name=a", "--data-dir", "x", "-h", "-1", "-data-dir"].map(OsString::from);
    let expected = ["--name=a", "--data-dir", "x", "-h", "-1", "--data-dir"].map(OsString::from);
    assert_eq!(Flags::with_two_dashes(given.into_iter()), expected);
}

#[test]
fn a_file_replaces_all_other_flags() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.yml");
    std::fs::write(&path, "name: from-file\nelection-timeout: 500\n").unwrap();
    let file = format!("--config-file={}", path.display());
    let config = parse(&[&file, "--name=from-flag", "--max-txn-ops=1"]).unwrap();
    assert_eq!((config.name.as_str(), config.max_txn_ops), ("from-file", 128));
    assert_eq!(config.election, Duration::from_millis(500));
    std::fs::write(&path, "election-timeout: soon\n").unwrap();
    let refused = parse(&[&file]).unwrap_err();
    assert_eq!(refused.flag, "config-file");
    assert!(refused.problem.contains("election-timeout"), "{refused}");
}

#[test]
fn logs_go_where_they_are_sent() {
    let logs = |arguments: &[&str]| {
        let line = std::iter::once("store").chain(arguments.iter().copied());
        Line::try_parse_from(line).unwrap().flags.logs()
    };
    let default = logs(&[]).unwrap();
    assert_eq!((default.level, default.format), ("info", LogFormat::Json));
    assert_eq!(default.outputs, [LogOutput::Stderr]);
    let rotated = logs(&[
        "--log-outputs=/tmp/x.log",
        "--enable-log-rotation",
        r#"--log-rotation-config-json={"maxsize": 1}"#,
        "--log-level=panic",
    ])
    .unwrap();
    assert_eq!(rotated.level, "error");
    let expected = LogRotation { bytes_max: 1 << 20, days_max: 0, files_max: 0 };
    assert_eq!(rotated.rotation, Some(expected));
    assert_eq!(logs(&["--enable-log-rotation"]).unwrap_err().flag, "enable-log-rotation");
    assert_eq!(logs(&["--log-level=loud"]).unwrap_err().flag, "log-level");
}
