//! Watches over WebSocket, for clients that cannot read a stream of HTTP: each event is a message.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | Only a watch that was let in is switched over; what is refused is told over HTTP. |
//! | W2 | What the client says is read and, but for pings and its goodbye, not heeded; a frame that is larger than [`WEBSOCKET_FRAME_BYTES_MAX`] ends the connection. |
//! | W3 | A watch that ends says so (1000) and closes the connection. |
//! | W4 | A token among the protocols is for authentication only: it is never agreed on, and not sent back. |

use std::str::Utf8Error;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::limits::WEBSOCKET_FRAME_BYTES_MAX;

/// A client has little to say.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A page in a browser can send no header of its own: its token comes as a protocol (upstream's name).
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether the client asks for one.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut words = values.flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// What the client offers to speak, one after the other.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The token that a client sends among its protocols, if it asks for a web socket.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    if !is_asked(headers) {
        return Ok(None);
    }
    let mut tokens = protocols(headers).filter_map(|one| one.strip_prefix(TOKEN_PROTOCOL));
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err("multiple base64.bearer.authorization tokens specified");
    }
    let token = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| "invalid base64.bearer.authorization token encoding")?;
    let token =
        String::from_utf8(token).map_err(|_| "invalid base64.bearer.authorization token")?;
    if token.is_empty() {
        return Ok(None);
    }
    // One has to be left that can be agreed on.
    if protocols(headers).all(|one| one.starts_with(TOKEN_PROTOCOL)) {
        return Err("missing additional subprotocol");
    }
    Ok(Some(token))
}

/// W1: goes on with an answered watch over WebSocket.
pub(crate) fn switched(
    (upgrade, sockets): (OnUpgrade, &TaskTracker),
    headers: &HeaderMap,
    response: Response<Body>,
) -> Response<Body> {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (accept, protocol) = match agreed(headers) {
        Ok(agreed) => agreed,
        Err((code, why)) => return refusal(code, why),
    };
    let form = response.headers().get(header::CONTENT_TYPE);
    let is_text = form.is_some_and(|form| form.as_bytes().starts_with(b"application/json"));
    let (events, mut switching) = (response.into_body(), Response::new(Body::full("")));
    *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let told = switching.headers_mut();
    told.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        told.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        told.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    // Its connection keeps its place as long.
    sockets.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let ended = tell(TokioIo::new(upgraded), events, is_text).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a web socket ended");
        }
    });
    switching
}

/// What proves to the client that it was understood, and its protocol; or why it is refused.
fn agreed(
    headers: &HeaderMap,
) -> Result<(String, Option<HeaderValue>), (StatusCode, &'static str)> {
    let bad = |why| Err((StatusCode::BAD_REQUEST, why));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return bad("missing or bad WebSocket Version");
    }
    let Some(key) = text(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty()) else {
        return bad("mismatch challenge/response");
    };
    // A page of somebody else's could ask; upstream wants to see a place, and takes any.
    let origin = text(header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let has_origin =
        origin.is_some_and(|one| one.scheme().is_some() || one.path().starts_with('/'));
    if !has_origin {
        return Err((StatusCode::FORBIDDEN, ""));
    }
    let mut others = protocols(headers).filter(|one| !one.starts_with(TOKEN_PROTOCOL));
    let protocol = others.next().and_then(|one| HeaderValue::from_str(one).ok());
    if others.next().is_some() {
        return bad("");
    }
    Ok((derive_accept_key(key.as_bytes()), protocol))
}

fn refusal(code: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(why));
    *response.status_mut() = code;
    if why.contains("Version") {
        let version = HeaderValue::from_static("13");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
    }
    response
}

/// Sends events as messages until the watch ends or the client goes.
async fn tell<S>(stream: S, mut events: Body, is_text: bool) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_frame_size(Some(WEBSOCKET_FRAME_BYTES_MAX))
        .max_message_size(Some(WEBSOCKET_FRAME_BYTES_MAX));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let goodbye = loop {
        tokio::select! {
            part = events.frame() => {
                let Some(part) = part.transpose()? else { break Some(CloseCode::Normal) };
                let Ok(bytes) = part.into_data() else { continue };
                for message in messages(&bytes, is_text)? {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
            heard = socket.next() => match heard {
                // Pings and goodbyes are answered by the socket.
                Some(Ok(_)) => {}
                None => break None,
                Some(Err(Error::Capacity(_))) => break Some(CloseCode::Size),
                Some(Err(Error::Protocol(_))) => break Some(CloseCode::Protocol),
                Some(Err(Error::Utf8(_))) => break Some(CloseCode::Invalid),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    };
    if let Some(code) = goodbye {
        socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() })).await?;
    }
    socket.get_mut().shutdown().await?;
    Ok(())
}

/// Events are lines of text, or have their lengths before them.
fn messages(bytes: &Bytes, is_text: bool) -> Result<Vec<Message>, Utf8Error> {
    if !is_text {
        return Ok(vec![Message::Binary(bytes.clone())]);
    }
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| Ok(Message::Text(bytes.slice_ref(line).try_into()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_come_as_a_protocol() {
        let told = |offered: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(offered).unwrap());
            assert_eq!(token(&headers), Ok(None), "only who asks for a web socket");
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            token(&headers).map(Option::unwrap_or_default)
        };
        let of = |token: &[u8]| format!("{TOKEN_PROTOCOL}{}", URL_SAFE_NO_PAD.encode(token));
        let one = of(b"secret-token?>");
        assert_eq!(told(&format!("mine, {one}")).as_deref(), Ok("secret-token?>"));
        assert_eq!(told("mine").as_deref(), Ok(""));
        assert_eq!(told(&of(b"")).as_deref(), Ok(""));
        assert_eq!(told(&one), Err("missing additional subprotocol"));
        let twice = told(&format!("{one},mine,{one}"));
        assert_eq!(twice, Err("multiple base64.bearer.authorization tokens specified"));
        let encoding = told(&format!("mine,{TOKEN_PROTOCOL}c2VjcmV0="));
        assert_eq!(encoding, Err("invalid base64.bearer.authorization token encoding"));
        let text = told(&format!("mine,{}", of(b"\xff")));
        assert_eq!(text, Err("invalid base64.bearer.authorization token"));
    }
}
