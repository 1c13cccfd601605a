//! Follows the definitions: names, conditions, caches, and the end of kinds.
//!
//! Every server does this on its own; what they write is decided on the newest version, and is the
//! same whoever comes first. A pass looks at the definitions that changed and at those that are not
//! settled, so that one more costs the same whatever their number; now and then it looks at all of
//! them, so that a lost event costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_machinery::custom::CustomKind;
use api_machinery::custom::definition::conditions;
use api_machinery::{Object, Status};
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::definitions::{now, write};
use super::{Definition, deletion};
use crate::limits::{CUSTOM_FILLS_MAX, CUSTOM_PASS_INTERVAL, CUSTOM_RETRY};
use crate::state::Server;
use crate::watch_cache::{Cache, Filter, Message, Start, Version, fill_one};
use crate::working::working;

/// What the tasks are named with that make kinds ready.
const INSTALL: &str = "install ";

/// What is under way, by the uid of its definition.
#[derive(Debug)]
struct Work {
    busy: Mutex<HashSet<String>>,
    settled: Mutex<HashMap<String, Settled>>,
    /// The names of all that are not settled.
    open: Mutex<BTreeSet<String>>,
    /// What was tried and cannot be served, until it changes.
    refused: Mutex<HashMap<String, (Value, Value)>>,
    /// Caches that are filled at once.
    fills: Semaphore,
    shutdown: CancellationToken,
    /// Something ended: look again.
    done: Notify,
}

impl Work {
    fn new(shutdown: CancellationToken) -> Self {
        Self {
            busy: Mutex::default(),
            settled: Mutex::default(),
            open: Mutex::default(),
            refused: Mutex::default(),
            fills: Semaphore::new(CUSTOM_FILLS_MAX),
            shutdown,
            done: Notify::new(),
        }
    }

    /// A definition is gone.
    fn forget(&self, name: &str) {
        self.settled.lock().remove(name);
        self.refused.lock().remove(name);
        self.open.lock().remove(name);
    }
}

/// Runs until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let work = Arc::new(Work::new(server.shutdown.clone()));
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
    let (mut wanted, mut all_at) = (Wanted::All, Instant::now());
    loop {
        if matches!(wanted, Wanted::All) {
            all_at = Instant::now() + CUSTOM_PASS_INTERVAL;
        }
        let again = match pass(server, work, wanted).await {
            Ok(()) => all_at,
            Err(error) => {
                tracing::debug!(%error, "custom kinds are looked at again");
                all_at.min(Instant::now() + CUSTOM_RETRY)
            }
        };
        wanted = tokio::select! {
            message = watch.queue.recv() => {
                let Some(message) = message else { return };
                // One pass sees all that has come.
                let mut names: BTreeSet<String> = changed(&message).collect();
                while let Ok(message) = watch.queue.try_recv() {
                    names.extend(changed(&message));
                }
                Wanted::These(names)
            }
            () = work.done.notified() => Wanted::These(BTreeSet::new()),
            () = tokio::time::sleep_until(again) => Wanted::All,
        };
        if Instant::now() >= all_at {
            wanted = Wanted::All;
        }
    }
}

/// The definition that a message is about.
fn changed(message: &Message) -> impl Iterator<Item = String> {
    let version = match message {
        Message::Event(change, event) => event.version(*change),
        Message::Bookmark(_) => None,
    };
    version.map(|version| version.header.name().to_owned()).into_iter()
}

/// What a pass looks at.
#[derive(Debug)]
enum Wanted {
    All,
    /// These, and all that are not settled.
    These(BTreeSet<String>),
}

/// A definition that needs nothing any more, until it changes.
#[derive(Debug)]
struct Settled {
    version: Arc<Version>,
    group: String,
    names: Value,
}

/// The definitions that a pass has to bring further.
type Open = BTreeMap<String, Object>;

/// The definitions that are wanted and there, and the names of those that are gone.
fn look(server: &Server, work: &Work, wanted: Wanted) -> (Vec<Arc<Version>>, Vec<String>) {
    let cache = server.caches.of(super::definitions());
    match wanted {
        Wanted::All => {
            let (versions, _) = cache.list("", &Filter::default(), 0);
            let there: HashSet<&str> =
                versions.iter().map(|version| version.header.name()).collect();
            let is_gone = |name: &String| !there.contains(name.as_str());
            let mut gone = server.custom.names();
            gone.extend(work.settled.lock().keys().cloned());
            gone.extend(work.refused.lock().keys().cloned());
            gone.extend(work.open.lock().iter().cloned());
            gone.retain(is_gone);
            (versions, gone)
        }
        Wanted::These(mut names) => {
            names.extend(work.open.lock().iter().cloned());
            let (mut versions, mut gone) = (Vec::new(), Vec::new());
            for name in names {
                match cache.get(&server.storage.key(super::definitions(), "", &name)) {
                    Some(version) => versions.push(version),
                    None => gone.push(name),
                }
            }
            (versions, gone)
        }
    }
}

/// Looks at every wanted definition that is not settled.
async fn pass(server: &Arc<Server>, work: &Arc<Work>, wanted: Wanted) -> Result<(), Status> {
    let (versions, gone) = look(server, work, wanted);
    for name in &gone {
        work.forget(name);
        drop_kind(server, name);
    }
    let mut looked_at: BTreeMap<String, Arc<Version>> = BTreeMap::new();
    let mut open = Open::new();
    for version in versions {
        let name = version.header.name().to_owned();
        let is_settled = |known: &Settled| Arc::ptr_eq(&known.version, &version);
        if work.settled.lock().get(&name).is_some_and(is_settled) {
            continue;
        }
        work.open.lock().insert(name.clone());
        if server.custom.definition(&name).is_some_and(|served| served.uid != version.header.uid())
        {
            drop_kind(server, &name);
        }
        match version.object() {
            Ok(definition) => drop(open.insert(name.clone(), definition)),
            Err(error) => tracing::error!(name, %error, "definition cannot be read"),
        }
        looked_at.insert(name, version);
    }
    let mut first_error = Ok(());
    for (name, version) in looked_at {
        match one(server, work, &name, &mut open).await {
            Ok(None) => {}
            Ok(Some((group, names))) => {
                // What was written meanwhile comes as another version, and is looked at again.
                work.open.lock().remove(&name);
                work.settled.lock().insert(name, Settled { version, group, names });
            }
            Err(error) => first_error = Err(error),
        }
    }
    let installs = work.busy.lock().iter().any(|task| task.starts_with(INSTALL));
    if first_error.is_ok() && !installs {
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

/// Brings one definition a step further; gives its group and names when there are no more steps.
async fn one(
    server: &Arc<Server>,
    work: &Arc<Work>,
    name: &str,
    open: &mut Open,
) -> Result<Option<(String, Value)>, Status> {
    let Some(definition) = open.get(name).cloned() else { return Ok(None) };
    let uid = definition.uid().to_owned();
    let this = (name, uid.as_str());
    let group = definition.text(&["spec", "group"]).to_owned();
    let names = |one: &Object| one.at(&["status", "acceptedNames"]).cloned();
    let mut used: Vec<Value> = {
        let settled = work.settled.lock();
        let of_group = settled.iter().filter(|(_, known)| known.group == group);
        // Of one that changed, what it says now counts.
        let others = of_group.filter(|(name, _)| !open.contains_key(*name));
        others.map(|(_, known)| known.names.clone()).collect()
    };
    let of_group = open.values().filter(|one| one.text(&["spec", "group"]) == group);
    used.extend(of_group.filter_map(names));
    let decide = |next: &mut Object| conditions::decide(next, used.iter(), &now());
    let mut decided = definition.clone();
    decide(&mut decided);
    let definition = if decided == definition {
        definition
    } else {
        let Some(written) = write(server, this, decide).await? else { return Ok(None) };
        // The next ones of the group see what this one got.
        open.insert(name.to_owned(), written.clone());
        written
    };
    let is_established = conditions::is_true(&definition, "Established");
    if !is_established && !conditions::is_true(&definition, "NamesAccepted") {
        drop_kind(server, name);
        going(server, work, &definition);
        return Ok(None);
    }
    let made_of = made_of(&definition);
    let is_same = |served: &Arc<Definition>| served.uid == uid && *served.made_of == made_of;
    let Some(served) = server.custom.definition(name).filter(is_same) else {
        if work.refused.lock().get(name) == Some(&made_of) {
            going(server, work, &definition);
        } else {
            install(server, work, &definition);
        }
        return Ok(None);
    };
    if !is_established {
        write(server, this, |next| conditions::establish(next, &now())).await?;
    }
    let is_terminating = conditions::is_true(&definition, "Terminating");
    if (served.is_established, served.is_terminating) != (is_established, is_terminating) {
        let served = Definition::clone(&served);
        server.custom.publish(Definition { is_established, is_terminating, ..served });
    }
    going(server, work, &definition);
    let is_settled = is_established && definition.deletion_timestamp().is_none();
    Ok(is_settled.then_some((group, made_of.1)))
}

/// Makes a kind ready: fills its cache, then serves it.
fn install(server: &Arc<Server>, work: &Arc<Work>, definition: &Object) {
    let (server, definition) = (server.clone(), definition.clone());
    let name = definition.name().to_owned();
    let of_all = work.clone();
    spawn(work, &format!("{INSTALL}{name}"), async move {
        let slot = of_all.fills.acquire().await;
        let _slot = slot.map_err(|_| Status::service_unavailable("the server stops"))?;
        // Its rules in CEL are compiled.
        let kind = match working(|| CustomKind::load(&definition)) {
            Ok(kind) => Arc::new(kind),
            Err(why) => {
                tracing::warn!(definition = name, %why, "custom kind cannot be served");
                drop_kind(&server, &name);
                of_all.refused.lock().insert(name.clone(), made_of(&definition));
                let this = (name.as_str(), definition.uid());
                let refuse = |next: &mut Object| conditions::refuse(next, &why.to_string(), &now());
                write(&server, this, refuse).await?;
                going(&server, &of_all, &definition);
                return Ok(());
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
            digest: Arc::default(),
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
fn going(server: &Arc<Server>, work: &Arc<Work>, definition: &Object) {
    let waits = definition.finalizers().iter().any(|one| one == conditions::CLEANUP);
    if definition.deletion_timestamp().is_some() && waits {
        let (server, definition) = (server.clone(), definition.clone());
        let name = format!("delete {}", definition.uid());
        spawn(work, &name, async move { deletion::run(&server, &definition).await });
    }
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
            outcome = AssertUnwindSafe(task).catch_unwind() => outcome,
        };
        // A task that panicked has ended too: nothing else would ever try its kind again.
        let panicked = |_| Err(Status::internal("the task panicked"));
        if let Err(error) = outcome.unwrap_or_else(panicked) {
            tracing::warn!(task = name, %error, "will try again");
            tokio::time::sleep(CUSTOM_RETRY).await;
        }
        work.busy.lock().remove(&name);
        work.done.notify_one();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn panics() -> Result<(), Status> {
        panic!("as a test wants it")
    }

    #[tokio::test]
    async fn a_task_that_panics_is_tried_again() {
        let work = Arc::new(Work::new(CancellationToken::new()));
        for _ in 0..2 {
            spawn(&work, "install a", panics());
            assert!(work.busy.lock().contains("install a"));
            work.done.notified().await;
            assert!(work.busy.lock().is_empty());
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(&work, "install a", async move {
            let _ = sender.send(());
            Ok(())
        });
        receiver.await.unwrap();
    }
}
