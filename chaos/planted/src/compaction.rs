//! What compaction may take, and what old revisions still show. One client writes, so that it knows
//! what every revision holds.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H1 | A range at a revision that is not compacted answers with what was there then. |
//! | H2 | So do the pages of a list, whatever was written since the first one. |
//! | H3 | A range below the compacted revision is refused. |
//! | H4 | A watch from the compacted revision or above is told every event since. |
//! | H5 | A restart, in order or not, takes the revision nowhere back. |

use std::collections::BTreeMap;

use anyhow::Context as _;
use chaos::cluster::Cluster;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::limits;
use crate::story::{Judge, Judged, Member, Store, below, restart_in_order, revision};

const KEYS: usize = 9;
const ROUNDS: usize = 3;
const WRITES: usize = 25;

/// What was there at each revision.
type Past = BTreeMap<i64, Vec<mvccpb::KeyValue>>;

struct Story {
    cluster: Cluster,
    judge: Judge,
    past: Past,
    rng: StdRng,
    written: usize,
}

/// Tells the story.
pub(crate) async fn run(store: &Store, seed: u64) -> anyhow::Result<Judged> {
    let cluster = Cluster::start(store.launcher(&[]), 3).await?;
    let rng = StdRng::seed_from_u64(seed);
    let judge = Judge::new("history");
    let mut story = Story { cluster, judge, past: Past::new(), rng, written: 0 };
    for _ in 0..ROUNDS {
        for _ in 0..WRITES {
            story.write().await?;
        }
        let deleted = story.delete().await?;
        // A watch may start at a deletion, and something must come after it.
        story.put(0).await?;
        story.put(1).await?;
        story.compact(deleted).await?;
        story.look_back(deleted).await?;
        story.watch_from(deleted).await?;
    }
    let last = story.delete().await?;
    story.compact(last).await?;
    restart_in_order(&mut story.cluster).await?;
    let now = story.list().await?;
    story.judge.must("H5", now >= last, || format!("at revision {now} after one at {last}"));
    story.put(0).await?;
    Ok(story.judge.done())
}

impl Story {
    fn member(&self, member: usize) -> anyhow::Result<Member> {
        Member::of(&self.cluster, member)
    }

    /// Notes what is there now.
    async fn list(&mut self) -> anyhow::Result<i64> {
        self.judge.operations += 1;
        let answer = self.member(0)?.list("", false).await?;
        let now = revision(answer.header)?;
        self.past.insert(now, answer.kvs);
        Ok(now)
    }

    async fn put(&mut self, key: usize) -> anyhow::Result<()> {
        self.written += 1;
        self.judge.operations += 1;
        let (key, value) = (format!("h/{key}"), format!("{}", self.written));
        let known = self.past.keys().last().copied().unwrap_or(0);
        let at = self.member(0)?.put(&key, &value, 0).await?;
        self.judge.must("H5", at > known, || format!("written at {at}, after one at {known}"));
        self.list().await?;
        Ok(())
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        let key = self.rng.random_range(0..KEYS);
        if self.rng.random_bool(0.8) {
            return self.put(key).await;
        }
        self.judge.operations += 1;
        self.member(0)?.delete(&format!("h/{key}")).await?;
        self.list().await?;
        Ok(())
    }

    /// Deletes a key that exists.
    async fn delete(&mut self) -> anyhow::Result<i64> {
        self.put(KEYS).await?;
        self.judge.operations += 1;
        let at = self.member(0)?.delete(&format!("h/{KEYS}")).await?;
        self.list().await?;
        Ok(at)
    }

    async fn compact(&mut self, at: i64) -> anyhow::Result<()> {
        self.judge.operations += 1;
        for member in 0..self.cluster.size() {
            let request = pb::CompactionRequest { revision: at, physical: true };
            match self.member(member)?.kv.compact(request).await {
                Ok(_) => {}
                // Each waits for its own disk; the first one did it.
                Err(status) if member > 0 && status.code() == tonic::Code::OutOfRange => {}
                Err(status) => return Err(status.into()),
            }
        }
        // The others' disks follow by themselves.
        tokio::time::sleep(limits::POLL * 8).await;
        Ok(())
    }

    /// H1 to H3, through every member.
    async fn look_back(&mut self, compacted: i64) -> anyhow::Result<()> {
        for member in 0..self.cluster.size() {
            let mut client = self.member(member)?;
            let past: Vec<(i64, Vec<mvccpb::KeyValue>)> =
                self.past.iter().map(|(at, kvs)| (*at, kvs.clone())).collect();
            for (at, kvs) in past {
                self.judge.operations += 1;
                let request = pb::RangeRequest { revision: at, ..below("") };
                match client.kv.range(request).await {
                    Ok(_) if at < compacted => self.judge.must("H3", false, || {
                        format!("member {member} answers at {at}, compacted at {compacted}")
                    }),
                    Ok(answer) => {
                        let found = answer.into_inner().kvs;
                        self.judge.must("H1", found == kvs, || {
                            format!("member {member} at revision {at}: {found:?}, not {kvs:?}")
                        });
                    }
                    Err(status) => self.judge.must("H1", at < compacted, || {
                        format!("member {member} refuses revision {at}: {status}")
                    }),
                }
                if at >= compacted && self.rng.random_bool(0.2) {
                    self.pages(&mut client, at, &kvs).await?;
                }
            }
        }
        Ok(())
    }

    async fn pages(
        &mut self,
        client: &mut Member,
        at: i64,
        kvs: &[mvccpb::KeyValue],
    ) -> anyhow::Result<()> {
        let mut found: Vec<mvccpb::KeyValue> = Vec::new();
        let mut next = pb::RangeRequest { revision: at, limit: 2, ..below("") };
        loop {
            let answer = client.kv.range(next.clone()).await?.into_inner();
            found.extend(answer.kvs);
            if !answer.more {
                break;
            }
            let last = found.last().context("more after nothing")?;
            next.key = [last.key.as_ref(), b"\0"].concat().into();
            let key = self.rng.random_range(0..KEYS);
            self.put(key).await?;
        }
        self.judge.must("H2", found == kvs, || {
            format!("the pages at revision {at} are {found:?}, not {kvs:?}")
        });
        Ok(())
    }

    /// H4: what each member's watch tells, held against what is known of the revisions.
    async fn watch_from(&mut self, compacted: i64) -> anyhow::Result<()> {
        let last = *self.past.keys().last().context("nothing was written")?;
        for member in 0..self.cluster.size() {
            self.judge.operations += 1;
            let told = match self.member(member)?.events(compacted, last).await? {
                Ok(events) => events,
                Err(compacted) => {
                    self.judge.must("H4", false, || {
                        format!("member {member}: cancelled, compacted at {compacted}")
                    });
                    continue;
                }
            };
            let at = |event: &mvccpb::Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let told: Vec<i64> = told.iter().map(at).collect();
            // Each write of this story is one event of one revision.
            let expected: Vec<i64> = (compacted..=last).collect();
            self.judge.must("H4", told == expected, || {
                format!("member {member} from {compacted} on: told {told:?}, not {expected:?}")
            });
        }
        Ok(())
    }
}
