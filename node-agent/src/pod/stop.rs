//! Stopping: hooks, graces, order, and what is removed after a pod has ended.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, PodSpec};
use tokio::time::Instant;
use tracing::{info, warn};

use super::api::Written;
use super::worker::{Worker, other};
use crate::limits::{API_RETRY, GRACE_DEFAULT_SECONDS, GRACE_MIN_SECONDS, POD_RESYNC, POD_RETRY};
use crate::runtime::Outcome;
use crate::spec::make;
use crate::view::{Instance, PodView, Run};
use crate::volume;

/// How containers are to be stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Seconds from the first hook to the kill.
    pub(super) grace: i64,
    /// False when the hooks of this stop have run already.
    pub(super) with_hooks: bool,
}

impl Manner {
    pub(super) fn graceful(grace: i64) -> Self {
        Self { grace, with_hooks: true }
    }

    /// What is left after a while of it; nobody gets less than the shortest grace of a stop.
    fn after(self, began: Instant) -> i64 {
        let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
        (self.grace.saturating_sub(used)).max(GRACE_MIN_SECONDS.min(self.grace))
    }
}

fn is_sidecar(spec: Option<&PodSpec>, name: &str) -> bool {
    let init = spec.and_then(|s| s.init_containers.as_ref()).into_iter().flatten();
    init.into_iter().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
}

/// The containers to stop, in turns: all of a pod's own at once, then its sidecars, last first.
fn turns<'a>(spec: Option<&PodSpec>, view: &'a PodView) -> Vec<Vec<&'a Instance>> {
    let alive = view.containers.iter().filter(|r| matches!(r.run, Run::Running | Run::Unknown));
    let (sidecars, own): (Vec<_>, Vec<_>) = alive.partition(|run| is_sidecar(spec, &run.name));
    let order = spec.and_then(|s| s.init_containers.as_ref()).into_iter().flatten().rev();
    let mut turns = vec![own];
    turns
        .extend(order.map(|c| {
            sidecars.iter().copied().filter(|run| run.name == c.name).collect::<Vec<_>>()
        }));
    turns.retain(|turn| !turn.is_empty());
    turns
}

/// The grace of a pod; one whose definition is lost has it on its containers.
fn last_grace(pod: &Pod, view: &PodView) -> i64 {
    let kept = view.containers.iter().filter_map(|run| run.grace).max();
    let is_known = pod.spec.as_ref().is_some_and(|s| !s.containers.is_empty());
    kept.filter(|_| !is_known).unwrap_or_else(|| grace_of(pod))
}

pub(super) fn grace_of(pod: &Pod) -> i64 {
    pod.spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds)
        .unwrap_or(GRACE_DEFAULT_SECONDS)
}

/// The grace of a container that its probes condemned: a probe may have one of its own.
pub(super) fn grace_of_kill(pod: &Pod, container: Option<&Container>, why: &str) -> i64 {
    let probe = match why {
        "failed startup probe" => container.and_then(|c| c.startup_probe.as_ref()),
        "failed liveness probe" => container.and_then(|c| c.liveness_probe.as_ref()),
        _ => None,
    };
    probe.and_then(|p| p.termination_grace_period_seconds).unwrap_or_else(|| grace_of(pod))
}

impl Worker {
    pub(super) async fn hook(
        &self,
        container: Option<&Container>,
        hook: &LifecycleHandler,
        (id, ips): (&str, &[String]),
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let done =
                self.shared.runtime.exec(id, command, limit).await.map_err(|e| e.to_string())?;
            return if done.exit_code == 0 {
                Ok(())
            } else {
                let said = String::from_utf8_lossy(&done.output);
                Err(format!("exit code {}: {}", done.exit_code, said.trim()))
            };
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs()).min(limit))
                .await;
            return Ok(());
        }
        // A hook by TCP is in the API, but upstream never had it either.
        let http =
            hook.http_get.as_ref().ok_or("invalid handler: neither exec, httpGet nor sleep")?;
        let host = http.host.as_deref().filter(|host| !host.is_empty());
        let host = host.or(ips.first().map(String::as_str)).unwrap_or("127.0.0.1");
        let port = super::probe::port_of(container, &http.port)?;
        let asked = super::http::hook(http, host, port);
        tokio::time::timeout(limit, asked).await.map_err(|_| format!("timeout after {limit:?}"))?
    }

    /// Stops every container in the pod's order, each after its hook, all within one grace.
    async fn stop_containers(&self, pod: &Arc<Pod>, view: &PodView, manner: Manner) {
        let began = Instant::now();
        for turn in turns(pod.spec.as_ref(), view) {
            let now = Manner { grace: manner.after(began), ..manner };
            let all = turn.into_iter().map(|run| self.stop_one(pod, view, run, now));
            futures::future::join_all(all).await;
        }
    }

    /// Stops one container; the time of its hook counts as grace.
    pub(super) async fn stop_one(
        &self,
        pod: &Arc<Pod>,
        view: &PodView,
        run: &Instance,
        manner: Manner,
    ) {
        let began = Instant::now();
        let container = pod.spec.as_ref().and_then(|spec| {
            let init = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(init).find(|c| c.name == run.name)
        });
        let hook = match container {
            Some(container) => container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone()),
            // The definition is lost, as an orphan's is: the container carries its hook.
            None => serde_json::from_str(&run.pre_stop).ok(),
        };
        if let Some(hook) = hook.filter(|_| manner.with_hooks && manner.grace > 0) {
            let ips = view.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
            let limit = Duration::from_secs(manner.grace.unsigned_abs());
            if let Err(why) = self.hook(container, &hook, (&run.id, &ips), limit).await {
                warn!(pod = pod.metadata.name, container = run.name, why, "a preStop hook failed");
                // What the hook said may be a secret: events are for everybody.
                let text = "PreStopHook failed".to_owned();
                self.shared.api.event(pod, true, "FailedPreStopHook", text);
            }
        }
        let left = manner.after(began);
        if let Err(error) = self.shared.runtime.stop_container(&run.id, left).await {
            warn!(container = run.name, %error, "a container could not be stopped");
        }
    }

    /// Answers when the pod is to end sooner than it was.
    async fn shorter_grace(&self, grace: i64) -> i64 {
        loop {
            self.news.notified().await;
            let pod = self.desired.lock().pod.clone();
            let now = pod.metadata.deletion_grace_period_seconds.map(|seconds| seconds.max(1));
            if let Some(shorter) = now.filter(|now| *now < grace) {
                return shorter;
            }
        }
    }

    /// Stops the containers of a pod; a grace that shrinks meanwhile takes effect at once.
    pub(super) async fn stop_all(&self, pod: &Arc<Pod>, view: &PodView, grace: i64) {
        for run in view.containers.iter().filter(|r| r.run == Run::Running) {
            let text = format!("Stopping container {}", run.name);
            self.shared.api.event(pod, false, "Killing", text);
        }
        let mut manner = Manner::graceful(grace);
        loop {
            tokio::select! {
                () = self.stop_containers(pod, view, manner) => return,
                grace = self.shorter_grace(manner.grace) => {
                    manner = Manner { grace, with_hooks: false };
                }
            }
        }
    }

    /// Stops the pod for good; true when nothing of it is left here and in the API.
    pub(super) async fn end(&mut self, pod: &Arc<Pod>) -> Outcome<(bool, Duration)> {
        let view = self.view(pod).await?;
        let grace = pod.metadata.deletion_grace_period_seconds;
        self.stop_all(pod, &view, grace.unwrap_or_else(|| last_grace(pod, &view)).max(1)).await;
        for sandbox in &view.sandboxes {
            // One that broke by itself still holds its address.
            self.shared.runtime.stop_sandbox(&sandbox.id).await?;
        }
        let view = self.view(pod).await?;
        self.prober.attend(&[], None);
        if view.is_alive() {
            return Ok((false, POD_RETRY));
        }
        let is_told = self.report(pod, &view, true).await >= POD_RESYNC;
        // The API has to know how the containers ended before they are removed. A static pod waits
        // for nobody: the API itself may be one, and its next version waits for this one to go.
        if !is_told && !self.desired.lock().is_static {
            return Ok((false, API_RETRY));
        }
        for run in &view.containers {
            self.shared.runtime.remove_container(&run.id).await?;
        }
        for sandbox in &view.sandboxes {
            self.shared.runtime.remove_sandbox(&sandbox.id).await?;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.shared.api.forget(&uid);
        let (root, logs, cgroup) = (
            self.shared.root.clone(),
            self.log_dir(pod),
            make::cgroup_of(pod, &self.shared.machine),
        );
        let cleaned = tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_dir_all(logs);
            crate::node::cgroup::remove(&cgroup);
            crate::node::cgroup::remove_of_uid(&uid);
            volume::tear_down(&root, &uid)
        });
        cleaned.await.map_err(other)?.map_err(other)?;
        let api_uid = self.desired.lock().api_uid.clone();
        if let Some(uid) = api_uid.filter(|_| pod.metadata.deletion_timestamp.is_some())
            && self.shared.api.delete(pod, &uid).await == Written::No
        {
            return Ok((false, API_RETRY));
        }
        info!(pod = pod.metadata.name, namespace = pod.metadata.namespace, "pod ended");
        Ok((true, Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_stop_after_the_pods_own_containers_and_in_reverse() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "initContainers": [
                {"name": "i"},
                {"name": "s1", "restartPolicy": "Always"},
                {"name": "s2", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}]}))
        .unwrap();
        let run = |name: &str, run| Instance { name: name.to_owned(), run, ..Default::default() };
        let view = PodView {
            containers: vec![
                run("s1", Run::Running),
                run("a", Run::Running),
                run("s2", Run::Running),
                run("i", Run::Exited),
                run("b", Run::Unknown),
            ],
            ..Default::default()
        };
        let names: Vec<Vec<&str>> = turns(Some(&spec), &view)
            .iter()
            .map(|turn| turn.iter().map(|run| run.name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b"], vec!["s2"], vec!["s1"]]);
        assert_eq!(turns(None, &view).len(), 1, "an orphan has no order");
    }

    #[test]
    fn a_probe_may_have_a_grace_of_its_own_and_an_orphan_keeps_its_grace() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {"terminationGracePeriodSeconds": 60, "containers": [{"name": "c",
                "livenessProbe": {"terminationGracePeriodSeconds": 3}}]}}))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(grace_of_kill(&pod, Some(container), "failed liveness probe"), 3);
        assert_eq!(grace_of_kill(&pod, Some(container), "definition changed"), 60);

        let view = PodView {
            containers: vec![Instance { grace: Some(7), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(last_grace(&pod, &view), 60);
        let orphan = Pod { spec: Some(PodSpec::default()), ..Default::default() };
        assert_eq!(last_grace(&orphan, &view), 7);
    }
}
