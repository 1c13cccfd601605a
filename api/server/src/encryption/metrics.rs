//! What encryption counts, under upstream's names.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    FromStorage,
    ToStorage,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::FromStorage => "from_storage",
            Self::ToStorage => "to_storage",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    resource: String,
    status: &'static str,
    transformation_type: &'static str,
    transformer_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    transformation_type: &'static str,
    transformer_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    apiserver_id_hash: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    apiserver_id_hash: String,
    hash: String,
}

type Times = Family<TimeLabels, Histogram, fn() -> Histogram>;

/// The counters; copies count into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    operations: Family<OperationLabels, Counter>,
    times: Times,
    reloads: Family<ReloadLabels, Counter>,
    reloaded_at: Family<ReloadLabels, Gauge>,
    file: Family<FileLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            times: Times::new_with_constructor(|| {
                Histogram::new(exponential_buckets(5e-6, 2., 25))
            }),
            reloads: Family::default(),
            reloaded_at: Family::default(),
            file: Family::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_storage_transformation_operations",
            "Values sealed for the store and opened, by resource, provider or key, and status",
            self.operations.clone(),
        );
        registry.register(
            "apiserver_storage_transformation_duration_seconds",
            "Time to seal or open a value, in seconds",
            self.times.clone(),
        );
        registry.register(
            "apiserver_encryption_config_controller_automatic_reloads",
            "Times that the file of encryption was read again because it changed",
            self.reloads.clone(),
        );
        registry.register(
            "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
            "When the file of encryption was last read again",
            self.reloaded_at.clone(),
        );
        registry.register(
            "apiserver_encryption_config_controller_last_config_info",
            "The file of encryption that is in force, by its hash",
            self.file.clone(),
        );
    }

    /// A file is in force.
    pub(super) fn applied(&self, server: &str, hash: &str) {
        self.file.clear();
        let labels = FileLabels { apiserver_id_hash: hash_of(server), hash: hash.to_owned() };
        self.file.get_or_create(&labels).set(1);
    }

    /// A changed file was read, or could not be.
    pub(super) fn reloaded(&self, server: &str, is_ok: bool) {
        let status = if is_ok { "success" } else { "failure" };
        let labels = ReloadLabels { apiserver_id_hash: hash_of(server), status };
        self.reloads.get_or_create(&labels).inc();
        self.reloaded_at.get_or_create(&labels).set(jiff::Timestamp::now().as_second());
    }
}

/// Where the operations on one value are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) resource: &'a str,
}

impl Seen<'_> {
    /// One step with a value; `None` when it failed.
    pub(super) fn count(&self, direction: Direction, prefix: &str, took: Option<Duration>) {
        let (transformation_type, transformer_prefix) = (direction.word(), prefix.to_owned());
        if let Some(took) = took {
            let labels = TimeLabels { transformation_type, transformer_prefix: prefix.to_owned() };
            self.metrics.times.get_or_create(&labels).observe(took.as_secs_f64());
        }
        let labels = OperationLabels {
            resource: self.resource.to_owned(),
            status: if took.is_some() { "OK" } else { "unknown-non-grpc" },
            transformation_type,
            transformer_prefix,
        };
        self.metrics.operations.get_or_create(&labels).inc();
    }
}

/// Upstream's form of a hash.
pub(super) fn hash_of(bytes: impl AsRef<[u8]>) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}
