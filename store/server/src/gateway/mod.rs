//! The JSON gateway: etcd's RPCs as HTTP POSTs below `/v3/`, on the client port.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | A request takes the same way as one over gRPC: the gateway calls the services' own router. |
//! | G2 | A client is who its token says: a certificate of the connection says nothing here. |
//! | G3 | What is held of a request is bounded; an answer that streams is passed on piece by piece. |

mod decode;
mod encode;
mod fixed;
mod frames;
mod paths;
mod schema;
mod websocket;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequestParts as _, Request, WebSocketUpgrade},
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use crate::limits;
use decode::BadRequest;
pub(crate) use fixed::{answer, paths, request, round_trip};
use frames::Frames;
use schema::{Method, SCHEMA};

/// The gateway in front of the services' router.
#[derive(Clone)]
pub(crate) struct Gateway {
    grpc: Router,
    /// Bytes of one JSON document.
    document_bytes: usize,
}

/// etcd's metadata prefix for headers that are handed on.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The HTTP status for a gRPC code, as the gateway of etcd maps it.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn failure(status: StatusCode, code: Code, message: &str) -> Response {
    // Older clients read `error`, newer ones `message`.
    let mut body = b"{\"error\":".to_vec();
    encode::text(message, &mut body);
    body.extend_from_slice(format!(",\"code\":{},\"message\":", i32::from(code)).as_bytes());
    encode::text(message, &mut body);
    body.push(b'}');
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

fn refused(status: &Status) -> Response {
    failure(http_status(status.code()), status.code(), status.message())
}

/// The last line of a stream that failed, in the words of old and of new gateways.
fn failed_line(status: &Status) -> Bytes {
    let http = http_status(status.code());
    let code = i32::from(status.code());
    let line = json!({"error": {
        "grpc_code": code,
        "http_code": http.as_u16(),
        "message": status.message(),
        "http_status": http.canonical_reason().unwrap_or_default(),
        "code": code,
    }});
    Bytes::from(format!("{line}\n"))
}

impl Gateway {
    pub(crate) fn new(grpc: Router, request_bytes: usize) -> Self {
        // Base64 takes four bytes for three.
        Self { grpc, document_bytes: request_bytes * 4 / 3 + limits::REQUEST_ENVELOPE_BYTES }
    }

    /// Answers a request whose path begins with `/v3/`.
    pub(crate) async fn serve(self, request: Request) -> Response {
        let path = request.uri().path();
        let below = path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"));
        let Some(rpc) = below.and_then(paths::rpc) else {
            return failure(StatusCode::NOT_FOUND, Code::NotFound, "Not Found");
        };
        let method = SCHEMA.method(rpc).expect("a test looks up every path");
        let (mut parts, body) = request.into_parts();
        if parts.method == Verb::GET
            && let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await
        {
            return websocket::serve(self, upgrade, rpc, method, &parts.headers);
        }
        if parts.method != Verb::POST {
            return refused(&Status::unimplemented("Method Not Allowed"));
        }
        self.call(rpc, method, &parts.headers, body).await
    }

    async fn call(
        self,
        rpc: &'static str,
        method: &'static Method,
        headers: &HeaderMap,
        body: Body,
    ) -> Response {
        let limit = self.document_bytes;
        let mut documents = Documents { body, buffer: Vec::new(), method, limit };
        let first = match documents.next().await {
            // An empty request is an empty message.
            None => Vec::new(),
            Some(Ok(first)) => first,
            Some(Err(BadRequest(why))) => return refused(&Status::invalid_argument(why)),
        };
        let first = frames::frame(&first);
        let body = if method.client_streams {
            let (send, messages) = mpsc::channel(limits::WATCH_STREAM_QUEUE);
            tokio::spawn(documents.hand_on(rpc, send));
            let first = futures::stream::once(std::future::ready(Ok(first)));
            let all = futures::StreamExt::chain(first, ReceiverStream::new(messages));
            Body::from_stream(all)
        } else {
            Body::from(first)
        };
        let mut request = Request::post(rpc).header(CONTENT_TYPE, "application/grpc");
        if let Some(all) = request.headers_mut() {
            metadata(headers, all);
        }
        let request = request.body(body).expect("every part was checked");
        let answer = match self.grpc.oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (parts, body) = answer.into_parts();
        let frames = Frames::new(&parts.headers, body);
        if method.server_streams {
            stream(frames, method).await
        } else {
            single(frames, method).await
        }
    }
}

/// What the services are told of the HTTP request.
fn metadata(headers: &HeaderMap, out: &mut HeaderMap) {
    if let Some(token) = headers.get(AUTHORIZATION) {
        out.insert(AUTHORIZATION, token.clone());
    }
    for (name, value) in headers {
        let name = name.as_str();
        // Reserved for the framing itself.
        if let Some(name) = name.strip_prefix(METADATA_PREFIX)
            && !name.starts_with("grpc-")
            && name != "content-type"
            && let Ok(name) = HeaderName::try_from(name)
        {
            out.append(name, value.clone());
        }
    }
    // G2: by this, the services know a request of the gateway.
    let accept = headers.get(ACCEPT).cloned().unwrap_or(HeaderValue::from_static("*/*"));
    out.insert(HeaderName::from_static("grpcgateway-accept"), accept);
}

/// The JSON documents of a request, as they arrive.
struct Documents {
    body: Body,
    buffer: Vec<u8>,
    method: &'static Method,
    /// Bytes of one document.
    limit: usize,
}

impl Documents {
    /// Reads one piece more; false at the end.
    async fn more(&mut self) -> Result<bool, BadRequest> {
        if self.buffer.len() > self.limit {
            return Err(BadRequest("etcdserver: request is too large".to_owned()));
        }
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(true)
            }
            Some(Err(error)) => Err(BadRequest(error.to_string())),
            None => Ok(false),
        }
    }

    /// The next document as a message; nothing at the end of the request.
    async fn next(&mut self) -> Option<Result<Vec<u8>, BadRequest>> {
        // One large document is parsed once; those of a stream are small, and cannot wait.
        let mut more = !self.method.client_streams;
        while more {
            more = match self.more().await {
                Ok(more) => more,
                Err(error) => return Some(Err(error)),
            };
        }
        loop {
            let mut documents =
                serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Value>();
            let found = documents.next();
            let read = documents.byte_offset();
            match found {
                Some(Ok(value)) => {
                    self.buffer.drain(..read);
                    return Some(decode::message(&self.method.input, &value));
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Some(Err(BadRequest(error.to_string())));
                }
                // The rest of it is still on its way.
                Some(Err(_)) | None => {}
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) if self.buffer.iter().all(u8::is_ascii_whitespace) => return None,
                Ok(false) => return Some(Err(BadRequest("unexpected EOF".to_owned()))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Hands on every document, until one cannot be read. As etcd: what was asked before that is
    /// still answered.
    async fn hand_on(mut self, rpc: &'static str, send: mpsc::Sender<Result<Bytes, Status>>) {
        while let Some(document) = self.next().await {
            match document {
                Ok(message) => {
                    if send.send(Ok(frames::frame(&message))).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(rpc, %error, "a request of the gateway cannot be read");
                    break;
                }
            }
        }
        // The end of the request does not end a watch: it lasts until its client leaves.
        if rpc == "/etcdserverpb.Watch/Watch" {
            send.closed().await;
        }
    }
}

const JSON: [(HeaderName, HeaderValue); 2] = [
    (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    (
        HeaderName::from_static("grpc-metadata-content-type"),
        HeaderValue::from_static("application/grpc"),
    ),
];

async fn single(mut frames: Frames, method: &Method) -> Response {
    let message = match frames.next().await {
        Ok(Some(message)) => message,
        Ok(None) => return refused(&Status::internal("there was no answer")),
        Err(status) => return refused(&status),
    };
    // The status comes after the message.
    if let Err(status) = frames.next().await {
        return refused(&status);
    }
    let mut json = Vec::with_capacity(message.len() * 2);
    match encode::message(&method.output, &message, &mut json) {
        Ok(()) => (JSON, json).into_response(),
        Err(error) => refused(&Status::internal(error.to_string())),
    }
}

fn line(message: &[u8], method: &Method) -> Result<Bytes, Status> {
    let mut json = b"{\"result\":".to_vec();
    encode::message(&method.output, message, &mut json)
        .map_err(|error| Status::internal(error.to_string()))?;
    json.extend_from_slice(b"}\n");
    Ok(json.into())
}

/// One line of JSON for each message; a failure before the first one is the whole answer.
async fn stream(mut frames: Frames, method: &'static Method) -> Response {
    let first = match frames.next().await {
        Ok(Some(message)) => line(&message, method),
        Ok(None) => return (JSON, Body::empty()).into_response(),
        Err(status) => Err(status),
    };
    let first = match first {
        Ok(first) => first,
        Err(status) => {
            let body = Body::from(failed_line(&status));
            return (http_status(status.code()), JSON, body).into_response();
        }
    };
    let rest = futures::stream::unfold(Some(frames), move |frames| async move {
        let mut frames = frames?;
        let next = match frames.next().await {
            Ok(None) => return None,
            Ok(Some(message)) => line(&message, method),
            Err(status) => Err(status),
        };
        Some(match next {
            Ok(line) => (line, Some(frames)),
            Err(status) => (failed_line(&status), None),
        })
    });
    let lines = futures::StreamExt::chain(futures::stream::once(async { first }), rest);
    let lines = futures::StreamExt::map(lines, Ok::<Bytes, std::convert::Infallible>);
    (JSON, Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod round_trip_test;
