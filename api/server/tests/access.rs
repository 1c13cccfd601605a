//! Who may do what, and who is who: reviews, roles and bindings, tokens of service accounts.

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, ISSUER, Store};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const JANE: &str = "jane-token";

async fn cluster() -> Cluster {
    Cluster::on(Store::own(1)).await
}

async fn send(cluster: &Cluster, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if method == "GET" { String::new() } else { body.to_string() };
    cluster.call(method, path, &headers, body).await
}

fn may(verb: &str, resource: &str, namespace: &str) -> Value {
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes":
            {"verb": verb, "resource": resource, "namespace": namespace}}})
}

/// What `kubectl auth can-i` asks.
async fn can_i(cluster: &Cluster, token: &str, review: &Value) -> Value {
    let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let answer = send(cluster, token, "POST", &path, review).await;
    assert_eq!(answer.code, 201, "{}", answer.message());
    answer.json()["status"].clone()
}

async fn account(cluster: &Cluster, name: &str) -> Value {
    let tree = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    let made = cluster.post(ACCOUNTS, &tree).await;
    assert_eq!(made.code, 201, "{}", made.message());
    made.json()
}

async fn token(cluster: &Cluster, account: &str, spec: Value) -> Answer {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": spec});
    cluster.post(&format!("{ACCOUNTS}/{account}/token"), &request).await
}

async fn bind(cluster: &Cluster, name: &str, role: &str, subject: Value) -> Answer {
    let tree = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name}, "roleRef": {"kind": "Role", "name": role},
        "subjects": [subject]});
    cluster.post(&format!("{RBAC}/namespaces/default/rolebindings"), &tree).await
}

fn role(name: &str, verbs: &[&str], resource: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
        "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]})
}

/// A write is seen by the authorizer when the caches have seen it.
async fn until_allowed(cluster: &Cluster, token: &str, review: &Value) -> Value {
    for _ in 0..200 {
        let status = can_i(cluster, token, review).await;
        if status["allowed"] == true {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    unreachable!("never allowed: {review}")
}

#[tokio::test]
async fn reviews_are_answered_and_not_kept() {
    let cluster = cluster().await;
    let pods = may("get", "pods", "default");
    assert_eq!(can_i(&cluster, support::ADMIN, &pods).await, json!({"allowed": true}));
    assert_eq!(can_i(&cluster, JANE, &pods).await, json!({"allowed": false}));

    let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let empty = json!({"spec": {}});
    let refused = cluster.post(&path, &empty).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.message(),
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    );
    assert_eq!(cluster.get(&path).await.code, 405, "there is nothing to list");
    let table = [
        ("content-type", "application/json"),
        ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    ];
    assert_eq!(cluster.call("POST", &path, &table, pods.to_string()).await.code, 406);

    // About somebody else, and about a path.
    let mut other = json!({"spec": {"user": "ann", "groups": ["system:authenticated"],
        "nonResourceAttributes": {"verb": "get", "path": "/version"}}});
    let path = format!("{AUTHORIZATION}/subjectaccessreviews");
    let status = cluster.post(&path, &other).await.json()["status"].clone();
    assert_eq!(status["allowed"], true);
    assert!(status["reason"].as_str().unwrap().starts_with("RBAC: allowed by ClusterRoleBinding"));
    other["spec"]["groups"] = Value::Null;
    assert_eq!(cluster.post(&path, &other).await.json()["status"], json!({"allowed": false}));

    let local = json!({"spec": {"user": "ann", "resourceAttributes":
        {"verb": "get", "resource": "pods", "namespace": "elsewhere"}}});
    let path = format!("{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews");
    let refused = cluster.post(&path, &local).await;
    assert!(refused.message().ends_with("must match metadata.namespace"), "{}", refused.message());

    let who = cluster.post(&format!("{AUTHENTICATION}/selfsubjectreviews"), &json!({})).await;
    let user = who.json()["status"]["userInfo"].clone();
    assert_eq!((who.code, &user["username"]), (201, &json!("admin")));
    assert_eq!(user["groups"], json!(["system:masters", "system:authenticated"]));
}

#[tokio::test]
async fn roles_give_what_they_say_and_nobody_gives_more_than_they_have() {
    let cluster = cluster().await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let jane = json!({"kind": "User", "name": "jane"});
    cluster.post(&roles, &role("reader", &["get", "list"], "pods")).await;
    assert_eq!(bind(&cluster, "jane-reads", "reader", jane.clone()).await.code, 201);
    let status = until_allowed(&cluster, JANE, &may("list", "pods", "default")).await;
    assert_eq!(
        status["reason"],
        "RBAC: allowed by RoleBinding \"jane-reads/default\" of Role \"reader\" to User \"jane\""
    );
    assert_eq!(send(&cluster, JANE, "GET", PODS, &Value::Null).await.code, 200);
    let elsewhere = "/api/v1/namespaces/kube-system/pods";
    assert_eq!(send(&cluster, JANE, "GET", elsewhere, &Value::Null).await.code, 403);
    let rules = json!({"spec": {"namespace": "default"}});
    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let listed = send(&cluster, JANE, "POST", &path, &rules).await.json();
    let resources = listed["status"]["resourceRules"].as_array().unwrap();
    assert!(resources.contains(&json!(
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}
    )));

    // She may write roles, but none that allow what she may not.
    let mut writer = role("writer", &["create", "update"], "roles");
    writer["rules"][0]["apiGroups"] = json!(["rbac.authorization.k8s.io"]);
    writer["rules"][0]["resources"] = json!(["roles", "rolebindings"]);
    cluster.post(&roles, &writer).await;
    bind(&cluster, "jane-writes", "writer", jane.clone()).await;
    let mut may_write = may("create", "roles", "default");
    may_write["spec"]["resourceAttributes"]["group"] = "rbac.authorization.k8s.io".into();
    until_allowed(&cluster, JANE, &may_write).await;
    let greedy = role("greedy", &["get", "delete"], "secrets");
    let refused = send(&cluster, JANE, "POST", &roles, &greedy).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "roles.rbac.authorization.k8s.io \"greedy\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}"
    );
    let modest = role("modest", &["get"], "pods");
    assert_eq!(send(&cluster, JANE, "POST", &roles, &modest).await.code, 201);
    // Nor may she widen one, or bind one that is wider.
    let wider = role("modest", &["get", "watch"], "pods");
    let path = format!("{roles}/modest");
    assert_eq!(send(&cluster, JANE, "PUT", &path, &wider).await.code, 403);
    cluster.post(&roles, &greedy).await;
    let binding = json!({"metadata": {"name": "mine"}, "subjects": [jane],
        "roleRef": {"kind": "Role", "name": "greedy"}});
    let mut held = may("get", "secrets", "default");
    held["spec"]["resourceAttributes"]["name"] = "x".into();
    let refused = send(&cluster, JANE, "POST", &bindings, &binding).await;
    assert!(matches!(refused.code, 403 | 404), "{}", refused.message());
    assert_eq!(can_i(&cluster, JANE, &held).await["allowed"], false);
    let immutable = json!({"roleRef": {"kind": "Role", "name": "greedy"}});
    let changed = cluster.merge(&format!("{bindings}/jane-reads"), &immutable).await;
    assert!(changed.message().ends_with("cannot change roleRef"), "{}", changed.message());
}

#[tokio::test]
async fn the_default_policy_is_there_and_comes_back() {
    let mut cluster = cluster().await;
    let nobody = [("authorization", "")];
    assert_eq!(cluster.call("GET", "/version", &nobody, "").await.code, 200);
    assert_eq!(cluster.call("GET", "/apis", &nobody, "").await.code, 403);
    assert_eq!(send(&cluster, JANE, "GET", "/apis", &Value::Null).await.code, 200);
    let path = format!("{RBAC}/clusterroles/system:discovery");
    let held = cluster.get(&path).await.json();
    cluster.merge(&path, &json!({"rules": null})).await;
    cluster.restart().await;
    let mended = cluster.until(&path, |role| role["rules"].is_array()).await;
    assert_eq!(mended["metadata"]["uid"], held["metadata"]["uid"]);
    // `view` is made of what is labelled for it.
    let view = format!("{RBAC}/clusterroles/view");
    let rules = |role: &Value| role["rules"].as_array().map_or(0, Vec::len);
    let before = rules(&cluster.until(&view, |role| rules(role) > 0).await);
    let more = json!({"metadata": {"name": "more",
            "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]}]});
    assert_eq!(cluster.post(&format!("{RBAC}/clusterroles"), &more).await.code, 201);
    cluster.until(&view, |role| rules(role) == before + 1).await;

    let verbose = cluster.call("GET", "/readyz?verbose", &[], "").await;
    let text = String::from_utf8(verbose.bytes.to_vec()).unwrap();
    assert!(text.contains("[+]poststarthook/rbac/bootstrap-roles ok"), "{text}");
}

#[tokio::test]
async fn a_token_speaks_for_its_account_until_what_it_is_bound_to_is_gone() {
    let cluster = cluster().await;
    let made = account(&cluster, "robot").await;
    let short = token(&cluster, "robot", json!({"expirationSeconds": 5})).await;
    assert!(short.message().ends_with("may not specify a duration less than 10 minutes"));
    assert_eq!(token(&cluster, "nobody", json!({})).await.code, 404);

    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    cluster.post("/api/v1/namespaces/default/secrets", &secret).await;
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}});
    let given = token(&cluster, "robot", bound).await;
    assert_eq!(given.code, 201, "{}", given.message());
    assert_eq!(given.json()["spec"]["audiences"], json!([ISSUER]));
    let bearer = given.json()["status"]["token"].as_str().unwrap().to_owned();

    let path = format!("{AUTHENTICATION}/selfsubjectreviews");
    let who = send(&cluster, &bearer, "POST", &path, &json!({})).await.json();
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:robot");
    assert_eq!(user["uid"], made["metadata"]["uid"]);
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    // It may do what its bindings say.
    let roles = format!("{RBAC}/namespaces/default/roles");
    cluster.post(&roles, &role("reader", &["list"], "pods")).await;
    let robot = json!({"kind": "ServiceAccount", "name": "robot"});
    bind(&cluster, "robot-reads", "reader", robot).await;
    until_allowed(&cluster, &bearer, &may("list", "pods", "default")).await;
    assert_eq!(send(&cluster, &bearer, "GET", PODS, &Value::Null).await.code, 200);

    // A token for somebody else is nobody's here, but can be reviewed for them.
    let other = token(&cluster, "robot", json!({"audiences": ["vault"]})).await.json();
    let other = other["status"]["token"].as_str().unwrap();
    assert_eq!(send(&cluster, other, "GET", PODS, &Value::Null).await.code, 401);
    let reviews = format!("{AUTHENTICATION}/tokenreviews");
    let review = |audience: &str| json!({"spec": {"token": other, "audiences": [audience]}});
    let status = cluster.post(&reviews, &review("vault")).await.json()["status"].clone();
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    let status = cluster.post(&reviews, &review("bank")).await.json()["status"].clone();
    assert!(status.get("authenticated").is_none() && status["error"].is_string(), "{status}");

    let keys = cluster.get("/openid/v1/jwks").await.json();
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    let openid = cluster.get("/.well-known/openid-configuration").await.json();
    assert_eq!(openid["issuer"], ISSUER);

    cluster.delete("/api/v1/namespaces/default/secrets/s").await;
    assert_eq!(send(&cluster, &bearer, "GET", PODS, &Value::Null).await.code, 401);
}

#[tokio::test]
async fn somebody_else_is_acted_as_only_with_the_right_to() {
    let cluster = cluster().await;
    let as_jane = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
    let path = format!("{AUTHENTICATION}/selfsubjectreviews");
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(as_jane);
    let who = cluster.call("POST", &path, &headers, "{}").await.json();
    assert_eq!(who["status"]["userInfo"]["username"], "jane");
    assert_eq!(who["status"]["userInfo"]["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(cluster.call("GET", PODS, &as_jane, "").await.code, 403);
    let bearer = format!("Bearer {JANE}");
    let as_admin = [("authorization", bearer.as_str()), ("impersonate-user", "admin")];
    let refused = cluster.call("GET", PODS, &as_admin, "").await;
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"jane\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
}

#[tokio::test]
async fn what_is_not_served_yet_says_so() {
    let cluster = cluster().await;
    account(&cluster, "default").await;
    let pod = json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.post(PODS, &pod).await.code, 201);
    for path in ["exec?command=ls", "attach", "portforward", "proxy/"] {
        let refused = cluster.get(&format!("{PODS}/p/{path}")).await;
        assert_eq!(
            (refused.code, refused.json()["reason"].clone()),
            (501, json!("NotImplemented"))
        );
        assert!(refused.message().contains("is not implemented"), "{}", refused.message());
        let missing = cluster.get(&format!("{PODS}/nobody/{path}")).await;
        assert_eq!(missing.message(), "pods \"nobody\" not found");
    }
    assert_eq!(cluster.get(&format!("{PODS}/p/nonsense")).await.code, 404);
}
