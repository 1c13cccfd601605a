//! One who writes to the stores' disk and talks to none of them: what he waits for is the disk's doing.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;

use crate::bench::report::Latency;
use crate::bench::tally::{histogram, record};
use crate::limits;

/// A sync is due so often.
const EVERY: Duration = Duration::from_millis(5);

/// What is written before each sync, always to the same place.
const BYTES: usize = 512;

/// Syncs that go on until they are asked to end.
#[derive(Debug)]
pub(super) struct Bystander {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<Histogram<u64>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Longest sync since somebody last asked, in microseconds.
    longest_us: AtomicU64,
}

impl Bystander {
    /// Begins, with a file in the folder for temporary files, as the stores'.
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut file = tempfile::tempfile().context("no file for the bystander")?;
        let mut latency_us = histogram()?;
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let thread = std::thread::Builder::new().name("bystander".to_owned()).spawn(move || {
            while !seen.stop.load(Ordering::Relaxed) {
                let took = sync(&mut file)?;
                record(&mut latency_us, took);
                let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                seen.longest_us.fetch_max(us, Ordering::Relaxed);
                std::thread::sleep(EVERY.saturating_sub(took));
            }
            Ok(latency_us)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until the disk has been quiet for so long: it may still carry what was written before.
    /// False if it did not become quiet in time.
    pub(super) async fn quiet(&self, time: Duration) -> bool {
        let deadline = Instant::now() + limits::BENCH_QUIET_DEADLINE;
        let mut quiet_since = Instant::now();
        while Instant::now() < deadline {
            tokio::time::sleep(EVERY).await;
            let longest = self.shared.longest_us.swap(0, Ordering::Relaxed);
            if Duration::from_micros(longest) >= limits::BENCH_QUIET_SYNC {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() >= time {
                return true;
            }
        }
        false
    }

    /// Ends, and says how long the syncs took.
    pub(super) fn finish(mut self) -> anyhow::Result<Latency> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken once");
        let latency_us = thread.join().map_err(|_| anyhow::anyhow!("the bystander panicked"))??;
        Ok(Latency::of(&latency_us))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn sync(file: &mut File) -> std::io::Result<Duration> {
    let begun = Instant::now();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&[7; BYTES])?;
    file.sync_data()?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bystander_counts_each_of_his_syncs() {
        let bystander = Bystander::start().expect("it starts");
        assert!(bystander.quiet(Duration::from_millis(1)).await, "a minute was not enough");
        let latency = bystander.finish().expect("it ends");
        assert!(latency.max > 0 && latency.max >= latency.p50, "{latency:?}");
    }
}
