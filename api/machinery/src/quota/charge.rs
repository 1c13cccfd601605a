//! Whether quotas let a write through, and what it adds to their use: upstream's order of checks.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | B1 | What is refused adds nothing to any quota. |
//! | B2 | Only what a write adds is charged; what it gives back is found by the next recount. |
//! | B3 | A quota whose use was never measured lets nothing through that it is about. |

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{Amounts, CLAIMS, DEVICE_CLAIMS, PODS, SERVICES, add, amounts, pods, scopes, usage};
use crate::Object;
use crate::quantity::Quantity;

/// A write of an object that quotas may be about.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// Of its kind.
    pub group: &'a str,
    /// The plural of its kind.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// As it is to be.
    pub new: &'a Object,
    /// As it is now; nothing for a new object.
    pub old: Option<&'a Object>,
}

/// What a quota's use becomes, by the quota's place in the list.
pub type Charged = BTreeMap<usize, Amounts>;

impl Charge<'_> {
    /// Whether such a write can cost anything at all.
    #[must_use]
    pub fn counts(&self) -> bool {
        let kind = (self.group, self.resource);
        if super::IGNORED.contains(&kind) {
            return false;
        }
        match (kind, self.subresource, self.old) {
            (_, "", None) | (SERVICES | CLAIMS | DEVICE_CLAIMS, "", Some(_)) => true,
            // A deadline moves a pod from one scope to another.
            (PODS, "", Some(old)) => scopes::ends(old) != scopes::ends(self.new),
            (PODS, "resize", Some(_)) | (CLAIMS, "status", Some(_)) => true,
            (_, _, _) => false,
        }
    }

    /// What the write costs under each of the quotas of its namespace.
    ///
    /// # Errors
    /// Why the write is forbidden, in upstream's words.
    pub fn under(&self, quotas: &[Object], now: Timestamp) -> Result<Charged, String> {
        if !self.counts() {
            return Ok(Charged::new());
        }
        let mut concerned = Vec::new();
        for (index, quota) in quotas.iter().enumerate() {
            if self.concerns(quota, self.new) {
                self.is_complete(quota)?;
                concerned.push(index);
            }
        }
        let cost = usage(self.group, self.resource, self.new, now);
        let negative: Vec<&str> = cost
            .iter()
            .filter(|(_, amount)| amount.is_negative())
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        let before = self.old.map(|old| usage(self.group, self.resource, old, now));
        let mut charged = Charged::new();
        for index in concerned {
            let quota = &quotas[index];
            // What the quota was not about before is new to it.
            let same = self.old.is_some_and(|old| self.concerns(quota, old));
            let before = before.as_ref().filter(|_| same);
            let more = before.map_or_else(|| without_zeros(&cost), |before| added(&cost, before));
            if let Some(used) = self.charge_one(quota, &more)? {
                charged.insert(index, used);
            }
        }
        Ok(charged)
    }

    fn measured<'a>(&self, hard: &'a Amounts) -> Vec<&'a str> {
        let names = hard.keys().map(String::as_str);
        names.filter(|name| super::is_measured_by(self.group, self.resource, name)).collect()
    }

    fn concerns(&self, quota: &Object, object: &Object) -> bool {
        let hard = amounts(quota.at(&["status", "hard"]));
        let spec = quota.at(&["spec"]).unwrap_or(&Value::Null);
        !self.measured(&hard).is_empty() && scopes::matches(spec, self.group, self.resource, object)
    }

    /// B3, and whether the object says all that must be said.
    fn is_complete(&self, quota: &Object) -> Result<(), String> {
        let hard = amounts(quota.at(&["status", "hard"]));
        let used = amounts(quota.at(&["status", "used"]));
        let measured = self.measured(&hard);
        let is_pod = (self.group, self.resource) == PODS;
        if let Some(why) = is_pod.then(|| pods::missing(&measured, self.new)).flatten() {
            return Err(format!("failed quota: {}: {why}", quota.name()));
        }
        if measured.iter().all(|name| used.contains_key(*name)) {
            return Ok(());
        }
        let (name, all) = (quota.name(), measured.join(","));
        Err(format!("status unknown for quota: {name}, resources: {all}"))
    }

    fn charge_one(&self, quota: &Object, more: &Amounts) -> Result<Option<Amounts>, String> {
        if more.is_empty() {
            return Ok(None);
        }
        let hard = amounts(quota.at(&["status", "hard"]));
        let used = amounts(quota.at(&["status", "used"]));
        let mut more = more.clone();
        more.retain(|name, _| hard.contains_key(name));
        let mut next = used.clone();
        add(&mut next, &more);
        // A status tells what has happened already: it can be counted, not refused.
        let exceeded = |name: &&String| self.subresource != "status" && next[*name] > hard[*name];
        let exceeded: Vec<&String> = more.keys().filter(exceeded).collect();
        if !exceeded.is_empty() {
            let show = |amounts: &Amounts| shown(amounts, &exceeded);
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.name(),
                show(&more),
                show(&used),
                show(&hard)
            ));
        }
        Ok((next != used).then_some(next))
    }
}

fn shown(amounts: &Amounts, names: &[&String]) -> String {
    let named = names.iter().filter_map(|name| Some((name, amounts.get(*name)?)));
    let each: Vec<String> = named.map(|(name, amount)| format!("{name}={amount}")).collect();
    each.join(",")
}

fn without_zeros(amounts: &Amounts) -> Amounts {
    amounts
        .iter()
        .filter(|(_, amount)| !amount.is_zero())
        .map(|(name, amount)| (name.clone(), *amount))
        .collect()
}

/// B2.
fn added(cost: &Amounts, before: &Amounts) -> Amounts {
    let more = cost.iter().filter_map(|(name, amount)| {
        let more = before.get(name).map_or(*amount, |before| amount.minus(before));
        (more > Quantity::units(0)).then(|| (name.clone(), more))
    });
    more.collect()
}

/// Sets what is used of a quota.
pub fn set_used(quota: &mut Object, used: &Amounts) {
    quota.set(&["status", "used"], super::to_value(used));
}
