//! What the store is asked, under the names that upstream has for its calls of etcd.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::REQUEST_BUCKETS;

/// What is done with a key or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    List,
    Create,
    Update,
    Delete,
}

impl Call {
    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    group: String,
    resource: String,
}

type Times = Family<CallLabels, Histogram, fn() -> Histogram>;

/// The counters; copies count into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct StoreMetrics {
    calls: Family<CallLabels, Counter>,
    errors: Family<CallLabels, Counter>,
    times: Times,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            errors: Family::default(),
            times: Times::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
        }
    }
}

impl StoreMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("etcd_requests", "Calls of the store", self.calls.clone());
        registry.register("etcd_request_errors", "Calls that failed", self.errors.clone());
        registry.register(
            "etcd_request_duration_seconds",
            "Time that calls of the store take, in seconds",
            self.times.clone(),
        );
    }

    /// A call has ended.
    pub(crate) fn ended(&self, call: Call, of: (&str, &str), took: Duration, is_ok: bool) {
        let (group, resource) = (of.0.to_owned(), of.1.to_owned());
        let labels = CallLabels { operation: call.word(), group, resource };
        self.calls.get_or_create(&labels).inc();
        if !is_ok {
            self.errors.get_or_create(&labels).inc();
        }
        self.times.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
