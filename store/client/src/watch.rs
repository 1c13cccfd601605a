//! A watch that resumes after the last revision it delivered, or says that it cannot.

use bytes::Bytes;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use proto::mvccpb::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::channel::Client;
use crate::error::Error;
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, RESPONSE_BYTES_MAX, WATCH_CREATE_MAX, WATCH_QUEUE, WATCH_REQUESTS,
};

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// First key.
    pub key: Bytes,
    /// End of the range as in a read; empty for one key.
    pub range_end: Bytes,
    /// First revision wanted; 0 means from now on.
    pub start_revision: i64,
    /// Whether events carry the value before them.
    pub prev_kv: bool,
    /// Whether the server tells its revision now and then while nothing happens.
    pub progress_notify: bool,
}

/// What a watch delivers at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Everything up to this revision has been delivered, this batch included.
    pub revision: i64,
    /// Whole revisions, in order; empty for a progress mark.
    pub events: Vec<Event>,
}

/// A running watch. Dropping it cancels it.
#[derive(Debug)]
pub struct Watch {
    pub(crate) batches: mpsc::Receiver<Result<Batch, Error>>,
    pub(crate) progress: mpsc::Sender<()>,
}

impl Watch {
    /// The next batch; `None` after the error that ended the watch was delivered.
    pub async fn next(&mut self) -> Option<Result<Batch, Error>> {
        self.batches.recv().await
    }

    /// Asks for a progress mark: an empty [`Batch`] with the revision delivered so far.
    ///
    /// The server answers when the watch has caught up. A request lost over a reconnect is not
    /// repeated, so callers ask again after a while.
    pub fn request_progress(&self) {
        // A full queue holds a request already; one answer serves both.
        let _ = self.progress.try_send(());
    }
}

impl Client {
    /// Starts a watch. It lives on its own task until it is dropped or ends with an error.
    pub fn watch(&self, options: WatchOptions) -> Watch {
        if let Some(local) = self.here() {
            return local.watch(options);
        }
        let (sender, batches) = mpsc::channel(WATCH_QUEUE);
        let (progress, progress_wanted) = mpsc::channel(1);
        let client = self.clone();
        let next_revision = options.start_revision;
        let runner = Runner { client, options, next_revision, sender, progress_wanted };
        tokio::spawn(runner.run());
        Watch { batches, progress }
    }
}

/// Why one stream ended.
enum End {
    /// The reader is gone.
    Dropped,
    /// Try again elsewhere.
    Broken(String),
    /// Tell the reader, and stop.
    Final(Error),
}

struct Runner {
    client: Client,
    options: WatchOptions,
    /// The first revision not delivered yet; 0 until a start is known.
    next_revision: i64,
    sender: mpsc::Sender<Result<Batch, Error>>,
    progress_wanted: mpsc::Receiver<()>,
}

impl Runner {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let (at, channel) = self.client.pick();
            let before = self.next_revision;
            match self.stream(channel).await {
                End::Dropped => return,
                End::Final(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                End::Broken(why) => {
                    tracing::debug!(why, revision = self.next_revision, "watch stream broke");
                    self.client.failed(at);
                }
            }
            if self.next_revision > before {
                backoff = BACKOFF_MIN;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.sender.closed() => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn stream(&mut self, channel: Channel) -> End {
        // A stream is refused for an old token in many words: each gets a new one.
        self.client.forget_token();
        let channel = match self.client.authed(channel, Instant::now() + WATCH_CREATE_MAX).await {
            Ok(channel) => channel,
            Err(error) => return end(error),
        };
        let mut client = WatchClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let (requests, outgoing) = mpsc::channel(WATCH_REQUESTS);
        if requests.send(self.create_request()).await.is_err() {
            return End::Broken("request queue closed".to_owned());
        }
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
        // Without it a member cut off from its leader would keep us waiting in silence.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let opened = tokio::time::timeout(WATCH_CREATE_MAX, client.watch(request)).await;
        let mut answers = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return end_of(&status),
            Err(_) => return End::Broken("no answer to the watch request".to_owned()),
        };
        match self.created(&mut answers).await {
            Ok(()) => {}
            Err(end) => return end,
        }

        let mut fragments: Vec<Event> = Vec::new();
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer,
                () = self.sender.closed() => return End::Dropped,
                Some(()) = self.progress_wanted.recv() => {
                    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                    let request = WatchRequest { request_union: Some(progress) };
                    if requests.send(request).await.is_err() {
                        return End::Broken("request stream closed".to_owned());
                    }
                    continue;
                }
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Broken("the member ended the stream".to_owned()),
                Err(status) => return end_of(&status),
            };
            if let Err(end) = self.take(answer, &mut fragments).await {
                return end;
            }
        }
    }

    fn create_request(&self) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.options.key.clone(),
            range_end: self.options.range_end.clone(),
            start_revision: self.next_revision,
            progress_notify: self.options.progress_notify,
            prev_kv: self.options.prev_kv,
            fragment: true,
            ..WatchCreateRequest::default()
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    /// Waits for the frame that says the watch stands.
    async fn created(&mut self, answers: &mut Streaming<WatchResponse>) -> Result<(), End> {
        let answer = match tokio::time::timeout(WATCH_CREATE_MAX, answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(End::Broken("the member ended the stream".to_owned())),
            Ok(Err(status)) => return Err(end_of(&status)),
            Err(_) => return Err(End::Broken("the watch was not confirmed".to_owned())),
        };
        if answer.canceled {
            return Err(cancelled(&answer));
        }
        if !answer.created {
            return Err(End::Broken("the first frame does not confirm the watch".to_owned()));
        }
        if self.next_revision == 0 {
            // As clientv3 does: not one past it, because the watch may be bound a little earlier
            // than the revision that this frame is stamped with.
            self.next_revision = answer.header.map_or(0, |h| h.revision).max(1);
        }
        Ok(())
    }

    /// Takes one frame; S3: what was delivered before a reconnect is dropped here.
    async fn take(&mut self, answer: WatchResponse, fragments: &mut Vec<Event>) -> Result<(), End> {
        if answer.canceled {
            return Err(cancelled(&answer));
        }
        if answer.created {
            return Ok(());
        }
        let header_revision = answer.header.as_ref().map_or(0, |h| h.revision);
        let (fragment, mut events) = (answer.fragment, answer.events);
        if fragment || !fragments.is_empty() {
            fragments.append(&mut events);
            if fragment {
                return Ok(());
            }
            events = std::mem::take(fragments);
        }

        let progress = events.is_empty();
        let first_wanted = self.next_revision;
        events.retain(|e| e.kv.as_ref().is_some_and(|kv| kv.mod_revision >= first_wanted));
        let last = events.last().and_then(|e| e.kv.as_ref()).map(|kv| kv.mod_revision);
        let revision = match last {
            Some(revision) => revision,
            None if progress && header_revision + 1 >= first_wanted => header_revision,
            None => return Ok(()),
        };
        self.next_revision = revision + 1;
        self.sender.send(Ok(Batch { revision, events })).await.map_err(|_| End::Dropped)
    }
}

fn cancelled(answer: &WatchResponse) -> End {
    if answer.compact_revision > 0 {
        return End::Final(Error::Compacted { compact_revision: answer.compact_revision });
    }
    let message = answer.cancel_reason.clone();
    if message.contains("compacted") {
        return End::Final(Error::Compacted { compact_revision: 0 });
    }
    if message.contains("no leader") {
        return End::Broken(message);
    }
    End::Final(Error::Refused { code: Code::Cancelled, message })
}

fn end_of(status: &Status) -> End {
    end(Error::from_status(status))
}

fn end(error: Error) -> End {
    match error {
        Error::Unavailable { message } | Error::Unknown { message } => End::Broken(message),
        error @ (Error::Config(_) | Error::Compacted { .. } | Error::Refused { .. }) => {
            End::Final(error)
        }
    }
}
