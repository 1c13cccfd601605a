//! The addresses of a Service, their families, and what of them may change.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::address;
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{items, text};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const UNCHANGING: &str = "may not change once set";

/// The cluster's addresses of a service; the old field `clusterIP` stands for a list of one.
fn addresses(spec: &Value) -> Vec<&str> {
    let list: Vec<&str> =
        items(spec, "clusterIPs").iter().map(|one| one.as_str().unwrap_or("")).collect();
    let single = text(spec, "clusterIP");
    if list.is_empty() && !single.is_empty() { vec![single] } else { list }
}

pub(super) fn is_headless(spec: &Value) -> bool {
    addresses(spec) == ["None"]
}

fn strings<'a>(object: Option<&'a Object>, field: &str) -> Vec<&'a str> {
    let list = object.and_then(|object| object.at(&["spec", field])).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(super) fn external_ips(spec: &Value, old: Option<&Object>, errors: &mut Vec<Error>) {
    let kept = strings(old, "externalIPs");
    for (index, ip) in items(spec, "externalIPs").iter().enumerate() {
        let ip = ip.as_str().unwrap_or("");
        let path = Path::new("spec").child("externalIPs").index(index);
        match address::legacy(&path, ip, &kept) {
            Some(error) => errors.push(error),
            None => address::reachable(ip, &path, errors),
        }
    }
}

pub(super) fn cluster_ips(spec: &Value, old: Option<&Object>, errors: &mut Vec<Error>) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let list = addresses(spec);
    let path = Path::new("spec").child("clusterIPs");
    let shown = json!(list);
    if text(spec, "clusterIP").is_empty() && !list.is_empty() {
        let why = "must be empty when `clusterIP` is not specified";
        errors.push(Error::invalid(&path, shown.clone(), why));
    } else if list.first().is_some_and(|first| *first != text(spec, "clusterIP")) {
        let why = "first value must match `clusterIP`";
        errors.push(Error::invalid(&path, shown.clone(), why));
    }
    families(spec, errors);
    let kept = strings(old, "clusterIPs");
    let mut is_wrong = false;
    for (index, ip) in list.iter().enumerate() {
        let refused = match *ip {
            "None" if index == 0 && list.len() == 1 => None,
            "None" if index == 0 => {
                let why = "'None' must be the first and only value";
                Some(Error::invalid(&path, shown.clone(), why))
            }
            ip => address::legacy(&path.index(index), ip, &kept),
        };
        is_wrong |= refused.is_some();
        errors.extend(refused);
    }
    if list.len() > 2 {
        errors.push(Error::invalid(&path, shown.clone(), "may only hold up to 2 values"));
    }
    if is_wrong {
        return;
    }
    let sixes = list.iter().filter(|ip| address::is_ipv6(ip)).count();
    if list.len() > 1 && (sixes == 0 || sixes == list.len()) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&path, shown, why));
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in list.iter().zip(items(spec, "ipFamilies")).enumerate() {
        let family = family.as_str().unwrap_or("");
        if FAMILIES.contains(&family) && address::is_ipv6(ip) != (family == "IPv6") {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(Error::invalid(&path.index(index), *ip, why));
        }
    }
}

fn families(spec: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("ipFamilies");
    let mut seen = HashSet::new();
    for (index, family) in items(spec, "ipFamilies").iter().enumerate() {
        let family = family.as_str().unwrap_or("");
        if !FAMILIES.contains(&family) {
            errors.push(Error::not_supported(&path.index(index), family, &FAMILIES));
        }
        if seen.contains(&family) {
            errors.push(Error::duplicate(&path.index(index), family));
        }
        seen.insert(family);
    }
    if let Some(policy) = spec["ipFamilyPolicy"].as_str()
        && !POLICIES.contains(&policy)
    {
        let path = Path::new("spec").child("ipFamilyPolicy");
        errors.push(Error::not_supported(&path, policy, &POLICIES));
    }
}

/// The first address and family stay; a second one may come, and go with its policy.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Vec<Error>) {
    if [new, old].iter().any(|spec| text(spec, "type") == "ExternalName") {
        return;
    }
    let (was_headless, headless) = (is_headless(old), is_headless(new));
    if was_headless && headless {
        return;
    }
    let (now, before) = (addresses(new), addresses(old));
    let path = Path::new("spec").child("clusterIPs");
    let shown = if now.is_empty() { Value::Null } else { json!(now) };
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(&before).enumerate().filter(|(_, (a, b))| a != b) {
            errors.push(Error::invalid(&path.index(index), shown.clone(), UNCHANGING));
        }
    } else {
        if now.is_empty() {
            let why = "primary clusterIP can not be unset";
            errors.push(Error::invalid(&path.index(0), shown.clone(), why));
        } else if !before.is_empty() && now[0] != before[0] {
            errors.push(Error::invalid(&path.index(0), shown.clone(), UNCHANGING));
        }
        if before.len() > now.len() && now.len() == 1 {
            single_stack(new, "clusterIP", errors);
        }
    }
    if !was_headless && !headless {
        families_update(new, old, &shown, errors);
    }
}

fn single_stack(spec: &Value, what: &str, errors: &mut Vec<Error>) {
    if text(spec, "ipFamilyPolicy") != "SingleStack" {
        let path = Path::new("spec").child("ipFamilyPolicy");
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.push(Error::invalid(&path, spec["ipFamilyPolicy"].clone(), why));
    }
}

fn families_update(new: &Value, old: &Value, addresses: &Value, errors: &mut Vec<Error>) {
    let (now, before) = (items(new, "ipFamilies"), items(old, "ipFamilies"));
    let path = Path::new("spec").child("ipFamilies").index(0);
    if now.len() == before.len() {
        for _ in now.iter().zip(before).filter(|(now, before)| now != before) {
            errors.push(Error::invalid(&path, json!(now), UNCHANGING));
        }
        return;
    }
    if before.len() > now.len() && addresses.is_null() {
        let why = "primary ipFamily can not be unset";
        errors.push(Error::invalid(&path, new["ipFamilies"].clone(), why));
    }
    // Upstream shows the addresses here, not the families.
    if let (Some(now), Some(before)) = (now.first(), before.first())
        && now != before
    {
        errors.push(Error::invalid(&path, addresses.clone(), UNCHANGING));
    }
    if before.len() > now.len() && now.len() == 1 {
        single_stack(new, "ipFamily", errors);
    }
}
