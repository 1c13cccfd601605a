//! What clients are told in words and forms that few ask for: warnings, keys that stand twice in what they
//! apply, and tables as `v1beta1` has them. Upstream's conformance tests ask for both.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use serde_json::json;
use support::{Answer, Cluster, DEADLINE, Store};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    all.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn who_says_a_key_twice_is_told_its_line() {
    let cluster = Cluster::on(Store::own(1)).await;
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: a\ndata:\n  \
                 x: \"1\"\n  x: \"3\"\n";
    let lines = ["line 5: key \"name\" already set in map", "line 8: key \"x\" already set in map"];
    let told: Vec<_> =
        lines.iter().map(|line| format!("299 - {}", serde_json::Value::from(*line))).collect();
    let path = |validation: &str| {
        format!("{CONFIG_MAPS}/a?fieldManager=m&fieldValidation={validation}&force=true")
    };

    let strict = cluster.call("PATCH", &path("Strict"), &[APPLY], twice).await;
    let all = format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "));
    let why = format!("error strict decoding YAML: error converting YAML to JSON: {all}");
    assert_eq!((strict.code, strict.message()), (400, why));
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);

    let warned = cluster.call("PATCH", &path("Warn"), &[APPLY], twice).await;
    assert_eq!((warned.code, warnings(&warned)), (201, told.clone()));
    let ignored = cluster.call("PATCH", &path("Ignore"), &[APPLY], twice).await;
    assert_eq!((ignored.code, warnings(&ignored)), (200, Vec::new()));
    let conflict = format!("{CONFIG_MAPS}/a?fieldManager=other&fieldValidation=Strict");
    let other = twice.replace("\"3\"", "\"4\"");
    // Who owns a field is asked first.
    assert_eq!(cluster.call("PATCH", &conflict, &[APPLY], other).await.code, 409);

    let yaml = [("content-type", "application/yaml")];
    let body = format!("{}foo: 1\n", twice.replace("name: a", "name: b"));
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let refused = cluster.call("POST", &strict, &yaml, body.clone()).await;
    let why = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error";
    assert_eq!(
        (refused.code, refused.message()),
        (400, format!("{why}: {all}, unknown field \"foo\""))
    );
    let made = cluster.call("POST", CONFIG_MAPS, &yaml, body).await;
    assert_eq!(warnings(&made)[..2], told);
    assert_eq!(warnings(&made)[2], "299 - \"unknown field \\\"foo\\\"\"");
}

#[tokio::test]
async fn old_clients_get_tables_of_their_version() {
    let cluster = Cluster::on(Store::own(1)).await;
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    assert_eq!(cluster.post(CONFIG_MAPS, &made).await.code, 201);
    let beta = "meta.k8s.io/v1beta1";
    let one = format!("{CONFIG_MAPS}/a");
    for path in [CONFIG_MAPS, &one] {
        let accept = [("accept", "application/json;as=Table;v=v1beta1;g=meta.k8s.io")];
        let table = cluster.call("GET", path, &accept, "").await.json();
        let row = table["rows"].as_array().unwrap().iter().find(|row| row["cells"][0] == "a");
        let object = &row.unwrap()["object"];
        assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!(beta)));
        let form = (&object["kind"], &object["apiVersion"]);
        assert_eq!(form, (&json!("PartialObjectMetadata"), &json!(beta)));
    }
    let accept = "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io";
    let list = cluster.call("GET", CONFIG_MAPS, &[("accept", accept)], "").await.json();
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!(beta), &json!(beta))
    );
    let events = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da");
    let accept = [("accept", "application/json;as=Table;v=v1beta1;g=meta.k8s.io")];
    let watched = cluster.call("GET", &events, &accept, "").await;
    let line = watched.bytes.split(|byte| *byte == b'\n').next().unwrap();
    let event: serde_json::Value = serde_json::from_slice(line).unwrap();
    assert_eq!(event["object"]["apiVersion"], beta);
    let unknown = [("accept", "application/json;as=Table;v=v2;g=meta.k8s.io")];
    assert_eq!(cluster.call("GET", CONFIG_MAPS, &unknown, "").await.code, 406);
}

/// Informers give up many watches at once; a real server bears some hundreds.
#[tokio::test]
async fn watches_that_are_given_up_do_not_end_their_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let cluster = Cluster::on(Store::own(1)).await;
    let mut stream = cluster.connect(&[]).await;
    stream.write_all(&testbed::http2::calls_given_up(200)).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let kept = loop {
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.unwrap().unwrap();
        answer.extend_from_slice(&buffer[..read]);
        match testbed::http2::is_kept(&answer) {
            Some(kept) => break kept,
            None => assert!(read > 0, "the connection ended without a word"),
        }
    };
    assert!(kept);
}

#[tokio::test]
async fn who_writes_what_is_taken_all_the_same_is_told_of_it_and_who_is_refused_is_not() {
    let cluster = Cluster::on(Store::own(1)).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let annotation = "kubernetes.io/enforce-mountable-secrets";
    let account = json!({"metadata": {"name": "s", "annotations": {annotation: "true"}}});
    let told = format!(
        "299 - \"metadata.annotations[{annotation}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets\""
    );
    let made = cluster.post(accounts, &account).await;
    assert_eq!((made.code, warnings(&made)), (201, vec![told]));
    let again = cluster.put(&format!("{accounts}/s"), &account).await;
    assert_eq!((again.code, warnings(&again)), (200, Vec::new()), "it was told already");

    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |kind: &str| {
        let pod = json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "restartPolicy": kind,
            "containers": [{"name": "c", "image": "i"}]});
        json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}})
    };
    let told = "299 - \"spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \\\"kubernetes.io/os\\\" instead\"";
    let refused = cluster.post(jobs, &job("Always")).await;
    assert_eq!((refused.code, warnings(&refused)), (422, Vec::new()));
    let made = cluster.post(jobs, &job("Never")).await;
    // Ours adds that nobody here runs jobs.
    assert_eq!((made.code, warnings(&made)[0].as_str()), (201, told));
    let told = "299 - \"child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning\"";
    let gone = cluster.delete(&format!("{jobs}/j")).await;
    assert_eq!(warnings(&gone), [told]);
}
