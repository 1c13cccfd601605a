//! What a call costs when it runs, by upstream's constants.

use crate::value::{List, Value};

pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const OBJECT: u64 = 40;
const TRAVERSAL: f64 = 0.1;
const REGEX_LENGTH: f64 = 0.25;
/// Two authorization checks fit into what one expression may use.
const CHECK: u64 = 350_000;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "costs saturate")]
#[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
fn times(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn regex(text: &Value<'_>, pattern_size: u64) -> u64 {
    times(text.size() + 1, TRAVERSAL).saturating_mul(times(pattern_size, REGEX_LENGTH))
}

/// The cost of looking at every part of a value.
fn traversal(value: &Value<'_>) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length")]
    #[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
    let floor = |size: usize| (size as f64 * TRAVERSAL) as u64;
    match value {
        Value::String(text) => floor(text.len()),
        Value::Bytes(bytes) => floor(bytes.len()),
        Value::List(List::Own(values)) => values.iter().map(traversal).sum(),
        Value::List(list) => list.iter().map(|one| traversal(&one)).sum(),
        Value::Map(map) => map
            .keys()
            .iter()
            .map(|key| traversal(key) + map.get(key).map_or(0, |one| traversal(&one)))
            .sum(),
        _ => 1,
    }
}

/// What a call with these arguments and this result costs.
pub(super) fn of_call(
    function: &str,
    overload: &str,
    args: &[Value<'_>],
    result: Option<&Value<'_>>,
) -> u64 {
    of_lists(overload, args, result)
        .or_else(|| of_kubernetes(function, overload, args, result))
        .unwrap_or_else(|| of_standard(overload, args))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "costs saturate")]
#[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
fn of_lists(overload: &str, args: &[Value<'_>], result: Option<&Value<'_>>) -> Option<u64> {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let by = |size: u64, factor: f64| (size as f64 * factor) as u64;
    let allocates = |cost: u64| Some(cost.saturating_add(1).saturating_add(LIST));
    let compares = |keys: &Value<'_>| {
        let Value::List(list) = keys else { return None };
        let is_text = matches!(list.get(0), Some(Value::String(_) | Value::Bytes(_)));
        let factor = if is_text { 2.0 + TRAVERSAL } else { 2.0 };
        allocates(by(keys.size().saturating_mul(keys.size()), factor))
    };
    match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            Some(size(0).saturating_mul(size(1)).saturating_add(1))
        }
        "list_sets_equivalent_list" => {
            Some(by(size(0).saturating_mul(size(1)), 2.0).saturating_add(1))
        }
        "list_slice" | "lists_range" | "list_reverse" => allocates(result.map_or(1, Value::size)),
        "list_flatten" => allocates(size(0)),
        "list_flatten_int" => match args.get(1) {
            Some(Value::Int(depth)) => allocates(by(size(0), *depth as f64)),
            _ => None,
        },
        "list_distinct" => compares(args.first()?),
        _ if overload.ends_with("_sortByAssociatedKeys") => compares(args.get(1)?),
        _ if overload.starts_with("list_") && overload.ends_with("_sort") => {
            compares(args.first()?)
        }
        _ => None,
    }
}

fn of_kubernetes(
    function: &str,
    overload: &str,
    args: &[Value<'_>],
    result: Option<&Value<'_>>,
) -> Option<u64> {
    let size = |index: usize| args.get(index).map(Value::size);
    Some(match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => {
            let length = size(1)?;
            let requirements = times(length, 0.5);
            10 + times(length, TRAVERSAL) + times(requirements, 50.0)
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            args.first().map_or(0, traversal)
        }
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => times(size(0)?, TRAVERSAL),
        "replace" | "split" | "ip.isCanonical" => times(size(0)?, 2.0 * TRAVERSAL),
        "join" => times(result.map_or(1, Value::size), 2.0 * TRAVERSAL),
        "find" | "findAll" => regex(args.first()?, size(1)?),
        "ip" if overload != "cidr_ip" => times(size(0)?, TRAVERSAL),
        "containsIP" | "containsCIDR" => {
            let (cidr, other) = (size(0)?, size(1)?);
            let mut cost = times(cidr * 2, TRAVERSAL);
            if function == "containsCIDR" {
                cost += times(cidr, TRAVERSAL) + 1;
            }
            if overload.ends_with("_string") {
                cost += times(other, TRAVERSAL);
            }
            cost
        }
        "validate" => match args {
            [Value::Format(format), text] => regex(text, format.regex_size),
            _ => return None,
        },
        // Builders, accessors and comparisons.
        "serviceAccount"
        | "path"
        | "group"
        | "resource"
        | "subresource"
        | "namespace"
        | "name"
        | "allowed"
        | "reason"
        | "error"
        | "errored"
        | "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "ip"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => 1,
        "_==_" => match args.first()? {
            Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(..)
            | Value::Format(_)
            | Value::Url(_)
            | Value::Semver(_)
            | Value::Own(_) => 1,
            _ => return None,
        },
        _ => return None,
    })
}

fn of_standard(overload: &str, args: &[Value<'_>]) -> u64 {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => times(size(0), TRAVERSAL),
        "in_list" => size(1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => times(size(0).min(size(1)), TRAVERSAL),
        "add_string" | "add_bytes" => times(size(0) + size(1), TRAVERSAL),
        "matches_string" => args.first().map_or(1, |text| regex(text, size(1))),
        "contains_string" => times(size(0), TRAVERSAL).saturating_mul(times(size(1), TRAVERSAL)),
        _ => 1,
    }
}
