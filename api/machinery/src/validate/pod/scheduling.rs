//! What the scheduler reads: gates, claims, tolerations and spreading.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::affinity::label_keys;
use super::restart::supported;
use super::{Whole, given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};
use crate::validate::selectors;

pub(super) fn gates(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, gate) in items(spec, "readinessGates").iter().enumerate() {
        let condition = text(gate, "conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        invalid_each(&path, condition, names::qualified_name(condition), errors);
    }
    let mut seen = HashSet::new();
    for (index, gate) in items(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        let path = path.child("schedulingGates").index(index);
        invalid_each(&path, name, names::qualified_name(name), errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path, name));
        }
        seen.insert(name);
    }
}

pub(super) fn resource_claims(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    let is_static = given(&whole.metadata["annotations"], super::annotations::MIRROR).is_some();
    for (index, claim) in items(whole.spec, "resourceClaims").iter().enumerate() {
        if is_static {
            let why = "static pods do not support resource claims";
            errors.push(Error::forbidden(&Path::new(super::WHOLE_OBJECT), why));
            continue;
        }
        let path = path.index(index);
        let name = text(claim, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
            seen.insert(name);
        }
        let (own, template) = (&claim["resourceClaimName"], &claim["resourceClaimTemplateName"]);
        // Upstream shows the names of its own type.
        let shown =
            json!({"Name": name, "ResourceClaimName": own, "ResourceClaimTemplateName": template});
        match (own.is_null(), template.is_null()) {
            (false, false) => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(Error::invalid(&path, shown, why));
            }
            (true, true) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(Error::invalid(&path, shown, why));
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim[field].as_str() {
                invalid_each(&path.child(field), name, names::subdomain_1123(name), errors);
            }
        }
    }
}

pub(in crate::validate) fn tolerations(list: &[Value], path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in list.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (text(one, "key"), text(one, "operator"));
        let (value, effect) = (text(one, "value"), text(one, "effect"));
        let operator_path = path.child("operator");
        if !key.is_empty() {
            invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
        }
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&operator_path, operator, why));
        }
        if given(one, "tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(&path.child("effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let problems = names::label_value(value);
                if !problems.is_empty() {
                    errors.push(Error::invalid(&operator_path, value, problems.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(Error::invalid(&operator_path, value, why));
            }
            "Exists" => {}
            // Comparing operators are off in 1.36, but upstream names them when they are used.
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(Error::not_supported(&operator_path, operator, &known));
            }
            _ => {
                let known = ["Equal", "Exists"];
                errors.push(Error::not_supported(&operator_path, operator, &known));
            }
        }
        if !effect.is_empty() {
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            supported(&path.child("effect"), effect, &effects, errors);
        }
    }
}

const POSITIVE: &str = "must be greater than zero";

pub(super) fn topology_spread(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = items(spec, "topologySpreadConstraints");
    // Upstream names the first of two that are the same.
    let mut left_of_each: HashMap<(&str, &str), usize> = HashMap::new();
    for one in list {
        *left_of_each
            .entry((text(one, "topologyKey"), text(one, "whenUnsatisfiable")))
            .or_default() += 1;
    }
    for (index, one) in list.iter().enumerate() {
        let path = path.index(index);
        let skew = number(one, "maxSkew");
        if skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), skew, POSITIVE));
        }
        let (key, action) = (text(one, "topologyKey"), text(one, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        supported(&path.child("whenUnsatisfiable"), action, &actions, errors);
        let left = left_of_each.entry((key, action)).or_default();
        *left = left.saturating_sub(1);
        if *left > 0 {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&path, format!("{{{key}, {action}}}")));
        }
        if let Some(domains) = one["minDomains"].as_i64() {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(Error::invalid(&path, domains, POSITIVE));
            }
            if action != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(Error::invalid(&path, domains, why));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = one[field].as_str() {
                supported(&path.child(field), policy, &["Honor", "Ignore"], errors);
            }
        }
        label_keys(one, &path, errors);
        selectors::label_selector(&one["labelSelector"], &path.child("labelSelector"), errors);
    }
}
