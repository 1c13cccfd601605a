//! What a user does on the first day, with real processes and real kubectl.
//!
//! The same story on both runtimes: always on the fake one, and on containerd where the machine
//! allows it.
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

mod support;

use std::time::{Duration, Instant};

use support::{Cluster, files, peer};

/// `3/3`-like readiness of deployment `web`.
const READY: [&str; 5] =
    ["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}/{.spec.replicas}"];

fn pod_names(cluster: &Cluster) -> Vec<String> {
    let names = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"]);
    names.lines().map(str::to_owned).collect()
}

/// Whole of `killed` goes down, with SIGKILL, and kubectl still answers within three seconds.
fn lose_a_host(cluster: &mut Cluster, killed: &str) {
    let output = cluster.orlop(&["host", "kill", killed, "--hold"]);
    assert!(output.status.success());
    let began = Instant::now();
    cluster.eventually("kubectl answers without the host", Duration::from_secs(3), |cluster| {
        cluster.try_kubectl(&["get", "nodes", "--request-timeout=2s"]).status.success()
    });
    eprintln!("kubectl answered {:.1} s after {killed} was killed", began.elapsed().as_secs_f64());
}

/// The leases by which controllers and scheduler elect a leader.
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// Nobody on `killed` leads any more; others do.
fn the_managers_moved_from(cluster: &mut Cluster, killed: &str) {
    for lease in LEASES {
        let what = format!("{lease} moved away from {killed}");
        cluster.eventually(&what, Duration::from_secs(30), |cluster| {
            cluster.lease_host(lease).is_some_and(|host| host != killed)
        });
    }
}

fn bring_back(cluster: &mut Cluster, host: &str) {
    assert!(cluster.orlop(&["host", "start", host]).status.success());
    cluster.eventually("the host is back", Duration::from_secs(60), |cluster| {
        let status = cluster.status();
        status["store"]
            .as_array()
            .expect("a status lists the members")
            .iter()
            .all(|member| member["error"].is_null())
    });
}

/// Without a certificate of the cluster there is nothing to see.
fn the_stranger_is_refused(cluster: &Cluster) {
    let url = cluster.status()["api"]["url"].as_str().expect("a status has an address").to_owned();
    let flags = ["--server", &url, "--insecure-skip-tls-verify", "--kubeconfig=/dev/null"];
    // kubectl asks for a password when it has nothing at all: a guess stands in.
    let asked = [&flags[..], &["--token=guessed", "get", "--raw", "/api/v1/secrets"]].concat();
    let output = cluster.plain_kubectl(&asked);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a stranger read the secrets");
    assert!(said.contains("Unauthorized") || said.contains("orbidden"), "{said}");
}

/// Names of what carries the deployment's label.
const ALL: [&str; 6] = ["get", "deployments,replicasets,pods", "-l", "app=web", "-o", "name"];

#[test]
fn a_deployment_lives_through_the_loss_of_a_host_and_a_restart() {
    let Some(kubectl) = peer("kubectl") else { return };
    let mut cluster = Cluster::start(kubectl, &["--runtime=fake"]);

    // The first minute.
    cluster.kubectl(&["create", "deployment", "web", "--image=busybox", "--replicas=3"]);
    cluster.kubectl_until("3/3 ready", &READY, |ready| ready == "3/3");

    // A deleted pod is replaced by another.
    let before = pod_names(&cluster);
    cluster.kubectl(&["delete", &before[0], "--wait=true"]);
    cluster.kubectl_until("ready again", &READY, |ready| ready == "3/3");
    assert!(!pod_names(&cluster).contains(&before[0]));

    // A managers' leader and the store's leader are lost with one host, while a deployment grows.
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let leader = cluster.leader().unwrap();
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=6"]);
    lose_a_host(&mut cluster, &leader);
    cluster.kubectl_until("scaled without the host", &READY, |ready| ready == "6/6");
    the_managers_moved_from(&mut cluster, &leader);
    assert_eq!(cluster.kubectl(&["get", "cm", "kept", "-o", "jsonpath={.data.a}"]), "b");
    assert_ne!(cluster.leader(), Some(leader.clone()));
    bring_back(&mut cluster, &leader);

    // And the host that leads the controllers, whoever leads the store.
    let leader = cluster.lease_host(LEASES[0]).unwrap();
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=4"]);
    lose_a_host(&mut cluster, &leader);
    the_managers_moved_from(&mut cluster, &leader);
    cluster.kubectl_until("scaled by other controllers", &READY, |ready| ready == "4/4");
    bring_back(&mut cluster, &leader);

    // Ctrl-C and a start keep everything.
    let took = cluster.interrupt();
    assert!(took < Duration::from_secs(10), "Ctrl-C took {took:?}");
    assert_eq!(cluster.processes(), Vec::<String>::new());
    cluster.up();
    cluster.kubectl_until("ready after the restart", &READY, |ready| ready == "4/4");
    assert_eq!(cluster.kubectl(&["get", "cm", "kept", "-o", "jsonpath={.data.a}"]), "b");
    the_stranger_is_refused(&cluster);

    // Deleting leaves nothing.
    cluster.kubectl(&["delete", "deployment", "web"]);
    cluster.kubectl_until("nothing is left", &ALL, |left| left.trim().is_empty());
}

#[test]
fn with_two_of_three_members_gone_writes_fail_and_work_again_when_one_is_back() {
    let Some(kubectl) = peer("kubectl") else { return };
    let mut cluster = Cluster::start(kubectl, &["--runtime=fake", "--nodes=0"]);
    for host in ["host-1", "host-2"] {
        assert!(cluster.orlop(&["host", "kill", host, "--hold"]).status.success());
    }
    let write = ["create", "configmap", "late", "--from-literal=a=b", "--request-timeout=20s"];
    let refused = cluster.try_kubectl(&write);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "written without a quorum");
    // etcd's own words, that clients know: "request timed out" or "no leader".
    assert!(said.contains("etcdserver:"), "{said}");
    eprintln!("without a quorum kubectl says: {}", said.trim());
    assert!(cluster.orlop(&["host", "start", "host-1"]).status.success());
    cluster.eventually("writes work again", Duration::from_secs(60), |cluster| {
        let output = cluster.try_kubectl(&write);
        output.status.success()
            || String::from_utf8_lossy(&output.stderr).contains("already exists")
    });
}

#[test]
fn a_killed_supervisor_leaves_no_process_and_the_next_up_recovers() {
    use std::os::unix::fs::PermissionsExt as _;

    let Some(kubectl) = peer("kubectl") else { return };
    let mut cluster = Cluster::start(kubectl, &["--runtime=fake", "--members=1"]);
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);
    cluster.kill_supervisor();
    cluster.eventually("its parts are gone", Duration::from_secs(5), |cluster| {
        cluster.processes().is_empty()
    });
    cluster.up();
    assert_eq!(cluster.kubectl(&["get", "cm", "kept", "-o", "jsonpath={.data.a}"]), "b");

    let keys: Vec<_> = files(&cluster.dir())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "key"))
        .collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", key.display());
    }
}

#[test]
fn real_containers_run_are_restarted_and_leave_nothing() {
    let Some(kubectl) = peer("kubectl") else { return };
    if let Err(why) = node_agent::containerd::check_machine() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mut cluster = Cluster::start(kubectl, &["--runtime=containerd", "--members=1"]);
    let image = cluster.dir().join("busybox.tar");
    let image = image.to_str().unwrap();
    let made = support::run(support::orlop().args(["image", "busybox", image]));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let imported = cluster.orlop(&["image", "import", image]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let create = ["create", "deployment", "web", "--image=busybox:local", "--replicas=3"];
    cluster.kubectl(&[&create[..], &["--", "httpd", "-f", "-p", "80"]].concat());
    cluster.kubectl_until("3/3 ready", &READY, |ready| ready == "3/3");

    // A deleted pod is replaced by another.
    let before = pod_names(&cluster);
    cluster.kubectl(&["delete", &before[0], "--wait=true"]);
    cluster.kubectl_until("ready again", &READY, |ready| ready == "3/3");
    assert!(!pod_names(&cluster).contains(&before[0]));

    // What a container prints can be read, also after it has ended.
    let script = "echo hello from $HOSTNAME";
    let speak = ["run", "speaker", "--image=busybox:local", "--restart=Never"];
    cluster.kubectl(&[&speak[..], &["--", "sh", "-c", script]].concat());
    let phase = ["get", "pod", "speaker", "-o", "jsonpath={.status.phase}"];
    cluster.kubectl_until("it has spoken", &phase, |phase| phase == "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "speaker"]), "hello from speaker\n");
    cluster.kubectl(&["delete", "pod", "speaker"]);
    let pod = pod_names(&cluster)[0].clone();

    // Its main process is killed: the same pod runs a new container.
    let container = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = cluster.kubectl(&["get", &pod, "-o", container]);
    let id = id.strip_prefix("containerd://").unwrap().to_owned();
    let socket = cluster.dir().join("node-1/containerd/containerd.sock");
    let kill = ["-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", &id];
    let killed = support::run(std::process::Command::new("ctr").arg("-a").arg(&socket).args(kill));
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    let table = ["get", &pod, "--no-headers"];
    cluster.kubectl_until("restarted", &table, |row| {
        // NAME READY STATUS RESTARTS AGE
        row.split_whitespace().skip(1).take(3).eq(["1/1", "Running", "1"])
    });
    cluster.kubectl_until("ready again", &READY, |ready| ready == "3/3");

    // Stopped with its pods within ten seconds, and there again after a new start.
    let took = cluster.down();
    assert!(took < Duration::from_secs(12), "down took {took:?}");
    cluster.up();
    cluster.kubectl_until("ready after the restart", &READY, |ready| ready == "3/3");

    cluster.kubectl(&["scale", "deployment", "web", "--replicas=1"]);
    cluster.kubectl_until("scaled", &READY, |ready| ready == "1/1");
    cluster.kubectl(&["delete", "deployment", "web"]);
    cluster.kubectl_until("nothing is left", &ALL, |left| left.trim().is_empty());
    let containers = ["-n", "k8s.io", "containers", "list", "-q"];
    cluster.eventually("no container is left", Duration::from_secs(30), |_| {
        let mut ctr = std::process::Command::new("ctr");
        let output = support::run(ctr.arg("-a").arg(&socket).args(containers));
        output.status.success() && output.stdout.trim_ascii().is_empty()
    });
    cluster.down();
    cluster.eventually("nothing is left on the machine", Duration::from_secs(10), |cluster| {
        cluster.left_on_the_machine().is_empty()
    });
}
