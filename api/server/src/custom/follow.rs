//! Follows the definitions: names, conditions, caches, and the end of kinds.
//!
//! Every server does this on its own; what they write is decided on the newest version, and is the
//! same whoever comes first. Each pass looks at all definitions, so that a lost event costs nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_machinery::custom::CustomKind;
use api_machinery::custom::definition::conditions;
use api_machinery::{Object, Status};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::definitions::{now, write};
use super::{Definition, deletion};
use crate::limits::{CUSTOM_FILLS_MAX, CUSTOM_PASS_INTERVAL, CUSTOM_RETRY};
use crate::state::Server;
use crate::watch_cache::{Cache, Filter, Start, fill_one};

/// What is under way, by the uid of its definition.
#[derive(Debug)]
struct Work {
    busy: Mutex<HashSet<String>>,
    /// Caches that are filled at once.
    fills: Semaphore,
    shutdown: CancellationToken,
    /// Something ended: look again.
    done: Notify,
}

/// Runs until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let work = Arc::new(Work {
        busy: Mutex::default(),
        fills: Semaphore::new(CUSTOM_FILLS_MAX),
        shutdown: server.shutdown.clone(),
        done: Notify::new(),
    });
    loop {
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = follow(&server, &work) => {}
        }
    }
}

/// Passes over the definitions whenever one changes, until the watch of them ends.
async fn follow(server: &Arc<Server>, work: &Arc<Work>) {
    if server.caches.wait_for(1).await.is_err() {
        return;
    }
    let cache = server.caches.of(super::definitions());
    let seen = server.caches.revision();
    let Ok(mut watch) = cache.subscribe("", Filter::default(), Start::Now, seen) else { return };
    loop {
        let wait = match pass(server, work).await {
            Ok(()) => CUSTOM_PASS_INTERVAL,
            Err(error) => {
                tracing::debug!(%error, "custom kinds are looked at again");
                CUSTOM_RETRY
            }
        };
        tokio::select! {
            event = watch.queue.recv() => {
                if event.is_none() {
                    return;
                }
                // One pass sees all that has come.
                while watch.queue.try_recv().is_ok() {}
            }
            () = work.done.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Looks at every definition once.
async fn pass(server: &Arc<Server>, work: &Arc<Work>) -> Result<(), Status> {
    let cache = server.caches.of(super::definitions());
    let (versions, _) = cache.list("", &Filter::default(), 0);
    let mut all: BTreeMap<String, Object> = BTreeMap::new();
    for version in versions {
        let definition = version.object()?;
        all.insert(definition.name().to_owned(), definition);
    }
    let mut first_error = Ok(());
    for name in all.keys().cloned().collect::<Vec<_>>() {
        match one(server, work, &name, &mut all).await {
            Ok(()) => {}
            Err(error) => first_error = Err(error),
        }
    }
    let served = server.custom.snapshot();
    for (name, definition) in &served.by_name {
        if all.get(name).is_none_or(|found| found.uid() != definition.uid) {
            drop_kind(server, name);
        }
    }
    if first_error.is_ok() && work.busy.lock().is_empty() {
        server.custom.is_ready.store(true, Ordering::Relaxed);
    }
    first_error
}

/// Serves a kind no more: its watches end.
fn drop_kind(server: &Server, name: &str) {
    if let Some(gone) = server.custom.withdraw(name) {
        server.caches.detach(&gone.cache);
        tracing::info!(definition = name, "custom kind is not served any more");
    }
}

fn made_of(definition: &Object) -> (Value, Value) {
    let of = |path: &[&str]| definition.at(path).cloned().unwrap_or_default();
    (of(&["spec"]), of(&["status", "acceptedNames"]))
}

/// Brings one definition a step further.
async fn one(
    server: &Arc<Server>,
    work: &Arc<Work>,
    name: &str,
    all: &mut BTreeMap<String, Object>,
) -> Result<(), Status> {
    let Some(definition) = all.get(name).cloned() else { return Ok(()) };
    let uid = definition.uid().to_owned();
    let this = (name, uid.as_str());
    let group = definition.text(&["spec", "group"]);
    let used: Vec<Value> = all
        .values()
        .filter(|other| other.text(&["spec", "group"]) == group)
        .filter_map(|other| other.at(&["status", "acceptedNames"]).cloned())
        .collect();
    let decide = |next: &mut Object| conditions::decide(next, used.iter(), &now());
    let mut decided = definition.clone();
    decide(&mut decided);
    let definition = if decided == definition {
        definition
    } else {
        let Some(written) = write(server, this, decide).await? else { return Ok(()) };
        // The next ones of the group see what this one got.
        all.insert(name.to_owned(), written.clone());
        written
    };
    let is_established = conditions::is_true(&definition, "Established");
    if !is_established && !conditions::is_true(&definition, "NamesAccepted") {
        drop_kind(server, name);
        return going(server, work, &definition);
    }
    let served = server.custom.definition(name);
    let made_of = made_of(&definition);
    match served.filter(|served| served.uid == definition.uid() && *served.made_of == made_of) {
        None => install(server, work, &definition),
        Some(served) => {
            if !is_established {
                let established = |next: &mut Object| conditions::establish(next, &now());
                write(server, this, established).await?;
            }
            let is_terminating = conditions::is_true(&definition, "Terminating");
            if (served.is_established, served.is_terminating) != (is_established, is_terminating) {
                let served = Definition::clone(&served);
                server.custom.publish(Definition { is_established, is_terminating, ..served });
            }
            return going(server, work, &definition);
        }
    }
    Ok(())
}

/// Makes a kind ready: fills its cache, then serves it.
fn install(server: &Arc<Server>, work: &Arc<Work>, definition: &Object) {
    let (server, definition) = (server.clone(), definition.clone());
    let name = definition.name().to_owned();
    let of_all = work.clone();
    spawn(work, &format!("install {name}"), async move {
        let slot = of_all.fills.acquire().await;
        let _slot = slot.map_err(|_| Status::service_unavailable("the server stops"))?;
        let kind = match CustomKind::load(&definition) {
            Ok(kind) => Arc::new(kind),
            Err(why) => {
                tracing::warn!(definition = name, %why, "custom kind cannot be served");
                drop_kind(&server, &name);
                let this = (name.as_str(), definition.uid());
                let refuse = |next: &mut Object| conditions::refuse(next, &why.to_string(), &now());
                write(&server, this, refuse).await?;
                return going(&server, &of_all, &definition);
            }
        };
        let cache = Arc::new(Cache::of_custom(kind.clone()));
        server.caches.attach(&cache);
        if let Err(error) = fill_one(&server.storage, &cache).await {
            server.caches.detach(&cache);
            return Err(Status::service_unavailable(&error.to_string()));
        }
        let before = server.custom.definition(&name);
        server.custom.publish(Definition {
            uid: definition.uid().to_owned(),
            made_of: Arc::new(made_of(&definition)),
            kind,
            cache,
            is_established: conditions::is_true(&definition, "Established"),
            is_terminating: conditions::is_true(&definition, "Terminating"),
            name,
        });
        if let Some(before) = before {
            server.caches.detach(&before.cache);
        }
        Ok(())
    });
}

/// Deletes the objects of a definition that is going.
fn going(server: &Arc<Server>, work: &Arc<Work>, definition: &Object) -> Result<(), Status> {
    let waits = definition.finalizers().iter().any(|one| one == conditions::CLEANUP);
    if definition.deletion_timestamp().is_some() && waits {
        let (server, definition) = (server.clone(), definition.clone());
        let name = format!("delete {}", definition.uid());
        spawn(work, &name, async move { deletion::run(&server, &definition).await });
    }
    Ok(())
}

/// Runs something beside the passes, once at a time; another pass follows its end.
fn spawn(
    work: &Arc<Work>,
    name: &str,
    task: impl Future<Output = Result<(), Status>> + Send + 'static,
) {
    if !work.busy.lock().insert(name.to_owned()) {
        return;
    }
    let (work, name) = (work.clone(), name.to_owned());
    tokio::spawn(async move {
        let outcome = tokio::select! {
            () = work.shutdown.cancelled() => return,
            outcome = task => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(task = name, %error, "will try again");
            tokio::time::sleep(CUSTOM_RETRY).await;
        }
        work.busy.lock().remove(&name);
        work.done.notify_one();
    });
}
