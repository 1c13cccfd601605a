//! The names of resources and their amounts, as containers, quotas and limit ranges have them.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::validate::names::qualified_name;

/// What names of huge pages begin with.
pub(crate) const HUGE_PAGES: &str = "hugepages-";

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether Kubernetes itself gave the name.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether somebody else gave the name, which a quota could have too.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

/// An amount, which clients may write as a text or as a number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
