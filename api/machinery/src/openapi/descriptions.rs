//! What fields are for: upstream's descriptions, as the crate `k8s-openapi` carries them.

use k8s_openapi::api::admissionregistration::v1 as admission;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::authorization::v1 as authorization;
use k8s_openapi::api::autoscaling::{v1 as autoscaling, v2 as autoscaling_v2};
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::api::flowcontrol::v1 as flowcontrol;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::api::node::v1 as node;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::api::resource::v1 as resource;
use k8s_openapi::api::scheduling::v1 as scheduling;
use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use k8s_openapi::schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::custom::{LIST_METADATA, SCALE};

const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

/// The descriptions of a document's types and fields, by definition name.
#[derive(Debug)]
pub(crate) struct Descriptions(Map<String, Value>);

/// One line for each type that is served; what they are made of comes along.
macro_rules! described {
    ($generator:ident: $($kind:path),+ $(,)?) => {
        $( let _reference = $generator.subschema_for::<$kind>(); )+
    };
}

impl Default for Descriptions {
    /// Of all types. Takes some milliseconds and megabytes: made for a document, and dropped.
    fn default() -> Self {
        let mut generator = SchemaGenerator::default();
        described!(generator:
            apiregistration::APIService, events::Event, autoscaling::HorizontalPodAutoscaler,
            core::ComponentStatus, core::ConfigMap,
            core::Endpoints, core::Event, core::LimitRange, core::Namespace,
            core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod,
            core::PodTemplate, core::ReplicationController, core::ResourceQuota, core::Secret,
            core::ServiceAccount, core::Service, core::Binding,
            admission::MutatingAdmissionPolicy, admission::MutatingAdmissionPolicyBinding,
            admission::MutatingWebhookConfiguration, admission::ValidatingAdmissionPolicy,
            admission::ValidatingAdmissionPolicyBinding,
            admission::ValidatingWebhookConfiguration,
            apiextensions::CustomResourceDefinition,
            apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet,
            apps::StatefulSet,
            authentication::SelfSubjectReview, authentication::TokenReview,
            authentication::TokenRequest,
            authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
            authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
            autoscaling::Scale, autoscaling_v2::HorizontalPodAutoscaler,
            batch::CronJob, batch::Job, certificates::CertificateSigningRequest,
            coordination::Lease, discovery::EndpointSlice,
            flowcontrol::FlowSchema, flowcontrol::PriorityLevelConfiguration,
            networking::IPAddress, networking::Ingress, networking::IngressClass,
            networking::NetworkPolicy, networking::ServiceCIDR, node::RuntimeClass,
            policy::Eviction, policy::PodDisruptionBudget,
            rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
            resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate,
            resource::ResourceSlice, scheduling::PriorityClass,
            storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity,
            storage::StorageClass, storage::VolumeAttachment, storage::VolumeAttributesClass,
            meta::DeleteOptions, meta::ListMeta, meta::Status, meta::WatchEvent<core::Pod>,
            meta::APIGroup, meta::APIGroupList, meta::APIResourceList, meta::APIVersions, Info,
        );
        Self(generator.take_definitions(true))
    }
}

impl Descriptions {
    /// The definition of a type that no object is made of.
    pub(super) fn definition(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    /// What a field is for.
    pub(crate) fn of(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.get("properties")?.get(field)?.get("description")?.as_str()
    }

    /// Adds what is said of every list and, of `apiVersion` and `kind`, of every object.
    fn describe_common(&self, name: &str, definition: &mut Value) {
        let is_list = name.ends_with("List");
        let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
        let Some(properties) = properties else { return };
        let Some(version) = properties.get("apiVersion") else { return };
        if *version != json!({"type": "string"}) || !properties.contains_key("kind") {
            return;
        }
        for field in ["apiVersion", "kind"] {
            if let Some(text) = self.of(SCALE, field) {
                properties[field]["description"] = text.into();
            }
        }
        if is_list && let Some(metadata) = properties.get_mut("metadata") {
            metadata["description"] = LIST_METADATA.into();
        }
    }

    /// Adds what is known about a definition and its properties.
    pub(super) fn describe(&self, name: &str, definition: &mut Value) {
        self.describe_common(name, definition);
        let Some(known) = self.0.get(name) else { return };
        if name == WATCH_EVENT {
            // The crate has the words of its only field among those of the type.
            let text = known["description"].as_str().and_then(|text| text.split_once("\n\n"));
            if let Some((text, of_object)) = text {
                definition["description"] = text.into();
                definition["properties"]["object"]["description"] = of_object.trim_end().into();
            }
            return;
        }
        if let Some(text) = known.get("description") {
            definition["description"] = text.clone();
        }
        let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
        for (field, property) in properties.into_iter().flatten() {
            let text = known.get("properties").and_then(|all| all.get(field)?.get("description"));
            if let Some(text) = text {
                property["description"] = text.clone();
            }
        }
    }
}
