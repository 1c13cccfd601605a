//! Writing the status of definitions: each write is decided on the newest version of one.

use api_machinery::{Object, Status, time};

use crate::handlers::Subresource;
use crate::registry::{self, By, Retry, Update};
use crate::state::Server;

/// The time as conditions have it.
pub(super) fn now() -> String {
    time::seconds(clock::now())
}

/// Changes the status and the finalizers of a definition, unless it is gone or another one; gives
/// what is there then.
pub(super) async fn write(
    server: &Server,
    (name, uid): (&str, &str),
    change: impl Fn(&mut Object),
) -> Result<Option<Object>, Status> {
    let request = Update {
        kind: super::definitions(),
        namespace: "",
        name,
        subresource: Subresource::Status,
        by: By::the_server(),
        retry: Retry::Always,
    };
    let changed = |current: &Object| {
        let mut next = current.clone();
        if current.uid() == uid {
            change(&mut next);
        }
        Ok(next)
    };
    registry::update(server, &request, changed).await
}
