//! The audit log: who asked for what, and what came of it, as far as the policy wants to know.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | The first rule of the policy that fits a request decides; without one nothing is written. |
//! | U2 | In the blocking modes a stage is in the file before the request goes on. |
//! | U3 | An event that is not written is counted and logged: nothing is lost in silence. |
//! | U4 | No thread that serves requests waits for the disk. |

mod body;
mod config;
mod event;
mod file;
mod policy;
mod trail;
mod writer;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use self::policy::Policy;
use self::writer::Writer;

pub(crate) use body::Audited;
pub use config::{AuditConfig, AuditFlags, AuditMode};
pub use policy::Policy as AuditPolicy;
pub(crate) use trail::Trail;

/// The policy, and where its events go.
#[derive(Debug)]
pub(crate) struct Audit {
    policy: Policy,
    writer: Writer,
    mode: AuditMode,
    metrics: Metrics,
}

impl Audit {
    /// Opens the file and starts the writing thread.
    pub(crate) fn open(config: &AuditConfig, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            policy: config.policy.clone(),
            writer: Writer::start(config, metrics.clone())?,
            mode: config.mode,
            metrics: metrics.clone(),
        })
    }

    /// Waits until everything that was handed over is written.
    pub(crate) async fn flush(&self) {
        self.writer.flush().await;
    }
}

/// Labels of a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LevelLabels {
    level: &'static str,
}

/// Labels of an error: which part did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    plugin: &'static str,
}

/// What is counted about audit events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    events: Counter,
    errors: Family<ErrorLabels, Counter>,
    rejected: Counter,
    levels: Family<LevelLabels, Counter>,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_audit_event",
            "Audit events that were made and handed to the log",
            self.events.clone(),
        );
        registry.register(
            "apiserver_audit_error",
            "Audit events that were not written; the plugin is what failed",
            self.errors.clone(),
        );
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests that were refused because their audit event could not be written",
            self.rejected.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "Requests by the level that the audit policy gave them",
            self.levels.clone(),
        );
    }

    /// U3.
    fn lost(&self, plugin: &'static str, why: &str) {
        self.errors.get_or_create(&ErrorLabels { plugin }).inc();
        tracing::error!(plugin, why, "an audit event was not written");
    }
}
