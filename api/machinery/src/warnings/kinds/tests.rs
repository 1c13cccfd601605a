//! The words and the order are upstream's, from what the real server said or from its source.

use serde_json::json;

use super::*;
use crate::kinds::find_kind;

const V6: &str =
    "IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")";
const V6_RANGE: &str =
    "IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")";
const OS: &str = "deprecated since v1.14; use \"kubernetes.io/os\" instead";
const OLD_OS: &str = "beta.kubernetes.io/os";
const STATIC_NAME: &str = "metadata.name: names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be managed via the API";
const TOKENS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
const INDEXES: &str = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";

fn object(tree: &Value) -> Object {
    Object::from_value(tree.clone()).unwrap()
}

fn info(api_version: &str, kind: &str) -> &'static ResourceInfo {
    find_kind(api_version, kind).unwrap()
}

fn created(info: &ResourceInfo, tree: &Value) -> Vec<String> {
    let mut told = Vec::new();
    create(info, &object(tree), &mut told);
    told
}

fn updated(info: &ResourceInfo, new: &Value, old: &Value) -> Vec<String> {
    let mut told = Vec::new();
    update(info, &object(new), &object(old), &mut told);
    told
}

/// Kinds of which the same is said when they are made and whenever they are put again.
fn always_told(api_version: &str, kind: &str, table: &[(Value, Vec<String>)]) {
    let info = info(api_version, kind);
    for (tree, wanted) in table {
        assert_eq!(&created(info, tree), wanted, "{kind} {tree}");
        assert_eq!(&updated(info, tree, tree), wanted, "{kind} {tree}");
    }
}

fn fractional(path: &str) -> String {
    format!("{path}: fractional byte value \"1500m\" is invalid, must be an integer")
}

#[test]
fn a_service_is_told_what_is_ignored_and_what_is_old() {
    let hints = json!({"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}});
    let (headless, external) =
        ("is ignored for headless services", json!(["2001:DB8::1", "9.9.9.9"]));
    always_told(
        "v1",
        "Service",
        &[
            (json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}), vec![]),
            (
                json!({"metadata": hints, "spec": {"trafficDistribution": "PreferClose", "externalName": "x"}}),
                vec![
                    "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead".to_owned(),
                    "spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned(),
                    "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
                ],
            ),
            (
                json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "loadBalancerIP": "1.2.3.4",
                    "externalIPs": ["9.9.9.9"], "sessionAffinity": "ClientIP"}}),
                ["loadBalancerIP", "externalIPs", "SessionAffinity"].map(|field| format!("spec.{field} {headless}")).to_vec(),
            ),
            (
                json!({"spec": {"type": "ClusterIP", "externalIPs": external}}),
                vec![
                    format!("spec.externalIPs[0]: {V6}"),
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
                ],
            ),
            (
                json!({"spec": {"type": "ExternalName", "externalName": "x", "externalIPs": ["9.9.9.9"]}}),
                vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned()],
            ),
            (
                json!({"spec": {"type": "LoadBalancer", "loadBalancerIP": "2001:DB8::1", "loadBalancerSourceRanges": ["2001:DB8::/32"]}}),
                vec![
                    format!("spec.loadBalancerIP: {V6}"),
                    format!("spec.loadBalancerSourceRanges[0]: {V6_RANGE}"),
                ],
            ),
        ],
    );
}

#[test]
fn addresses_are_told_of_wherever_they_are() {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "x"}, {"ip": "2001:DB8::1"}]}}});
    for (api_version, kind) in [("v1", "Service"), ("networking.k8s.io/v1", "Ingress")] {
        let mut told = Vec::new();
        status_update(info(api_version, kind), &object(&status), &mut told);
        assert_eq!(told, [format!("status.loadBalancer.ingress[1]: {V6}")]);
    }
    let subsets = json!([{"addresses": [{"ip": "2001:DB8::1"}], "notReadyAddresses": [{"ip": "1.2.3.4"}, {"ip": "2001:DB8::1"}]}]);
    let managed = json!({"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}});
    always_told(
        "v1",
        "Endpoints",
        &[
            (json!({"metadata": managed, "subsets": subsets}), vec![]),
            (
                json!({"subsets": subsets}),
                vec![
                    format!("subsets[0].addresses[0].ip: {V6}"),
                    format!("subsets[0].notReadyAddresses[1].ip: {V6}"),
                ],
            ),
        ],
    );
    let block = json!({"cidr": "2001:DB8::/32", "except": ["2001:db8::/64", "2001:DB8::/32"]});
    always_told(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        &[(
            json!({"spec": {"egress": [{"to": [{"ipBlock": block}]}],
                "ingress": [{"from": [{"podSelector": {}}, {"ipBlock": block}]}]}}),
            vec![
                format!("spec.ingress[0].from[1].ipBlock.cidr: {V6_RANGE}"),
                format!("spec.ingress[0].from[1].ipBlock.except[1]: {V6_RANGE}"),
                format!("spec.egress[0].to[0].ipBlock.cidr: {V6_RANGE}"),
                format!("spec.egress[0].to[0].ipBlock.except[1]: {V6_RANGE}"),
            ],
        )],
    );
    always_told(
        "v1",
        "Node",
        &[(
            json!({"spec": {"externalID": "x", "podCIDRs": ["2001:DB8::/32"]}}),
            vec![
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
                format!("spec.podCIDRs[0]: {V6_RANGE}"),
            ],
        )],
    );
}

#[test]
fn a_slice_of_names_is_told_once_that_it_is_old() {
    let info = info("discovery.k8s.io/v1", "EndpointSlice");
    let names = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]});
    assert_eq!(created(info, &names), ["spec.addressType: FQDN endpoints are deprecated"]);
    assert!(updated(info, &names, &names).is_empty());
    let mut slice = json!({"metadata": {}, "addressType": "IPv6", "endpoints": [{"addresses": ["2001:DB8::1"]}]});
    let wanted = [format!("endpoints[0].addresses[0]: {V6}")];
    assert_eq!(created(info, &slice), wanted);
    assert_eq!(updated(info, &slice, &slice), wanted);
    slice["metadata"]["labels"] =
        json!({"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    assert!(created(info, &slice).is_empty());
}

#[test]
fn volumes_are_told_what_is_old_and_claims_that_bytes_are_whole() {
    let class = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead";
    let annotations = json!({"volume.beta.kubernetes.io/storage-class": "x", "volume.beta.kubernetes.io/mount-options": "y"});
    let terms = json!([{"matchExpressions": [{"key": OLD_OS}]}]);
    always_told(
        "v1",
        "PersistentVolume",
        &[(
            json!({"metadata": {"annotations": annotations}, "spec": {"persistentVolumeReclaimPolicy": "Recycle",
                "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}, "storageos": {}, "rbd": {}}}),
            vec![
                class.to_owned(),
                "metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" attribute instead".to_owned(),
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned(),
                format!("spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: {OLD_OS} is {OS}"),
                "spec.storageOS: deprecated in v1.22, non-functional in v1.25+".to_owned(),
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+".to_owned(),
            ],
        )],
    );
    let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let wrong = |size: &str| {
        vec![format!(
            "spec.resources.requests[storage]: fractional byte value \"{size}\" is invalid, must be an integer"
        )]
    };
    always_told(
        "v1",
        "PersistentVolumeClaim",
        &[
            (
                json!({"metadata": {"annotations": annotations}, "spec": {"resources":
                    {"limits": {"storage": "1500m"}, "requests": {"storage": "1500m"}}}}),
                vec![
                    class.to_owned(),
                    fractional("spec.resources.requests[storage]"),
                    fractional("spec.resources.limits[storage]"),
                ],
            ),
            (size("1Gi"), vec![]),
            (size("9999999u"), vec![]),
            // Upstream's arithmetic.
            (size("10Pi"), wrong("10Pi")),
            (size("9Ei"), vec![]),
        ],
    );
}

#[test]
fn old_labels_of_nodes_are_told_of_in_selectors() {
    always_told(
        "storage.k8s.io/v1",
        "StorageClass",
        &[(
            json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": OLD_OS, "values": ["x"]}]}]}),
            vec![format!("allowedTopologies[0].matchLabelExpressions[0].key: {OS}")],
        )],
    );
    always_told(
        "storage.k8s.io/v1",
        "CSIStorageCapacity",
        &[(
            json!({"nodeTopology": {"matchExpressions": [{"key": OLD_OS}], "matchLabels": {OLD_OS: "x", "a": "b"}}}),
            vec![
                format!("nodeTopology.matchExpressions[0].key: {OLD_OS} is {OS}"),
                format!("nodeTopology.matchLabels.{OLD_OS}: {OS}"),
            ],
        )],
    );
    always_told(
        "node.k8s.io/v1",
        "RuntimeClass",
        &[(
            json!({"scheduling": {"nodeSelector": {OLD_OS: "x", "a": "b"}}}),
            vec![format!("scheduling.nodeSelector: {OS}")],
        )],
    );
}

#[test]
fn a_driver_is_told_of_tokens_when_it_asks_for_others() {
    let info = info("storage.k8s.io/v1", "CSIDriver");
    let driver = json!({"spec": {"tokenRequests": [{"audience": "x"}]}});
    let none = json!({"spec": {}});
    assert_eq!(created(info, &driver), [TOKENS]);
    assert_eq!(updated(info, &driver, &none), [TOKENS]);
    assert!(updated(info, &driver, &driver).is_empty());
    assert!(updated(info, &none, &driver).is_empty());
    let decided = json!({"spec": {"tokenRequests": [{"audience": "x"}], "serviceAccountTokenInSecrets": false}});
    assert!(created(info, &decided).is_empty());
}

#[test]
fn workloads_are_told_of_more_than_their_pods() {
    let set = info("apps/v1", "StatefulSet");
    let sized = json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}});
    let tree = json!({"spec": {"revisionHistoryLimit": -1, "volumeClaimTemplates": [sized]}});
    let limit = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    let claim = |below: &str| {
        fractional(&format!("spec.volumeClaimTemplates[0]{below}.resources.requests[storage]"))
    };
    assert_eq!(created(set, &tree), [claim(""), limit.to_owned()]);
    assert_eq!(updated(set, &tree, &tree), [claim(".Spec"), limit.to_owned()]);

    let job = info("batch/v1", "Job");
    let large = json!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001});
    let tree = |generation: i64| json!({"metadata": {"generation": generation}, "spec": large});
    assert_eq!(created(job, &tree(1)), [format!("spec: {INDEXES}")]);
    assert_eq!(updated(job, &tree(2), &tree(1)), [format!("spec: {INDEXES}")]);
    assert!(updated(job, &tree(1), &tree(1)).is_empty());

    let cron_job = info("batch/v1", "CronJob");
    let tree = json!({"spec": {"schedule": "TZ=UTC * * * * *", "jobTemplate": {"spec": large}}});
    assert_eq!(created(cron_job, &tree), [format!("spec.jobTemplate.spec: {INDEXES}")]);
    let zone = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
    assert_eq!(updated(cron_job, &tree, &tree), [zone]);
}

#[test]
fn a_quota_is_told_once_that_more_is_asked_for_than_may_be_used() {
    let info = info("v1", "ResourceQuota");
    let quota = json!({"spec": {"hard": {"requests.cpu": "1k", "limits.cpu": "100", "memory": "2Gi",
        "limits.memory": "1Gi", "requests.ephemeral-storage": "1", "limits.ephemeral-storage": "1"}}});
    assert_eq!(
        created(info, &quota),
        [
            "ResourceQuota requests.cpu (1k) should be less than limits.cpu (100)",
            "ResourceQuota memory (2Gi) should be less than limits.memory (1Gi)",
        ]
    );
    assert!(updated(info, &quota, &quota).is_empty());
}

#[test]
fn an_annotation_is_told_of_when_it_is_new() {
    let ingress = info("networking.k8s.io/v1", "Ingress");
    let mut tree =
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}});
    let class = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
    assert_eq!(created(ingress, &tree), [class]);
    assert!(updated(ingress, &tree, &tree).is_empty());
    tree["spec"]["ingressClassName"] = json!("x");
    assert!(created(ingress, &tree).is_empty());

    let account = info("v1", "ServiceAccount");
    let tree = json!({"metadata": {"annotations": {ENFORCE_MOUNTABLE: "true"}}});
    let secrets = "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    assert_eq!(created(account, &tree), [secrets]);
    assert_eq!(updated(account, &tree, &json!({})), [secrets]);
    assert!(updated(account, &tree, &tree).is_empty());
}

#[test]
fn names_are_told_whose_they_are() {
    let tree = json!({"metadata": {"name": "n.static.k8s.io"}});
    for kind in crate::kinds::all().iter().filter(|kind| kind.group == ADMISSION) {
        assert_eq!(created(kind, &tree), [STATIC_NAME], "{}", kind.kind);
        assert_eq!(updated(kind, &tree, &tree), [STATIC_NAME], "{}", kind.kind);
    }
    assert!(created(info("v1", "ConfigMap"), &tree).is_empty());
    let slices = crate::kinds::all().iter().filter(|kind| kind.kind == "ResourceSlice");
    for kind in slices {
        assert_eq!(
            created(kind, &json!({"spec": {"driver": "D.x"}})),
            [
                "spec.driver: driver names should be lowercase; \"D.x\" contains uppercase characters"
            ]
        );
    }
}
