//! Clients that create, replace, patch and delete objects, and write down what came of it.
//!
//! Each call is one attempt. A replacement that lost its race is planned anew from a new read, as a
//! controller would, with a new token: the lost one must never be seen.

use std::collections::HashMap;
use std::time::Duration;

use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Client, ResourceExt as _};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Planned, outcome_of};
use super::object::{GROUP, Kind, marking};
use super::record::{Name, Object, Outcome, Verb};
use crate::limits;

/// The groups that objects are in.
pub(super) const GROUPS: [&str; 2] = ["a", "b"];

/// How writers work.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How many.
    pub(super) writers: usize,
    /// Calls a second and writer, at most.
    pub(super) rate: u32,
    /// Namespaces that they share.
    pub(super) namespaces: Vec<String>,
    /// Names of each kind in each namespace.
    pub(super) names: usize,
    /// Whether they apply on the server's side too.
    pub(super) applies: bool,
    /// Seed of their choices.
    pub(super) seed: u64,
}

/// Running writers.
#[derive(Debug)]
pub(super) struct Writers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Writers {
    /// Starts writers; each talks to one of `clients`, one after the other.
    pub(super) fn start(settings: &Settings, clients: &[Client], calls: &Calls) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for writer in 0..settings.writers {
            let server = writer % clients.len();
            let writer = Writer {
                writer,
                server,
                client: clients[server].clone(),
                settings: settings.clone(),
                calls: calls.clone(),
                rng: StdRng::seed_from_u64(settings.seed.wrapping_add(writer as u64 + 1)),
                known: HashMap::new(),
            };
            tasks.spawn(writer.run(stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Lets each finish its call and stop.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Writer {
    writer: usize,
    server: usize,
    client: Client,
    settings: Settings,
    calls: Calls,
    rng: StdRng,
    /// What was read last: a write from it may be out of date.
    known: HashMap<Name, Object>,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        let pause = Duration::from_secs(1) / self.settings.rate.max(1);
        let mut pace = tokio::time::interval(pause);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = pace.tick() => {}
            }
            // Large futures of many kinds of calls: on the heap, once.
            if Box::pin(self.work()).await.is_none() {
                return;
            }
        }
    }

    /// One object is changed somehow; `None` when the history is full.
    async fn work(&mut self) -> Option<()> {
        let name = self.some_name();
        if self.rng.random_ratio(1, 100) {
            return self.delete_collection(&name).await;
        }
        match self.rng.random_range(0..100) {
            0..60 => self.replace(&name).await,
            60..80 => self.mark(&name, Verb::Patch).await,
            80..88 if self.settings.applies => self.mark(&name, Verb::Apply).await,
            80..96 => self.replace(&name).await,
            _ => self.delete(&name).await,
        }
    }

    fn some_name(&mut self) -> Name {
        let kind = *Kind::ALL.choose(&mut self.rng).expect("there are kinds");
        let namespaces = &self.settings.namespaces;
        let namespace = namespaces.choose(&mut self.rng).expect("there are namespaces").clone();
        let name = format!("o-{}", self.rng.random_range(0..self.settings.names.max(1)));
        Name { kind, namespace, name }
    }

    fn api(&self, name: &Name) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &name.namespace, &name.kind.resource())
    }

    /// Sends one call, and writes down how it ended.
    async fn call(
        &mut self,
        (verb, name): (Verb, &Name),
        (token, uid): (Option<&String>, Option<&String>),
        sent: impl Future<Output = Result<Option<DynamicObject>, kube::Error>>,
    ) -> Option<Outcome> {
        let planned = Planned {
            writer: self.writer,
            server: self.server,
            verb,
            name: name.clone(),
            token: token.cloned(),
            uid: uid.cloned(),
        };
        let index = self.calls.invoke(&planned)?;
        let outcome = match tokio::time::timeout(limits::OPERATION_DEADLINE, sent).await {
            Ok(Ok(None)) => Outcome::Ok(None),
            Ok(Ok(Some(object))) => {
                let value = serde_json::to_value(&object).unwrap_or_default();
                match Object::of_api(name.kind, &value) {
                    Ok(object) => Outcome::Ok(Some(object)),
                    Err(error) => Outcome::Unknown(format!("an odd answer: {error:#}")),
                }
            }
            Ok(Err(error)) => outcome_of(&error),
            Err(_) => Outcome::Unknown("no answer within the deadline".to_owned()),
        };
        if let Outcome::Ok(Some(object)) = &outcome {
            self.known.insert(name.clone(), object.clone());
        }
        self.calls.complete(index, outcome.clone());
        Some(outcome)
    }

    /// Reads an object, makes it when there is none, and otherwise appends to its list; what lost
    /// its race reads again.
    async fn replace(&mut self, name: &Name) -> Option<()> {
        let mut known = self.known.get(name).cloned().filter(|_| self.rng.random_ratio(1, 4));
        for _ in 0..limits::INFORMER_REPLACE_TRIES {
            let object = match known.take() {
                Some(object) => object,
                None => match self.read(name).await? {
                    Outcome::Ok(Some(object)) => object,
                    Outcome::Refused(404, _) => return self.create(name).await,
                    Outcome::Ok(None) | Outcome::Refused(..) | Outcome::Unknown(_) => {
                        return Some(());
                    }
                },
            };
            if object.tokens().count() >= limits::INFORMER_TOKENS_MAX {
                return self.delete_this(&object).await;
            }
            let outcome = self.append(object).await?;
            if !matches!(outcome, Outcome::Refused(409, _)) {
                return Some(());
            }
        }
        Some(())
    }

    async fn read(&mut self, name: &Name) -> Option<Outcome> {
        let api = self.api(name);
        let sent = async move { api.get(&name.name).await.map(Some) };
        self.call((Verb::Get, name), (None, None), sent).await
    }

    async fn create(&mut self, name: &Name) -> Option<()> {
        let token = self.calls.token();
        let group = *GROUPS.choose(&mut self.rng).expect("there are groups");
        let object = Object {
            name: name.clone(),
            uid: String::new(),
            revision: 0,
            group: group.to_owned(),
            list: vec![token.clone()],
            marks: Default::default(),
        };
        let api = self.api(name);
        let sent = async move {
            let object = dynamic(&object)?;
            api.create(&PostParams::default(), &object).await.map(Some)
        };
        self.call((Verb::Create, name), (Some(&token), None), sent).await.map(drop)
    }

    async fn append(&mut self, mut object: Object) -> Option<Outcome> {
        let token = self.calls.token();
        object.list.push(token.clone());
        if self.rng.random_ratio(1, 5) {
            // It leaves the sight of some informers, and comes into that of others.
            let group = *GROUPS.choose(&mut self.rng).expect("there are groups");
            group.clone_into(&mut object.group);
        }
        let name = object.name.clone();
        let uid = object.uid.clone();
        let api = self.api(&name);
        let sent = async {
            let object = dynamic(&object)?;
            api.replace(&name.name, &PostParams::default(), &object).await.map(Some)
        };
        self.call((Verb::Replace, &name), (Some(&token), Some(&uid)), sent).await
    }

    /// Adds a mark, whatever the version is.
    async fn mark(&mut self, name: &Name, verb: Verb) -> Option<()> {
        let token = self.calls.token();
        let mut patch = marking(&token);
        let api = self.api(name);
        let is_apply = verb == Verb::Apply;
        if is_apply {
            let resource = name.kind.resource();
            patch["apiVersion"] = json!(resource.api_version);
            patch["kind"] = json!(resource.kind);
        }
        let manager = token.clone();
        let sent = async move {
            let answer = if is_apply {
                let params = PatchParams::apply(&manager);
                api.patch(&name.name, &params, &Patch::Apply(&patch)).await
            } else {
                api.patch(&name.name, &PatchParams::default(), &Patch::Merge(&patch)).await
            };
            answer.map(Some)
        };
        self.call((verb, name), (Some(&token), None), sent).await.map(drop)
    }

    /// Reads an object and deletes what was read.
    async fn delete(&mut self, name: &Name) -> Option<()> {
        match self.read(name).await? {
            Outcome::Ok(Some(object)) => self.delete_this(&object).await,
            Outcome::Ok(None) | Outcome::Refused(..) | Outcome::Unknown(_) => Some(()),
        }
    }

    async fn delete_this(&mut self, object: &Object) -> Option<()> {
        let name = &object.name;
        let is_exact = self.rng.random_ratio(1, 2);
        let preconditions = Preconditions {
            uid: Some(object.uid.clone()),
            resource_version: is_exact.then(|| object.revision.to_string()),
        };
        let params = DeleteParams::default().preconditions(preconditions);
        let api = self.api(name);
        // Some kinds answer with the object, some with a status: neither says a revision.
        let sent = async move { api.delete(&name.name, &params).await.map(|_| None) };
        self.call((Verb::Delete, name), (None, Some(&object.uid)), sent).await.map(drop)
    }

    async fn delete_collection(&mut self, some: &Name) -> Option<()> {
        let all = Name { name: String::new(), ..some.clone() };
        let group = *GROUPS.choose(&mut self.rng).expect("there are groups");
        let chosen = ListParams::default().labels(&format!("{GROUP}={group}"));
        let api = self.api(&all);
        let sent = async move {
            api.delete_collection(&DeleteParams::default(), &chosen).await.map(|_| None)
        };
        self.call((Verb::DeleteCollection, &all), (None, None), sent).await.map(drop)
    }
}

fn dynamic(object: &Object) -> Result<DynamicObject, kube::Error> {
    let object: DynamicObject =
        serde_json::from_value(object.written()).map_err(kube::Error::SerdeError)?;
    debug_assert!(!object.name_any().is_empty(), "an object without a name is no object");
    Ok(object)
}
