//! Watches over WebSocket, for clients that cannot read a stream of HTTP: each event is a message.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | Only a watch that was let in is switched over; what is refused is told over HTTP. |
//! | W2 | What the client says is read and, but for pings and its goodbye, not heeded; a frame that is larger than [`WEBSOCKET_FRAME_BYTES_MAX`] ends the connection. |
//! | W3 | A watch that ends says so (1000) and closes the connection. |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::limits::WEBSOCKET_FRAME_BYTES_MAX;

/// What RFC 6455 puts behind the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Codes of a goodbye.
const DONE: [u8; 2] = 1000_u16.to_be_bytes();
const WRONG: [u8; 2] = 1002_u16.to_be_bytes();
const TOO_LARGE: [u8; 2] = 1009_u16.to_be_bytes();

/// Whether the client asks for one.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut words = values.flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
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
    let protocol = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
    if protocol.is_some_and(|protocol| protocol.as_bytes().contains(&b',')) {
        return bad("");
    }
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = ring::digest::digest(algorithm, format!("{key}{GUID}").as_bytes());
    Ok((STANDARD.encode(digest), protocol.cloned()))
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

/// A frame of a server: whole, and not masked.
fn frame(kind: u8, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.extend_from_slice(&[0x80 | kind]);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.extend_from_slice(&[short]),
        (_, Ok(middle)) => {
            out.extend_from_slice(&[126]);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[127]);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// What the client said.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Not all of a frame is there yet.
    Nothing,
    Ping(Bytes),
    Goodbye(Bytes),
    /// What nobody listens to.
    Noise,
    /// W2: why the connection ends.
    Wrong([u8; 2]),
}

/// Takes the first frame from what was read.
fn hear(read: &mut BytesMut) -> Heard {
    let [first, second, ..] = read[..] else { return Heard::Nothing };
    if second & 0x80 == 0 {
        return Heard::Wrong(WRONG);
    }
    let (length, start) = match second & 0x7f {
        126 => match read.get(2..4) {
            Some(bytes) => (bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)), 4),
            None => return Heard::Nothing,
        },
        127 => match read.get(2..10) {
            Some(bytes) => (bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)), 10),
            None => return Heard::Nothing,
        },
        short => (u64::from(short), 2),
    };
    let Some(length) = usize::try_from(length).ok().filter(|it| *it <= WEBSOCKET_FRAME_BYTES_MAX)
    else {
        return Heard::Wrong(TOO_LARGE);
    };
    if read.len() < start + 4 + length {
        return Heard::Nothing;
    }
    read.advance(start);
    let mask = read.split_to(4);
    let masked = read.split_to(length);
    let payload: Bytes =
        masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    match first & 0x0f {
        CLOSE => Heard::Goodbye(payload),
        PING => Heard::Ping(payload),
        _ => Heard::Noise,
    }
}

/// Sends events as messages until the watch ends or the client goes.
async fn tell<S>(mut stream: S, mut events: Body, is_text: bool) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut read = BytesMut::new();
    let goodbye = 'told: loop {
        tokio::select! {
            part = events.frame() => {
                let Some(part) = part.transpose()? else { break 'told Bytes::from_owner(DONE) };
                let Ok(bytes) = part.into_data() else { continue };
                for message in messages(&bytes, is_text) {
                    stream.write_all(&message).await?;
                }
                stream.flush().await?;
            }
            count = stream.read_buf(&mut read) => {
                if count? == 0 {
                    return Ok(());
                }
                loop {
                    match hear(&mut read) {
                        Heard::Nothing => break,
                        Heard::Noise => {}
                        Heard::Ping(payload) => {
                            stream.write_all(&frame(PONG, &payload)).await?;
                            stream.flush().await?;
                        }
                        Heard::Goodbye(payload) => break 'told payload,
                        Heard::Wrong(code) => break 'told Bytes::from_owner(code),
                    }
                }
            }
        }
    };
    stream.write_all(&frame(CLOSE, &goodbye)).await?;
    stream.shutdown().await?;
    Ok(())
}

/// Events are lines of text, or have their lengths before them.
fn messages(bytes: &[u8], is_text: bool) -> Vec<BytesMut> {
    if !is_text {
        return vec![frame(BINARY, bytes)];
    }
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| frame(TEXT, line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_lengths_of_the_standard() {
        assert_eq!(&frame(TEXT, b"Hello")[..], b"\x81\x05Hello");
        assert_eq!(&frame(BINARY, &[7; 256])[..4], b"\x82\x7e\x01\x00");
        assert_eq!(&frame(BINARY, &vec![7; 65_536])[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
        assert_eq!(frame(TEXT, &[7; 125])[1], 125);
        assert_eq!(frame(TEXT, &[7; 126])[1], 126);
    }

    #[test]
    fn what_a_client_says_is_read_frame_by_frame() {
        let mut read = BytesMut::from(&b"\x89\x82\x01\x02\x03\x04ik"[..7]);
        assert_eq!(hear(&mut read), Heard::Nothing);
        read.extend_from_slice(b"k\x81\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8");
        assert_eq!(hear(&mut read), Heard::Ping(Bytes::from_static(b"hi")));
        assert_eq!(hear(&mut read), Heard::Noise);
        assert_eq!(hear(&mut read), Heard::Goodbye(Bytes::from_static(&DONE)));
        assert!(read.is_empty());
        assert_eq!(hear(&mut BytesMut::from(&b"\x81\x05Hello"[..])), Heard::Wrong(WRONG));
        let most = u16::try_from(WEBSOCKET_FRAME_BYTES_MAX).unwrap().to_be_bytes();
        let of = |length: [u8; 2]| BytesMut::from(&[0x82, 0xfe, length[0], length[1]][..]);
        assert_eq!(hear(&mut of(most)), Heard::Nothing);
        let more = u16::try_from(WEBSOCKET_FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(hear(&mut of(more)), Heard::Wrong(TOO_LARGE));
    }
}
