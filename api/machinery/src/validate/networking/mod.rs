//! Ingresses, network policies, addresses and their ranges.

mod ingress;
mod policy;

use serde_json::{Value, json};

use super::core::address;
use super::core::shown::Shown;
use super::{core, invalid_each, items, names, text};
use crate::field::{Error, ErrorKind, Path};
use crate::{Object, ResourceInfo};

const IMMUTABLE: &str = "field is immutable";

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Ingress" => ingress::create(object, errors),
        "IngressClass" => ingress::class(object, errors),
        "NetworkPolicy" => policy::policy(object, None, errors),
        "IPAddress" => ip_address(object, errors),
        "ServiceCIDR" => ranges(object, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Ingress" => ingress::update(new, old, errors),
        "IngressClass" => {
            core::unchanged(new, old, &["spec", "controller"], errors);
            ingress::class(new, errors);
        }
        "NetworkPolicy" => policy::policy(new, Some(old), errors),
        "IPAddress" => {
            ip_address(new, errors);
            ip_address_update(new, old, errors);
        }
        "ServiceCIDR" => ranges_update(new, old, errors),
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "Ingress" {
        ingress::status(new, old, errors);
    }
}

fn ip_address(object: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("parentRef");
    let parent = object.at(&["spec", "parentRef"]).unwrap_or(&Value::Null);
    if parent.is_null() {
        errors.push(Error::required(&path, ""));
        return;
    }
    let group = text(parent, "group");
    if !group.is_empty() {
        invalid_each(&path.child("group"), group, names::subdomain_1123(group), errors);
    }
    for (field, is_required) in [("resource", true), ("name", true), ("namespace", false)] {
        let value = text(parent, field);
        if value.is_empty() && is_required {
            errors.push(Error::required(&path.child(field), ""));
        }
        invalid_each(&path.child(field), value, names::path_segment(value), errors);
    }
}

fn ip_address_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let at = ["spec", "parentRef"];
    let parent = new.at(&at).unwrap_or(&Value::Null);
    if parent == old.at(&at).unwrap_or(&Value::Null) {
        return;
    }
    let names = [
        ("Group", "group"),
        ("Resource", "resource"),
        ("Namespace", "namespace"),
        ("Name", "name"),
    ];
    let shown = if parent.is_null() { Value::Null.into() } else { Shown::texts(parent, &names) };
    let path = Path::new("spec").child("parentRef");
    errors.push(shown.error(ErrorKind::Invalid, &path, IMMUTABLE));
}

fn range_list(object: &Object) -> Vec<&str> {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    items(spec, "cidrs").iter().map(|one| one.as_str().unwrap_or("")).collect()
}

fn ranges(object: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("cidrs");
    let list = range_list(object);
    if list.is_empty() {
        errors.push(Error::required(&path, "at least one CIDR required"));
    }
    if list.len() > 2 {
        let shown = json!({"CIDRs": list});
        errors.push(Error::invalid(&path, shown, "may only hold up to 2 values"));
        return;
    }
    for (index, range) in list.iter().enumerate() {
        errors.extend(address::canonical_range(&path.index(index), range));
    }
    let family = |range: &&str| address::Range::parse(range).map(address::Range::is_ipv6);
    if let [first, second] = list.as_slice()
        && family(first).is_some()
        && family(first) == family(second)
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(&path, json!(list), why));
    }
}

/// The ranges stay; a second one may come.
fn ranges_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("cidrs");
    let (now, before) = (range_list(new), range_list(old));
    if now.len() != before.len() && (before.len(), now.len()) != (1, 2) {
        let shown = new.at(&["spec", "cidrs"]).cloned().unwrap_or_default();
        errors.push(Error::invalid(&path, shown, IMMUTABLE));
        return;
    }
    for (index, (now, _)) in now.iter().zip(&before).enumerate().filter(|(_, (a, b))| a != b) {
        errors.push(Error::invalid(&path.index(index), *now, IMMUTABLE));
    }
    if now.len() != before.len() {
        ranges(new, errors);
    }
}
