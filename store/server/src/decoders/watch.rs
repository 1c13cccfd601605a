//! A stream of watches, served as a member serves it, beside a state that is written to.

use std::{sync::Arc, time::Duration};

use futures::stream;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use store_state_machine::{Applied, Entry, Fault, StateMachine};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    header::Headers,
    state::State,
    watch::{Context, Hub, Permit, Watches},
};

/// What happens, in this order.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client asks for something.
    Ask(WatchRequest),
    /// An entry is applied, and what it wrote is published.
    Apply(Entry),
    /// Entries were applied elsewhere, and the state that they led to takes the place of this one.
    Install(Vec<Entry>),
    /// The client waits until a watch has told it of this revision.
    Await {
        /// Which watch.
        watch_id: i64,
        /// Of an event on it.
        revision: i64,
    },
}

/// What was applied, and what the client was told.
#[derive(Debug, Default)]
pub struct Served {
    /// Of each entry.
    pub applied: Vec<Applied>,
    /// In the order in which they came; without the answer to [`END`].
    pub frames: Vec<WatchResponse>,
    /// Whether everything that was asked was answered in time.
    pub whole: bool,
}

/// The id of the watch that ends the stream: no other may have it.
pub const END: i64 = i64::MIN;

/// Frames that wait for the client, who takes them at the end.
const FRAMES_MAX: usize = 1 << 14;
const TIMEOUT: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(1 << 20);

struct Everybody;

impl Permit for Everybody {
    async fn permit(&self, _key: &[u8], _range_end: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Serves one stream; messages that are to be sent in pieces are cut after `fragment_bytes`.
///
/// # Errors
/// A fault of the state.
pub fn serve(
    machine: &mut StateMachine,
    steps: Vec<Step>,
    fragment_bytes: usize,
) -> Result<Served, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| Fault::File { context: "start a runtime".to_owned(), source })?;
    runtime.block_on(stream(machine, steps, fragment_bytes))
}

async fn stream(
    machine: &mut StateMachine,
    steps: Vec<Step>,
    fragment_bytes: usize,
) -> Result<Served, Fault> {
    let hub = Arc::new(Hub::new(machine.view().revision()));
    let (_compacted, compacted) = watch::channel(0);
    let (_leader, leader) = watch::channel(Some(1));
    let context = Context {
        hub: hub.clone(),
        state: State::new(machine.view(), compacted),
        headers: Headers::new(1, 1),
        leader,
        progress_every: NEVER,
        election: NEVER,
        fragment_bytes,
        stopping: CancellationToken::new(),
        metrics: Default::default(),
    };
    let (send, mut frames) = mpsc::channel(FRAMES_MAX);
    let (ask, mut asked) = mpsc::channel(1);
    let requests = Box::pin(stream::poll_fn(move |context| asked.poll_recv(context)));
    let serving = tokio::spawn(Watches::new(context, Everybody, send).run(requests, false));

    let mut served = Served::default();
    for step in steps {
        match step {
            Step::Ask(request) => drop(ask.send(Ok(request)).await),
            Step::Apply(entry) => {
                for applied in machine.apply(vec![entry])? {
                    hub.publish(applied.events.clone(), applied.revision);
                    served.applied.push(applied);
                }
            }
            Step::Install(entries) => {
                served.applied.extend(machine.apply(entries)?);
                hub.reset(machine.view().revision());
            }
            Step::Await { watch_id, revision } => {
                let tells = |frame: &WatchResponse| {
                    let last = frame.events.last().and_then(|event| event.kv.as_ref());
                    frame.watch_id == watch_id && last.is_some_and(|kv| kv.mod_revision >= revision)
                };
                while let Ok(Some(Ok(frame))) = timeout(TIMEOUT, frames.recv()).await {
                    served.frames.push(frame);
                    if served.frames.last().is_some_and(tells) {
                        break;
                    }
                }
            }
        }
        // Sometimes a request is taken before the next write, as with real clients.
        tokio::task::yield_now().await;
    }
    let create = WatchCreateRequest { watch_id: END, ..WatchCreateRequest::default() };
    let request_union = Some(RequestUnion::CreateRequest(create));
    drop(ask.send(Ok(WatchRequest { request_union })).await);
    let collect = async {
        while let Some(Ok(frame)) = frames.recv().await {
            if frame.watch_id == END {
                return true;
            }
            served.frames.push(frame);
        }
        false
    };
    served.whole = timeout(TIMEOUT, collect).await.unwrap_or(false);
    serving.abort();
    drop(serving.await);
    Ok(served)
}
