//! Writes Events about objects: repetitions bump a count, floods are cut, nothing ever waits for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::limits;

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Information only.
    Normal,
    /// Something is wrong.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    uid: String,
    kind: String,
    namespace: String,
    name: String,
    severity: Severity,
    reason: String,
    message: String,
}

#[derive(Debug)]
struct Note {
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// The handle that controllers report through; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: mpsc::Sender<Note>,
}

impl Recorder {
    /// Starts the writer; it ends when the last handle is dropped.
    #[must_use]
    pub fn start(client: Client, component: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel(limits::EVENTS_WAITING_MAX);
        tokio::spawn(write_all(client, component, receiver));
        Self { sender }
    }

    /// Reports about `object`. Never waits: with a full queue the event is dropped.
    pub fn note<K: Resource>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) where
        K::DynamicType: Default,
    {
        self.note_about(object.object_ref(&K::DynamicType::default()), severity, reason, message);
    }

    /// The same for an object known by reference only.
    pub fn note_about(
        &self,
        about: ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        // The API refuses longer messages.
        let message: String = message.into().chars().take(1024).collect();
        let note = Note { about, severity, reason, message, at: clock::now() };
        if self.sender.try_send(note).is_err() {
            debug!(reason, "event dropped: too many are waiting");
        }
    }
}

#[derive(Debug)]
struct Remembered {
    name: String,
    count: i32,
}

/// What was written lately, bounded; decides between a new Event, a bumped count, and silence.
#[derive(Debug, Default)]
struct Memory {
    written: HashMap<Identity, Remembered>,
    order: VecDeque<Identity>,
    allowance: HashMap<String, (f64, Timestamp)>,
}

impl Memory {
    /// Token bucket per object: false means that this event is one too many.
    fn allow(&mut self, object: &str, now: Timestamp) -> bool {
        if self.allowance.len() >= limits::EVENTS_REMEMBERED_MAX {
            self.allowance.clear();
        }
        let (tokens, last) =
            self.allowance.entry(object.to_owned()).or_insert((limits::EVENT_BURST, now));
        let elapsed = now.duration_since(*last).as_secs_f64().max(0.0);
        *tokens = (*tokens + elapsed / limits::EVENT_REFILL_SECONDS).min(limits::EVENT_BURST);
        *last = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    fn remember(&mut self, identity: Identity, name: String) {
        while self.order.len() >= limits::EVENTS_REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.written.remove(&oldest);
            }
        }
        self.order.push_back(identity.clone());
        self.written.insert(identity, Remembered { name, count: 1 });
    }
}

async fn write_all(client: Client, component: &'static str, mut notes: mpsc::Receiver<Note>) {
    let mut memory = Memory::default();
    while let Some(note) = notes.recv().await {
        let write = write_one(&client, component, &mut memory, note);
        match tokio::time::timeout(limits::EVENT_WRITE_DEADLINE, write).await {
            Ok(Ok(())) => {}
            // A namespace on its way out refuses events; so does a server that is going down.
            Ok(Err(error)) => debug!(%error, "event not written"),
            Err(_) => warn!("event not written: the server took too long"),
        }
    }
}

async fn write_one(
    client: &Client,
    component: &'static str,
    memory: &mut Memory,
    note: Note,
) -> Result<(), kube::Error> {
    let about = note.about;
    let identity = Identity {
        uid: about.uid.clone().unwrap_or_default(),
        kind: about.kind.clone().unwrap_or_default(),
        namespace: about.namespace.clone().unwrap_or_default(),
        name: about.name.clone().unwrap_or_default(),
        severity: note.severity,
        reason: note.reason.to_owned(),
        message: note.message.clone(),
    };
    if !memory
        .allow(&format!("{}/{}/{}", identity.kind, identity.namespace, identity.name), note.at)
    {
        return Ok(());
    }
    let namespace =
        if identity.namespace.is_empty() { "default" } else { identity.namespace.as_str() };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let time = crate::api_time(note.at);

    if let Some(known) = memory.written.get_mut(&identity) {
        let patch = serde_json::json!({ "count": known.count + 1, "lastTimestamp": time });
        match api.patch(&known.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                known.count += 1;
                return Ok(());
            }
            // It expired on the server: write it anew.
            Err(error) if crate::is_not_found(&error) => {
                memory.order.retain(|other| *other != identity);
                memory.written.remove(&identity);
            }
            Err(error) => return Err(error),
        }
    }

    let name = format!("{}.{:x}", identity.name, note.at.as_nanosecond());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: about,
        reason: Some(identity.reason.clone()),
        message: Some(identity.message.clone()),
        type_: Some(note.severity.as_str().to_owned()),
        count: Some(1),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        ..Event::default()
    };
    api.create(&PostParams::default(), &event).await?;
    memory.remember(identity, name);
    Ok(())
}

/// A recorder whose events go nowhere, for tests of shells.
#[must_use]
pub fn silent() -> Arc<Recorder> {
    let (sender, _) = mpsc::channel(1);
    Arc::new(Recorder { sender })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_about_one_object_is_cut_and_refills_slowly() {
        let mut memory = Memory::default();
        let start = Timestamp::from_second(1_000_000).unwrap();
        let passed = (0..100).filter(|_| memory.allow("Pod/ns/a", start)).count();
        assert_eq!(passed, 25);
        assert!(memory.allow("Pod/ns/b", start), "another object has its own allowance");
        let later = Timestamp::from_second(1_000_000 + 601).unwrap();
        let passed = (0..100).filter(|_| memory.allow("Pod/ns/a", later)).count();
        assert_eq!(passed, 2);
    }
}
