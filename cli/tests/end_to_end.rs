//! What a user does on the first day, with real processes and real kubectl: the same story on both
//! runtimes, always on the fake one, and on containerd where the machine allows it.
#![expect(clippy::print_stderr, reason = "the stories say how long things took")]
#![expect(clippy::unwrap_used, reason = "a failed chapter is a failed test")]
#![expect(clippy::panic, reason = "a failed chapter is a failed test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::traces::{self, Traces};
use support::witness::Witness;
use support::{Cluster, files, orlop, run};

/// `3/3`-like readiness of deployment `web`.
const READY: [&str; 5] =
    ["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}/{.spec.replicas}"];
/// Names of what carries the deployment's label.
const ALL: [&str; 6] = ["get", "deployments,replicasets,pods", "-l", "app=web", "-o", "name"];
/// The leases by which controllers and scheduler elect a leader.
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// How long kubectl may have no answer while a host is lost, beside what it takes at other times.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long Ctrl-C or `orlop down` may take: ten seconds until all is stopped, pods included, after
/// which the supervisor kills and fails; and what it takes a busy machine to start and end programs.
const STOP_MAX: Duration = Duration::from_secs(15);

#[test]
fn a_deployment_lives_through_the_loss_of_hosts_and_restarts_on_the_fake_runtime() {
    let Some(mut story) = Story::begin("fake") else { return };
    story.a_stranger_is_refused();
    story.the_keys_are_private();
    story.a_deployment_becomes_ready_and_a_deleted_pod_is_replaced();
    story.no_part_asks_for_what_it_may_not_and_a_node_may_little();
    story.hosts_are_lost();
    story.two_of_three_members_are_lost();
    let took = story.cluster.interrupt();
    story.it_has_stopped("Ctrl-C", took);
    assert_eq!(traces::processes(&story.cluster.dir()), Vec::<String>::new());
    story.it_resumes();
    story.a_killed_supervisor_leaves_no_process();
    story.it_resumes();
    story.the_deployment_is_deleted();
}

#[test]
fn a_deployment_of_real_containers_lives_through_the_same_and_leaves_nothing() {
    if let Err(why) = node_agent::containerd::check_machine() {
        testbed::skip(&why);
        return;
    }
    let Some(mut story) = Story::begin("containerd") else { return };
    story.an_image_is_given_to_the_nodes();
    story.a_deployment_becomes_ready_and_a_deleted_pod_is_replaced();
    story.no_part_asks_for_what_it_may_not_and_a_node_may_little();
    story.what_a_container_prints_can_be_read();
    story.a_killed_container_is_started_again();
    story.the_pods_get_a_short_grace_by_a_rollout();
    story.hosts_are_lost();
    story.two_of_three_members_are_lost();
    let took = story.cluster.down();
    story.it_has_stopped("orlop down", took);
    assert_eq!(traces::of_an_ended(&story.cluster), Vec::<String>::new());
    story.it_resumes();
    story.containers_outlive_a_killed_supervisor();
    let traces = Traces::of(&story.cluster);
    assert_eq!(traces.pods(), 4, "{traces:?}");
    story.the_deployment_is_deleted();
    story.no_container_is_left();
    story.cluster.eventually("nothing is left of the pods", Duration::from_secs(20), |cluster| {
        traces.left(cluster).is_empty()
    });
    story.cluster.down();
    assert_eq!(traces::of_an_ended(&story.cluster), Vec::<String>::new());
    assert_eq!(traces.left(&story.cluster), Vec::<String>::new());
}

/// A cluster of three hosts and one node, and what it must not forget.
struct Story {
    cluster: Cluster,
    is_real: bool,
    /// ConfigMaps that were acknowledged.
    written: Vec<String>,
}

impl Story {
    fn begin(runtime: &str) -> Option<Self> {
        let kubectl = testbed::program("kubectl")?;
        let began = Instant::now();
        let cluster = Cluster::start(kubectl, &[&format!("--runtime={runtime}")]);
        eprintln!("{runtime}: up in {:.1} s", began.elapsed().as_secs_f64());
        let story = Self { cluster, is_real: runtime == "containerd", written: Vec::new() };
        story.every_event_is_one_line();
        Some(story)
    }

    /// `--json` is for programs: fields instead of prose.
    fn every_event_is_one_line(&self) {
        let events = self.cluster.events();
        for event in &events {
            let message = event["message"].as_str().unwrap();
            assert!(!message.is_empty() && !message.contains('\n'), "{event}");
            assert!(event["at_seconds"].is_number() && event["event"].is_string(), "{event}");
        }
        let ready = events.iter().find(|event| event["event"] == "ready").unwrap();
        assert!(Path::new(ready["kubeconfig"].as_str().unwrap()).is_file(), "{ready}");
        assert_eq!(ready["commands"].as_array().unwrap().len(), 3, "{ready}");
    }

    /// Without a certificate of the cluster there is nothing to see.
    fn a_stranger_is_refused(&self) {
        let url = self.cluster.status()["api"]["url"].as_str().unwrap().to_owned();
        let flags = ["--server", &url, "--insecure-skip-tls-verify", "--kubeconfig=/dev/null"];
        // kubectl asks for a password when it has nothing at all: a guess stands in.
        let asked = [&flags[..], &["--token=guessed", "get", "--raw", "/api/v1/secrets"]].concat();
        let output = run(self.cluster.plain_kubectl_command().args(asked));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "a stranger read the secrets");
        assert!(said.contains("Unauthorized") || said.contains("orbidden"), "{said}");
    }

    /// No part is of system:masters: roles and the node's pods say what each may do.
    fn no_part_asks_for_what_it_may_not_and_a_node_may_little(&self) {
        let status = self.cluster.status();
        let servers = status["parts"].as_array().unwrap().iter();
        for server in servers.filter(|part| part["part"] == "apiserver") {
            let flag = format!("--server={}", server["address"].as_str().unwrap());
            let metrics = self.cluster.kubectl(&[&flag, "get", "--raw", "/metrics"]);
            let counts = metrics.lines().filter(|line| line.starts_with("apiserver_request_total"));
            let (refused, answered): (Vec<_>, Vec<_>) =
                counts.partition(|line| line.contains("code=\"403\""));
            assert_eq!(refused, Vec::<&str>::new(), "{flag}");
            assert!(!answered.is_empty(), "{flag} counts nothing");
        }
        let kubeconfig = self.cluster.dir().join("node-1/kubelet.kubeconfig");
        for question in [
            &["get", "secrets", "--all-namespaces"][..],
            &["get", "pods", "--all-namespaces"],
            &["label", "node", "node-1", "node-role.kubernetes.io/control-plane=x"],
            &["create", "deployment", "x", "--image=x"],
        ] {
            let flag = format!("--kubeconfig={}", kubeconfig.display());
            let output = run(self.cluster.plain_kubectl_command().arg(flag).args(question));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("forbidden"), "{question:?}: {said}");
        }
    }

    fn the_keys_are_private(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let all = files(&self.cluster.dir());
        let keys = all.iter().filter(|path| path.extension().is_some_and(|end| end == "key"));
        let modes: Vec<u32> =
            keys.map(|key| std::fs::metadata(key).unwrap().permissions().mode() & 0o777).collect();
        assert!(modes.len() > 20 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }

    fn an_image_is_given_to_the_nodes(&self) {
        let image = self.cluster.dir().join("busybox.tar");
        let made = run(orlop().args(["image", "busybox"]).arg(&image));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let imported = self.cluster.orlop(&["image", "import", image.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }

    /// In order, in time, and nothing had to be killed.
    fn it_has_stopped(&self, how: &str, took: Duration) {
        assert!(took < STOP_MAX, "{how} took {took:?}");
        let events = self.cluster.events();
        let said = events.iter().rfind(|event| event["step"] == "stop");
        let message = said.map(|event| &event["message"]);
        assert!(message.is_some_and(|text| text == "everything is stopped"), "{said:?}");
    }

    fn ready(&mut self, what: &str, count: usize) {
        self.cluster.kubectl_until(what, &READY, |ready| ready == format!("{count}/{count}"));
    }

    fn scale(&self, count: usize) {
        self.cluster.kubectl(&["scale", "deployment", "web", &format!("--replicas={count}")]);
    }

    fn pods(&self) -> Vec<String> {
        pods(&self.cluster)
    }

    fn a_deployment_becomes_ready_and_a_deleted_pod_is_replaced(&mut self) {
        self.cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);
        self.written.push("kept".to_owned());
        let create = ["create", "deployment", "web", "--image=busybox:local", "--replicas=3"];
        self.cluster.kubectl(&[&create[..], &["--", "httpd", "-f", "-p", "80"]].concat());
        self.ready("3/3 ready", 3);
        let before = self.pods();
        // It ignores SIGTERM, and kubectl need not wait for the end of its grace.
        self.cluster.kubectl(&["delete", "pod", &before[0], "--wait=false"]);
        self.cluster.eventually("the pod is replaced", Duration::from_secs(30), |cluster| {
            // The status alone may be that from before the deletion.
            let (ready, after) = (cluster.try_kubectl(&READY), pods(cluster));
            ready.stdout == b"3/3" && after.len() == 3 && !after.contains(&before[0])
        });
        if self.is_real {
            self.the_pods_answer();
        }
    }

    /// Every pod of the deployment serves HTTP on its address, soon: without a probe, "Ready" says
    /// only that its process was started.
    fn the_pods_answer(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Some(why) = self.silent_pod() {
            assert!(Instant::now() < deadline, "not in time: {why}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A pod that does not, and why.
    fn silent_pod(&self) -> Option<String> {
        self.pods().into_iter().find_map(|pod| {
            let ip = self.cluster.kubectl(&["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"]);
            match get(&ip) {
                Ok(answer) if answer.starts_with("HTTP/1.") => None,
                Ok(answer) => Some(format!("{pod} at {ip}: {answer:?}")),
                Err(error) => Some(format!("{pod} at {ip}: {error}")),
            }
        })
    }

    /// What a container prints can be read, also after it has ended.
    fn what_a_container_prints_can_be_read(&mut self) {
        let speak = ["run", "speaker", "--image=busybox:local", "--restart=Never"];
        let script = "echo hello from $HOSTNAME";
        self.cluster.kubectl(&[&speak[..], &["--", "sh", "-c", script]].concat());
        let phase = ["get", "pod", "speaker", "-o", "jsonpath={.status.phase}"];
        self.cluster.kubectl_until("it has spoken", &phase, |phase| phase == "Succeeded");
        assert_eq!(self.cluster.kubectl(&["logs", "speaker"]), "hello from speaker\n");
        self.cluster.kubectl(&["delete", "pod", "speaker"]);
    }

    /// `POD CONTAINER-ID RESTARTS` of the deployment's pods.
    fn containers(&self) -> Vec<[String; 3]> {
        let of = |pod: String, field: &str| {
            let path = format!("jsonpath={{.status.containerStatuses[0].{field}}}");
            self.cluster.kubectl(&["get", "pod", &pod, "-o", &path])
        };
        let mut pods = self.pods();
        pods.sort();
        let all = pods
            .into_iter()
            .map(|pod| [pod.clone(), of(pod.clone(), "containerID"), of(pod, "restartCount")]);
        all.collect()
    }

    /// The main process of a container is killed: the same pod runs a new container.
    fn a_killed_container_is_started_again(&mut self) {
        let [pod, id, restarts] = self.containers().swap_remove(0);
        assert_eq!(restarts, "0");
        let id = id.strip_prefix("containerd://").unwrap();
        let killed = self.cluster.ctr(&["tasks", "kill", "-s", "SIGKILL", id]);
        assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
        let row = ["get", "pod", &pod, "--no-headers"];
        self.cluster.kubectl_until("restarted", &row, |row| {
            // NAME READY STATUS RESTARTS AGE
            row.split_whitespace().skip(1).take(3).eq(["1/1", "Running", "1"])
        });
        self.ready("ready again", 3);
        self.the_pods_answer();
    }

    /// httpd ignores SIGTERM: with the default grace the end of each pod would take half a minute.
    fn the_pods_get_a_short_grace_by_a_rollout(&mut self) {
        let before = self.pods();
        let patch = r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}"#;
        self.cluster.kubectl(&["patch", "deployment", "web", "-p", patch]);
        self.cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=50s"]);
        let after = self.pods();
        assert!(after.len() == 3 && before.iter().all(|pod| !after.contains(pod)), "{after:?}");
    }

    /// The host of the store's leader is lost while the deployment scales, then those that lead the
    /// controllers and the scheduler, until each lead has moved.
    fn hosts_are_lost(&mut self) {
        let leader = self.led("the store", Cluster::leader);
        let mut moved = self.a_host_is_lost(&leader, 6);
        assert_ne!(self.cluster.leader(), Some(leader.clone()));
        self.bring_back(&leader);
        for (lease, count) in LEASES.into_iter().zip([4, 5]) {
            if !moved.contains(&lease) {
                let host = self.lease_host(lease);
                moved.extend(self.a_host_is_lost(&host, count));
                self.bring_back(&host);
            }
        }
        assert!(LEASES.iter().all(|lease| moved.contains(lease)), "{moved:?}");
        self.scale(4);
        self.ready("scaled after it all", 4);
    }

    fn lease_host(&mut self, lease: &str) -> String {
        self.led(lease, |cluster| cluster.lease_host(lease))
    }

    /// The host that something is led from: there may be nobody for a moment, or no answer.
    fn led(&mut self, what: &str, host: impl Fn(&Cluster) -> Option<String>) -> String {
        let mut found = None;
        let what = format!("{what} is led");
        self.cluster.eventually(&what, Duration::from_secs(30), |cluster| {
            found = host(cluster);
            found.is_some()
        });
        found.unwrap()
    }

    /// The processes of a host, each of which runs: one that died waits before it is started again.
    fn parts(&mut self, host: &str) -> Vec<u64> {
        let mut parts = Vec::new();
        let what = "store, API server, controllers and scheduler run";
        self.cluster.eventually(what, Duration::from_secs(60), |cluster| {
            parts = cluster.pids(host);
            parts.len() == 4
        });
        parts
    }

    /// All of a host's processes go down with SIGKILL; kubectl keeps answering, the deployment
    /// scales to `count`, and what was led there is led elsewhere. Answers which leases moved.
    fn a_host_is_lost(&mut self, host: &str, count: usize) -> Vec<&'static str> {
        let parts = self.parts(host);
        let witness = Witness::start(&self.cluster, &format!("{host}-{count}"));
        let led: Vec<&'static str> =
            LEASES.into_iter().filter(|lease| self.lease_host(lease) == host).collect();

        self.scale(count);
        assert!(self.cluster.orlop(&["host", "kill", host, "--hold"]).status.success());
        let began = Instant::now();
        // Whether that is soon enough, the silence shows.
        self.cluster.eventually("its processes are gone", Duration::from_secs(10), |_| {
            parts.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        });
        for lease in &led {
            let what = format!("{lease} moved away from {host}");
            self.cluster.eventually(&what, Duration::from_secs(30), |cluster| {
                cluster.lease_host(lease).is_some_and(|now| now != host)
            });
        }
        let took = began.elapsed();
        self.ready("scaled without the host", count);
        let scaled = began.elapsed();
        let silence_max = SILENCE_MAX + witness.usual;
        self.cluster.eventually("a silence has had its time", silence_max * 2, |_| {
            began.elapsed() > silence_max + Duration::from_millis(500)
        });
        let seen = witness.end();
        eprintln!(
            "{host} lost: {led:?} moved in {:.1} s, scaled in {:.1} s, kubectl silent for at most \
             {:.1} of {:.1} s, {} writes kept, errors: {:?}",
            took.as_secs_f64(),
            scaled.as_secs_f64(),
            seen.longest.as_secs_f64(),
            silence_max.as_secs_f64(),
            seen.written.len(),
            seen.errors
        );
        assert!(seen.longest < silence_max, "kubectl was silent for {:?}", seen.longest);
        assert!(seen.written.len() > 3, "{:?}", seen.written);
        self.written.extend(seen.written);
        self.nothing_is_lost();
        led
    }

    /// Every write that was acknowledged is there.
    fn nothing_is_lost(&self) {
        let names = self.cluster.kubectl(&["get", "configmaps", "-o", "name"]);
        let is_there =
            |name: &&String| names.lines().any(|line| line == format!("configmap/{name}"));
        let lost: Vec<&String> = self.written.iter().filter(|name| !is_there(name)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let kept = ["get", "configmap", "kept", "-o", "jsonpath={.data.a}"];
        assert_eq!(self.cluster.kubectl(&kept), "b");
    }

    fn bring_back(&mut self, host: &str) {
        assert!(self.cluster.orlop(&["host", "start", host]).status.success());
        self.cluster.eventually("the host is back", Duration::from_secs(60), |cluster| {
            let status = cluster.status();
            let members = status["store"].as_array().unwrap();
            members.len() == 3 && members.iter().all(|member| member["error"].is_null())
        });
        // Its API server as well: one that has not read the store yet cannot take over, and says only
        // that it had no answer.
        let server = format!("--server={}", self.cluster.address(host, "apiserver"));
        let ready = ["get", "--raw", "/readyz", &server];
        self.cluster.kubectl_until("its API server is ready", &ready, |said| said == "ok");
    }

    /// Without a majority writes fail with etcd's own words, for kubectl and for etcdctl, while the
    /// pods run on; they work again with the second member.
    fn two_of_three_members_are_lost(&mut self) {
        let pods = if self.is_real { self.containers() } else { Vec::new() };
        for host in ["host-1", "host-2"] {
            assert!(self.cluster.orlop(&["host", "kill", host, "--hold"]).status.success());
        }
        // Both at the same time: each is told no only when the store has waited long enough.
        let put = self
            .etcdctl("host-3", &["put", "a", "b", "--command-timeout=20s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let write = ["create", "configmap", "late", "--request-timeout=20s"];
        let refused = self.cluster.try_kubectl(&write);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "written without a majority");
        assert!(said.contains("etcdserver: "), "{said}");
        eprintln!("without a majority kubectl says: {}", said.trim());
        let refused = put.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "written without a majority");
        assert!(said.contains("etcdserver: "), "{said}");
        eprintln!("without a majority etcdctl says: {}", said.trim());

        assert!(self.cluster.orlop(&["host", "start", "host-1"]).status.success());
        self.cluster.eventually("writes work again", Duration::from_secs(60), |cluster| {
            let output = cluster.try_kubectl(&write);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success() || said.contains("already exists")
        });
        self.written.push("late".to_owned());
        self.nothing_is_lost();
        self.bring_back("host-2");
        let status = run(&mut self.etcdctl("host-2", &["endpoint", "health"]));
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        if self.is_real {
            assert_eq!(self.containers(), pods, "no container had a part in it");
            self.the_pods_answer();
        }
    }

    /// etcdctl on the member of a host, with the certificates that the README names.
    fn etcdctl(&self, host: &str, arguments: &[&str]) -> Command {
        let program = testbed::program("etcdctl").expect("kubectl comes with it");
        let pki = self.cluster.dir().join("pki/etcd");
        let file = |flag: &str, name: &str| format!("{flag}={}", pki.join(name).display());
        let mut command = Command::new(program);
        command
            .arg(format!("--endpoints={}", self.cluster.address(host, "store")))
            .arg(file("--cacert", "ca.crt"))
            .arg(file("--cert", "healthcheck-client.crt"))
            .arg(file("--key", "healthcheck-client.key"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// `orlop up` on the folder of a cluster that ended: all objects are there, all pods run.
    fn it_resumes(&mut self) {
        self.cluster.up();
        if self.is_real {
            // Until the agent has looked, the API says what was true before.
            self.the_pods_answer();
        }
        self.ready("ready after the restart", 4);
        self.nothing_is_lost();
    }

    fn a_killed_supervisor_leaves_no_process(&mut self) {
        self.cluster.kill_supervisor();
        self.cluster.eventually("its parts are gone", Duration::from_secs(5), |cluster| {
            traces::processes(&cluster.dir()).is_empty()
        });
    }

    /// The supervisor dies, and with it every part; the next start takes the containers over.
    fn containers_outlive_a_killed_supervisor(&mut self) {
        let before = self.containers();
        let addresses: Vec<String> = self.addresses();
        self.cluster.kill_supervisor();
        for address in &addresses {
            let answer = get(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert!(answer.starts_with("HTTP/1."), "{address}: {answer:?}");
        }
        self.it_resumes();
        assert_eq!(self.containers(), before);
        assert_eq!(self.addresses(), addresses);
    }

    fn addresses(&self) -> Vec<String> {
        let path = "jsonpath={.items[*].status.podIP}";
        let all = self.cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", path]);
        all.split_whitespace().map(str::to_owned).collect()
    }

    fn the_deployment_is_deleted(&mut self) {
        self.cluster.kubectl(&["delete", "deployment", "web"]);
        self.cluster.kubectl_until("nothing is left", &ALL, |left| left.trim().is_empty());
    }

    fn no_container_is_left(&mut self) {
        self.cluster.eventually("no container is left", Duration::from_secs(30), |cluster| {
            let output = cluster.ctr(&["containers", "list", "-q"]);
            output.status.success() && output.stdout.trim_ascii().is_empty()
        });
    }
}

/// Names of the deployment's pods that are not on their way out.
fn pods(cluster: &Cluster) -> Vec<String> {
    let template = "{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} \
                    {{end}}{{end}}";
    let asked = ["get", "pods", "-l", "app=web", "-o", "go-template", "--template", template];
    cluster.kubectl(&asked).split_whitespace().map(str::to_owned).collect()
}

/// What a web server on port 80 answers.
fn get(address: &str) -> std::io::Result<String> {
    const DEADLINE: Duration = Duration::from_secs(5);
    let to = format!("{address}:80").parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
