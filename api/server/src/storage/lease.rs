//! The lease that Events are attached to, shared by many of them for a while (upstream's reuse).

use api_machinery::Status;
use store_client::Client;
use tokio::time::Instant;

use crate::limits::{EVENT_TTL, LEASE_OBJECTS_MAX, LEASE_REUSE};

/// The lease in use.
#[derive(Debug, Default)]
pub(super) struct Shared(tokio::sync::Mutex<Option<Current>>);

#[derive(Debug)]
struct Current {
    id: i64,
    until: Instant,
    objects: u32,
}

impl Shared {
    /// A lease that lives for at least [`EVENT_TTL`].
    pub(super) async fn id(&self, client: &Client) -> Result<i64, Status> {
        let mut slot = self.0.lock().await;
        if let Some(current) = slot.as_mut()
            && current.until > clock::instant()
            && current.objects < LEASE_OBJECTS_MAX
        {
            current.objects += 1;
            return Ok(current.id);
        }
        // Objects attached late must still live for the whole time to live.
        let ttl = (EVENT_TTL + LEASE_REUSE).as_secs();
        let granted =
            client.lease_grant(super::signed(ttl)).await.map_err(|error| super::status(&error))?;
        *slot = Some(Current { id: granted.id, until: clock::instant() + LEASE_REUSE, objects: 1 });
        Ok(granted.id)
    }
}
