//! `autoscaling`.

use super::{NAMESPACED, status};
use crate::kinds::{ResourceInfo, Subresource};

const V2: ResourceInfo = ResourceInfo {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[Subresource {
        version: "v2",
        ..status("autoscaling", "HorizontalPodAutoscaler")
    }],
    storage_prefix: "horizontalpodautoscalers",
    has_status: true,
    type_name: "api.autoscaling.v2.HorizontalPodAutoscaler",
    ..NAMESPACED
};

pub(super) const KINDS: [ResourceInfo; 2] = [
    V2,
    ResourceInfo {
        version: "v1",
        subresources: &[status("autoscaling", "HorizontalPodAutoscaler")],
        kept_as: Some(("autoscaling", "v2")),
        type_name: "api.autoscaling.v1.HorizontalPodAutoscaler",
        ..V2
    },
];
