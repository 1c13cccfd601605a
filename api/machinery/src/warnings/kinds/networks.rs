//! Ingresses, network policies, and ranges of addresses.

use serde_json::Value;

use super::{at, spec};
use crate::Object;
use crate::field::Path;
use crate::validate::{items, text};
use crate::warnings::address;

const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

pub(super) fn ingress_create(object: &Object, told: &mut Vec<String>) {
    let is_set = object.annotations().contains_key(INGRESS_CLASS);
    if is_set && spec(object)["ingressClassName"].is_null() {
        told.push(format!(
            "annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

pub(super) fn policy(object: &Object, told: &mut Vec<String>) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = Path::new("spec").child(direction);
        for (index, rule) in items(spec(object), direction).iter().enumerate() {
            let path = path.index(index).child(peers);
            for (index, peer) in items(rule, peers).iter().enumerate() {
                let (block, path) = (&peer["ipBlock"], path.index(index).child("ipBlock"));
                at(&path.child("cidr"), address::cidr(text(block, "cidr")), told);
                ranges(items(block, "except"), &path.child("except"), told);
            }
        }
    }
}

pub(super) fn ranges(list: &[Value], path: &Path, told: &mut Vec<String>) {
    for (index, range) in list.iter().filter_map(Value::as_str).enumerate() {
        at(&path.index(index), address::cidr(range), told);
    }
}
