//! What a server answers to a step, made comparable: ids of the cluster and the time of day left out.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::origin::Origin;
use crate::wire::{dynamic, typed};

/// What a server answers to a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A message.
    Message(DynamicMessage),
    /// An error: its code and text are what clients go by.
    Error { code: Code, message: String },
    /// Frames of a stream that belong to this step, in order.
    Frames(Vec<DynamicMessage>),
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self::Error { code: status.code(), message: status.message().to_owned() }
    }
}

impl Answer {
    /// The answer to a step that gets none.
    pub(crate) fn nothing() -> Self {
        Self::Frames(Vec::new())
    }

    /// The harness' own complaint about a server.
    pub(crate) fn complaint(message: String) -> Self {
        Self::Error { code: Code::Unknown, message: format!("(told by the harness) {message}") }
    }

    /// The answer to a call, from the bytes that came.
    pub(crate) fn decoded(descriptor: &MessageDescriptor, bytes: Bytes, origin: &Origin) -> Self {
        match DynamicMessage::decode(descriptor.clone(), bytes) {
            Ok(mut message) => {
                origin.inward(&mut message);
                tidy(&mut message, origin);
                Self::Message(message)
            }
            Err(error) => Self::complaint(format!("the answer cannot be decoded: {error}")),
        }
    }

    /// The revision that the header says, if there is one.
    pub(crate) fn revision(&self) -> Option<i64> {
        let Self::Message(message) = self else { return None };
        let header = message.get_field_by_name("header")?;
        let revision = header.as_message()?.get_field_by_name("revision")?.as_i64();
        revision.filter(|revision| *revision > 0)
    }

    /// The message as a type, when it is of that name.
    pub(crate) fn as_type<M: prost::Message + Default>(&self, name: &str) -> Option<M> {
        match self {
            Self::Message(message) if is(message, name) => Some(typed(message)),
            _ => None,
        }
    }

    /// Reads the lines that [`Display`] writes.
    pub(crate) fn parse(descriptor: &MessageDescriptor, lines: &[&str]) -> anyhow::Result<Self> {
        let message = |text: &str| {
            DynamicMessage::parse_text_format(descriptor.clone(), text)
                .with_context(|| format!("{text:?} is no {}", descriptor.name()))
        };
        match lines {
            [line] if line.starts_with("= ") => Ok(Self::Message(message(&line[2..])?)),
            [line] if line.starts_with("! ") => {
                let (name, text) = line[2..].split_once(' ').context("an error has a code")?;
                let code = codes().find(|code| format!("{code:?}") == name);
                let code = code.with_context(|| format!("{name} is no code"))?;
                Ok(Self::Error { code, message: text.to_owned() })
            }
            lines if lines.iter().all(|line| line.starts_with("~ ")) => {
                let frames = lines.iter().map(|line| message(&line[2..]));
                Ok(Self::Frames(frames.collect::<anyhow::Result<_>>()?))
            }
            _ => bail!("{lines:?} is no answer"),
        }
    }
}

fn codes() -> impl Iterator<Item = Code> {
    (0..=16).map(Code::from_i32)
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => writeln!(f, "= {}", message.to_text_format()),
            Self::Error { code, message } => {
                writeln!(f, "! {code:?} {}", message.replace('\n', " "))
            }
            Self::Frames(frames) => {
                frames.iter().try_for_each(|frame| writeln!(f, "~ {}", frame.to_text_format()))
            }
        }
    }
}

fn is(message: &DynamicMessage, name: &str) -> bool {
    use prost_reflect::ReflectMessage as _;
    message.descriptor().name() == name
}

/// Clears what differs from server to server, and sorts what comes in no order.
fn tidy(message: &mut DynamicMessage, origin: &Origin) {
    if let Some(Value::Message(header)) = message
        .has_field_by_name("header")
        .then(|| message.get_field_by_name_mut("header"))
        .flatten()
    {
        for name in ["cluster_id", "member_id", "raft_term"] {
            header.clear_field_by_name(name);
        }
    }
    // Tokens are random, and how often a store was changed before the script is no matter.
    if is(message, "AuthenticateResponse") {
        message.clear_field_by_name("token");
    }
    if is(message, "AuthStatusResponse") {
        message.clear_field_by_name("authRevision");
    }
    if is(message, "LeaseTimeToLiveResponse") {
        let mut told: pb::LeaseTimeToLiveResponse = typed(message);
        // Time passes between the grant and the question, on a busy machine minutes.
        let passed = told.granted_ttl.saturating_sub(told.ttl);
        if told.ttl >= 0 && (0..=origin.seconds_passed()).contains(&passed) {
            told.ttl = told.granted_ttl;
        }
        told.keys.sort();
        *message = dynamic(&descriptor(message), &told);
    }
    if is(message, "LeaseLeasesResponse") {
        let mut told: pb::LeaseLeasesResponse = typed(message);
        told.leases.sort_by_key(|lease| lease.id);
        *message = dynamic(&descriptor(message), &told);
    }
}

fn descriptor(message: &DynamicMessage) -> MessageDescriptor {
    use prost_reflect::ReflectMessage as _;
    message.descriptor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::method;

    #[test]
    fn an_answer_is_read_as_it_is_written() {
        let output = &method("KV/Put").unwrap().output;
        let header =
            Some(pb::ResponseHeader { revision: 7, member_id: 3, cluster_id: 2, raft_term: 9 });
        let told = pb::PutResponse { header, ..pb::PutResponse::default() };
        let bytes = Bytes::from(prost::Message::encode_to_vec(&told));
        let answer = Answer::decoded(output, bytes, &Origin::new(2));
        assert_eq!(answer.to_string(), "= header{revision:5}\n");
        assert_eq!(answer.revision(), Some(5));
        let error = Answer::Error { code: Code::NotFound, message: "no such: lease".to_owned() };
        for answer in [answer, error] {
            let text = answer.to_string();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(Answer::parse(output, &lines).unwrap(), answer);
        }
        assert_eq!(Answer::parse(output, &[]).unwrap(), Answer::nothing());
    }

    #[test]
    fn a_lease_has_the_time_left_that_has_not_passed() {
        let output = &method("Lease/LeaseTimeToLive").unwrap().output;
        let left = |ttl| {
            let told = pb::LeaseTimeToLiveResponse {
                ttl,
                granted_ttl: 600,
                ..pb::LeaseTimeToLiveResponse::default()
            };
            let bytes = Bytes::from(prost::Message::encode_to_vec(&told));
            Answer::decoded(output, bytes, &Origin::new(0)).to_string()
        };
        assert_eq!(left(599), left(600));
        // Nobody has waited so long, and nobody may get more than was granted.
        assert_ne!(left(500), left(600));
        assert_ne!(left(601), left(600));
    }
}
