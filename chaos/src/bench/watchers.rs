//! A watch stream with some watchers, whose events are counted and looked at, not kept.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use proto::etcdserverpb as pb;

use super::operation::whole;
use super::wire::scan::{self, Fields, Value};
use super::wire::{Connection, Receiver, Sender, frame};

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// One stream.
#[derive(Debug)]
pub(super) struct WatchStream {
    /// The server ends the watches when this way is closed.
    _sender: Sender,
    receiver: Receiver,
    /// The revision of each watch's last event.
    seen: HashMap<i64, i64>,
}

impl WatchStream {
    /// Opens a stream, and one watch on it for each prefix.
    pub(super) async fn open(
        connection: &mut Connection,
        prefixes: &[&str],
    ) -> anyhow::Result<Self> {
        let (mut sender, mut receiver) = connection.stream(WATCH).await?;
        for prefix in prefixes {
            let range = whole(prefix);
            let create = pb::WatchCreateRequest {
                key: range.key,
                range_end: range.range_end,
                ..pb::WatchCreateRequest::default()
            };
            let union = pb::watch_request::RequestUnion::CreateRequest(create);
            sender.send(frame(&pb::WatchRequest { request_union: Some(union) }))?;
        }
        let mut seen = HashMap::new();
        while seen.len() < prefixes.len() {
            let answer = receiver.expect().await?;
            check(&answer)?;
            ensure!(scan::number(&answer, 3)? == 1, "a watch has events before it was made");
            let fresh = seen.insert(scan::signed(&answer, 2)?, 0).is_none();
            ensure!(fresh, "two watches of a stream have one id");
        }
        Ok(Self { _sender: sender, receiver, seen })
    }

    /// Waits for the next answer, and shows the value of each of its events. Returns how many.
    pub(super) async fn next(&mut self, mut show: impl FnMut(&[u8])) -> anyhow::Result<u64> {
        let answer = self.receiver.next().await?.context("the server ended a watch stream")?;
        check(&answer)?;
        let id = scan::signed(&answer, 2)?;
        let last = self.seen.get_mut(&id).context("an event of a watch that nobody made")?;
        let mut events = 0;
        for field in Fields::of(&answer) {
            if let (11, Value::Bytes(event)) = field? {
                let (revision, value) = changed(scan::bytes(event, 2)?)?;
                ensure!(revision >= *last, "a watch went back from {last} to {revision}");
                *last = revision;
                show(value);
                events += 1;
            }
        }
        Ok(events)
    }
}

fn check(answer: &[u8]) -> anyhow::Result<()> {
    ensure!(
        scan::number(answer, 4)? == 0,
        "a watch was cancelled: {}, compacted at {}",
        String::from_utf8_lossy(scan::bytes(answer, 6)?),
        scan::signed(answer, 5)?
    );
    Ok(())
}

/// The revision of a key's change and its value.
fn changed(kv: &[u8]) -> anyhow::Result<(i64, &[u8])> {
    let (mut revision, mut value) = (0, &[][..]);
    for field in Fields::of(kv) {
        match field? {
            (3, Value::Number(number)) => revision = number.cast_signed(),
            (5, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    ensure!(revision > 0, "an event has no revision");
    Ok((revision, value))
}
