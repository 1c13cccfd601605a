//! GET with `watch`: events as they happen.

use std::time::Duration;

use api_machinery::Status;
use api_machinery::selector::Fields;
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use prometheus_client::metrics::counter::Counter;
use rand::Rng;
use tokio::time::Instant;

use super::list::{filter, parse_revision, timeout_seconds};
use super::{Context, list_options};
use crate::body::Body;
use crate::encoding::Framer;
use crate::limits::{
    BOOKMARK_INTERVAL, LAST_BOOKMARK_BEFORE, WATCH_TIMEOUT_MIN, WATCHER_LOOK_INTERVAL,
};
use crate::metrics::{TimeLabels, VersionLabels};
use crate::state::Server;
use crate::stream::Sender;
use crate::watch_cache::{Change, Message, Start, Subscription};
use std::sync::Arc;

/// What a client asks of a watch besides its selectors.
#[derive(Clone, Copy, Debug)]
struct Wishes {
    bookmarks: bool,
    /// Whether the initial objects end with a marked bookmark (WatchList).
    marks_initial_end: bool,
    /// Events up to here are known to the client.
    after: u64,
    timeout: Duration,
}

pub(crate) async fn watch(context: &Context) -> Result<Response<Body>, Status> {
    let mut filter = filter(context)?;
    if !context.info.name.is_empty() {
        // The legacy path `/watch/…/NAME` is a watch of one object.
        let only = format!("metadata.name={}", context.info.name);
        let parsed = Fields::parse(&only, &[], |field| context.kind.unknown_field(field))?;
        filter.fields.0.extend(parsed.0);
    }
    let (start, not_older_than, wishes) = read_wishes(context)?;
    let server = &context.server;
    match not_older_than {
        Some(revision) => server.caches.wait_for(revision.max(1)).await?,
        None => server.caches.wait_until_fresh(&server.storage).await?,
    }
    let prefix = server.storage.prefix(context.kind, context.namespace());
    let framer = Framer::new(context.shape.clone(), context.accepted);
    let (sender, body) = Body::stream();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framer.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));

    let seen = server.caches.revision();
    let subscribed = context.cache().subscribe(&prefix, filter, start, seen);
    context.check_cache()?;
    let (group, version, resource) =
        (context.kind.group, context.kind.version, context.kind.plural);
    let counted = VersionLabels { group, version, resource };
    let counted = server.metrics.watch_events.get_or_create_owned(&counted);
    let stream = Stream { server: server.clone(), framer, wishes, sender, counted };
    let (kind, info) = (context.kind, &context.info);
    let labels = TimeLabels::of(info, Some(kind), (&context.query, &context.headers)).about;
    tokio::spawn(async move {
        let gauge = stream.server.metrics.watchers.get_or_create_owned(&labels);
        gauge.inc();
        match subscribed {
            Ok(subscription) => stream.run(subscription).await,
            // Upstream tells a start that is too old within the stream, not by the HTTP code.
            Err(status) => stream.refuse(&status).await,
        }
        gauge.dec();
    });
    Ok(response)
}

fn read_wishes(context: &Context) -> Result<(Start, Option<u64>, Wishes), Status> {
    let query = &context.query;
    list_options::check(query, true)?;
    let revision = parse_revision(query.get("resourceVersion").unwrap_or_default());
    let revision = revision.map_err(|error| Status::unexplained(&error.to_string()))?;
    let bookmarks = query.flag("allowWatchBookmarks");
    let send_initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    let wants_state = match send_initial {
        Some(wanted) => wanted,
        None => matches!(revision, None | Some(0)),
    };
    let (start, not_older_than, after) = match (wants_state, revision) {
        (true, None) => (Start::Whole, None, 0),
        (true, Some(revision)) => (Start::Whole, Some(revision), 0),
        (false, None | Some(0)) => (Start::Now, None, 0),
        // Events after it may not have happened yet; nothing to wait for.
        (false, Some(revision)) => (Start::After(revision), Some(1), revision),
    };
    let timeout = match timeout_seconds(query)? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        // Spread, so that watches that began together do not come back together.
        Some(_) | None => WATCH_TIMEOUT_MIN.mul_f64(rand::rng().random_range(1.0..2.0)),
    };
    let marks_initial_end = send_initial == Some(true) && bookmarks;
    Ok((start, not_older_than, Wishes { bookmarks, marks_initial_end, after, timeout }))
}

struct Stream {
    server: Arc<Server>,
    framer: Framer,
    wishes: Wishes,
    sender: Sender,
    /// Frames that were sent.
    counted: Counter,
}

/// Why a stream ends before its time.
enum Gone {
    /// The client is no longer there, or has been told why.
    Away,
    /// It does not take what it is told, and is not told any more.
    Stuck,
}

impl Stream {
    async fn refuse(mut self, status: &Status) {
        if let Ok(frame) = self.framer.error(status) {
            // The first chunk has its room.
            self.sender.push(frame);
        }
    }

    async fn run(mut self, mut subscription: Subscription) {
        let deadline = Instant::now() + self.wishes.timeout;
        let shutdown = self.server.shutdown.clone();
        let told = async {
            self.begin(&mut subscription, deadline).await?;
            self.follow(&mut subscription, deadline).await
        };
        let ended = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = told => ended,
        };
        // Whoever reads comes to the end of what it has been told; nobody else is kept waiting for.
        if let Err(Gone::Stuck) = ended {
            self.sender.give_up();
        }
    }

    /// The initial objects, or the events since the client last looked.
    async fn begin(
        &mut self,
        subscription: &mut Subscription,
        deadline: Instant,
    ) -> Result<(), Gone> {
        for version in std::mem::take(&mut subscription.initial) {
            self.room(subscription, deadline).await?;
            let frame = self.framer.version(Change::Added, &version);
            self.send(frame)?;
        }
        if self.wishes.marks_initial_end {
            self.room(subscription, deadline).await?;
            let frame = self.framer.bookmark(subscription.revision, true);
            self.send(frame)?;
        }
        for (change, event) in std::mem::take(&mut subscription.replay) {
            self.room(subscription, deadline).await?;
            let frame = self.framer.event(change, &event);
            self.send(frame)?;
        }
        Ok(())
    }

    async fn follow(
        &mut self,
        subscription: &mut Subscription,
        deadline: Instant,
    ) -> Result<(), Gone> {
        // The last bookmark comes shortly before the end, so that the client resumes from there; not
        // when the end is near from the start.
        let now = Instant::now();
        let last_bookmark = deadline.checked_sub(LAST_BOOKMARK_BEFORE).unwrap_or(deadline);
        let last_bookmark = if last_bookmark > now { last_bookmark } else { deadline };
        let mut next_bookmark = (now + BOOKMARK_INTERVAL).min(last_bookmark);
        // Made once: making timers anew for each event would cost as much as the event.
        let (closed, ended) = (self.sender.closed(), tokio::time::sleep_until(deadline));
        let bookmark = tokio::time::sleep_until(next_bookmark);
        tokio::pin!(closed, ended, bookmark);
        loop {
            let message = tokio::select! {
                biased;
                message = subscription.next() => message,
                () = &mut closed => return Err(Gone::Away),
                () = &mut ended => return Ok(()),
                () = &mut bookmark, if self.wishes.bookmarks => {
                    subscription.request_bookmark(self.server.caches.revision());
                    let next = next_bookmark + BOOKMARK_INTERVAL;
                    next_bookmark = match next_bookmark < last_bookmark {
                        true => next.min(last_bookmark),
                        false => next.max(deadline),
                    };
                    bookmark.as_mut().reset(next_bookmark);
                    continue;
                }
            };
            // A frame is made when there is room for it: until then watchers share the event.
            self.room(subscription, deadline).await?;
            let frame = match message {
                None => return Ok(()),
                Some(Message::Event(_, event)) if event.revision <= self.wishes.after => continue,
                Some(Message::Event(change, event)) => self.framer.event(change, &event),
                // This server is behind the one that the client comes from: a bookmark of here would
                // send it back to what it has seen.
                Some(Message::Bookmark(revision)) if revision < self.wishes.after => continue,
                Some(Message::Bookmark(revision)) => self.framer.bookmark(revision, false),
            };
            self.send(frame)?;
        }
    }

    /// Waits until the connection has room for another frame, but not for ever: a client that takes
    /// nothing ends with its time, with its place among the watchers, or after a while.
    async fn room(&self, subscription: &Subscription, deadline: Instant) -> Result<(), Gone> {
        if let Some(room) = self.sender.has_room() {
            return room.map_err(|_| Gone::Away);
        }
        let patience = Instant::now() + self.server.config.patience.taking;
        loop {
            tokio::select! {
                biased;
                room = self.sender.room() => return room.map_err(|_| Gone::Away),
                () = tokio::time::sleep(WATCHER_LOOK_INTERVAL) => {}
            }
            let now = Instant::now();
            if subscription.is_ended() || now >= deadline || now >= patience {
                return Err(Gone::Stuck);
            }
        }
    }

    fn send(&mut self, frame: Result<Bytes, Status>) -> Result<(), Gone> {
        match frame {
            Ok(frame) => {
                self.counted.inc();
                self.sender.push(frame);
                Ok(())
            }
            Err(status) => {
                tracing::error!(%status, "a watch event cannot be encoded");
                if let Ok(frame) = self.framer.error(&status) {
                    self.sender.push(frame);
                }
                Err(Gone::Away)
            }
        }
    }
}
