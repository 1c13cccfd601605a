//! One line of a script: something that a client does.
//!
//! | Line | Meaning |
//! |---|---|
//! | `KV/Put key:"a"` | a call, its request in protobuf's text format |
//! | `as u1 KV/Put key:"a"` | the same with the token that this user got last |
//! | `raw KV/Put 0a0161` | a call with these bytes as its request, right or wrong |
//! | `watch 1 create_request{key:"a"}` | a request on watch stream 1, which is opened when new |
//! | `close 1` | the client sends no more on watch stream 1, and goes on listening |
//! | `keepalive ID:5` | a request on the stream of keepalives |
//! | `expire 5` | time passes until lease 5 is gone |

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use proto::etcdserverpb as pb;

use crate::wire::{self, Method, dynamic, method};

/// Something that a client does.
#[derive(Clone, Debug)]
pub enum Step {
    /// A call with one request and one answer, with the token of a user if one is named.
    Call { method: &'static Method, request: DynamicMessage, user: Option<String> },
    /// The same with bytes that need not be a message.
    Raw { method: &'static Method, bytes: Bytes },
    /// A request on a watch stream.
    Watch { stream: u8, request: DynamicMessage },
    /// The client says that it sends no more on a watch stream, and goes on listening.
    Close { stream: u8 },
    /// A request on the stream of keepalives.
    KeepAlive { request: DynamicMessage },
    /// Waits until a lease is gone.
    Expire { lease: i64 },
}

impl Step {
    /// A call of `name`, which must be a method of the request's type.
    pub(crate) fn call(name: &str, request: &impl Message) -> Self {
        let method = method(name).expect("named in the source");
        Self::Call { method, request: dynamic(&method.input, request), user: None }
    }

    /// A request on a watch stream.
    pub(crate) fn watch(stream: u8, union: pb::watch_request::RequestUnion) -> Self {
        let request = pb::WatchRequest { request_union: Some(union) };
        Self::Watch { stream, request: dynamic(&watch_method().input, &request) }
    }

    /// The same call with the token of a user; what is no call stays as it is.
    pub(crate) fn sent_by(self, user: Option<&str>) -> Self {
        match self {
            Self::Call { method, request, .. } => {
                Self::Call { method, request, user: user.map(str::to_owned) }
            }
            other => other,
        }
    }

    /// Whether it changes nothing and waits for nothing, so that others like it can run beside it.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            Self::Call { method, request, .. } => match method.name.as_str() {
                "KV/Range"
                | "Maintenance/HashKV"
                | "Lease/LeaseTimeToLive"
                | "Lease/LeaseLeases" => true,
                "KV/Txn" => only_reads(request),
                _ => false,
            },
            Self::Raw { .. }
            | Self::Watch { .. }
            | Self::Close { .. }
            | Self::KeepAlive { .. }
            | Self::Expire { .. } => false,
        }
    }

    /// Whether it asks for the hash of the history.
    pub(crate) fn is_hash(&self) -> bool {
        matches!(self, Self::Call { method, .. } if method.name == "Maintenance/HashKV")
    }

    /// The request of a call of `name`, also of one that was written as bytes, if they are one.
    pub(crate) fn request<M: Message + Default>(&self, name: &str) -> Option<M> {
        match self {
            Self::Call { method, request, .. } if method.name == name => Some(wire::typed(request)),
            Self::Raw { method, bytes } if method.name == name => M::decode(bytes.clone()).ok(),
            _ => None,
        }
    }
}

/// Whether there are only ranges in a transaction. As it is: this is asked of every step, and to make a
/// type of it takes longer than all else here.
fn only_reads(txn: &DynamicMessage) -> bool {
    let reads =
        |op: &Value| op.as_message().is_some_and(|op| op.has_field_by_name("request_range"));
    ["success", "failure"].iter().all(|branch| {
        txn.get_field_by_name(branch)
            .is_none_or(|ops| ops.as_list().is_none_or(|ops| ops.iter().all(reads)))
    })
}

/// The stream of watches.
pub(crate) fn watch_method() -> &'static Method {
    method("Watch/Watch").expect("named in the source")
}

/// The stream of keepalives.
pub(crate) fn keep_alive_method() -> &'static Method {
    method("Lease/LeaseKeepAlive").expect("named in the source")
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { method, request, user } => {
                if let Some(user) = user {
                    write!(f, "as {user} ")?;
                }
                write!(f, "{} {}", method.name, request.to_text_format())
            }
            Self::Raw { method, bytes } => {
                write!(f, "raw {} ", method.name)?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Watch { stream, request } => {
                write!(f, "watch {stream} {}", request.to_text_format())
            }
            Self::Close { stream } => write!(f, "close {stream}"),
            Self::KeepAlive { request } => write!(f, "keepalive {}", request.to_text_format()),
            Self::Expire { lease } => write!(f, "expire {lease}"),
        }
    }
}

fn bytes_of(hex: &str) -> anyhow::Result<Bytes> {
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        u8::from_str_radix(pair, 16).with_context(|| format!("{pair} is no byte"))
    });
    digits.collect::<anyhow::Result<Vec<u8>>>().map(Bytes::from)
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let parse = |method: &'static Method, text: &str| {
            DynamicMessage::parse_text_format(method.input.clone(), text)
                .with_context(|| format!("{text:?} is no {}", method.input.name()))
        };
        Ok(match word {
            "raw" => {
                let (name, hex) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::Raw { method: method(name)?, bytes: bytes_of(hex)? }
            }
            "watch" => {
                let (stream, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let stream = stream.parse().context("the number of a stream")?;
                Self::Watch { stream, request: parse(watch_method(), text)? }
            }
            "close" => Self::Close { stream: rest.parse().context("the number of a stream")? },
            "keepalive" => Self::KeepAlive { request: parse(keep_alive_method(), rest)? },
            "expire" => Self::Expire { lease: rest.parse().context("the id of a lease")? },
            "as" => {
                let (user, call) = rest.split_once(' ').context("a user, and a call")?;
                call.parse::<Self>()?.sent_by(Some(user))
            }
            name if name.contains('/') => {
                let method = method(name)?;
                Self::Call { method, request: parse(method, rest)?, user: None }
            }
            other => bail!("{other:?} is no step"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_is_written() {
        let lines = [
            r#"KV/Put key:"a\000\377\"",value:"x",lease:-5"#,
            r#"KV/Range key:"a",range_end:"\000",sort_order:7,sort_target:MOD"#,
            r#"KV/Txn compare:[{result:NOT_EQUAL,key:"a",value:""}],success:[{request_txn{}}]"#,
            "KV/Txn ",
            r#"as u1 KV/Put key:"a""#,
            "raw KV/Range 0a0161ff",
            r#"watch 2 create_request{key:"a",start_revision:-1,filters:[NODELETE]}"#,
            "watch 2 progress_request{}",
            "close 2",
            "keepalive ID:12",
            "expire 12",
        ];
        for line in lines {
            let step: Step = line.parse().unwrap();
            let again: Step = step.to_string().parse().unwrap();
            assert_eq!(step.to_string(), again.to_string(), "{line}");
        }
        let step: Step = lines[0].parse().unwrap();
        let put: pb::PutRequest = step.request("KV/Put").unwrap();
        assert_eq!((put.key.as_ref(), put.lease), (b"a\0\xff\"".as_slice(), -5));
        let reads = |line: &str| line.parse::<Step>().unwrap().is_read();
        assert!(reads(r#"KV/Txn success:[{request_range{key:"a"}}],failure:[{request_range{}}]"#));
        assert!(reads("KV/Txn ") && reads("KV/Range "));
        assert!(!reads(r#"KV/Txn success:[{request_range{}}],failure:[{request_put{key:"a"}}]"#));
        assert!(!reads("KV/Txn success:[{request_txn{}}]") && !reads("KV/Txn success:[{}]"));
        // What decodes is the same request, however it was written.
        let raw: Step = "raw KV/Range 0a01612800".parse().unwrap();
        let range: pb::RangeRequest = raw.request("KV/Range").unwrap();
        assert_eq!(range.key.as_ref(), b"a");
        let raw: Step = "raw KV/Range 0a0161ff".parse().unwrap();
        assert!(raw.request::<pb::RangeRequest>("KV/Range").is_none());
    }
}
