//! The row of a pod: what its containers are doing, in one word.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::table::Printer;
use crate::table::column::{AGE, NAME, text, wide};
use crate::table::row::{self, Row};
use crate::{View, time};

pub(super) static POD: Printer = Printer {
    columns: &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells: |row| cells_and_conditions(row).0,
};

/// What a row looks at, found in one pass over the spec and one over the status.
#[derive(Default)]
struct Pod<'a> {
    containers: View<'a>,
    init_containers: View<'a>,
    readiness_gates: View<'a>,
    node_name: View<'a>,
    phase: View<'a>,
    reason: View<'a>,
    conditions: View<'a>,
    container_statuses: View<'a>,
    init_statuses: View<'a>,
    pod_ip: View<'a>,
    pod_ips: View<'a>,
    nominated_node: View<'a>,
    name: View<'a>,
    created: View<'a>,
    is_going: bool,
}

impl<'a> Pod<'a> {
    fn of(row: &Row<'a>) -> Self {
        let mut pod = Self::default();
        for (key, value) in row.spec.entries() {
            match key {
                b"containers" => pod.containers = value,
                b"initContainers" => pod.init_containers = value,
                b"readinessGates" => pod.readiness_gates = value,
                b"nodeName" => pod.node_name = value,
                _ => {}
            }
        }
        for (key, value) in row.status.entries() {
            match key {
                b"phase" => pod.phase = value,
                b"reason" => pod.reason = value,
                b"conditions" => pod.conditions = value,
                b"containerStatuses" => pod.container_statuses = value,
                b"initContainerStatuses" => pod.init_statuses = value,
                b"podIP" => pod.pod_ip = value,
                b"podIPs" => pod.pod_ips = value,
                b"nominatedNodeName" => pod.nominated_node = value,
                _ => {}
            }
        }
        for (key, value) in row.metadata.entries() {
            match key {
                b"name" => pod.name = value,
                b"creationTimestamp" => pod.created = value,
                b"deletionTimestamp" => pod.is_going = !value.is_null(),
                _ => {}
            }
        }
        pod
    }

    /// Whether the first condition of a type holds.
    fn has_condition(&self, kind: &str) -> bool {
        let mut conditions = self.conditions.items();
        let found = conditions.find(|one| one.get("type").is(kind));
        found.is_some_and(|one| one.get("status").is("True"))
    }

    /// Whether any condition says that it is ready.
    fn is_ready(&self) -> bool {
        let mut conditions = self.conditions.items();
        conditions.any(|one| one.get("type").is("Ready") && one.get("status").is("True"))
    }

    /// The address that counts: kubelets of old wrote only the single one.
    fn address(&self) -> View<'a> {
        if self.pod_ip.text().is_empty() {
            return self.pod_ips.items().next().unwrap_or_default().get("ip");
        }
        self.pod_ip
    }
}

/// What a row says of the containers.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// The cells, and what a row says besides them: that the pod is done.
pub(in crate::table) fn cells_and_conditions(row: &Row<'_>) -> (Vec<Value>, Option<Value>) {
    let pod = Pod::of(row);
    (cells(row, &pod), conditions(&pod))
}

fn conditions(pod: &Pod<'_>) -> Option<Value> {
    let phase = pod.phase.text();
    let message = match &*phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    let done = json!({"type": "Completed", "status": "True", "reason": phase, "message": message});
    Some(json!([done]))
}

fn cells(row: &Row<'_>, pod: &Pod<'_>) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            let ago = time::human_duration(row.now.duration_since(at).as_secs());
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    let or_none = |text: View<'_>| Value::from(row::or(&text.text(), "<none>"));
    vec![
        pod.name.text().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        row.since(pod.created).into(),
        or_none(pod.address()),
        or_none(pod.node_name),
        or_none(pod.nominated_node),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Pod<'_>) -> String {
    let total = pod.readiness_gates.count();
    if total == 0 {
        return "<none>".to_owned();
    }
    let met = pod.readiness_gates.items();
    let met = met.filter(|gate| pod.has_condition(&gate.get("conditionType").text())).count();
    format!("{met}/{total}")
}

fn is_sidecar(container: View<'_>) -> bool {
    container.get("restartPolicy").is("Always")
}

fn terminated_reason(terminated: View<'_>) -> String {
    let reason = terminated.get("reason").text();
    if !reason.is_empty() {
        return reason.into_owned();
    }
    match row::number(terminated, "signal") {
        0 => format!("ExitCode:{}", row::number(terminated, "exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

/// One container's status, found in one pass.
#[derive(Default)]
struct Container<'a> {
    name: View<'a>,
    ready: bool,
    started: bool,
    restarts: i64,
    waiting: View<'a>,
    running: View<'a>,
    terminated: View<'a>,
    last_state: View<'a>,
}

impl<'a> Container<'a> {
    fn of(status: View<'a>) -> Self {
        let mut found = Self::default();
        for (key, value) in status.entries() {
            match key {
                b"name" => found.name = value,
                b"ready" => found.ready = value.is_true(),
                b"started" => found.started = value.is_true(),
                b"restartCount" => found.restarts = value.number().unwrap_or(0),
                b"lastState" => found.last_state = value,
                b"state" => {
                    for (key, value) in value.entries() {
                        match key {
                            b"waiting" => found.waiting = value,
                            b"running" => found.running = value,
                            b"terminated" => found.terminated = value,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// None while it is not terminated.
    fn exit_code(&self) -> Option<i64> {
        self.terminated.is_object().then(|| row::number(self.terminated, "exitCode"))
    }

    fn finished_at(&self) -> Option<Timestamp> {
        time::parse(&self.last_state.at(&["terminated", "finishedAt"]).text())
    }
}

fn summarize(pod: &Pod<'_>) -> Summary {
    let (phase, reason) = (pod.phase.text(), pod.reason.text());
    let mut out = Summary {
        reason: if reason.is_empty() { &phase } else { &reason }.clone().into_owned(),
        ready: 0,
        total: pod.containers.count(),
        restarts: 0,
        last_restart: None,
    };
    let is_gated = |one: View<'_>| {
        one.get("type").is("PodScheduled") && one.get("reason").is("SchedulingGated")
    };
    if pod.conditions.items().any(is_gated) {
        out.reason = "SchedulingGated".to_owned();
    }
    let (initializing, sidecars) = summarize_init(pod, &mut out);
    if !initializing || pod.has_condition("Initialized") {
        out.restarts = sidecars.restarts;
        out.last_restart = sidecars.last_restart;
        summarize_main(pod, &mut out);
    }
    if pod.is_going {
        if reason == "NodeLost" {
            out.reason = "Unknown".to_owned();
        } else if !matches!(&*phase, "Succeeded" | "Failed") {
            out.reason = "Terminating".to_owned();
        }
    }
    out
}

#[derive(Default)]
struct Sidecars {
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// Whether an init container still keeps the pod from starting.
fn summarize_init(pod: &Pod<'_>, out: &mut Summary) -> (bool, Sidecars) {
    let specs = pod.init_containers;
    out.total += specs.items().filter(|one| is_sidecar(*one)).count();
    let mut sidecars = Sidecars::default();
    for (index, status) in pod.init_statuses.items().map(Container::of).enumerate() {
        let name = status.name.text();
        let spec = specs.items().find(|one| one.get("name").is(&name));
        let is_sidecar = spec.is_some_and(is_sidecar);
        out.restarts += status.restarts;
        out.last_restart = out.last_restart.max(status.finished_at());
        if is_sidecar {
            sidecars.restarts += status.restarts;
            sidecars.last_restart = sidecars.last_restart.max(status.finished_at());
        }
        if status.exit_code() == Some(0) {
            continue;
        }
        if is_sidecar && status.started {
            out.ready += usize::from(status.ready);
            continue;
        }
        let waiting = status.waiting.get("reason").text();
        out.reason = if status.terminated.is_object() {
            format!("Init:{}", terminated_reason(status.terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", specs.count())
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn summarize_main(pod: &Pod<'_>, out: &mut Summary) {
    let mut has_running = false;
    let mut error = None;
    let statuses: Vec<_> = pod.container_statuses.items().map(Container::of).collect();
    for status in statuses.iter().rev() {
        out.restarts += status.restarts;
        out.last_restart = out.last_restart.max(status.finished_at());
        let waiting = status.waiting.get("reason").text();
        if !waiting.is_empty() {
            out.reason = waiting.into_owned();
        } else if let Some(code) = status.exit_code() {
            out.reason = terminated_reason(status.terminated);
            if code != 0 {
                error = Some(out.reason.clone());
            }
        } else if status.ready && status.running.is_object() {
            has_running = true;
            out.ready += 1;
        }
    }
    if out.reason != "Completed" {
        return;
    }
    // One container that completed does not speak for those that run or failed.
    out.reason = match error {
        _ if has_running && pod.is_ready() => "Running".to_owned(),
        Some(error) => error,
        None if has_running => "NotReady".to_owned(),
        None => return,
    };
}
