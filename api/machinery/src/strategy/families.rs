//! Families of a Service's addresses: what it leaves open, and what a cluster whose addresses are
//! all of one family cannot give. Upstream does this before it validates.

use serde_json::{Value, json};

use crate::Object;
use crate::field::{Error, Path};
use crate::validate;

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";
/// The family of all addresses that this cluster gives.
const OWN: &str = "IPv4";
const OTHER: &str = "IPv6";

/// Fills in `ipFamilyPolicy` and `ipFamilies`. The errors are those that upstream stops at.
#[must_use]
pub fn complete_families(service: &mut Object, old: Option<&Object>) -> Vec<Error> {
    if service.text(&["spec", "type"]) == "ExternalName" || is_left_alone(service, old) {
        return Vec::new();
    }
    if policy(service).is_empty() {
        let policy = default_policy(service, old).to_owned();
        service.set(&["spec", "ipFamilyPolicy"], policy.into());
    }
    let errors = validate::service_families(service, old);
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = Vec::new();
    if let Some(old) = old {
        reduce(service, old, &mut errors);
    }
    check_policy(service, &mut errors);
    infer(service, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let mut families = texts(service, "ipFamilies");
    let is_open = is_headless(service) && !has_selector(service);
    if !is_open {
        refuse_others(service, &mut errors);
        if !errors.is_empty() {
            return errors;
        }
    }
    if families.is_empty() {
        families.push(OWN.to_owned());
    }
    // Nobody knows what endpoints such a service will be given: of both families, for all that.
    if is_open && families.len() < 2 && policy(service) != SINGLE {
        let missing = if families[0] == OWN { OTHER } else { OWN };
        families.push(missing.to_owned());
    }
    service.set(&["spec", "ipFamilies"], json!(families));
    Vec::new()
}

/// What a service prefers is looked at again only when it asks for something else.
fn is_left_alone(service: &Object, old: Option<&Object>) -> bool {
    let Some(old) = old else { return false };
    let is_preferred = |one: &Object| policy(one) == PREFER;
    let kind = |one: &Object| one.text(&["spec", "type"]).to_owned();
    let same = |field: &str| texts(service, field) == texts(old, field);
    kind(service) == kind(old)
        && is_preferred(service)
        && (is_preferred(old) || policy(old).is_empty())
        && same("clusterIPs")
        && same("ipFamilies")
}

fn default_policy<'a>(service: &Object, old: Option<&'a Object>) -> &'a str {
    match old.map(policy) {
        Some(before) if !before.is_empty() => before,
        _ if service.text(&["spec", "clusterIP"]) == "None" && !has_selector(service) => REQUIRE,
        _ => SINGLE,
    }
}

/// Who goes back to one family need not say which; who does not must not leave one out.
fn reduce(service: &mut Object, old: &Object, errors: &mut Vec<Error>) {
    let is_single = policy(service) == SINGLE;
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (mut now, before) = (texts(service, field), texts(old, field));
        if is_single && now == before && now.len() > 1 {
            now.truncate(1);
            service.set(&["spec", field], json!(now));
        } else if !is_single && !now.is_empty() && now.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(refused(service, &why));
        }
    }
}

fn check_policy(service: &Object, errors: &mut Vec<Error>) {
    if policy(service) != SINGLE {
        return;
    }
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if texts(service, field).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(refused(service, &why));
        }
    }
}

/// Addresses say of which family they are.
fn infer(service: &mut Object, errors: &mut Vec<Error>) {
    let addresses = texts(service, "clusterIPs");
    let mut families = texts(service, "ipFamilies");
    for (index, address) in addresses.iter().enumerate().skip(families.len()) {
        if address == "None" {
            break;
        }
        if address.contains(':') {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let why = format!("{OTHER} is not configured on this cluster");
            errors.push(Error::invalid(&path, json!(addresses), why));
        } else {
            families.push(OWN.to_owned());
        }
    }
    if !families.is_empty() {
        service.set(&["spec", "ipFamilies"], json!(families));
    }
}

fn refuse_others(service: &Object, errors: &mut Vec<Error>) {
    if policy(service) == REQUIRE {
        errors.push(refused(service, "this cluster is not configured for dual-stack services"));
    }
    for (index, family) in texts(service, "ipFamilies").iter().enumerate() {
        if family != OWN {
            let path = Path::new("spec").child("ipFamilies").index(index);
            errors.push(Error::invalid(&path, family.as_str(), "not configured on this cluster"));
        }
    }
}

fn refused(service: &Object, why: &str) -> Error {
    Error::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy(service), why)
}

fn policy(service: &Object) -> &str {
    service.text(&["spec", "ipFamilyPolicy"])
}

fn is_headless(service: &Object) -> bool {
    service.text(&["spec", "clusterIP"]) == "None"
}

fn has_selector(service: &Object) -> bool {
    let selector = service.at(&["spec", "selector"]).and_then(Value::as_object);
    selector.is_some_and(|selector| !selector.is_empty())
}

fn texts(service: &Object, field: &str) -> Vec<String> {
    let list = service.at(&["spec", field]).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Object {
        let tree = json!({"metadata": {"name": "s", "namespace": "d"}, "spec": spec});
        Object::from_value(tree).unwrap()
    }

    /// Policy and families that come of it, or the errors, as the real server answered.
    fn told(spec: Value, old: Option<Value>) -> Value {
        let mut new = service(spec);
        let errors = complete_families(&mut new, old.map(service).as_ref());
        if errors.is_empty() {
            let at = |field: &str| new.at(&["spec", field]).cloned().unwrap_or_default();
            return json!([at("ipFamilyPolicy"), at("ipFamilies")]);
        }
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        json!(told.join(", "))
    }

    #[test]
    fn a_new_service_is_of_the_clusters_family() {
        let dual = json!(["RequireDualStack", ["IPv4", "IPv6"]]);
        let single = json!(["SingleStack", ["IPv4"]]);
        let none = "None";
        for (spec, wanted) in [
            (json!({}), single.clone()),
            (json!({"clusterIP": none, "clusterIPs": [none]}), dual),
            (json!({"clusterIP": none, "clusterIPs": [none], "selector": {"a": "b"}}), single),
            (
                json!({"clusterIP": none, "clusterIPs": [none], "ipFamilies": ["IPv6"]}),
                json!(["RequireDualStack", ["IPv6", "IPv4"]]),
            ),
            (
                json!({"clusterIP": none, "clusterIPs": [none], "ipFamilies": ["IPv6"],
                    "ipFamilyPolicy": "SingleStack"}),
                json!(["SingleStack", ["IPv6"]]),
            ),
            (json!({"ipFamilyPolicy": PREFER}), json!([PREFER, ["IPv4"]])),
            (
                json!({"ipFamilyPolicy": REQUIRE}),
                json!(
                    "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
                ),
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                json!(
                    "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
                ),
            ),
            (
                json!({"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9", "fd00::1"]}),
                json!(
                    "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified, spec.clusterIPs[1]: Invalid value: [\"10.96.9.9\",\"fd00::1\"]: IPv6 is not configured on this cluster"
                ),
            ),
            (json!({"type": "ExternalName"}), json!([null, null])),
        ] {
            assert_eq!(told(spec.clone(), None), wanted, "{spec}");
        }
    }

    #[test]
    fn who_changes_a_service_keeps_its_policy_and_says_what_it_gives_up() {
        let none = json!(["None"]);
        let headless = |policy: &str, families: Value| {
            json!({"clusterIP": "None", "clusterIPs": none, "ipFamilyPolicy": policy,
                "ipFamilies": families})
        };
        let both = json!(["IPv4", "IPv6"]);
        let old = headless(REQUIRE, both.clone());
        let mut open = old.clone();
        open["ipFamilyPolicy"] = Value::Null;
        assert_eq!(told(open, Some(old.clone())), json!([REQUIRE, both]));
        let single = headless(SINGLE, both);
        assert_eq!(told(single, Some(old.clone())), json!([SINGLE, ["IPv4"]]));
        assert_eq!(
            told(headless(PREFER, json!(["IPv6"])), Some(old)),
            json!(
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family"
            )
        );
        // As it was, though it has no selector any more.
        let preferred = headless(PREFER, json!(["IPv4"]));
        assert_eq!(told(preferred.clone(), Some(preferred)), json!([PREFER, ["IPv4"]]));
    }
}
