//! What flow control tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels by level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LevelLabels {
    pub(super) priority_level: String,
}

/// Labels by level and schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FlowLabels {
    pub(super) priority_level: String,
    pub(super) flow_schema: String,
}

/// Labels of refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) priority_level: String,
    pub(super) flow_schema: String,
    pub(super) reason: &'static str,
}

/// The metrics, under upstream's names.
#[derive(Debug, Default)]
pub(crate) struct FlowMetrics {
    pub(super) dispatched: Family<FlowLabels, Counter>,
    pub(super) rejected: Family<RefusalLabels, Counter>,
    pub(super) executing_seats: Family<LevelLabels, Gauge>,
    pub(super) inqueue_seats: Family<LevelLabels, Gauge>,
    pub(super) nominal_seats: Family<LevelLabels, Gauge>,
}

impl FlowMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_flowcontrol_dispatched_requests",
            "Requests that were served, by level and schema",
            self.dispatched.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_rejected_requests",
            "Requests that were refused, by level, schema and reason",
            self.rejected.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_current_executing_seats",
            "Seats taken now, by level",
            self.executing_seats.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_current_inqueue_seats",
            "Seats that requests wait for now, by level",
            self.inqueue_seats.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Seats that are a level's own",
            self.nominal_seats.clone(),
        );
    }
}
