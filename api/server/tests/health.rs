//! The health endpoints beside those of kube-apiserver 1.36: what they say, and how.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use support::{Answer, Cluster, Store};

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.to_vec()).unwrap()
}

fn is_sealed_against_guessing(answer: &Answer) -> bool {
    answer.headers.get("x-content-type-options").is_some_and(|value| value == "nosniff")
}

#[tokio::test]
async fn health_checks_are_told_as_upstream_tells_them() {
    let cluster = Cluster::on(Store::own(1)).await;
    for endpoint in ["healthz", "livez", "readyz"] {
        let path = format!("/{endpoint}");
        for method in ["GET", "POST", "DELETE"] {
            let short = cluster.call(method, &path, &[], "").await;
            assert_eq!((short.code, text(&short).as_str()), (200, "ok"), "{method} {path}");
            assert_eq!(short.headers["content-type"], "text/plain; charset=utf-8");
            assert!(is_sealed_against_guessing(&short));
        }
        let verbose = text(&cluster.get(&format!("{path}?verbose")).await);
        assert!(verbose.starts_with("[+]ping ok\n[+]log ok\n[+]etcd ok\n"), "{verbose}");
        assert!(verbose.ends_with(&format!("{endpoint} check passed\n")), "{verbose}");
        assert!(!verbose.contains("kms-providers"), "nothing is sealed here: {verbose}");
        for line in verbose.lines().filter(|line| line.starts_with('[')) {
            let name = line.strip_prefix("[+]").unwrap().strip_suffix(" ok").unwrap();
            let one = cluster.get(&format!("{path}/{name}")).await;
            assert_eq!((one.code, text(&one).as_str()), (200, "ok"), "{path}/{name}");
            assert!(!is_sealed_against_guessing(&one), "{path}/{name}");
        }
        for name in ["nothing", "etcd/", "poststarthook", ""] {
            assert_eq!(cluster.get(&format!("{path}/{name}")).await.code, 404, "{path}/{name}");
        }
    }
    let ready = text(&cluster.get("/readyz?verbose=false").await);
    for name in ["etcd-readiness", "informer-sync", "shutdown"] {
        let line = format!("[+]{name} ok\n");
        assert!(ready.contains(&line), "{ready}");
        assert!(!text(&cluster.get("/livez?verbose").await).contains(&line));
    }
    let excluded = "/livez?verbose&exclude=etcd&exclude=foo&exclude=%22bar&exclude=foo";
    let told = text(&cluster.get(excluded).await);
    assert!(told.contains("\n[+]etcd excluded: ok\n"), "{told}");
    let warning =
        "warn: some health checks cannot be excluded: no matches for \"\\\"bar\",\"foo\"\n";
    assert!(told.ends_with(&format!("{warning}livez check passed\n")), "{told}");
    assert_eq!(text(&cluster.get("/livez?exclude=foo").await), "ok");
}

/// What `/readyz`, `/livez` and `/healthz` of kube-apiserver 1.36 list together with its default flags,
/// but for `etcd` and `etcd-readiness`, which are above.
const UPSTREAM: &[&str] = &[
    "ping",
    "log",
    "loopback-serving-certificate",
    "informer-sync",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "shutdown",
];

/// What upstream checks and there is nothing of here: a certificate for calls to itself, sending
/// watches and requests on to other servers, Leases of servers, uses of tokens in Secrets.
const NOTHING_HERE: &[&str] = &[
    "loopback-serving-certificate",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/apiservice-discovery-controller",
];

#[tokio::test]
async fn the_checks_are_upstreams_in_its_order() {
    let cluster = Cluster::on(Store::own(1)).await;
    let verbose = text(&cluster.get("/readyz?verbose").await);
    let names = verbose.lines().filter_map(|line| line.strip_prefix("[+]")?.strip_suffix(" ok"));
    let names: Vec<&str> = names.filter(|name| !name.starts_with("etcd")).collect();
    let wanted = UPSTREAM.iter().filter(|name| !NOTHING_HERE.contains(*name));
    assert_eq!(names, wanted.copied().collect::<Vec<_>>());
}

/// What a server must have done once is not there yet when it cannot reach its store.
#[tokio::test]
async fn a_server_that_has_done_nothing_yet_says_so() {
    let store = std::sync::Arc::new(Store::own(1));
    let mut cluster = Cluster::beside(&store, 0).await;
    store.kill(0);
    cluster.restart_unready().await;
    let told = text(&cluster.get("/readyz?verbose").await);
    for name in [
        "informer-sync",
        "poststarthook/crd-informer-synced",
        "poststarthook/start-cluster-authentication-info-controller",
        "poststarthook/start-service-ip-repair-controllers",
        "poststarthook/bootstrap-controller",
        "poststarthook/start-kubernetes-service-cidr-controller",
        "poststarthook/start-kube-aggregator-informers",
        "poststarthook/apiservice-status-remote-available-controller",
        "poststarthook/apiservice-wait-for-first-sync",
        "autoregister-completion",
        "poststarthook/apiservice-openapi-controller",
    ] {
        assert!(told.contains(&format!("[-]{name} failed: reason withheld\n")), "{name}: {told}");
    }
    assert!(told.contains("[+]ping ok\n"), "{told}");
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_with_what_can_be_told() {
    let store = std::sync::Arc::new(Store::own(1));
    let cluster = Cluster::beside(&store, 0).await;
    store.kill(0);
    let failed = cluster.get("/livez").await;
    let told = text(&failed);
    assert_eq!(failed.code, 500, "{told}");
    assert!(told.contains("\n[-]etcd failed: reason withheld\n[+]"), "{told}");
    assert!(told.ends_with("\nlivez check failed\n"), "{told}");
    assert!(is_sealed_against_guessing(&failed));
    assert_eq!(failed.headers["content-type"], "text/plain; charset=utf-8");
    let one = cluster.get("/livez/etcd").await;
    assert_eq!(one.code, 500);
    assert!(text(&one).starts_with("internal server error: error getting data from etcd: "));
    assert!(is_sealed_against_guessing(&one));
    let excluded = cluster.get("/livez?exclude=etcd").await;
    assert_eq!((excluded.code, text(&excluded).as_str()), (200, "ok"));
}

#[tokio::test]
async fn the_metrics_that_dashboards_ask_for_are_there() {
    let cluster = Cluster::on(Store::own(1)).await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut watch = cluster.watch("/api/v1/namespaces?watch=1").await;
    watch.next().await.unwrap();
    cluster.get(pods).await;
    cluster.get(&format!("{pods}/nothing")).await;
    // What is to be deleted is read from the store itself.
    assert_eq!(cluster.delete(&format!("{pods}/nothing")).await.code, 404);
    cluster.delete(&format!("{pods}?dryRun=All")).await;
    let told = text(&cluster.get("/metrics").await);
    for wanted in [
        &[
            "apiserver_request_total{",
            "verb=\"LIST\"",
            "resource=\"pods\"",
            "scope=\"namespace\"",
            "code=\"200\"",
            "component=\"apiserver\"",
            "version=\"v1\"",
            "dry_run=\"\"",
        ][..],
        &["apiserver_request_total{", "verb=\"GET\"", "scope=\"resource\"", "code=\"404\""],
        &["apiserver_request_total{", "verb=\"DELETE\"", "dry_run=\"All\""],
        &["apiserver_request_total{", "subresource=\"/readyz\"", "component=\"\"", "scope=\"\""],
        &["apiserver_request_duration_seconds_bucket{", "le=\"0.005\"", "verb=\"LIST\""],
        &["apiserver_request_sli_duration_seconds_bucket{", "le=\"0.05\"", "verb=\"LIST\""],
        &["apiserver_current_inflight_requests{", "request_kind=\"readOnly\""],
        &["apiserver_longrunning_requests{", "verb=\"WATCH\"", "resource=\"namespaces\""],
        &["apiserver_watch_events_total{", "resource=\"namespaces\"", "version=\"v1\""],
        &["apiserver_storage_objects{resource=\"clusterroles.rbac.authorization.k8s.io\"}"],
        &["apiserver_resource_objects{", "group=\"rbac.authorization.k8s.io\"", "\"clusterroles\""],
        &["etcd_request_duration_seconds_bucket{", "operation=\"get\"", "resource=\"pods\""],
        &["etcd_requests_total{", "operation=\"create\"", "resource=\"namespaces\""],
        &["process_cpu_seconds_total "],
        &["process_resident_memory_bytes "],
        &["process_virtual_memory_bytes "],
        &["process_start_time_seconds "],
        &["process_open_fds "],
        &["process_max_fds "],
        &["kubernetes_build_info{", "git_version=\"v1.36"],
    ] {
        let is_there = told.lines().any(|line| wanted.iter().all(|part| line.contains(part)));
        assert!(is_there, "no line has {wanted:?} in\n{told}");
    }
}
