//! The gateway over a WebSocket: each text from the client is a request, each line an answer.

use axum::{
    body::{Body, Bytes},
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use futures::{SinkExt as _, StreamExt as _};
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Gateway, schema::Method};
use crate::limits;

/// Answers the upgrade, and serves the RPC on what comes of it.
pub(super) fn serve(
    gateway: Gateway,
    upgrade: WebSocketUpgrade,
    rpc: &'static str,
    method: &'static Method,
    headers: &HeaderMap,
) -> Response {
    let headers = with_token(headers);
    let limit = gateway.document_bytes;
    // Browsers cannot set headers, so they send their token as a protocol, and want it accepted.
    upgrade
        .protocols(["Bearer"])
        .max_message_size(limit)
        .on_upgrade(move |socket| run(gateway, socket, rpc, method, headers))
}

/// A browser's `Sec-WebSocket-Protocol: Bearer, TOKEN` becomes an `Authorization` header.
fn with_token(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    let token = headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer"))
        .map(|value| value.trim_matches([' ', ',']).to_owned())
        .filter(|token| !token.is_empty());
    if let Some(token) = token
        && let Ok(value) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

async fn run(
    gateway: Gateway,
    socket: WebSocket,
    rpc: &'static str,
    method: &'static Method,
    headers: HeaderMap,
) {
    let (mut out, mut incoming) = socket.split();
    let (send, requests) =
        mpsc::channel::<Result<Bytes, std::convert::Infallible>>(limits::WATCH_STREAM_QUEUE);
    let reading = async {
        while let Some(Ok(message)) = incoming.next().await {
            let bytes = match message {
                Message::Text(text) => Bytes::from(text),
                Message::Binary(bytes) => bytes,
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return,
            };
            if send.send(Ok(bytes)).await.is_err() {
                return;
            }
        }
    };
    let answering = async {
        let body = Body::from_stream(ReceiverStream::new(requests));
        let answer = gateway.call(rpc, method, &headers, body).await;
        let mut lines = answer.into_body().into_data_stream();
        while let Some(Ok(line)) = lines.next().await {
            let text = String::from_utf8_lossy(&line);
            if out.send(Message::text(text.trim_end())).await.is_err() {
                return;
            }
        }
        // The client may have gone first; then there is nobody to say goodbye to.
        drop(out.close().await);
    };
    // Whoever ends first ends it all: a client that closes needs no more answers.
    tokio::select! {
        () = reading => {}
        () = answering => {}
    }
}
