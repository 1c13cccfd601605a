//! A store whose answer to a write is lost: a client is never told that what happened did not.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::{Cluster, DEADLINE, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// In what is written when the answer is to be lost; the store's wire shows it as it is.
const MARKER: &str = "the-answer-is-lost";

/// Stands before a store, and withholds every answer on a connection from the first marked write on.
/// When told to, it cuts that connection; later ones pass.
struct Forgetful {
    address: SocketAddr,
    loss: Arc<Loss>,
}

#[derive(Default)]
struct Loss {
    /// The marked write went by.
    is_spent: AtomicBool,
    cut: Notify,
}

impl Forgetful {
    async fn before(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = store.trim_start_matches("http://").to_owned();
        let loss = Arc::new(Loss::default());
        let shared = loss.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Until the store listens nobody does here either: whoever asked tries again.
                let Ok(far) = TcpStream::connect(&store).await else { continue };
                tokio::spawn(pass(near, far, shared.clone()));
            }
        });
        Self { address, loss }
    }
}

async fn pass(near: TcpStream, far: TcpStream, loss: Arc<Loss>) {
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let silent = CancellationToken::new();
    let is_silent = silent.clone();
    let asked = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from_near.read(&mut buffer).await {
            let chunk = &buffer[..read];
            let is_marked = chunk.windows(MARKER.len()).any(|part| part == MARKER.as_bytes());
            if is_marked && !loss.is_spent.swap(true, Ordering::Relaxed) {
                silent.cancel();
            }
            if to_far.write_all(chunk).await.is_err() {
                return;
            }
        }
    };
    let answered = async {
        tokio::select! {
            () = is_silent.cancelled() => loss.cut.notified().await,
            _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
        }
    };
    // Both halves are dropped with this, and the connection with them.
    tokio::select! {
        () = asked => {}
        () = answered => {}
    }
}

fn config_map(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"text": text},
    })
}

/// A server whose store forgets, and one beside it whose store does not.
async fn two(store: &Arc<Store>) -> (Cluster, Cluster, Arc<Loss>) {
    let forgetful = Forgetful::before(&store.endpoints()[0]).await;
    let url = format!("http://{}", forgetful.address);
    let server = Cluster::with(store, 0, |config| config.store.endpoints = vec![url]).await;
    (server, Cluster::beside(store, 0).await, forgetful.loss)
}

/// Waits until the write has happened, lets another one follow, and loses the answer.
async fn overtake(other: &Cluster, name: &str, loss: &Loss) {
    let path = format!("{CONFIG_MAPS}/{name}");
    other.until(&path, |object| object["data"]["text"] == MARKER).await;
    let later = other.put(&path, &config_map(name, "later")).await;
    assert_eq!(later.code, 200, "{}", later.message());
    loss.cut.notify_one();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_happened_is_not_called_a_conflict() {
    let store = Arc::new(Store::own(1));
    let (server, other, loss) = two(&store).await;
    let made = other.post(CONFIG_MAPS, &config_map("x", "first")).await.json();
    let path = format!("{CONFIG_MAPS}/x");
    let mut wanted = config_map("x", MARKER);
    wanted["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    let (answer, ()) = tokio::join!(server.put(&path, &wanted), overtake(&other, "x", &loss));
    assert_eq!(answer.code, 504, "{}", answer.message());
    assert_eq!(other.get(&path).await.json()["data"]["text"], "later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_happened_is_not_said_to_exist_already() {
    let store = Arc::new(Store::own(1));
    let (server, other, loss) = two(&store).await;
    let wanted = config_map("x", MARKER);
    let (answer, ()) =
        tokio::join!(server.post(CONFIG_MAPS, &wanted), overtake(&other, "x", &loss));
    assert_eq!(answer.code, 504, "{}", answer.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_overtook_is_confirmed() {
    let store = Arc::new(Store::own(1));
    let (server, other, loss) = two(&store).await;
    let lose = async {
        let path = format!("{CONFIG_MAPS}/x");
        other.until(&path, |object| object["data"]["text"] == MARKER).await;
        loss.cut.notify_one();
    };
    let wanted = config_map("x", MARKER);
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(server.post(CONFIG_MAPS, &wanted), lose);
    assert_eq!(answer.code, 201, "{}", answer.message());
    assert!(begun.elapsed() < DEADLINE && loss.is_spent.load(Ordering::Relaxed));
}
