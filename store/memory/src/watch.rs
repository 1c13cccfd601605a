//! Watches: each is a task that reads the history from where it is to what was published.

use std::sync::Arc;

use store_client::mvccpb::Event;
use store_client::{Batch, Error, Watch, WatchOptions, WatchSource};
use store_state_machine::{KeyRange, ReadError};

use crate::{Shared, failed, limits, read_failed};

/// Starts one.
pub(crate) fn start(shared: &Arc<Shared>, options: WatchOptions) -> Watch {
    let (source, watch) = WatchSource::new();
    tokio::spawn(run(Arc::clone(shared), options, source));
    watch
}

async fn run(shared: Arc<Shared>, options: WatchOptions, mut source: WatchSource) {
    let range = KeyRange::new(&options.key, &options.range_end);
    let mut published = shared.published.subscribe();
    let mut next = match options.start_revision {
        0 => *published.borrow() + 1,
        start => start,
    };
    // Whether the reader waits to hear how far this is.
    let mut owed = false;
    loop {
        let revision = *published.borrow_and_update();
        while next <= revision {
            let (events, complete) = match read(&shared, (next, revision), &range, &options) {
                Ok(found) => found,
                Err(error) => {
                    source.send(Err(error)).await;
                    return;
                }
            };
            next = complete + 1;
            let batch = Batch { revision: complete, events };
            if !batch.events.is_empty() && !source.send(Ok(batch)).await {
                return;
            }
        }
        // One that begins in the future has not come anywhere yet.
        if std::mem::take(&mut owed) && next == revision + 1 {
            let progress = Batch { revision, events: Vec::new() };
            if !source.send(Ok(progress)).await {
                return;
            }
        }
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            asked = source.asked() => {
                if !asked {
                    return;
                }
                owed = true;
            }
        }
    }
}

/// I2: the events that are wanted, and the revision up to which these are all.
fn read(
    shared: &Shared,
    (from, to): (i64, i64),
    range: &KeyRange,
    options: &WatchOptions,
) -> Result<(Vec<Event>, i64), Error> {
    let found = match shared.view.events(from, to, limits::WATCH_EVENTS_MAX) {
        Ok(found) => found,
        Err(ReadError::Refused(_)) => {
            let compact_revision = shared.view.compact_revision();
            return Err(Error::Compacted { compact_revision });
        }
        Err(error @ ReadError::Failed(_)) => return Err(read_failed(error)),
    };
    let count: usize = found.iter().map(|one| one.events.len()).sum();
    let complete = match found.last() {
        Some(last) if count >= limits::WATCH_EVENTS_MAX => last.revision,
        Some(_) | None => to,
    };
    let wanted = found.iter().flat_map(|one| &one.events);
    let wire = wanted.filter(|event| range.contains(&event.kv.key)).map(|event| {
        let previous = match options.prev_kv {
            true => shared.view.previous_kv(event).map_err(|fault| failed(&fault))?,
            false => None,
        };
        Ok(event.to_wire(previous))
    });
    Ok((wire.collect::<Result<_, Error>>()?, complete))
}
