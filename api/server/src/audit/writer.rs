//! The thread that writes events, and the queue before it (U2, U3, U4).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

use super::Metrics;
use super::config::{AuditConfig, AuditMode};
use super::event::Event;
use super::file::{Limits, Output};
use crate::limits::{AUDIT_GROUP_EVENTS_MAX, AUDIT_QUEUE_BYTES_MAX, AUDIT_QUEUE_EVENTS_MAX};

/// What the queue carries.
enum Message {
    /// An event, and who waits for it.
    Write(Box<Event>, Option<oneshot::Sender<bool>>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<bool>),
}

/// The way to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    /// Bytes of the bodies that wait.
    waiting_bytes: Arc<AtomicUsize>,
    blocks: bool,
    metrics: Metrics,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write(..) => "Write",
            Self::Flush(_) => "Flush",
        })
    }
}

impl Writer {
    pub(super) fn start(config: &AuditConfig, metrics: Metrics) -> anyhow::Result<Self> {
        let limits = Limits {
            bytes: config.max_bytes,
            backups: config.max_backups,
            age_days: config.max_age_days,
        };
        let output = Output::open(&config.path, limits)
            .with_context(|| format!("--audit-log-path: cannot write to {}", config.path))?;
        let blocks = config.mode != AuditMode::Batch;
        let size = if blocks { AUDIT_QUEUE_EVENTS_MAX } else { config.buffer_events };
        let (queue, messages) = mpsc::channel(size);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let thread = Thread {
            messages,
            output,
            waiting_bytes: waiting_bytes.clone(),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || thread.run())
            .context("the audit thread cannot be started")?;
        Ok(Self { queue, waiting_bytes, blocks, metrics })
    }

    /// Hands an event over; in the blocking modes it is written when this returns. Says whether it
    /// is written, or will be.
    pub(super) async fn write(&self, event: Event) -> bool {
        let size = event.body_bytes();
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        if !self.blocks {
            let is_full = waiting + size > AUDIT_QUEUE_BYTES_MAX;
            let sent =
                !is_full && self.queue.try_send(Message::Write(Box::new(event), None)).is_ok();
            if !sent {
                self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
                self.metrics.lost("buffered", "audit buffer queue blocked");
            }
            // As upstream: a full queue is no reason to refuse the request.
            return true;
        }
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Write(Box::new(event), Some(done))).await.is_err() {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.metrics.lost("log", "the audit thread has ended");
            return false;
        }
        // The thread counts what it cannot write.
        written.await.unwrap_or(false)
    }

    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

struct Thread {
    messages: mpsc::Receiver<Message>,
    output: Output,
    waiting_bytes: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Thread {
    /// Writes until nobody can send any more; what came meanwhile is written together.
    fn run(mut self) {
        let mut group = Vec::new();
        while self.messages.blocking_recv_many(&mut group, AUDIT_GROUP_EVENTS_MAX) > 0 {
            let mut lines = Vec::new();
            let mut events = 0;
            let mut waiting = Vec::new();
            for message in group.drain(..) {
                match message {
                    Message::Write(event, done) => {
                        self.waiting_bytes.fetch_sub(event.body_bytes(), Ordering::Relaxed);
                        event.write(&mut lines);
                        events += 1;
                        waiting.extend(done);
                    }
                    Message::Flush(done) => waiting.push(done),
                }
            }
            let written = self.write(&lines, events);
            for done in waiting {
                // Who does not wait any more need not know.
                let _ = done.send(written);
            }
        }
    }

    fn write(&mut self, lines: &[u8], events: usize) -> bool {
        if lines.is_empty() {
            return true;
        }
        let outcome: io::Result<()> = self.output.write(lines, clock::now());
        if let Err(error) = &outcome {
            for _ in 0..events {
                self.metrics.lost("log", &error.to_string());
            }
        }
        outcome.is_ok()
    }
}
