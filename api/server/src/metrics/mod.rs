//! Every metric of this process: name, labels, help.

mod process;
mod store;

use std::sync::Arc;

use api_machinery::ResourceInfo;
use http::HeaderMap;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::flow_control::FlowMetrics;
use crate::request::{Query, RequestInfo};
use process::Process;
pub(crate) use store::{Call, StoreMetrics};

/// What a request is about; every label has few values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AboutLabels {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) component: &'static str,
}

/// The same with whether it is to be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TimeLabels {
    #[prometheus(flatten)]
    pub(crate) about: AboutLabels,
    pub(crate) dry_run: &'static str,
}

/// The same with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    #[prometheus(flatten)]
    pub(crate) of: TimeLabels,
    pub(crate) code: u16,
}

impl TimeLabels {
    /// Of a request, and of the kind that it is about.
    pub(crate) fn of(
        info: &RequestInfo,
        kind: Option<&'static ResourceInfo>,
        (query, headers): (&Query, &HeaderMap),
    ) -> Self {
        let scope = match info {
            RequestInfo { is_resource: false, .. } => "",
            RequestInfo { verb: "create", .. } => "resource",
            RequestInfo { name, .. } if !name.is_empty() => "resource",
            RequestInfo { namespace, .. } if !namespace.is_empty() => "namespace",
            _ => "cluster",
        };
        let is_apply = || {
            let sent = headers.get(http::header::CONTENT_TYPE).and_then(|sent| sent.to_str().ok());
            sent.is_some_and(|sent| sent.starts_with("application/apply-patch"))
        };
        let verb = match info.verb {
            "create" | "post" => "POST",
            "update" | "put" => "PUT",
            "patch" if info.is_resource && is_apply() => "APPLY",
            "patch" => "PATCH",
            "delete" | "deletecollection" => "DELETE",
            "list" => "LIST",
            "watch" => "WATCH",
            "get" => "GET",
            _ => "other",
        };
        let health = ["/healthz", "/livez", "/readyz"].into_iter().find(|path| *path == info.path);
        let subresource = kind.and_then(|kind| kind.subresource(&info.subresource));
        let about = AboutLabels {
            verb,
            group: kind.map_or("", |kind| kind.group),
            version: kind.map_or("", |kind| kind.version),
            resource: kind.map_or("", |kind| kind.plural),
            subresource: subresource.map_or(health.unwrap_or_default(), |found| found.name),
            scope,
            component: if info.is_resource { "apiserver" } else { "" },
        };
        Self { about, dry_run: query.non_empty("dryRun").map_or("", |_| "All") }
    }
}

/// Labels of what is told per resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResourceLabels {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
}

/// The same with the version that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VersionLabels {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
}

/// A resource with its group in one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QualifiedLabels {
    pub(crate) resource: String,
}

/// Labels of the requests that run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InflightLabels {
    pub(crate) request_kind: &'static str,
}

/// Times of requests, by what they are about.
type Durations = Family<TimeLabels, Histogram, fn() -> Histogram>;

/// Upstream's, in seconds.
const REQUEST_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// Upstream's, which begin later.
const SLI_BUCKETS: [f64; 21] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
];

/// The metrics and their registry.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) duration_seconds: Durations,
    /// The same without what other servers are waited for: here, nothing is.
    pub(crate) sli_duration_seconds: Durations,
    pub(crate) inflight: Family<InflightLabels, Gauge>,
    pub(crate) watchers: Family<AboutLabels, Gauge>,
    pub(crate) watch_events: Family<VersionLabels, Counter>,
    pub(crate) objects: Family<ResourceLabels, Gauge>,
    pub(crate) objects_by_name: Family<QualifiedLabels, Gauge>,
    pub(crate) store: StoreMetrics,
    pub(crate) flow: Arc<FlowMetrics>,
    pub(crate) audit: crate::audit::Metrics,
    pub(crate) encryption: crate::encryption::Metrics,
    registry: Mutex<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration_seconds: Durations::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            sli_duration_seconds: Durations::new_with_constructor(|| Histogram::new(SLI_BUCKETS)),
            inflight: Family::default(),
            watchers: Family::default(),
            watch_events: Family::default(),
            objects: Family::default(),
            objects_by_name: Family::default(),
            store: StoreMetrics::default(),
            flow: Arc::default(),
            audit: crate::audit::Metrics::default(),
            encryption: crate::encryption::Metrics::default(),
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
            "apiserver_request_sli_duration_seconds",
            "The same, without the time in which webhooks were waited for",
            metrics.sli_duration_seconds.clone(),
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
            "apiserver_watch_events",
            "Events sent to those who watch, by resource",
            metrics.watch_events.clone(),
        );
        registry.register(
            "apiserver_resource_objects",
            "Objects in the watch cache, by group and resource",
            metrics.objects.clone(),
        );
        registry.register(
            "apiserver_storage_objects",
            "Objects in the watch cache, by resource",
            metrics.objects_by_name.clone(),
        );
        metrics.store.register(&mut registry);
        registry.register_collector(Box::new(Process));
        metrics.flow.register(&mut registry);
        metrics.audit.register(&mut registry);
        metrics.encryption.register(&mut registry);
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
