//! Requests and limits turned into cgroup values, the quality-of-service class, and cgroup paths.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::quantity::{milli_of, value_of};
use crate::runtime::cri;

/// The scheduling period of a CPU quota, in microseconds.
pub(crate) const CPU_PERIOD_US: i64 = 100_000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
const CPU_QUOTA_MIN_US: i64 = 1000;

/// Quality of service, as `status.qosClass` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Qos {
    /// Every container has limits for CPU and memory, and requests equal to them.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// Nobody asks for anything.
    BestEffort,
}

impl Qos {
    /// The name in the API.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// CPU in thousandths of a core and memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amounts {
    pub(crate) cpu_request: Option<i64>,
    pub(crate) cpu_limit: Option<i64>,
    pub(crate) memory_request: Option<i64>,
    pub(crate) memory_limit: Option<i64>,
}

impl Amounts {
    /// What a container asks for. A limit without a request is the request too.
    pub(crate) fn of(container: &Container) -> Self {
        let Some(resources) = &container.resources else { return Self::default() };
        let limit = |name: &str| resources.limits.as_ref().and_then(|map| map.get(name));
        let request = |name: &str| {
            resources.requests.as_ref().and_then(|map| map.get(name)).or_else(|| limit(name))
        };
        let some = |amount: Option<i64>| amount.filter(|value| *value > 0);
        Self {
            cpu_request: some(milli_of(request("cpu"))),
            cpu_limit: some(milli_of(limit("cpu"))),
            memory_request: some(value_of(request("memory"))),
            memory_limit: some(value_of(limit("memory"))),
        }
    }
}

/// All containers of a pod that count for its resources: init containers first.
fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The quality-of-service class of a pod.
#[must_use]
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    let amounts: Vec<Amounts> = all_containers(spec).map(Amounts::of).collect();
    if amounts.iter().all(|a| *a == Amounts::default()) {
        return Qos::BestEffort;
    }
    let guaranteed = amounts.iter().all(|a| {
        a.cpu_limit.is_some()
            && a.memory_limit.is_some()
            && a.cpu_limit == a.cpu_request
            && a.memory_limit == a.memory_request
    });
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// CPU shares (cgroup v1) of an amount in thousandths of a core.
pub(crate) fn shares(milli: i64) -> i64 {
    if milli == 0 {
        return CPU_SHARES_MIN;
    }
    (milli.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

/// CPU quota in microseconds for each [`CPU_PERIOD_US`]; zero means none.
pub(crate) fn quota(milli: i64) -> i64 {
    if milli == 0 {
        return 0;
    }
    (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_MIN_US)
}

/// How willing the kernel is to kill a container when memory is short (-1000 never, 1000 first).
pub(crate) fn oom_score_adj(qos: Qos, memory_request: i64, memory_capacity: i64) -> i64 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let share = memory_request.saturating_mul(1000) / memory_capacity.max(1);
            (1000 - share).clamp(3, 999)
        }
    }
}

/// What the runtime is told about one container's resources.
pub(crate) fn container_resources(
    pod_qos: Qos,
    container: &Container,
    memory_capacity: i64,
    huge_pages: &[String],
) -> cri::LinuxContainerResources {
    let amounts = Amounts::of(container);
    let memory = amounts.memory_limit.unwrap_or(0);
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: quota(amounts.cpu_limit.unwrap_or(0)),
        cpu_shares: shares(amounts.cpu_request.unwrap_or(0)),
        memory_limit_in_bytes: memory,
        // The limit holds for memory and swap together: no swap beyond it.
        memory_swap_limit_in_bytes: memory,
        oom_score_adj: oom_score_adj(pod_qos, amounts.memory_request.unwrap_or(0), memory_capacity),
        hugepage_limits: huge_pages.iter().map(|size| huge_page_limit(container, size)).collect(),
        ..Default::default()
    }
}

/// Huge pages of one size (`2MB`) are for those who asked for them (`hugepages-2Mi`) only.
fn huge_page_limit(container: &Container, size: &str) -> cri::HugepageLimit {
    let name = format!("hugepages-{}i", size.trim_end_matches('B'));
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let limit = limits.and_then(|map| value_of(map.get(&name)));
    cri::HugepageLimit {
        page_size: size.to_owned(),
        limit: limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
    }
}

/// The cgroup values of a whole pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodResources {
    pub(crate) cpu_shares: i64,
    /// Zero means no limit.
    pub(crate) cpu_quota_us: i64,
    /// Zero means no limit.
    pub(crate) memory_limit_bytes: i64,
}

/// What the containers of a pod ask for: those that run together, and those that run alone before.
fn parts(spec: &PodSpec) -> (Vec<Amounts>, Vec<Amounts>) {
    let init = spec.init_containers.iter().flatten();
    let (sidecars, alone): (Vec<&Container>, Vec<&Container>) =
        init.partition(|c| c.restart_policy.as_deref() == Some("Always"));
    let together = spec.containers.iter().chain(sidecars).map(Amounts::of).collect();
    (together, alone.into_iter().map(Amounts::of).collect())
}

/// Init containers run alone, so that the largest one counts, not their sum.
fn total(together: &[Amounts], alone: &[Amounts], pick: fn(&Amounts) -> Option<i64>) -> i64 {
    let sum: i64 = together.iter().filter_map(pick).sum();
    alone.iter().filter_map(pick).max().unwrap_or(0).max(sum)
}

/// Thousandths of a core that a pod asks for.
pub(crate) fn cpu_request(spec: &PodSpec) -> i64 {
    let (together, alone) = parts(spec);
    total(&together, &alone, |a| a.cpu_request)
}

/// Sums of the containers. A limit holds for the pod only when every container has one.
pub(crate) fn pod_resources(spec: &PodSpec) -> PodResources {
    let (together, alone) = parts(spec);
    let limit = |pick: fn(&Amounts) -> Option<i64>| {
        let is_for_all = together.iter().chain(&alone).all(|amounts| pick(amounts).is_some());
        if is_for_all { total(&together, &alone, pick) } else { 0 }
    };
    PodResources {
        cpu_shares: shares(total(&together, &alone, |a| a.cpu_request)),
        cpu_quota_us: quota(limit(|a| a.cpu_limit)),
        memory_limit_bytes: limit(|a| a.memory_limit),
    }
}

/// What the runtime is told about a pod as a whole: here every limit that is declared counts.
pub(crate) fn sandbox_resources(spec: &PodSpec) -> cri::LinuxContainerResources {
    let (together, alone) = parts(spec);
    let sum = |pick: fn(&Amounts) -> Option<i64>| total(&together, &alone, pick);
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: quota(sum(|a| a.cpu_limit)),
        cpu_shares: shares(sum(|a| a.cpu_request)),
        memory_limit_in_bytes: sum(|a| a.memory_limit),
        ..Default::default()
    }
}

/// Which component of the machine lays out cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupDriver {
    /// Paths like `/kubepods/burstable/pod<uid>`.
    Cgroupfs,
    /// Slices like `kubepods-burstable-pod<uid>.slice`.
    Systemd,
}

/// The cgroup parent of a pod, in the words of the driver.
pub(crate) fn cgroup_parent(driver: CgroupDriver, qos: Qos, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match driver {
        CgroupDriver::Cgroupfs => match qos {
            Qos::Guaranteed => format!("/kubepods/pod{uid}"),
            Qos::Burstable => format!("/kubepods/burstable/pod{uid}"),
            Qos::BestEffort => format!("/kubepods/besteffort/pod{uid}"),
        },
        CgroupDriver::Systemd => {
            let uid = uid.replace('-', "_");
            match qos {
                Qos::Guaranteed => format!("kubepods-pod{uid}.slice"),
                Qos::Burstable => format!("kubepods-burstable-pod{uid}.slice"),
                Qos::BestEffort => format!("kubepods-besteffort-pod{uid}.slice"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_gets_the_class_its_requests_earn() {
        let full = serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let table = [
            (serde_json::json!([{"name": "a"}]), Qos::BestEffort),
            (serde_json::json!([{"name": "a", "resources": full}]), Qos::Guaranteed),
            (serde_json::json!([{"name": "a", "resources": full}, {"name": "b"}]), Qos::Burstable),
            (
                serde_json::json!([{"name": "a", "resources": {"requests": {"cpu": "1m"}}}]),
                Qos::Burstable,
            ),
            (
                serde_json::json!([{"name": "a", "resources": {
                    "requests": {"cpu": "1000m", "memory": "1024Mi"},
                    "limits": {"cpu": "1", "memory": "1Gi"}}}]),
                Qos::Guaranteed,
            ),
        ];
        for (containers, want) in table {
            let spec = spec(serde_json::json!({"containers": containers}));
            assert_eq!(qos(&spec), want, "{spec:?}");
        }
    }

    #[test]
    fn cgroup_values_follow_upstreams_arithmetic() {
        assert_eq!([shares(0), shares(1), shares(100), shares(2000)], [2, 2, 102, 2048]);
        assert_eq!([quota(0), quota(5), quota(200), quota(1500)], [0, 1000, 20_000, 150_000]);
        let gib = 1 << 30;
        assert_eq!(oom_score_adj(Qos::Guaranteed, 0, gib), -997);
        assert_eq!(oom_score_adj(Qos::BestEffort, 0, gib), 1000);
        assert_eq!(oom_score_adj(Qos::Burstable, 0, gib), 999);
        assert_eq!(oom_score_adj(Qos::Burstable, gib / 2, gib), 500);
        assert_eq!(oom_score_adj(Qos::Burstable, gib, gib), 3);
    }

    #[test]
    fn the_golden_pods_container_gets_the_values_of_the_golden_trace() {
        let spec = spec(serde_json::json!({"containers": [{"name": "main", "resources": {
            "requests": {"cpu": "100m", "memory": "16Mi"},
            "limits": {"cpu": "200m", "memory": "64Mi"}}}]}));
        let got = container_resources(qos(&spec), &spec.containers[0], 24 << 30, &[]);
        assert_eq!(got.cpu_shares, 102);
        assert_eq!(got.cpu_quota, 20_000);
        assert_eq!(got.memory_limit_in_bytes, 67_108_864);
        assert_eq!(got.memory_swap_limit_in_bytes, 67_108_864);
        assert_eq!(got.oom_score_adj, 999);
    }

    #[test]
    fn huge_pages_are_for_those_who_asked_for_them() {
        let spec = spec(serde_json::json!({"containers": [{"name": "a", "resources": {
            "limits": {"hugepages-2Mi": "8Mi"}}}]}));
        let sizes = ["2MB".to_owned(), "1GB".to_owned()];
        let got = container_resources(qos(&spec), &spec.containers[0], 24 << 30, &sizes);
        let limits: Vec<_> =
            got.hugepage_limits.iter().map(|limit| (&*limit.page_size, limit.limit)).collect();
        assert_eq!(limits, [("2MB", 8 << 20), ("1GB", 0)]);
    }

    #[test]
    fn a_pod_is_limited_only_when_every_container_is() {
        let limited = serde_json::json!({"name": "a", "resources": {
            "limits": {"cpu": "200m", "memory": "64Mi"}}});
        let both = spec(serde_json::json!({"containers": [limited, limited]}));
        assert_eq!(
            pod_resources(&both),
            PodResources { cpu_shares: 409, cpu_quota_us: 40_000, memory_limit_bytes: 128 << 20 }
        );
        let one = spec(serde_json::json!({"containers": [limited, {"name": "b"}]}));
        assert_eq!(
            pod_resources(&one),
            PodResources { cpu_shares: 204, cpu_quota_us: 0, memory_limit_bytes: 0 }
        );
    }

    #[test]
    fn cgroup_parents_are_those_of_the_driver() {
        let mut pod = Pod::default();
        pod.metadata.uid = Some("a-b".to_owned());
        let of = |driver, qos| cgroup_parent(driver, qos, &pod);
        assert_eq!(of(CgroupDriver::Cgroupfs, Qos::Guaranteed), "/kubepods/poda-b");
        assert_eq!(of(CgroupDriver::Cgroupfs, Qos::Burstable), "/kubepods/burstable/poda-b");
        assert_eq!(of(CgroupDriver::Systemd, Qos::BestEffort), "kubepods-besteffort-poda_b.slice");
    }
}
