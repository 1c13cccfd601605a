//! Three API servers on three store members: what clients keep when members and servers go.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{ADMIN, Cluster, DEADLINE, Events, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const BEFORE: usize = 20;
const ALL: usize = 60;
/// How long a single write may take while the store elects a leader.
const PAUSE_MAX: Duration = Duration::from_secs(8);

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn name_of(number: usize) -> String {
    format!("w-{number:03}")
}

/// Writes one object as a client does: what is said to be temporary is tried again.
async fn write(cluster: &Cluster, number: usize) {
    let until = Instant::now() + PAUSE_MAX;
    let mut tried = false;
    loop {
        let answer = cluster.post(CONFIG_MAPS, &config_map(&name_of(number))).await;
        match answer.code {
            201 => return,
            // An earlier attempt was carried out although its answer said that nobody knew.
            409 if tried => return,
            503 | 504 => tried = true,
            code => unreachable!("{code} is not temporary: {}", answer.message()),
        }
        assert!(Instant::now() < until, "no write for {PAUSE_MAX:?}: {}", answer.message());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn listed(cluster: &Cluster) -> Vec<String> {
    let list = cluster.get(&format!("{CONFIG_MAPS}?limit=500")).await;
    assert_eq!(list.code, 200, "{}", list.message());
    let list = list.json();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Every object once, in the order in which they were written, on one unbroken stream.
async fn tells_all(mut events: Events) {
    let mut last = 0;
    for number in 0..ALL {
        let event = events.next().await.unwrap();
        assert_eq!(event["type"], "ADDED", "{event}");
        assert_eq!(event["object"]["metadata"]["name"], name_of(number));
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
        let version: u64 = version.parse().unwrap();
        assert!(version > last, "{version} came after {last}");
        last = version;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_costs_clients_seconds_and_nothing_else() {
    let store = Arc::new(Store::own(3));
    let mut servers = Vec::new();
    for member in 0..3 {
        servers.push(Cluster::beside(&store, member).await);
    }
    let mut watches = Vec::new();
    for server in &servers {
        watches.push(server.watch(&format!("{CONFIG_MAPS}?watch=1")).await);
    }
    for number in 0..BEFORE {
        write(&servers[number % 3], number).await;
    }

    store.kill(store.leader().await);
    // One server's own member is gone, and the others' have lost their leader: all go on.
    for number in BEFORE..ALL {
        write(&servers[number % 3], number).await;
    }
    let wanted: Vec<String> = (0..ALL).map(name_of).collect();
    for server in &servers {
        assert_eq!(listed(server).await, wanted);
        assert_eq!(server.get("/readyz").await.code, 200);
    }
    for watch in watches {
        tells_all(watch).await;
    }
}

/// Forwards connections to a server that can be changed, as a load balancer does.
struct Balancer {
    address: SocketAddr,
    target: Arc<Mutex<(SocketAddr, CancellationToken)>>,
}

impl Balancer {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new((target, CancellationToken::new())));
        let shared = target.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, cut) = shared.lock().clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    let both = tokio::io::copy_bidirectional(&mut near, &mut far);
                    tokio::select! {
                        () = cut.cancelled() => {}
                        _ = both => {}
                    }
                });
            }
        });
        Self { address, target }
    }

    /// Cuts every connection; new ones go to `target`.
    fn move_to(&self, target: SocketAddr) {
        let mut held = self.target.lock();
        held.1.cancel();
        *held = (target, CancellationToken::new());
    }
}

fn client(address: SocketAddr, certificate: Vec<u8>) -> Client {
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![certificate]);
    config.auth_info.token = Some(ADMIN.to_owned().into());
    Client::try_from(config).unwrap()
}

async fn holds(store: &reflector::Store<ConfigMap>, wanted: &[&str]) {
    let until = Instant::now() + DEADLINE;
    loop {
        let names = store.state().into_iter().filter_map(|object| object.metadata.name.clone());
        let mut names: Vec<String> = names.collect();
        names.sort();
        if names == wanted {
            return;
        }
        assert!(Instant::now() < until, "the reflector holds {names:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_recovers_from_a_server_that_knows_no_past() {
    let mut server = Cluster::on(Store::own(1)).await;
    let balancer = Balancer::start(server.running.address).await;
    let api: Api<ConfigMap> =
        Api::namespaced(client(balancer.address, server.certificate.clone()), "default");
    let (reader, writer) = reflector::store();
    let fills = Arc::new(Mutex::new(0));
    let counted = fills.clone();
    let stream = reflector(writer, watcher(api, watcher::Config::default()))
        .inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                *counted.lock() += 1;
            }
        })
        .default_backoff();
    let followed = tokio::spawn(stream.for_each(|_| std::future::ready(())));

    let first = server.post(CONFIG_MAPS, &config_map("lost")).await.json();
    server.post(CONFIG_MAPS, &config_map("kept")).await;
    holds(&reader, &["kept", "lost"]).await;

    // The client is cut off from here on.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    balancer.move_to(nowhere);
    server.delete(&format!("{CONFIG_MAPS}/lost")).await;
    server.post(CONFIG_MAPS, &config_map("new")).await;
    server.restart().await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut old = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}")).await;
    let refusal = old.next().await.unwrap();
    assert_eq!((&refusal["type"], &refusal["object"]["code"]), (&json!("ERROR"), &json!(410)));

    balancer.move_to(server.running.address);
    holds(&reader, &["kept", "new"]).await;
    assert_eq!(*fills.lock(), 2, "it listed again, once");
    server.post(CONFIG_MAPS, &config_map("after")).await;
    holds(&reader, &["after", "kept", "new"]).await;
    followed.abort();
}

/// A client that moves here from a server that is ahead has seen more than is known here: it is not
/// told to resume from an older revision, and then not told again what it knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_behind_sends_nobody_back() {
    let server = Cluster::on(Store::own(1)).await;
    let made = server.post(CONFIG_MAPS, &config_map("x")).await.json();
    let now: u64 = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let watch = format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=3");
    let bookmark = server.watch(&format!("{watch}&resourceVersion={now}")).await.next().await;
    assert_eq!(bookmark.unwrap()["type"], "BOOKMARK");

    let ahead = now + 1_000_000;
    let mut events = server.watch(&format!("{watch}&resourceVersion={ahead}")).await;
    server.post(CONFIG_MAPS, &config_map("y")).await;
    assert_eq!(events.next().await, None);
}
