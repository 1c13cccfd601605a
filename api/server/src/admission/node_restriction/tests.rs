//! What the plugin says about writes of nodes, in upstream's words.

use api_machinery::kinds;
use serde_json::json;

use super::*;

fn object(tree: &Value) -> Object {
    Object::from_value(tree.clone()).unwrap()
}

fn node_user(name: &str) -> User {
    let groups = vec!["system:nodes".to_owned()];
    User { name: format!("system:node:{name}"), groups, ..User::default() }
}

fn known(plural: &str, namespace: &str, name: &str) -> Option<Object> {
    let found = match (plural, namespace, name) {
        ("pods", "a", "own") => json!({"metadata": {"name": "own", "namespace": "a", "uid": "u1"},
            "spec": {"nodeName": "n1", "volumes": [
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}}]}}),
        ("pods", "a", "other") => json!({"metadata": {"name": "other", "uid": "u2"},
            "spec": {"nodeName": "n2"}}),
        ("nodes", "", "n1") => json!({"metadata": {"name": "n1", "uid": "node-uid"}}),
        ("persistentvolumeclaims", "a", "claim") => json!({"spec": {"volumeName": "v"}}),
        ("persistentvolumes", "", "v") => json!({"spec": {"csi": {"driver": "d"}}}),
        ("csidrivers", "", "d") => json!({"spec": {"tokenRequests": [{"audience": "driver"}]}}),
        _ => return None,
    };
    Some(object(&found))
}

struct Case {
    operation: Operation,
    /// `RESOURCE[.GROUP][/SUBRESOURCE]`.
    resource: &'static str,
    /// `[NAMESPACE]/NAME`.
    at: &'static str,
    new: Value,
    old: Value,
}

fn outcome(case: &Case) -> String {
    let user = node_user("n1");
    let (resource, subresource) = case.resource.split_once('/').unwrap_or((case.resource, ""));
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (namespace, name) = case.at.split_once('/').unwrap();
    let (new, old) = (object(&case.new), object(&case.old));
    let write = Write {
        user: &user,
        operation: case.operation,
        kind: kinds::find(group, "v1", plural).unwrap(),
        subresource,
        namespace,
        name,
        new: Some(&new),
        old: Some(&old),
    };
    let may = |action: &Action<'_>| action.resource == "allowed";
    match check(&write, &Knowledge { find: &known, may: &may }) {
        Ok(()) => "fine".to_owned(),
        Err(status) => {
            let why = status.message.split_once(" is forbidden: ").map(|(_, why)| why.to_owned());
            why.unwrap_or(status.message)
        }
    }
}

fn case(operation: Operation, resource: &'static str, at: &'static str, new: Value) -> Case {
    Case { operation, resource, at, new, old: json!({}) }
}

use Operation::{Create, Delete, Update};

fn mirror() -> Value {
    json!({"metadata": {"name": "m", "namespace": "a", "annotations": {MIRROR: "x"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid",
            "controller": true}]},
        "spec": {"nodeName": "n1", "volumes": [{"name": "h", "hostPath": {"path": "/x"}}]}})
}

#[test]
fn a_node_makes_only_mirror_pods_of_its_own() {
    let pod = |change: &dyn Fn(&mut Value)| {
        let mut pod = mirror();
        change(&mut pod);
        outcome(&case(Create, "pods", "a/m", pod))
    };
    assert_eq!(pod(&|_| {}), "fine");
    assert_eq!(
        pod(&|pod| pod["metadata"]["annotations"] = json!({})),
        "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods"
    );
    assert_eq!(
        pod(&|pod| pod["spec"]["nodeName"] = "n2".into()),
        "node \"n1\" can only create pods with spec.nodeName set to itself"
    );
    let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0].clone();
    assert_eq!(
        pod(&|pod| pod["metadata"]["ownerReferences"] = json!([owner(pod), owner(pod)])),
        "node \"n1\" can only create pods with a single owner reference set to itself"
    );
    assert_eq!(
        pod(&|pod| pod["metadata"]["ownerReferences"] = json!([])),
        "node \"n1\" can only create pods with an owner reference set to itself"
    );
    assert_eq!(
        pod(&|pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into()),
        "node \"n1\" can only create pods with a controller owner reference set to itself"
    );
    assert_eq!(
        pod(&|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into()),
        "node \"n1\" must not set blockOwnerDeletion on an owner reference"
    );
    assert_eq!(
        pod(&|pod| pod["metadata"]["ownerReferences"][0]["uid"] = "old".into()),
        "node n1 UID mismatch: expected old got node-uid"
    );
    for (spec, what) in [
        (json!({"serviceAccountName": "sa"}), "serviceaccounts"),
        (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
        (json!({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]}), "configmaps"),
        (json!({"resourceClaims": [{"name": "r"}]}), "resourceclaims"),
        (json!({"volumes": [{"csi": {"driver": "d"}}]}), "csidrivers (via CSI volumes)"),
        (
            json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}),
            "persistentvolumeclaims",
        ),
        (
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
            "serviceaccounts (via projected volumes)",
        ),
    ] {
        let refused = pod(&|pod| {
            for (key, value) in spec.as_object().unwrap() {
                pod["spec"][key] = value.clone();
            }
        });
        assert_eq!(refused, format!("node \"n1\" can not create pods that reference {what}"));
    }
}

#[test]
fn a_node_touches_only_what_is_its_own() {
    for (case, wanted) in [
        (case(Delete, "pods", "a/own", json!({})), "fine"),
        (
            case(Delete, "pods", "a/other", json!({})),
            "node \"n1\" can only delete pods with spec.nodeName set to itself",
        ),
        (case(Delete, "pods", "a/nobody", json!({})), "pod \"nobody\" not found"),
        (
            case(Update, "pods", "a/own", json!({})),
            "unexpected operation \"UPDATE\", node \"n1\" can only create and delete mirror pods",
        ),
        (case(Create, "pods/eviction", "a/own", json!({})), "fine"),
        (
            case(Create, "pods/eviction", "a/other", json!({})),
            "node n1 can only evict pods with spec.nodeName set to itself",
        ),
        (
            case(Create, "pods/binding", "a/own", json!({})),
            "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
        ),
        (
            case(Create, "nodes", "/n2", json!({})),
            "node \"n1\" is not allowed to modify node \"n2\"",
        ),
        (case(Update, "persistentvolumeclaims", "a/c", json!({})), "may only update PVC status"),
        (case(Create, "leases.coordination.k8s.io", "kube-node-lease/n1", json!({})), "fine"),
        (
            case(Create, "leases.coordination.k8s.io", "kube-node-lease/n2", json!({})),
            SAME_NAME_LEASE,
        ),
        (
            case(Create, "leases.coordination.k8s.io", "a/n1", json!({})),
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (case(Update, "csinodes.storage.k8s.io", "/n1", json!({})), "fine"),
        (case(Create, "csinodes.storage.k8s.io", "/n2", json!({})), SAME_NAME_CSI),
        (
            case(
                Create,
                "resourceslices.resource.k8s.io",
                "/s",
                json!({"spec": {"nodeName": "n2"}}),
            ),
            "can only create ResourceSlice with the same NodeName as the requesting node",
        ),
        (case(Create, "events", "a/e", json!({})), "fine"),
    ] {
        assert_eq!(outcome(&case), wanted, "{} {}", case.resource, case.at);
    }
}

#[test]
fn a_node_changes_only_harmless_things_about_itself() {
    let labels = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}});
    for (label, is_fine) in [
        ("example.com/x", true),
        ("plain", true),
        ("kubernetes.io/hostname", true),
        ("node.kubernetes.io/anything", true),
        ("my.kubelet.kubernetes.io/x", true),
        ("node-role.kubernetes.io/control-plane", false),
        ("node-restriction.kubernetes.io/x", false),
        ("a.node-restriction.kubernetes.io/x", false),
        ("k8s.io/x", false),
    ] {
        let made = outcome(&case(Create, "nodes", "/n1", labels(json!({label: "v"}))));
        assert_eq!(made == "fine", is_fine, "{label}: {made}");
        let mut changed = case(Update, "nodes", "/n1", labels(json!({label: "v"})));
        changed.old = labels(json!({label: "v"}));
        assert_eq!(outcome(&changed), "fine", "what stays is no change");
        changed.old = labels(json!({}));
        assert_eq!(outcome(&changed) == "fine", is_fine, "{label}");
    }
    let mut tainted = case(Update, "nodes", "/n1", json!({"spec": {"taints": []}}));
    assert_eq!(outcome(&tainted), "fine");
    tainted.old = json!({"spec": {"taints": [{"key": "a"}]}});
    assert_eq!(outcome(&tainted), "node \"n1\" is not allowed to modify taints");
    let refused = outcome(&case(
        Create,
        "nodes",
        "/n1",
        labels(json!({"k8s.io/b": "", "kubernetes.io/a": ""})),
    ));
    assert_eq!(
        refused,
        "node \"n1\" is not allowed to set the following labels: k8s.io/b, kubernetes.io/a"
    );
}

#[test]
fn a_node_gets_tokens_only_for_its_pods_and_what_they_name() {
    let token = |name: &str, uid: &str, audiences: Value| {
        outcome(&case(
            Create,
            "serviceaccounts/token",
            "a/robot",
            json!({"spec": {"audiences": audiences, "boundObjectRef":
                {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}}),
        ))
    };
    assert_eq!(token("own", "u1", json!(["vault"])), "fine");
    assert_eq!(token("own", "u1", json!(["driver"])), "fine");
    assert_eq!(token("own", "u1", json!(["allowed"])), "fine");
    assert_eq!(
        token("own", "u1", json!(["bank"])),
        "audience \"bank\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"
    );
    assert_eq!(token("own", "u1", json!(["a", "b"])), "node may only request 0 or 1 audiences");
    assert_eq!(
        token("own", "", json!(["vault"])),
        "node requested token with a pod binding without a uid"
    );
    assert_eq!(token("", "u1", json!([])), "node requested token not bound to a pod");
    assert_eq!(
        token("own", "old", json!(["vault"])),
        "the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated"
    );
    assert_eq!(
        token("other", "u2", json!([])),
        "node requested token bound to a pod scheduled on a different node"
    );
}

#[test]
fn a_node_asks_for_certificates_in_its_own_name() {
    let request = |name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let encoded = STANDARD.encode(pem);
        outcome(&case(
            Create,
            "certificatesigningrequests.certificates.k8s.io",
            "/csr",
            json!({"spec": {"signerName": signer, "request": encoded}}),
        ))
    };
    for signer in NODE_SIGNERS {
        assert_eq!(request("system:node:n1", signer), "fine");
        assert_eq!(
            request("system:node:n2", signer),
            "can only create a node CSR with CN=system:node:n1"
        );
    }
    assert_eq!(request("anybody", "example.com/signer"), "fine");
}

#[test]
fn others_are_not_restricted_and_a_nameless_node_may_do_nothing() {
    let pods = kinds::find("", "v1", "pods").unwrap();
    let of = |user: &User| {
        let write = Write {
            user,
            operation: Update,
            kind: pods,
            subresource: "",
            namespace: "a",
            name: "p",
            new: None,
            old: None,
        };
        check(&write, &Knowledge { find: &known, may: &|_| false })
    };
    let person = User { name: "ann".to_owned(), ..User::default() };
    assert!(of(&person).is_ok());
    let nameless = of(&node_user("")).unwrap_err();
    assert_eq!(
        nameless.message,
        "pods \"p\" is forbidden: could not determine node from user \"system:node:\""
    );
}
