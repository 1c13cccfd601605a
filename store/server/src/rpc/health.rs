//! gRPC's health service: the member as a whole, under the empty name.

use std::collections::HashMap;

use proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus, health_server::Health,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::checks::fence::Fence;

/// The service. As etcd's, it does not ask whether there is a leader: what can be served without one is.
#[derive(Clone)]
pub(crate) struct Healths {
    pub(crate) stopping: CancellationToken,
    pub(crate) fence: Fence,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Healths {
    fn now(&self) -> HealthCheckResponse {
        let serves = !self.stopping.is_cancelled() && self.fence.check().is_ok();
        answer(if serves { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

#[tonic::async_trait]
impl Health for Healths {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service.is_empty() {
            Ok(Response::new(self.now()))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = HashMap::from([(String::new(), self.now())]);
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (send, changes) = mpsc::channel(2);
        let known = request.get_ref().service.is_empty();
        let healths = self.clone();
        let mut fenced = self.fence.changes();
        tokio::spawn(async move {
            let mut told = None;
            loop {
                fenced.mark_unchanged();
                let stops = healths.stopping.is_cancelled();
                let now = if known { healths.now() } else { answer(ServingStatus::ServiceUnknown) };
                // The client may have left in this very moment.
                if told != Some(now) && send.send(Ok(now)).await.is_err() || stops {
                    return;
                }
                told = Some(now);
                tokio::select! {
                    () = send.closed() => return,
                    () = healths.stopping.cancelled() => {}
                    changed = fenced.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(changes)))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_fenced_member_says_that_it_does_not_serve_until_it_does_again() {
        let stopping = CancellationToken::new();
        let fence = Fence::closed(false, &stopping);
        let healths = Healths { stopping: stopping.clone(), fence: fence.clone() };
        let ask = |service: &str| Request::new(HealthCheckRequest { service: service.to_owned() });
        let mut watched = healths.watch(ask("")).await.unwrap().into_inner();
        let mut nobody = healths.watch(ask("nobody")).await.unwrap().into_inner();
        for (closed, expected) in [
            (None, ServingStatus::Serving),
            (Some(true), ServingStatus::NotServing),
            (Some(false), ServingStatus::Serving),
        ] {
            if let Some(closed) = closed {
                fence.set(closed);
            }
            assert_eq!(watched.next().await.unwrap().unwrap().status(), expected);
            let checked = healths.check(ask("")).await.unwrap().into_inner();
            assert_eq!(checked.status(), expected);
        }
        stopping.cancel();
        let last = watched.next().await.unwrap().unwrap();
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert!(watched.next().await.is_none(), "a member that stops ends its streams");
        assert_eq!(nobody.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
        assert!(nobody.next().await.is_none());
        assert!(healths.check(ask("nobody")).await.is_err());
    }
}
