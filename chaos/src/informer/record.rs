//! What one run saw: calls of writers, every exchange of every informer with its API server, the
//! store's own log, and the state at the end. Checkers look at nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::object::Kind;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
}

/// One version of an object, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Which object.
    pub name: Name,
    /// Which life of that name.
    pub uid: String,
    /// Its resourceVersion; in the store, the revision that wrote it.
    pub revision: i64,
    /// The label that some informers select by.
    pub group: String,
    /// Tokens that replacements appended, in their order.
    pub list: Vec<String>,
    /// Tokens that patches added; they have no order.
    pub marks: BTreeSet<String>,
}

impl Object {
    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.list.iter().chain(&self.marks).map(String::as_str)
    }
}

/// What a client asked an API server to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Verb {
    /// GET without a resourceVersion: a consistent read.
    Get,
    /// POST of a new object whose list is the token.
    Create,
    /// PUT with the resourceVersion that was read, and the token at the end of the list.
    Replace,
    /// A merge patch that adds the token as a mark, whatever the version is.
    Patch,
    /// A server-side apply that does the same; it makes the object when there is none.
    Apply,
    /// DELETE with the uid that was read as its precondition.
    Delete,
    /// DELETE of all objects of a group in a namespace.
    DeleteCollection,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Done; with the object if the answer has one.
    Ok(Option<Object>),
    /// Certainly not done (for a collection: not said).
    Refused(u16, String),
    /// Nobody knows.
    Unknown(String),
}

/// One call of a writer: one attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Its place in the history.
    pub index: usize,
    /// Who.
    pub writer: usize,
    /// Through which API server.
    pub server: usize,
    /// When it was sent, in nanoseconds of the run's clock.
    pub invoked_ns: u64,
    /// When it was answered; `u64::MAX` when it never was.
    pub completed_ns: u64,
    /// What was asked.
    pub verb: Verb,
    /// Of which object; a collection has no name, only kind and namespace.
    pub name: Name,
    /// The token that the call writes, if it writes one.
    pub token: Option<String>,
    /// The life that a delete is for.
    pub uid: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// Whether it certainly was not done.
    pub fn is_refused(&self) -> bool {
        match &self.outcome {
            Outcome::Refused(..) => true,
            Outcome::Ok(_) | Outcome::Unknown(_) => false,
        }
    }

    /// Whether it was acknowledged.
    pub fn is_ok(&self) -> bool {
        match &self.outcome {
            Outcome::Ok(_) => true,
            Outcome::Refused(..) | Outcome::Unknown(_) => false,
        }
    }
}

/// What an informer sees of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The kind.
    pub kind: Kind,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this label.
    pub group: Option<String>,
}

impl Scope {
    /// Whether it shows this version.
    pub fn shows(&self, object: &Object) -> bool {
        object.name.kind == self.kind
            && self.namespace.as_ref().is_none_or(|wanted| *wanted == object.name.namespace)
            && self.group.as_ref().is_none_or(|wanted| *wanted == object.group)
    }
}

/// What a client asked for in order to stay informed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Ask {
    /// A list from its beginning; consistent unless any version will do.
    List { is_consistent: bool },
    /// The next page of the list before it.
    Continue,
    /// Events after a revision.
    Watch { after: i64 },
    /// All objects as events, then a marked bookmark, then events.
    WatchList,
}

/// What happened to an object in a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Change {
    /// It appeared.
    Added,
    /// It is another version.
    Modified,
    /// It disappeared.
    Deleted,
}

/// One thing that an informer was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum What {
    /// A page of a list.
    Page { revision: i64, has_more: bool, items: Vec<Object> },
    /// An event of a watch.
    Event { change: Change, object: Object },
    /// A bookmark; marked when it ends the objects of [`Ask::WatchList`].
    Bookmark { revision: i64, ends_list: bool },
    /// An error, as the answer or in the stream.
    Failed { code: u16, text: String },
}

/// What was told, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Nanoseconds of the run's clock.
    pub time_ns: u64,
    /// What.
    pub what: What,
}

/// One HTTP request of an informer and all of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// When it was sent.
    pub asked_ns: u64,
    /// What was asked.
    pub ask: Ask,
    /// The answer.
    pub told: Vec<Told>,
    /// How the answer ended, in words; `None` while it goes on.
    pub ended: Option<String>,
    /// When it ended; `u64::MAX` while it goes on.
    pub ended_ns: u64,
}

/// Everything that one informer was told, and what it made of it.
#[derive(Clone, Debug, Serialize)]
pub struct InformerLog {
    /// Who it is, in words.
    pub name: String,
    /// The API server that it talks to; `None` for a balancer before all.
    pub server: Option<usize>,
    /// What it sees.
    pub scope: Scope,
    /// One exchange after the other, over all its lives.
    pub exchanges: Vec<Exchange>,
    /// How often its client was started.
    pub lives: usize,
    /// Its cache at the end: names and resourceVersions.
    pub cache: BTreeMap<Name, i64>,
}

/// One change of one key, as the store's own watch tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreEvent {
    /// The revision.
    pub revision: i64,
    /// Whose key.
    pub name: Name,
    /// What is there now; `None`: it was deleted.
    pub object: Option<Object>,
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// What was done, in words.
    pub name: String,
    /// To which API server, and how; `None`: to the store.
    pub api: Option<(usize, ApiFault)>,
    /// Whether what it must do to the store was seen: a later term, a revision that is compacted.
    pub is_felt: bool,
    /// When.
    pub injected_ns: u64,
    /// When healing began.
    pub healed_ns: u64,
    /// When all served again; `None`: never.
    pub recovered_ns: Option<u64>,
}

/// What can be done to an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ApiFault {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// A pause in which it misses changes for good.
    Strand,
    /// It does not hear of the store, while its clients reach it.
    Cut,
}

/// The state at the end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Finals {
    /// What the store has under the prefixes of all kinds: names and mod_revisions.
    pub store: BTreeMap<Name, i64>,
    /// The list of every kind, through each API server.
    pub servers: Vec<BTreeMap<Name, i64>>,
}

/// Everything that one run recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// The store's revision at which its log begins.
    pub base_revision: i64,
    /// What was in the store at that revision.
    pub base: Vec<Object>,
    /// The store's log after it.
    pub log: Vec<StoreEvent>,
    /// The writers' calls, in order of invocation.
    pub calls: Vec<Call>,
    /// The informers.
    pub informers: Vec<InformerLog>,
    /// What was done to whom.
    pub faults: Vec<Fault>,
    /// The state at the end.
    pub finals: Finals,
}
