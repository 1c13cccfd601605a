//! What our gRPC library refuses by itself, in the words and codes of etcd's.

use axum::response::Response;
use tonic::{Code, Status};

/// Rewords an answer that the library made; leaves all others as they are.
pub(super) async fn as_etcd(mut response: Response) -> Response {
    if let Some(status) = Status::from_header_map(response.headers())
        && let Some(status) = reworded(&status)
    {
        // What it said before is replaced. A status of plain text fits in a header.
        drop(status.add_header(response.headers_mut()));
    }
    response
}

fn reworded(status: &Status) -> Option<Status> {
    let message = status.message();
    match status.code() {
        Code::OutOfRange => {
            let sizes = message.strip_prefix("Error, decoded message length too large: found ")?;
            let (found, rest) = sizes.split_once(" bytes, the limit is: ")?;
            let limit = rest.strip_suffix(" bytes")?;
            Some(Status::resource_exhausted(format!(
                "grpc: received message larger than max ({found} vs. {limit})"
            )))
        }
        Code::Internal => {
            let problem = message.strip_prefix("failed to decode Protobuf message: ")?;
            Some(Status::internal(format!("grpc: error unmarshalling request: proto: {problem}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn told(status: Status) -> (Code, String) {
        let status = reworded(&status).unwrap_or(status);
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn clients_are_told_what_etcd_tells_them() {
        // Word for word as tonic has it: a change there must be seen here.
        let large = Status::out_of_range(
            "Error, decoded message length too large: found 2097158 bytes, the limit is: \
             2097152 bytes",
        );
        let wanted = "grpc: received message larger than max (2097158 vs. 2097152)";
        assert_eq!(told(large), (Code::ResourceExhausted, wanted.to_owned()));
        let broken = proto::etcdserverpb::PutRequest::decode([0x0a, 5].as_slice()).unwrap_err();
        let broken = Status::internal(broken.to_string());
        let (code, message) = told(broken);
        assert_eq!(code, Code::Internal);
        assert!(message.starts_with("grpc: error unmarshalling request: proto: "), "{message}");
        // What the store itself says is left alone.
        let future = "etcdserver: mvcc: required revision is a future revision";
        assert_eq!(told(Status::out_of_range(future)), (Code::OutOfRange, future.to_owned()));
    }
}
