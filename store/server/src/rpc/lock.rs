//! etcd's Lock service: the oldest key below a name holds the lock.

use proto::{
    etcdserverpb::range_request::SortOrder,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
};
use store_planted::{self as planted, Bug};
use tonic::{Request, Response, Status};

use super::session::{Client, Inside, Place, by_age, found, one, waiter_key};

/// The service.
#[derive(Clone)]
pub(crate) struct Locks {
    pub(crate) inside: Inside,
}

/// Takes the waiter's key away if its client leaves before it has the lock.
struct Waiting {
    client: Client,
    key: Option<bytes::Bytes>,
}

impl Waiting {
    fn done(mut self) {
        self.key = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let client = self.client.clone();
        tokio::spawn(async move {
            // The lease takes it away otherwise.
            if let Err(error) = client.delete(key).await {
                tracing::debug!(%error, "a lock's waiter stays until its lease ends");
            }
        });
    }
}

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let lease = client.session(request.lease).await?;
        let prefix = [request.name.as_ref(), b"/"].concat();
        let key = waiter_key(&prefix, lease);
        let holder = by_age(&prefix, SortOrder::Ascend);
        let Place { key, revision, txn } =
            client.queue(key, bytes::Bytes::new(), lease, Some(holder)).await?;
        let holder = found(&txn, 1).and_then(<[_]>::first);
        if holder.is_none_or(|holder| holder.create_revision == revision) {
            return Ok(Response::new(LockResponse { header: txn.header, key }));
        }
        let waiting = Waiting { client: client.clone(), key: Some(key.clone()) };
        client.wait_for_turn(&prefix, revision).await?;
        let own = client.range(one(key.clone())).await?;
        waiting.done();
        if own.kvs.is_empty() && !planted::is(Bug::LockUnchecked) {
            return Err(Status::unknown("mutex: session is expired"));
        }
        Ok(Response::new(LockResponse { header: own.header, key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let (client, request) = self.inside.for_client(request);
        let header = client.delete(request.key).await?;
        Ok(Response::new(UnlockResponse { header }))
    }
}
