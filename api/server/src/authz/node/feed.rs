//! Keeps the graph of what runs where up to date with the watch caches.

use std::sync::Arc;

use api_machinery::{View, kinds};

use super::graph::{Says, Thing, Vertex, is_same_pod, says};
use crate::state::Server;
use crate::watch_cache::{Change, Event, Filter, Message, Start, Version};

const FOLLOWED: [(Thing, &str, &str); 4] = [
    (Thing::Pod, "", "pods"),
    (Thing::Volume, "", "persistentvolumes"),
    (Thing::Attachment, "storage.k8s.io", "volumeattachments"),
    (Thing::Slice, "resource.k8s.io", "resourceslices"),
];

/// Runs until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let all = FOLLOWED.map(|(thing, group, plural)| follow(&server, thing, group, plural));
    tokio::select! {
        () = server.shutdown.cancelled() => {}
        _ = futures::future::join_all(all) => {}
    }
}

async fn follow(server: &Server, thing: Thing, group: &str, plural: &str) {
    let info = kinds::find(group, "v1", plural).expect("the kinds table has what nodes use");
    let cache = server.caches.of(info);
    let prefix = server.storage.prefix(info, "");
    // A queue ends when the cache is filled anew, or when this was too slow: both begin again.
    loop {
        let seen = server.caches.revision();
        let started = cache.subscribe(&prefix, Filter::default(), Start::State, seen);
        let mut subscription = started.expect("a start with the state is never too old");
        let initial = std::mem::take(&mut subscription.initial);
        let all = initial.iter().map(|version| read(thing, version)).collect();
        server.nodes.graph.write().replace(thing, all);
        while let Some(message) = subscription.next().await {
            if let Message::Event(change, event) = message {
                take(server, thing, change, &event);
            }
        }
    }
}

fn vertex(thing: Thing, version: &Version) -> Vertex {
    Vertex::new(thing, version.header.namespace(), version.header.name())
}

fn read(thing: Thing, version: &Arc<Version>) -> (Vertex, Option<Says>) {
    let says =
        if is_unbound(thing, version) { None } else { says(thing, View::new(&version.json())) };
    (vertex(thing, version), says)
}

/// Whether it is a pod without a node, which says nothing whatever it uses.
fn is_unbound(thing: Thing, version: &Version) -> bool {
    thing == Thing::Pod && version.header.field("spec.nodeName") == Some("")
}

fn take(server: &Server, thing: Thing, change: Change, event: &Event) {
    match (change, &event.current, &event.previous) {
        (Change::Deleted, _, Some(gone)) => {
            server.nodes.graph.write().set(vertex(thing, gone), None);
        }
        (Change::Added | Change::Modified, Some(now), before) => {
            let is_same = thing == Thing::Pod
                && before.as_ref().is_some_and(|one| {
                    is_unbound(thing, one) && is_unbound(thing, now)
                        || is_same_pod(View::new(&one.json()), View::new(&now.json()))
                });
            if !is_same {
                let (vertex, says) = read(thing, now);
                server.nodes.graph.write().set(vertex, says);
            }
        }
        (Change::Deleted, _, None) | (Change::Added | Change::Modified, None, _) => {}
    }
}
