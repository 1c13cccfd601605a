//! The decision: on which node a pod runs, or why on none. Filter, score, choose. No preemption yet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    filter::{Wanted, objections},
    score::scores,
    snapshot::Snapshot,
};

/// What was decided for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run it on this node.
    Bind {
        /// The node's name.
        node: String,
    },
    /// It fits nowhere; the message is upstream's.
    Unschedulable {
        /// `0/3 nodes are available: 1 Insufficient cpu, …`.
        message: String,
    },
}

/// Decides for one pod.
#[must_use]
pub fn schedule(snapshot: &Snapshot, pod: &Pod) -> Decision {
    let Some(wanted) = Wanted::of(pod) else {
        return Decision::Unschedulable { message: "the pod has no spec".to_owned() };
    };
    let (mut fitting, mut reasons, mut total) =
        (Vec::new(), BTreeMap::<String, usize>::new(), 0_usize);
    for (name, node, info) in snapshot.nodes() {
        total += 1;
        let why = objections(&wanted, node, info);
        if why.is_empty() {
            fitting.push((name, node, info));
        }
        for reason in why {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if total == 0 {
        return Decision::Unschedulable {
            message: "no nodes available to schedule pods".to_owned(),
        };
    }
    let scores = scores(pod, &fitting);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let best =
        fitting.iter().zip(scores).max_by_key(|((name, ..), score)| (*score, lot(uid, name)));
    match best {
        Some(((name, ..), _)) => Decision::Bind { node: (*name).to_owned() },
        None => {
            let mut lines: Vec<String> =
                reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            lines.sort();
            let message = format!("0/{total} nodes are available: {}.", lines.join(", "));
            Decision::Unschedulable { message }
        }
    }
}

/// Among equally good nodes each pod draws its own lot: spread, yet the same each time it is asked.
fn lot(uid: &str, node: &str) -> u64 {
    uid.bytes().chain([0]).chain(node.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
