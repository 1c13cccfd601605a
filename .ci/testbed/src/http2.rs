//! HTTP/2 by hand: a client that gives up many calls at once, as informers and API servers do.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// The length of a frame, its type, its flags, its stream.
const HEAD_BYTES: usize = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A connection's first bytes: `count` calls, each given up at once, and then a ping.
#[must_use]
pub fn calls_given_up(count: u32) -> Vec<u8> {
    // GET of / by https, from the static table of the header compression.
    let call = [0x82, 0x87, 0x84];
    let cancel = 8_u32.to_be_bytes();
    let mut out = PREFACE.to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[]));
    for number in 0..count {
        let stream = 2 * number + 1;
        out.extend(frame(HEADERS, 0x5, stream, &call));
        out.extend(frame(RST_STREAM, 0, stream, &cancel));
    }
    out.extend(frame(PING, 0, 0, &[0; 8]));
    out
}

/// Whether the other side keeps the connection: it has answered the ping, or said goodbye. `None`
/// while it has done neither.
#[must_use]
pub fn is_kept(mut answer: &[u8]) -> Option<bool> {
    while let Some((head, rest)) = answer.split_at_checked(HEAD_BYTES) {
        match head[3] {
            PING if head[4] == 1 => return Some(true),
            GOAWAY => return Some(false),
            _ => {}
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        answer = rest.get(usize::try_from(length).ok()?..)?;
    }
    None
}
