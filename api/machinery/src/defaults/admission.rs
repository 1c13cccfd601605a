//! Defaults of what decides over requests and pods: `admissionregistration.k8s.io`,
//! `apiregistration.k8s.io`,
//! `flowcontrol.apiserver.k8s.io`, `rbac.authorization.k8s.io`, `policy`, `scheduling.k8s.io`.

use serde_json::json;

use super::Scalar::{Number, Text};
use super::{Table, Tree};
use super::{child, conversion, descend, ensure, fill, fill_zero, items, set, set_zero, text};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    match kind {
        "MutatingWebhookConfiguration" => webhooks(map, true),
        "ValidatingWebhookConfiguration" => webhooks(map, false),
        "MutatingAdmissionPolicy" | "ValidatingAdmissionPolicy" => {
            let Some(spec) = ensure(map, "spec") else { return };
            set(spec, "failurePolicy", "Fail");
            match_resources(spec, "matchConstraints");
        }
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => {
            if let Some(spec) = child(map, "spec") {
                match_resources(spec, "matchResources");
            }
        }
        "FlowSchema" => {
            if let Some(spec) = ensure(map, "spec") {
                set_zero(spec, "matchingPrecedence", 1000);
            }
        }
        "PriorityLevelConfiguration" => priority_level(map),
        "RoleBinding" | "ClusterRoleBinding" => binding(map),
        "PodDisruptionBudget" => conversion::disruption_budget(map),
        "APIService" => {
            if let Some(service) = descend(map, &["spec", "service"]) {
                set(service, "port", 443);
            }
        }
        "PriorityClass" => set(map, "preemptionPolicy", "PreemptLowerPriority"),
        _ => {}
    }
}

const WEBHOOK: &Table = &[("failurePolicy", Text("Fail")), ("timeoutSeconds", Number(10))];

fn webhooks(map: &mut Tree, is_mutating: bool) {
    for webhook in items(map, "webhooks") {
        fill(webhook, WEBHOOK);
        selectors(webhook);
        if is_mutating {
            set(webhook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = descend(webhook, &["clientConfig", "service"]) {
            set(service, "port", 443);
        }
        all_scopes(webhook, "rules");
    }
}

/// How a webhook or a policy chooses the requests it sees.
fn selectors(map: &mut Tree) {
    set(map, "matchPolicy", "Equivalent");
    set(map, "namespaceSelector", json!({}));
    set(map, "objectSelector", json!({}));
}

fn match_resources(spec: &mut Tree, key: &str) {
    if let Some(resources) = child(spec, key) {
        selectors(resources);
        all_scopes(resources, "resourceRules");
        all_scopes(resources, "excludeResourceRules");
    }
}

fn all_scopes(map: &mut Tree, rules: &str) {
    for rule in items(map, rules) {
        set(rule, "scope", "*");
    }
}

const LIMITED: &Table = &[("nominalConcurrencyShares", Number(30)), ("lendablePercent", Number(0))];
const EXEMPT: &Table = &[("nominalConcurrencyShares", Number(0)), ("lendablePercent", Number(0))];
const QUEUING: &Table =
    &[("handSize", Number(8)), ("queues", Number(64)), ("queueLengthLimit", Number(50))];

fn priority_level(map: &mut Tree) {
    if let Some(limited) = descend(map, &["spec", "limited"]) {
        fill(limited, LIMITED);
        if let Some(queuing) = descend(limited, &["limitResponse", "queuing"]) {
            fill_zero(queuing, QUEUING);
        }
    }
    if let Some(exempt) = descend(map, &["spec", "exempt"]) {
        fill(exempt, EXEMPT);
    }
}

/// Roles, users and groups are of one API group.
fn binding(map: &mut Tree) {
    let group = "rbac.authorization.k8s.io";
    if let Some(role) = child(map, "roleRef") {
        set_zero(role, "apiGroup", group);
    }
    for subject in items(map, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_zero(subject, "apiGroup", group);
        }
    }
}
