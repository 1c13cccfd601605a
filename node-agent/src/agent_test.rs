//! The agent against the fake runtime: what it may and may not stop.

use super::*;
use crate::config::Flags;
use crate::spec::dns::Cluster;
use crate::view::PodView;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn agent(dir: &std::path::Path, runtime: &Arc<Fake>) -> Agent {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (root, logs, manifests) = (at("kubelet"), at("logs"), at("manifests"));
    let arguments = ["x", "--runtime=fake", "--pod-cidr=10.9.8.0/24", "--hostname-override=n1"];
    let folders = [("root-dir", root), ("log-dir", logs), ("pod-manifest-path", manifests)];
    let folders = folders.map(|(flag, value)| format!("--{flag}={value}"));
    let arguments = arguments.into_iter().map(str::to_owned).chain(folders);
    let config = <Cli as clap::Parser>::parse_from(arguments).flags.into_config().unwrap();
    let shared = Arc::new(Shared {
        runtime: runtime.clone(),
        runtime_name: "fake".to_owned(),
        api: PodApi::start(None, "n1"),
        machine: Machine {
            driver: CgroupDriver::Cgroupfs,
            memory_capacity: 8 << 30,
            seccomp_root: String::new(),
            cluster: Cluster { servers: Vec::new(), domain: "cluster.local".to_owned() },
            resolv_conf: "/etc/resolv.conf".into(),
            huge_pages: Vec::new(),
        },
        identity: Identity::default(),
        root: config.root.clone(),
        log_dir: config.log_dir.clone(),
    });
    Agent::new(&config, shared, Workers::default(), None)
}

async fn until(what: &str, good: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !good().await {
        assert!(tokio::time::Instant::now() < deadline, "never {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Runs a pod to readiness and forgets it, as an agent that ends does.
async fn left_behind(agent: &mut Agent, uid: &str) -> Vec<String> {
    agent.rescan().await;
    let runtime = agent.shared.runtime.clone();
    until("running", async || {
        let view = PodView::read(&*runtime, uid).await.unwrap();
        view.containers.iter().any(|c| c.run == crate::view::Run::Running)
    })
    .await;
    for (_, handle) in agent.workers.lock().drain() {
        handle.task.abort();
    }
    let view = PodView::read(&*runtime, uid).await.unwrap();
    view.containers.into_iter().map(|c| c.id).collect()
}

fn manifest(dir: &std::path::Path, image: &str) -> std::path::PathBuf {
    let folder = dir.join("manifests");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("s.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: s}}\nspec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: {image}}}]}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn uid_in(dir: &std::path::Path) -> String {
    let (_, pods) = Manifests::new(dir.join("manifests"), "n1").scan();
    pods.unwrap()[0].metadata.uid.clone().unwrap()
}

#[tokio::test]
async fn a_restarted_agent_does_not_take_its_static_pods_for_orphans() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let file = manifest(dir.path(), "one");
    let uid = uid_in(dir.path());
    let before = left_behind(&mut agent(dir.path(), &runtime), &uid).await;

    // The first look at the runtime comes before the first look at the folder.
    let mut restarted = agent(dir.path(), &runtime);
    restarted.relist().await;
    assert!(restarted.workers.lock().is_empty(), "nothing is an orphan yet");
    restarted.rescan().await;
    restarted.relist().await;
    let kept = restarted.workers.lock()[&uid].desired.lock().is_removed;
    assert!(!kept, "the pod of the manifest is wanted");
    let view = PodView::read(&*runtime, &uid).await.unwrap();
    assert_eq!(view.containers.iter().map(|c| c.id.clone()).collect::<Vec<_>>(), before);

    // Its file goes: it stops, and leaves nothing.
    std::fs::remove_file(file).unwrap();
    restarted.rescan().await;
    until("stopped", async || runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty())
        .await;
}

#[tokio::test]
async fn what_no_source_has_is_an_orphan_only_when_all_sources_were_seen() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let file = manifest(dir.path(), "one");
    let uid = uid_in(dir.path());
    left_behind(&mut agent(dir.path(), &runtime), &uid).await;
    std::fs::remove_file(file).unwrap();

    let mut restarted = agent(dir.path(), &runtime);
    restarted.seen.api = false;
    restarted.rescan().await;
    restarted.relist().await;
    assert!(restarted.workers.lock().is_empty(), "the API has not told its pods yet");
    restarted.listed(&[]);
    restarted.relist().await;
    assert!(restarted.workers.lock().contains_key(&uid));
    until("stopped", async || runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty())
        .await;
}

#[tokio::test]
async fn a_changed_manifest_stops_the_old_pod_before_the_new_one_starts() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    manifest(dir.path(), "one");
    let old = uid_in(dir.path());
    let mut agent = agent(dir.path(), &runtime);
    agent.rescan().await;
    until("running", async || !runtime.list_containers(Labels::new()).await.unwrap().is_empty())
        .await;

    manifest(dir.path(), "two");
    let new = uid_in(dir.path());
    agent.rescan().await;
    assert!(!agent.workers.lock().contains_key(&new), "both would have the same name");
    until("ended", async || agent.workers.lock()[&old].task.is_finished()).await;
    agent.rescan().await;
    assert!(agent.workers.lock().contains_key(&new));
}
