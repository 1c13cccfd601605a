//! Every metric of this process: name, labels, help.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::flow_control::FlowMetrics;

/// Labels of a request; every one has few values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) code: u16,
}

/// Labels of what is told per resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResourceLabels {
    pub(crate) resource: &'static str,
}

/// Labels of the requests that run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InflightLabels {
    pub(crate) request_kind: &'static str,
}

/// The metrics and their registry.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) duration_seconds: Histogram,
    pub(crate) inflight: Family<InflightLabels, Gauge>,
    pub(crate) watchers: Family<ResourceLabels, Gauge>,
    pub(crate) objects: Family<ResourceLabels, Gauge>,
    pub(crate) flow: Arc<FlowMetrics>,
    pub(crate) audit: crate::audit::Metrics,
    registry: Mutex<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let buckets =
            [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0];
        let metrics = Self {
            requests: Family::default(),
            duration_seconds: Histogram::new(buckets),
            inflight: Family::default(),
            watchers: Family::default(),
            objects: Family::default(),
            flow: Arc::default(),
            audit: crate::audit::Metrics::default(),
            registry: Mutex::default(),
        };
        let mut registry = metrics.registry.lock();
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and response code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to the end of requests that are not streams, in seconds",
            metrics.duration_seconds.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that run now, readOnly and mutating",
            metrics.inflight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches that run now, by resource",
            metrics.watchers.clone(),
        );
        registry.register(
            "apiserver_storage_objects",
            "Objects in the watch cache, by resource",
            metrics.objects.clone(),
        );
        metrics.flow.register(&mut registry);
        metrics.audit.register(&mut registry);
        drop(registry);
        metrics
    }

    /// The Prometheus text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock()).expect("writing to a String cannot fail");
        text
    }
}
