//! What is done to the store and the API servers while informers watch.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::calls::Calls;
use super::record::{ApiFault, Fault};
use super::servers::Servers;
use super::truth::Truth;
use crate::cluster::Cluster;
use crate::history::Recorder;
use crate::limits;
use crate::nemesis::{self, Nemesis, await_writes};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trouble {
    /// The store's leader is killed
    KillLeader,
    /// The store's leader is stopped for three seconds
    PauseLeader,
    /// All members of the store are killed
    KillStore,
    /// An API server is killed
    KillApi,
    /// An API server is stopped for three seconds, and the store compacted meanwhile
    PauseApi,
    /// An API server is stopped, and what it misses is compacted after all members were killed, so
    /// that no connection has it either
    StrandApi,
    /// No byte passes between an API server and the store, while clients reach it
    CutApi,
    /// The store is compacted again and again, so that lists lose their revision between pages
    Compact,
}

impl Trouble {
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::KillLeader,
        Self::PauseLeader,
        Self::KillStore,
        Self::KillApi,
        Self::PauseApi,
        Self::StrandApi,
        Self::CutApi,
        Self::Compact,
    ];
}

/// `count` faults: every kind before any comes twice, in an order of the seed's.
pub(super) fn schedule(kinds: &[Trouble], count: usize, rng: &mut StdRng) -> Vec<Trouble> {
    let mut all = Vec::new();
    while all.len() < count && !kinds.is_empty() {
        let mut deck = kinds.to_vec();
        deck.shuffle(rng);
        all.extend(deck);
    }
    all.truncate(count);
    all
}

/// What faults are done to.
pub(super) struct Target<'a> {
    /// The store.
    pub(super) cluster: &'a mut Cluster,
    /// Its API servers.
    pub(super) servers: &'a mut Servers,
    /// What is known of the store.
    pub(super) truth: &'a Truth,
    /// The writers' calls.
    pub(super) calls: &'a Calls,
    /// The run's clock.
    pub(super) clock: &'a Recorder,
}

impl Target<'_> {
    /// Injects a fault, holds it, heals it, and waits until all serve again.
    pub(super) async fn strike(
        &mut self,
        trouble: Trouble,
        rng: &mut StdRng,
    ) -> anyhow::Result<Fault> {
        tracing::info!(?trouble, "fault injected");
        let short = Duration::from_millis(rng.random_range(300..2500));
        match trouble {
            Trouble::KillLeader => self.store(Nemesis::KillLeader, rng, short).await,
            Trouble::PauseLeader => self.store(Nemesis::PauseLeader, rng, PAUSE).await,
            Trouble::KillStore => self.store(Nemesis::KillAll, rng, short / 5).await,
            Trouble::KillApi => self.kill_api(rng, short).await,
            Trouble::PauseApi => self.pause_api(rng).await,
            Trouble::StrandApi => self.strand_api(rng).await,
            Trouble::CutApi => self.cut_api(rng).await,
            Trouble::Compact => self.compact().await,
        }
    }

    async fn store(
        &mut self,
        nemesis: Nemesis,
        rng: &mut StdRng,
        hold: Duration,
    ) -> anyhow::Result<Fault> {
        let fault = nemesis::strike(nemesis, self.cluster, self.clock, rng, hold).await?;
        Ok(Fault {
            name: fault.name,
            api: None,
            is_felt: fault.term_after > fault.term_before,
            injected_ns: fault.injected_ns,
            healed_ns: fault.healed_ns,
            recovered_ns: fault.recovered_ns,
        })
    }

    async fn compact(&mut self) -> anyhow::Result<Fault> {
        let injected_ns = self.clock.now_ns();
        let first = self.truth.compact().await?;
        let mut last = first;
        for _ in 1..limits::INFORMER_COMPACTIONS {
            tokio::time::sleep(limits::INFORMER_COMPACTION_INTERVAL).await;
            last = self.truth.compact().await?;
        }
        let healed_ns = self.clock.now_ns();
        Ok(Fault {
            name: format!("compact from {first} to {last}"),
            api: None,
            is_felt: last > first,
            injected_ns,
            healed_ns,
            recovered_ns: Some(healed_ns),
        })
    }

    async fn kill_api(&mut self, rng: &mut StdRng, hold: Duration) -> anyhow::Result<Fault> {
        let server = rng.random_range(0..self.servers.count());
        let injected_ns = self.clock.now_ns();
        self.servers.kill(server)?;
        tokio::time::sleep(hold).await;
        let healed_ns = self.clock.now_ns();
        self.servers.spawn(server)?;
        let name = format!("kill API server {server}");
        self.ready(name, (server, ApiFault::Kill), injected_ns, healed_ns).await
    }

    async fn pause_api(&mut self, rng: &mut StdRng) -> anyhow::Result<Fault> {
        let server = rng.random_range(0..self.servers.count());
        let injected_ns = self.clock.now_ns();
        self.servers.pause(server)?;
        tokio::time::sleep(PAUSE).await;
        // Whether it can be compacted or not: the server must go on.
        let compacted = self.truth.compact().await;
        let healed_ns = self.clock.now_ns();
        self.servers.resume(server)?;
        let name = format!("pause API server {server}, compact at {}", compacted?);
        self.ready(name, (server, ApiFault::Pause), injected_ns, healed_ns).await
    }

    async fn strand_api(&mut self, rng: &mut StdRng) -> anyhow::Result<Fault> {
        let server = rng.random_range(0..self.servers.count());
        let injected_ns = self.clock.now_ns();
        self.servers.pause(server)?;
        let compacted = self.miss(rng).await;
        let healed_ns = self.clock.now_ns();
        self.servers.resume(server)?;
        let name = format!("strand API server {server}, compact at {}", compacted?);
        self.ready(name, (server, ApiFault::Strand), injected_ns, healed_ns).await
    }

    /// What is written from now on reaches nobody who sleeps, and is compacted.
    async fn miss(&mut self, rng: &mut StdRng) -> anyhow::Result<i64> {
        let hold = Duration::from_millis(100);
        self.store(Nemesis::KillAll, rng, hold).await?;
        await_writes(|| self.calls.acknowledged(), limits::INFORMER_MISSED_WRITES).await?;
        self.truth.compact().await
    }

    async fn cut_api(&mut self, rng: &mut StdRng) -> anyhow::Result<Fault> {
        let server = rng.random_range(0..self.servers.count());
        let injected_ns = self.clock.now_ns();
        self.servers.cut(server);
        tokio::time::sleep(limits::INFORMER_CUT).await;
        let healed_ns = self.clock.now_ns();
        self.servers.mend(server);
        let name = format!("cut API server {server} off from the store");
        self.ready(name, (server, ApiFault::Cut), injected_ns, healed_ns).await
    }

    async fn ready(
        &mut self,
        name: String,
        (server, how): (usize, ApiFault),
        injected_ns: u64,
        healed_ns: u64,
    ) -> anyhow::Result<Fault> {
        self.servers.wait_ready(server, limits::RECOVERY_GIVE_UP).await?;
        let recovered_ns = Some(self.clock.now_ns());
        let api = Some((server, how));
        Ok(Fault { name, api, is_felt: true, injected_ns, healed_ns, recovered_ns })
    }
}

/// How long a process is stopped: longer than an election, shorter than a call's deadline.
const PAUSE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn every_kind_comes_before_any_comes_twice() {
        let all = schedule(&Trouble::ALL, 10, &mut StdRng::seed_from_u64(1));
        assert_eq!(all.len(), 10);
        assert!(Trouble::ALL.iter().all(|kind| all[..8].contains(kind)), "{all:?}");
        assert_eq!(all, schedule(&Trouble::ALL, 10, &mut StdRng::seed_from_u64(1)));
        assert_eq!(schedule(&[], 3, &mut StdRng::seed_from_u64(1)), []);
    }
}
