//! The plan and the phase by tables: a pod, what there is of it, and the next steps.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::plan::{Health, Step, World, plan};
use crate::restart::BackOff;
use crate::status::phase;
use crate::view::{Instance, PodView, Run, Sandbox};

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
}

fn sandbox(is_ready: bool) -> Sandbox {
    Sandbox { id: "s".to_owned(), is_ready, ..Default::default() }
}

fn run(name: &str, run: Run, exit_code: i32) -> Instance {
    Instance {
        id: format!("{name}-0"),
        name: name.to_owned(),
        sandbox: "s".to_owned(),
        hash: "h".to_owned(),
        finished_ns: 1_000_000_000,
        run,
        exit_code,
        ..Default::default()
    }
}

fn steps(pod: &Pod, sandboxes: Vec<Sandbox>, containers: Vec<Instance>) -> Vec<Step> {
    let view = PodView { sandboxes, containers };
    let world = World {
        now: Timestamp::from_second(2).unwrap(),
        back_off: &BackOff::default(),
        health: &|_| Health::FINE,
        hash: &|_| "h".to_owned(),
    };
    plan(pod, &view, &world)
}

fn begin(name: &str, restarts: i32) -> Step {
    Step::Start { name: name.to_owned(), restarts }
}

#[test]
fn p1_nothing_starts_without_a_sandbox() {
    let pod = pod(serde_json::json!({"containers": [{"name": "a"}]}));
    assert_eq!(steps(&pod, vec![], vec![]), [Step::RunSandbox { attempt: 0 }]);
    assert_eq!(steps(&pod, vec![sandbox(true)], vec![]), [begin("a", 0)]);
    let dead = vec![run("a", Run::Exited, 137)];
    assert_eq!(steps(&pod, vec![sandbox(false)], dead), [Step::RunSandbox { attempt: 1 }]);
}

#[test]
fn p2_init_containers_run_one_at_a_time_and_the_others_wait() {
    let pod = pod(serde_json::json!({
        "initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
    let ready = || vec![sandbox(true)];
    assert_eq!(steps(&pod, ready(), vec![]), [begin("i", 0)]);
    assert_eq!(steps(&pod, ready(), vec![run("i", Run::Running, 0)]), []);
    assert_eq!(steps(&pod, ready(), vec![run("i", Run::Exited, 0)]), [begin("j", 0)]);
    assert_eq!(steps(&pod, ready(), vec![run("i", Run::Exited, 1)]), [begin("i", 1)]);
    let both = vec![run("i", Run::Exited, 0), run("j", Run::Exited, 0)];
    assert_eq!(steps(&pod, ready(), both), [begin("a", 0)]);
}

#[test]
fn p2_a_new_sandbox_begins_with_the_init_containers_again() {
    let pod = pod(serde_json::json!({
        "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let of_old = |name: &str, code: i32| Instance {
        sandbox: "old".to_owned(),
        restarts: 3,
        ..run(name, Run::Exited, code)
    };
    let before = || vec![of_old("i", 0), of_old("a", 137)];
    let old = Sandbox { id: "old".to_owned(), attempt: 4, ..Default::default() };
    assert_eq!(steps(&pod, vec![old.clone()], before()), [Step::RunSandbox { attempt: 5 }]);
    assert_eq!(steps(&pod, vec![sandbox(true), old.clone()], before()), [begin("i", 4)]);
    let mut after = before();
    after.insert(0, run("i", Run::Exited, 0));
    assert_eq!(steps(&pod, vec![sandbox(true), old], after), [begin("a", 4)]);
}

#[test]
fn p3_what_may_not_run_again_is_not_started_and_its_sandbox_goes() {
    let pod = pod(serde_json::json!({"restartPolicy": "Never",
        "initContainers": [{"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}]}));
    let ended = || vec![run("a", Run::Exited, 1), run("side", Run::Running, 0)];
    let stop = Step::StopSandbox { id: "s".to_owned() };
    assert_eq!(steps(&pod, vec![sandbox(true)], ended()), [stop]);
    assert_eq!(steps(&pod, vec![sandbox(false)], vec![run("a", Run::Exited, 1)]), []);
}

#[test]
fn p4_a_crashing_container_waits_for_its_back_off() {
    let pod = pod(serde_json::json!({"containers": [{"name": "a"}]}));
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut back_off = BackOff::default();
    back_off.tried("a_h", at(1), at(1));
    let view =
        PodView { sandboxes: vec![sandbox(true)], containers: vec![run("a", Run::Exited, 1)] };
    for (now, want) in
        [(2, Step::Wait { name: "a".to_owned(), until: at(11) }), (11, begin("a", 1))]
    {
        let world = World {
            now: at(now),
            back_off: &back_off,
            health: &|_| Health::FINE,
            hash: &|_| "h".to_owned(),
        };
        assert_eq!(plan(&pod, &view, &world), [want]);
    }
}

#[test]
fn a_failed_probe_or_a_new_definition_kills_the_container() {
    let pod = pod(serde_json::json!({"containers": [{"name": "a"}]}));
    let view =
        PodView { sandboxes: vec![sandbox(true)], containers: vec![run("a", Run::Running, 0)] };
    let sick = Health { must_die: Some("failed liveness probe"), ..Health::FINE };
    for (health, hash, want) in [
        (Health::FINE, "h", None),
        (sick, "h", Some("failed liveness probe")),
        (Health::FINE, "other", Some("definition changed")),
    ] {
        let world = World {
            now: Timestamp::from_second(2).unwrap(),
            back_off: &BackOff::default(),
            health: &|_| health,
            hash: &|_| hash.to_owned(),
        };
        let kills: Vec<_> = plan(&pod, &view, &world)
            .into_iter()
            .filter_map(|step| if let Step::Kill { why, .. } = step { Some(why) } else { None })
            .collect();
        assert_eq!(kills.first().copied(), want);
    }
}

#[test]
fn the_phase_follows_the_containers_and_the_restart_policy() {
    let status = |state: &str| -> ContainerStatus {
        let state = match state {
            "run" => serde_json::json!({"running": {}}),
            "ok" => serde_json::json!({"terminated": {"exitCode": 0}}),
            "bad" => serde_json::json!({"terminated": {"exitCode": 1}}),
            _ => serde_json::json!({"waiting": {}}),
        };
        serde_json::from_value(serde_json::json!({"name": "a", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": state}))
        .unwrap()
    };
    for (policy, states, ending, want) in [
        ("Always", &["run", "run"][..], false, "Running"),
        ("Always", &["run", "wait"], false, "Pending"),
        ("Always", &["bad"], false, "Running"),
        ("OnFailure", &["ok", "bad"], false, "Running"),
        ("OnFailure", &["ok", "ok"], false, "Succeeded"),
        ("Never", &["ok", "bad"], false, "Failed"),
        ("Never", &["ok", "run"], false, "Running"),
        ("Always", &["ok"], true, "Succeeded"),
        ("Always", &["bad"], true, "Failed"),
        ("Always", &["wait"], true, "Failed"),
    ] {
        let names: Vec<_> = states.iter().map(|_| serde_json::json!({"name": "a"})).collect();
        let pod = pod(serde_json::json!({"restartPolicy": policy, "containers": names}));
        let list: Vec<_> = states.iter().map(|s| status(s)).collect();
        assert_eq!(
            phase(pod.spec.as_ref().unwrap(), &[], &list, ending, false),
            want,
            "{policy} {states:?}"
        );
    }
}
