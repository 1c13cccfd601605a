//! Where the API is found from inside of the cluster: Service `kubernetes` and its endpoints.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api_server::EndpointTimes;
use serde_json::{Value, json};
use support::{Cluster, Store};

const SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
const TIMES: EndpointTimes =
    EndpointTimes { ttl: Duration::from_secs(2), interval: Duration::from_millis(300) };

async fn server(store: &Arc<Store>, number: usize) -> Cluster {
    Cluster::with(store, 0, |config| {
        config.advertise = format!("10.0.0.{number}").parse().unwrap();
        config.endpoint_times = TIMES;
    })
    .await
}

fn addresses(endpoints: &Value) -> Vec<String> {
    let listed = endpoints["subsets"][0]["addresses"].as_array();
    let ips = listed.into_iter().flatten().filter_map(|one| one["ip"].as_str());
    ips.map(str::to_owned).collect()
}

fn slice_addresses(slice: &Value) -> Vec<String> {
    let listed = slice["endpoints"].as_array();
    let ips = listed.into_iter().flatten().filter_map(|one| one["addresses"][0].as_str());
    ips.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_leaves_the_endpoints_after_its_lease() {
    let store = Arc::new(Store::own(1));
    let mut servers = Vec::new();
    for number in 1..=3 {
        servers.push(server(&store, number).await);
    }
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let told = servers[0].until(ENDPOINTS, |endpoints| addresses(endpoints) == all).await;
    assert_eq!(told["subsets"][0]["ports"][0]["name"], "https");
    let slice = servers[0].until(SLICE, |slice| slice_addresses(slice) == all).await;
    assert_eq!(slice["addressType"], "IPv4");
    let warned = servers[0].get(ENDPOINTS).await.headers["warning"].clone();
    assert!(warned.to_str().unwrap().contains("v1 Endpoints is deprecated in v1.33+"));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");

    // Nobody is told; the others notice.
    servers[1].kill();
    let rest = ["10.0.0.1", "10.0.0.3"];
    servers[0].until(ENDPOINTS, |endpoints| addresses(endpoints) == rest).await;
    servers[0].until(SLICE, |slice| slice_addresses(slice) == rest).await;

    // One that stops in order takes itself out.
    servers[2].stop().await;
    let last = servers[0].get(ENDPOINTS).await.json();
    assert_eq!(addresses(&last), ["10.0.0.1"]);
    assert_eq!(slice_addresses(&servers[0].get(SLICE).await.json()), ["10.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_on_another_port_is_found_there() {
    let store = Arc::new(Store::own(1));
    let mut server = server(&store, 1).await;
    let port = |cluster: &Cluster| json!(cluster.running.address.port());
    let before = server.get(SERVICE).await.json();
    assert_eq!(before["spec"]["ports"][0]["targetPort"], port(&server));
    server.until(ENDPOINTS, |found| found["subsets"][0]["ports"][0]["port"] == port(&server)).await;

    let old_port = port(&server);
    server.restart().await;
    assert_ne!(port(&server), old_port, "the test needs another port");
    let wanted = port(&server);
    let after =
        server.until(SERVICE, |found| found["spec"]["ports"][0]["targetPort"] == wanted).await;
    assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    server.until(ENDPOINTS, |found| found["subsets"][0]["ports"][0]["port"] == wanted).await;
    server.until(SLICE, |found| found["ports"][0]["port"] == wanted).await;
}
