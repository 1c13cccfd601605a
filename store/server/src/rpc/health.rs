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

/// The service: it serves until the member stops.
#[derive(Clone)]
pub(crate) struct Healths {
    pub(crate) stopping: CancellationToken,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Healths {
    fn now(&self) -> HealthCheckResponse {
        let stopping = self.stopping.is_cancelled();
        answer(if stopping { ServingStatus::NotServing } else { ServingStatus::Serving })
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
        let first = if known { self.now() } else { answer(ServingStatus::ServiceUnknown) };
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            if send.send(Ok(first)).await.is_err() {
                return;
            }
            tokio::select! {
                () = send.closed() => {}
                () = stopping.cancelled() => {
                    // The client may have left in this very moment.
                    drop(send.send(Ok(answer(ServingStatus::NotServing))).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(changes)))
    }
}
