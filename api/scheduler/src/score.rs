//! The rules that say which of the fitting nodes is best; each gives 0 to 100, times its weight.
//!
//! Spreading is simple on purpose: nodes with fewer pods of the same controller score higher. Zones and
//! topologySpreadConstraints are not looked at.

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::{
    filter::{matches, tolerated},
    limits::SCORE_MAX,
    resources::Amounts,
    snapshot::{NodeInfo, Share},
};

/// Upstream's weights.
const WEIGHT_LEAST_ALLOCATED: i64 = 1;
const WEIGHT_BALANCED: i64 = 1;
const WEIGHT_TAINTS: i64 = 3;
const WEIGHT_AFFINITY: i64 = 2;
const WEIGHT_SPREAD: i64 = 2;

/// Scores of `nodes`, in their order.
#[must_use]
pub fn scores(pod: &Pod, nodes: &[(&str, &Node, &NodeInfo)]) -> Vec<i64> {
    let Some(spec) = &pod.spec else { return vec![0; nodes.len()] };
    let share = Share::of(pod);
    let raw = |rule: &dyn Fn(&Node, &NodeInfo) -> i64| -> Vec<i64> {
        nodes.iter().map(|(_, node, info)| rule(node, info)).collect()
    };
    let fewer_is_better = |counts: Vec<i64>| normalize(counts, true);
    let columns = [
        (WEIGHT_LEAST_ALLOCATED, raw(&|_, info| least_allocated(info, &share.scored))),
        (WEIGHT_BALANCED, raw(&|_, info| balanced(info, &share.requests))),
        (WEIGHT_TAINTS, fewer_is_better(raw(&|node, _| repelling(spec, node)))),
        (WEIGHT_AFFINITY, normalize(raw(&|node, _| preferred(spec, node)), false)),
        (WEIGHT_SPREAD, fewer_is_better(raw(&|_, info| siblings(info, &share)))),
    ];
    (0..nodes.len())
        .map(|i| columns.iter().map(|(weight, column)| weight * column[i]).sum())
        .collect()
}

/// Scales to 0…100 by the greatest; reversed, the smallest count gets the most.
fn normalize(counts: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let scale = |count: i64| {
        let part = if most == 0 { 0 } else { count * SCORE_MAX / most };
        if reverse { SCORE_MAX - part } else { part }
    };
    counts.into_iter().map(scale).collect()
}

fn used_after(info: &NodeInfo, used: &Amounts, pod: &Amounts, name: &str) -> Option<(i64, i64)> {
    let total = info.allocatable.get(name).copied().filter(|total| *total > 0)?;
    let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
    Some((of(used).saturating_add(of(pod)), total))
}

fn least_allocated(info: &NodeInfo, pod: &Amounts) -> i64 {
    let free = |name: &str| {
        let (used, total) = used_after(info, &info.scored, pod, name)?;
        Some(i128::from((total - used).max(0)) * i128::from(SCORE_MAX) / i128::from(total))
    };
    let parts: Vec<i128> = ["cpu", "memory"].into_iter().filter_map(free).collect();
    let count = i128::try_from(parts.len()).unwrap_or(1).max(1);
    i64::try_from(parts.iter().sum::<i128>() / count).unwrap_or(0)
}

/// In thousandths: the closer the shares of CPU and memory, the better.
fn balanced(info: &NodeInfo, pod: &Amounts) -> i64 {
    let share = |name: &str| {
        let (used, total) = used_after(info, &info.requested, pod, name)?;
        Some((i128::from(used) * 1000 / i128::from(total)).min(1000))
    };
    let (Some(cpu), Some(memory)) = (share("cpu"), share("memory")) else { return 0 };
    let deviation = (cpu - memory).abs() / 2;
    i64::try_from((1000 - deviation) * i128::from(SCORE_MAX) / 1000).unwrap_or(0)
}

fn repelling(spec: &PodSpec, node: &Node) -> i64 {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let repels = taints
        .into_iter()
        .flatten()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(spec, taint));
    i64::try_from(repels.count()).unwrap_or(i64::MAX / SCORE_MAX)
}

fn preferred(spec: &PodSpec, node: &Node) -> i64 {
    let affinity = spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref());
    let terms =
        affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let matching = terms.into_iter().flatten().filter(|term| matches(&term.preference, node));
    matching.map(|term| i64::from(term.weight)).sum()
}

fn siblings(info: &NodeInfo, share: &Share) -> i64 {
    let Some(owner) = &share.owner else { return 0 };
    let same = info.pods.values().filter(|other| other.owner.as_ref() == Some(owner));
    i64::try_from(same.count()).unwrap_or(i64::MAX / SCORE_MAX)
}
