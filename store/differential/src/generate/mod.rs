//! Makes up scripts from a seed: few keys, so that operations meet, and every option of the API.

mod auth;
mod bad;
mod kv;
mod lease;
mod txn;
mod watch;

use std::collections::VecDeque;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::{Rng as _, seq::IndexedRandom as _};

use crate::answer::Answer;
use crate::step::Step;
use crate::wire;

/// Few enough that Go's sort of a range keeps the order of equal ones: it is stable up to twelve.
const KEYS: [&[u8]; 12] =
    [b"a", b"b", b"c", b"aa", b"ab", b"a\0", b"a\xff", b"b/1", b"b/2", b"\0", b"\xff", b"zz"];

/// Streams of watches in one script.
const STREAMS: u8 = 3;

/// A client's mind: its random numbers, and what it learned of the store.
#[derive(Debug)]
pub struct Generator {
    rng: StdRng,
    /// Made up, and not yet taken.
    waiting: VecDeque<Step>,
    /// The store's revision, the compacted one, and leases that may exist, as the script counts.
    now: i64,
    compacted: i64,
    leases: Vec<i64>,
    /// Watches that may live: the stream and the id.
    watches: Vec<(u8, i64)>,
    /// Whether the server names some leases. Their ids are in what is hashed, so that hashes of
    /// such a script cannot be compared.
    server_names_leases: bool,
    /// Whether it is about users, which takes a script of its own.
    users: bool,
    /// Whether there are requests that are refused for their size alone.
    large: bool,
}

impl Generator {
    /// A generator whose steps depend on nothing but the seed and the answers that it is shown.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let users = rng.random_bool(0.2);
        let mut generator = Self {
            server_names_leases: rng.random_bool(0.4),
            users,
            large: true,
            rng,
            waiting: VecDeque::new(),
            now: 1,
            compacted: 1,
            leases: Vec::new(),
            watches: Vec::new(),
        };
        if users {
            generator.prepare_auth();
        }
        generator
    }

    /// Without requests of megabytes, for scripts that are kept.
    #[must_use]
    pub fn small(mut self) -> Self {
        self.large = false;
        self
    }

    /// Without users: what they may do has changed from version to version of etcd.
    #[must_use]
    pub fn without_users(mut self) -> Self {
        self.users = false;
        self.waiting.clear();
        self
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        if let Some(step) = self.waiting.pop_front() {
            return step;
        }
        if self.users {
            let step = match self.rng.random_range(0..100) {
                0..35 => return self.auth(),
                35..60 => self.range(),
                60..75 => self.put(),
                75..82 => self.delete(),
                82..95 => self.txn(),
                95 => self.compact(),
                _ => self.lease_of_users(),
            };
            return self.as_somebody(step);
        }
        match self.rng.random_range(385..1000) {
            385..470 => self.ranges(),
            470..620 => self.put(),
            620..680 => self.delete(),
            680..860 => self.txn(),
            860..868 => self.compact(),
            868..880 => self.hash(),
            880..935 => self.lease(),
            935..965 => self.watch(),
            _ => self.bad(),
        }
    }

    /// Takes back a step that was not carried out.
    pub(crate) fn put_back(&mut self, step: Step) {
        self.waiting.push_front(step);
    }

    /// Learns from an answer.
    pub(crate) fn observe(&mut self, step: &Step, answer: &Answer) {
        if let Some(revision) = answer.revision() {
            self.now = self.now.max(revision);
        }
        if let (Some(asked), Answer::Message(_)) =
            (step.request::<pb::CompactionRequest>("KV/Compact"), answer)
        {
            self.compacted = asked.revision;
        }
        if let Some(granted) = answer.as_type::<pb::LeaseGrantResponse>("LeaseGrantResponse") {
            self.leases.push(granted.id);
        }
        if let (Step::Watch { stream, .. }, Answer::Frames(frames)) = (step, answer) {
            for frame in frames {
                let frame: pb::WatchResponse = wire::typed(frame);
                if frame.created && !frame.canceled {
                    self.watches.push((*stream, frame.watch_id));
                } else if frame.canceled {
                    self.watches.retain(|watch| *watch != (*stream, frame.watch_id));
                }
            }
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS.choose(&mut self.rng).expect("there are keys"))
    }

    /// Every form of the end of a range. What users may ask for in the wrong order is a question that
    /// etcd answers by the first key alone.
    fn range_end(&mut self, key: &Bytes) -> Bytes {
        let mut end = self.any_range_end(key);
        while self.users && !end.is_empty() && end.as_ref() != [0] && end <= *key {
            end = self.any_range_end(key);
        }
        end
    }

    fn any_range_end(&mut self, key: &Bytes) -> Bytes {
        match self.rng.random_range(0..12) {
            0..3 => Bytes::new(),
            3..5 => Bytes::from_static(b"\0"),
            5..7 => prefix_end(key),
            7 => Bytes::from_static(b"\xff\xff"),
            8 => key.clone(),
            9 => Bytes::from_static(b"\0\0"),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.rng.random_range(0..40) {
            0..6 => Bytes::new(),
            6..24 => Bytes::copy_from_slice(&[b"xyz"[self.rng.random_range(0..3)]]),
            24..39 => {
                let number: u16 = self.rng.random();
                Bytes::from(format!("v{number}"))
            }
            _ => {
                let length = self.rng.random_range(1..if self.large { 2000 } else { 40 });
                (0..length).map(|_| self.rng.random::<u8>()).collect()
            }
        }
    }

    /// A revision to ask for: now, near now, near what is compacted, or impossible.
    fn revision(&mut self) -> i64 {
        match self.rng.random_range(0..100) {
            0..45 => 0,
            45..78 => (self.now - self.rng.random_range(0..12)).max(1),
            78..90 => (self.compacted + self.rng.random_range(-2..3)).max(1),
            90..96 => self.now + self.rng.random_range(1..4),
            96..98 => -self.rng.random_range(1..5),
            98 => i64::MAX,
            _ => self.now,
        }
    }

    /// A revision that keys have.
    fn past(&mut self) -> i64 {
        (self.now - self.rng.random_range(0..20)).max(1)
    }

    /// A lease: none, one that may exist, or one that does not.
    fn lease_id(&mut self) -> i64 {
        match self.rng.random_range(0..10) {
            0..5 => 0,
            5..9 => self.known_lease(),
            _ => 999,
        }
    }

    fn known_lease(&mut self) -> i64 {
        self.leases.choose(&mut self.rng).copied().unwrap_or(998)
    }
}

/// The end of the range of all keys with a prefix.
fn prefix_end(key: &Bytes) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_script() {
        let script = |seed| {
            let mut generator = Generator::new(seed);
            let lines: Vec<String> = (0..500).map(|_| generator.step().to_string()).collect();
            lines
        };
        assert_eq!(script(7), script(7));
        assert_ne!(script(7), script(8));
        // What was written down can be replayed.
        for line in script(7) {
            let step: Step = line.parse().unwrap();
            let again: Step = step.to_string().parse().unwrap();
            assert_eq!(step.to_string(), again.to_string());
        }
    }

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(prefix_end(&Bytes::from_static(b"ab")).as_ref(), b"ac");
        assert_eq!(prefix_end(&Bytes::from_static(b"a\xff")).as_ref(), b"b");
        assert_eq!(prefix_end(&Bytes::from_static(b"\xff\xff")).as_ref(), b"\0");
    }
}
