//! A request at each limit, and one past it: what is at the limit works, what is past it is refused in
//! upstream's words. All answers are those of a kube-apiserver 1.36, but where a comment says why not.

mod support;

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use support::{Answer, Cluster, Store};

const MIB: usize = 1024 * 1024;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DRY: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";

async fn cluster() -> Cluster {
    Cluster::on(Store::own(1)).await
}

fn named(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn with(path: &[&str], value: Value) -> Value {
    let mut tree = named("x");
    let mut place = &mut tree;
    for key in path {
        place = &mut place[*key];
    }
    *place = value;
    tree
}

async fn send(cluster: &Cluster, body: impl Into<bytes::Bytes>, content_type: &str) -> Answer {
    cluster.call("POST", DRY, &[("content-type", content_type)], body).await
}

/// Of two objects the first is taken and the second is refused, with a message that ends like this.
async fn one_past(cluster: &Cluster, (at, past): (Value, Value), refused: (u16, &str)) {
    let taken = cluster.post(DRY, &at).await;
    assert_eq!(taken.code, 201, "{refused:?}: {}", taken.message());
    let answer = cluster.post(DRY, &past).await;
    let message = answer.message();
    assert_eq!(answer.code, refused.0, "{message}");
    assert!(message.ends_with(refused.1), "{message}");
}

/// Upstream compresses what is of 128 KiB and larger.
#[tokio::test]
async fn a_large_list_is_compressed_for_who_takes_it_and_a_small_one_is_not() {
    let cluster = cluster().await;
    let noise = |seed: usize| -> String {
        let letter =
            |at: usize| char::from(b'a' + u8::try_from((at * at + seed) % 26).unwrap_or(0));
        (0..70 * 1024).map(letter).collect()
    };
    let packed = [("accept-encoding", "gzip")];
    for (number, is_packed) in [(1, false), (2, true)] {
        let mut object = named(&format!("n{number}"));
        object["data"] = json!({"noise": noise(number)});
        assert_eq!(cluster.post(CONFIG_MAPS, &object).await.code, 201);
        for list in ["", "?limit=5", "?resourceVersion=0"].map(|of| format!("{CONFIG_MAPS}{of}")) {
            let plain = cluster.get(&list).await;
            let answer = cluster.call("GET", &list, &packed, "").await;
            assert_eq!(plain.headers.get("content-encoding"), None, "{list}");
            assert_eq!(answer.headers.contains_key("content-encoding"), is_packed, "{list}");
            let mut bytes = Vec::new();
            if is_packed {
                assert_eq!(answer.headers["content-encoding"], "gzip");
                assert_eq!(answer.headers["vary"], "Accept-Encoding");
                assert!(answer.bytes.len() * 2 < plain.bytes.len());
                GzDecoder::new(&answer.bytes[..]).read_to_end(&mut bytes).expect("it is gzip");
            } else {
                bytes.extend_from_slice(&answer.bytes);
            }
            let (items, wanted) = (Answer { bytes: bytes.into(), ..answer }.json(), plain.json());
            assert_eq!(items["items"], wanted["items"], "{list}");
        }
    }
}

#[tokio::test]
async fn objects_at_their_limits_are_taken_and_larger_ones_refused() {
    let cluster = cluster().await;
    let text = |length: usize| Value::from("x".repeat(length));
    let labels = |value: Value| with(&["metadata", "labels"], value);
    let long = "x".repeat(64);
    for (pair, refused) in [
        (
            (named(&"a".repeat(253)), named(&"a".repeat(254))),
            "metadata.name: Invalid value: \"aaaa\": must be no more than 253 characters",
        ),
        (
            (labels(json!({"a": text(63)})), labels(json!({"a": text(64)}))),
            "metadata.labels: Invalid value: \"xxxx\": must be no more than 63 bytes",
        ),
        (
            (labels(json!({"a".repeat(63): ""})), labels(json!({long.clone(): ""}))),
            "metadata.labels: Invalid value: \"xxxx\": name part must be no more than 63 bytes",
        ),
        (
            (
                with(&["metadata", "annotations"], json!({"a": text(256 * 1024 - 1)})),
                with(&["metadata", "annotations"], json!({"a": text(256 * 1024)})),
            ),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            (
                with(&["data"], json!({"a": text(MIB)})),
                with(&["data"], json!({"a": text(MIB + 1)})),
            ),
            "[]: Too long: may not be more than 1048576 bytes",
        ),
    ] {
        // What is shown of a long value is as long as the value.
        let shown = refused.replace("xxxx", &long).replace("aaaa", &"a".repeat(254));
        one_past(&cluster, pair, (422, &shown)).await;
    }
    let namespace = |length: usize| json!({"metadata": {"name": "a".repeat(length)}});
    let path = "/api/v1/namespaces?dryRun=All";
    assert_eq!(cluster.post(path, &namespace(63)).await.code, 201);
    let refused = cluster.post(path, &namespace(64)).await.message();
    let name = "a".repeat(64);
    assert_eq!(
        refused,
        format!(
            "Namespace \"{name}\" is invalid: [metadata.name: Invalid value: \"{name}\": must be no more than 63 characters, metadata.labels: Invalid value: \"{name}\": must be no more than 63 bytes]"
        )
    );
}

#[tokio::test]
async fn bodies_are_three_mebibytes_at_most_and_nested_so_deep() {
    let cluster = cluster().await;
    let padded = |length: usize| {
        let mut body = named("x").to_string();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    let json = "application/json";
    assert_eq!(send(&cluster, padded(3 * MIB), json).await.code, 201);
    let refused = send(&cluster, padded(3 * MIB + 1), json).await;
    assert_eq!(refused.code, 413);
    assert_eq!(refused.message(), "Request entity too large: limit is 3145728");

    // Upstream goes down to 10 000: its stack grows, and ours does not. The words are the same.
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"metadata\":{{\"name\":\"x\"}},\"zz\":{open}{close}}}")
    };
    for (content_type, most) in [(json, 116), ("application/yaml", 64)] {
        let taken = send(&cluster, deep(most), content_type).await;
        assert_eq!(taken.code, 201, "{content_type}: {}", taken.message());
        for depth in [most + 1, 200, 10_000, 500_000] {
            let refused = send(&cluster, deep(depth), content_type).await;
            assert_eq!(refused.code, 400, "{content_type} {depth}");
            let start = "the object provided is unrecognized (must be of type ConfigMap): ";
            assert!(refused.message().starts_with(start), "{}", refused.message());
        }
    }
    assert_eq!(
        send(&cluster, deep(117), json).await.message(),
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: exceeded max depth ({\"metadata\":{\"name\":\"x\"},\"zz\": ...)"
    );
    let made = cluster.post(CONFIG_MAPS, &named("deep")).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let at = format!("{CONFIG_MAPS}/deep");
    for (content_type, why) in [
        (
            "application/merge-patch+json",
            "error decoding patch: invalid character '[' exceeded max depth",
        ),
        ("application/strategic-merge-patch+json", "invalid character '[' exceeded max depth"),
        // Its number is another one.
        ("application/apply-patch+yaml", "error decoding YAML: error converting YAML to JSON: "),
    ] {
        let path = format!("{at}?fieldManager=x");
        let headers = [("content-type", content_type)];
        let refused = cluster.call("PATCH", &path, &headers, deep(300)).await;
        assert_eq!(refused.code, 400, "{content_type}: {}", refused.message());
        assert!(refused.message().starts_with(why), "{}", refused.message());
    }
}

#[tokio::test]
async fn aliases_of_yaml_do_not_multiply() {
    let cluster = cluster().await;
    let yaml = "application/yaml";
    let head = "metadata: {name: x}\n";
    let often = format!("{head}a: &a [1]\nb: [{}]\n", vec!["*a"; 2000].join(","));
    assert_eq!(send(&cluster, often, yaml).await.code, 201);
    let mut doubling = format!("{head}a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = vec![format!("*a{}", level - 1); 9].join(",");
        doubling.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert_eq!(send(&cluster, doubling, yaml).await.code, 400);
    // One long text, again and again: three gigabytes.
    let long = "x".repeat(MIB);
    let text = format!("{head}a: &a {long}\nb: [{}]\n", vec!["*a"; 3000].join(","));
    assert_eq!(send(&cluster, text, yaml).await.code, 400);
}

#[tokio::test]
async fn patches_have_ten_thousand_operations_and_cannot_grow_what_they_patch() {
    let cluster = cluster().await;
    let made = cluster.post(CONFIG_MAPS, &with(&["data"], json!({"k": "v"}))).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let patch = async |operations: Value| {
        let headers = [("content-type", "application/json-patch+json")];
        let path = format!("{CONFIG_MAPS}/x?dryRun=All");
        cluster.call("PATCH", &path, &headers, operations.to_string()).await
    };
    let test = json!({"op": "test", "path": "/metadata/name", "value": "x"});
    assert_eq!(patch(vec![test.clone(); 10_000].into()).await.code, 200);
    let refused = patch(vec![test; 10_001].into()).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        )
    );
    let rejected = "the server rejected our request due to an error in our request";
    let mut doubling = vec![json!({"op": "add", "path": "/x", "value": ["x".repeat(100)]})];
    doubling.extend(vec![json!({"op": "copy", "from": "/x", "path": "/x/-"}); 40]);
    let mut deeper = vec![json!({"op": "add", "path": "/x", "value": {}})];
    deeper.extend(
        (1..500)
            .map(|n| json!({"op": "add", "path": format!("/x{}", "/x".repeat(n)), "value": {}})),
    );
    for operations in [doubling, deeper] {
        let refused = patch(operations.into()).await;
        assert_eq!((refused.code, refused.message().as_str()), (422, rejected));
    }
}

#[tokio::test]
async fn questions_have_limits_too() {
    let cluster = cluster().await;
    let manager = |length: usize| format!("{DRY}&fieldManager={}", "a".repeat(length));
    assert_eq!(cluster.post(&manager(128), &named("x")).await.code, 201);
    assert_eq!(
        cluster.post(&manager(129), &named("x")).await.message(),
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"
    );
    let number = |text: &str, why: &str| format!("strconv.ParseInt: parsing \"{text}\": {why}");
    let (syntax, range) = ("invalid syntax", "value out of range");
    let most = "9223372036854775808";
    for (query, code, message) in [
        ("limit=9223372036854775807", 200, String::new()),
        ("limit=-1", 200, String::new()),
        ("limit=x", 400, number("x", syntax)),
        ("limit=9223372036854775808", 400, number(most, range)),
        ("timeoutSeconds=x", 400, number("x", syntax)),
        ("timeoutSeconds=9223372036854775808", 400, number(most, range)),
        ("watch=1&timeoutSeconds=x", 400, number("x", syntax)),
        ("timeout=100h", 200, String::new()),
        (
            "timeout=x",
            400,
            "invalid timeout specified in the request URL - time: invalid duration \"x\""
                .to_owned(),
        ),
    ] {
        let answer = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(answer.code, code, "{query}");
        if code != 200 {
            assert_eq!(answer.message(), message, "{query}");
        }
    }
    let strict = format!("{DRY}&fieldValidation=Nope");
    assert_eq!(
        cluster.post(&strict, &named("x")).await.message(),
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Nope\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
    );
}

#[tokio::test]
async fn tokens_live_from_ten_minutes_to_a_hundred_and_thirty_six_years() {
    let cluster = cluster().await;
    let account = "/api/v1/namespaces/default/serviceaccounts";
    cluster.post(account, &json!({"metadata": {"name": "limits"}})).await;
    let ask = async |seconds: i64| {
        let path = format!("{account}/limits/token");
        cluster.post(&path, &json!({"spec": {"expirationSeconds": seconds}})).await
    };
    for (seconds, refused) in [
        (600, None),
        (1 << 32, None),
        (599, Some("may not specify a duration less than 10 minutes")),
        ((1 << 32) + 1, Some("may not specify a duration larger than 2^32 seconds")),
    ] {
        let answer = ask(seconds).await;
        match refused {
            None => assert_eq!(answer.code, 201, "{}", answer.message()),
            Some(why) => {
                let wanted = format!(
                    "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: {seconds}: {why}"
                );
                assert_eq!((answer.code, answer.message()), (422, wanted));
            }
        }
    }
}

#[tokio::test]
async fn headers_and_addresses_may_be_long_and_not_endless() {
    let cluster = cluster().await;
    let selector: Vec<_> = (0..7000).map(|n| format!("k{n}=v")).collect();
    let path = format!("{CONFIG_MAPS}?labelSelector={}", selector.join(","));
    assert!(path.len() > 50_000);
    assert_eq!(cluster.get(&path).await.code, 200);
    // Upstream takes a mebibyte; the HTTP library here 64 KiB, and says so.
    let path = format!("{CONFIG_MAPS}?x={}", "a".repeat(70_000));
    let endless = support::raw(&cluster, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(endless.starts_with("HTTP/1.1 414"), "{endless}");
    let long = "a".repeat(100_000);
    assert_eq!(cluster.call("GET", CONFIG_MAPS, &[("x-a", &long)], "").await.code, 200);
    let names: Vec<_> = (0..200).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
    assert_eq!(cluster.call("GET", CONFIG_MAPS, &many, "").await.code, 200);
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: a\r\n")).collect::<String>();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", lines(1200));
    let refused = support::raw(&cluster, &head).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1_100_000));
    let refused = support::raw(&cluster, &head).await;
    // Or nothing: what the server has not read breaks the connection before its answer is read.
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
}
