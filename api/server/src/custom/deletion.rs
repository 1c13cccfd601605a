//! A definition that is deleted takes its objects with it, and goes when the last one has gone.

use std::time::Duration;

use api_machinery::custom::definition::conditions::{Deletion, is_true, terminate};
use api_machinery::{Object, Status};

use super::definitions::{now, write};
use super::{Shape, leftover};
use crate::limits::CUSTOM_DELETION_PAUSE;
use crate::registry::{self, By, DeleteOptions};
use crate::state::Server;
use crate::watch_cache::Filter;

/// Deletes what there is of a kind, then lets its definition go. Asked again, it goes on.
pub(super) async fn run(server: &Server, definition: &Object) -> Result<(), Status> {
    let this = (definition.name(), definition.uid());
    let say = |step: Deletion| write(server, this, move |next| terminate(next, &step, &now()));
    let served = server.custom.definition(definition.name());
    if served.is_none() && !is_true(definition, "Established") {
        say(Deletion::NeverEstablished).await?;
        return Ok(());
    }
    say(Deletion::InProgress).await?;
    let version = served.as_ref().and_then(|served| served.kind.served().next());
    let Some(version) = version else {
        while leftover::clear(server, definition).await? > 0 {
            pause(CUSTOM_DELETION_PAUSE).await;
        }
        say(Deletion::Completed).await?;
        return Ok(());
    };
    let shape = Shape::of(server, version.info)?;
    loop {
        server.caches.wait_until_fresh(&server.storage).await?;
        let cache = shape.cache(server);
        let left = cache.list_whole("", &Filter::default(), server.caches.revision());
        // U3: a closed cache says nothing about what is left.
        if cache.is_closed() {
            return Err(Status::service_unavailable("the kind is being served anew"));
        }
        // What cannot be read is left too.
        let (left, _) = left?;
        if left.is_empty() {
            say(Deletion::Completed).await?;
            return Ok(());
        }
        for one in left.iter().filter(|one| !one.header.deletion_timestamp) {
            let at = (one.header.namespace(), one.header.name());
            let options = DeleteOptions::default();
            let by = By::the_server();
            match registry::delete(server, shape.info, at, &options, by).await {
                Ok(_) => {}
                Err(status) if status.code == 404 => {}
                Err(status) => {
                    let why = format!("could not issue all deletes: {}", status.message);
                    say(Deletion::Failed(why)).await?;
                    return Err(status);
                }
            }
        }
        pause(CUSTOM_DELETION_PAUSE).await;
    }
}

async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
