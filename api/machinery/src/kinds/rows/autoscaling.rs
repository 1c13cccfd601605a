//! `autoscaling`.

use super::{NAMESPACED, status};
use crate::kinds::{ResourceInfo, Subresource};

const AUTOSCALING: ResourceInfo =
    ResourceInfo { group: "autoscaling", version: "v2", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    namespaced: true,
    subresources: &[Subresource {
        version: "v2",
        ..status("autoscaling", "HorizontalPodAutoscaler")
    }],
    storage_prefix: "horizontalpodautoscalers",
    has_status: true,
    type_name: "api.autoscaling.v2.HorizontalPodAutoscaler",
    ..AUTOSCALING
}];
