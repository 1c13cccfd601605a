//! The gRPC probe: the standard health check, without TLS, as upstream asks it.

use proto::grpc::health::v1::HealthCheckRequest;
use proto::grpc::health::v1::health_check_response::ServingStatus;
use proto::grpc::health::v1::health_client::HealthClient;
use tonic::Code;
use tonic::transport::Endpoint;

/// Asks the server at `host` and `port` for the health of `service`; an empty name means all of it.
/// The caller sets the time limit.
pub(super) async fn probe(host: &str, port: u16, service: &str) -> Result<(), String> {
    let address =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let unreachable = |why: &dyn std::fmt::Display| {
        format!("error: failed to connect service at {address:?}: {why}")
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .and_then(|endpoint| endpoint.user_agent("kube-probe/1.36"))
        .map_err(|error| unreachable(&error))?;
    let channel = endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        unreachable(&cause.map_or_else(|| error.to_string(), ToString::to_string))
    })?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = match HealthClient::new(channel).check(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => {
            let said = status.message();
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {said}"
            ));
        }
        Err(status) => {
            let (code, said) = (status.code(), status.message());
            return Err(format!(
                "error: health rpc probe failed: rpc error: code = {code:?} desc = {said}"
            ));
        }
    };
    match answer.status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("service unhealthy (responded with {:?})", other.as_str_name())),
    }
}

#[cfg(test)]
mod tests {
    use proto::grpc::health::v1::health_server::{Health, HealthServer};
    use proto::grpc::health::v1::{HealthCheckResponse, HealthListRequest, HealthListResponse};
    use tonic::{Request, Response, Status};

    use super::*;

    /// Knows two services, one of them ill.
    struct Server;

    #[tonic::async_trait]
    impl Health for Server {
        async fn check(
            &self,
            request: Request<HealthCheckRequest>,
        ) -> Result<Response<HealthCheckResponse>, Status> {
            let status = match request.into_inner().service.as_str() {
                "" => ServingStatus::Serving,
                "ill" => ServingStatus::NotServing,
                _ => return Err(Status::not_found("unknown service")),
            };
            Ok(Response::new(HealthCheckResponse { status: status.into() }))
        }

        async fn list(
            &self,
            _: Request<HealthListRequest>,
        ) -> Result<Response<HealthListResponse>, Status> {
            Err(Status::unimplemented("not asked for by probes"))
        }

        type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

        async fn watch(
            &self,
            _: Request<HealthCheckRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented("not asked for by probes"))
        }
    }

    #[tokio::test]
    async fn only_a_server_that_says_serving_is_healthy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(HealthServer::new(Server));
        let served = tokio::spawn(server.serve_with_incoming(incoming));
        assert_eq!(probe("127.0.0.1", port, "").await, Ok(()));
        let ill = probe("127.0.0.1", port, "ill").await.unwrap_err();
        assert_eq!(ill, "service unhealthy (responded with \"NOT_SERVING\")");
        let unknown = probe("127.0.0.1", port, "x").await.unwrap_err();
        assert!(unknown.contains("code = NotFound desc = unknown service"), "{unknown}");
        served.abort();
        let _ = served.await;
        let gone = probe("127.0.0.1", port, "").await.unwrap_err();
        assert!(gone.contains("failed to connect service at \"127.0.0.1:"), "{gone}");
    }
}
