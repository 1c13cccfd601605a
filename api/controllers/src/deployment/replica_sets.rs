//! The arithmetic of a Deployment's ReplicaSets: revisions, annotations, hash, surge and proportions.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::limits;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

pub(super) fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn annotation_number(set: &ReplicaSet, key: &str) -> Option<i32> {
    annotation(set, key)?.parse().ok()
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn is_rolling_update(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let percent: i64 =
                text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            let count = if round_up { (product + 99).div_euclid(100) } else { product / 100 };
            i32::try_from(count).unwrap_or(i32::MAX)
        }
    }
}

/// `(maxSurge, maxUnavailable)` in pods; both zero would be a standstill, so that one may be unavailable.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling_update(deployment) || desired(deployment) == 0 {
        let surge = rolling(deployment).0;
        return (if is_rolling_update(deployment) { surge } else { 0 }, 0);
    }
    rolling(deployment)
}

fn rolling(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let update = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let total = desired(deployment);
    let surge = scaled(update.and_then(|update| update.max_surge.as_ref()), total, true);
    let unavailable =
        scaled(update.and_then(|update| update.max_unavailable.as_ref()), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    fenceposts(deployment).1.min(desired(deployment))
}

pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(replicas).sum()
}

/// True when two templates differ at most in the hash label.
pub(super) fn same_template(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
        let mut template = template.clone();
        if let Some(meta) = &mut template.metadata {
            if let Some(labels) = &mut meta.labels {
                labels.remove(POD_TEMPLATE_HASH);
            }
            meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
            meta.annotations = meta.annotations.take().filter(|pairs| !pairs.is_empty());
        }
        template
    }
    bare(left) == bare(right)
}

/// A short name for a template: FNV-1a of its JSON and the collision count, in letters that spell no words.
///
/// Upstream hashes a Go-specific dump; sets made by it are found by [`same_template`], not by name.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = serde_json::to_vec(template).expect("a pod template is always valid JSON");
    if let Some(collisions) = collisions {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string()
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

/// The name of the ReplicaSet for this hash, cut to what the API allows.
pub(super) fn set_name(deployment: &str, hash: &str) -> String {
    const NAME_MAX: usize = 253;
    let room = NAME_MAX - 1 - hash.len();
    let head: String = deployment.chars().take(room).collect();
    format!("{head}-{hash}")
}

/// How many pods the newest set may have now.
pub(super) fn new_set_size(deployment: &Deployment, all: i32, new: i32) -> i32 {
    if !is_rolling_update(deployment) {
        return desired(deployment);
    }
    let most = desired(deployment) + max_surge(deployment);
    if all >= most {
        return new;
    }
    new + (most - all).min(desired(deployment) - new)
}

/// Writes the desired and greatest size into the annotations; true when that changed them.
pub(super) fn set_sizes(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let most = desired(deployment) + max_surge(deployment);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in [(DESIRED_REPLICAS, desired(deployment)), (MAX_REPLICAS, most)] {
        changed |= put(annotations, key, value.to_string());
    }
    changed
}

fn put(annotations: &mut BTreeMap<String, String>, key: &str, value: String) -> bool {
    if annotations.get(key) == Some(&value) {
        return false;
    }
    annotations.insert(key.to_owned(), value);
    true
}

/// Copies the Deployment's annotations to its newest set and raises the set's revision; true on a change.
pub(super) fn set_annotations(deployment: &Deployment, set: &mut ReplicaSet, newest: i64) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            changed |= put(annotations, key, value.clone());
        }
    }
    let before = annotations.get(REVISION).cloned();
    let Ok(old) = before.as_deref().unwrap_or("0").parse::<i64>() else { return changed };
    if old >= newest {
        return changed;
    }
    annotations.insert(REVISION.to_owned(), newest.to_string());
    // A set that had a revision is rolled back to: its old revisions are kept as history.
    if let Some(before) = before {
        let history = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
        let mut entries: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
        entries.push(&before);
        while entries.len() > 1 && entries.join(",").len() > limits::REVISION_HISTORY_CHARS {
            entries.remove(0);
        }
        let history = entries.join(",");
        annotations.insert(REVISION_HISTORY.to_owned(), history);
    }
    true
}

/// How many pods one set gains (or loses) when the whole Deployment is scaled during a rollout.
pub(super) fn proportion(
    deployment: &Deployment,
    set: &ReplicaSet,
    to_add: i32,
    added: i32,
) -> i32 {
    if replicas(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(deployment, set);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    if desired(deployment) == 0 {
        return -replicas(set);
    }
    let most = i64::from(desired(deployment) + max_surge(deployment));
    let status_replicas =
        deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let before =
        annotation_number(set, MAX_REPLICAS).filter(|max| *max != 0).unwrap_or(status_replicas);
    if before == 0 {
        return 0;
    }
    let before = i64::from(before);
    let product = i64::from(replicas(set)) * most;
    // Rounds halves up, as upstream does for positive numbers.
    let size = (2 * product + before).div_euclid(2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - replicas(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_up_for_surge_and_down_for_unavailable() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(scaled(Some(&quarter), 3, true), 1);
        assert_eq!(scaled(Some(&quarter), 3, false), 0);
        assert_eq!(scaled(Some(&quarter), 10, true), 3);
        assert_eq!(scaled(Some(&quarter), 10, false), 2);
        assert_eq!(scaled(Some(&IntOrString::Int(4)), 10, false), 4);
    }

    #[test]
    fn the_hash_is_stable_safe_and_moves_with_collisions() {
        let template = PodTemplateSpec::default();
        let hash = template_hash(&template, None);
        assert_eq!(hash, template_hash(&template, None));
        assert_ne!(hash, template_hash(&template, Some(1)));
        assert!(
            hash.len() <= 10 && hash.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
        );
        assert_eq!(set_name(&"d".repeat(300), &hash).len(), 253);
    }

    #[test]
    fn history_drops_the_oldest_when_it_is_full() {
        let mut set = ReplicaSet::default();
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.into(), "999".into());
        annotations.insert(REVISION_HISTORY.into(), vec!["100"; 500].join(","));
        assert!(set_annotations(&Deployment::default(), &mut set, 1000));
        let history = &set.metadata.annotations.as_ref().unwrap()[REVISION_HISTORY];
        assert!(history.len() <= 2000 && history.ends_with(",999"));
    }
}
