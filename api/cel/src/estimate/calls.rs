//! What calls cost, by upstream's constants.

use crate::ast::{Kind, Literal};
use crate::types::Type;

use super::{CallCost, Estimator, LIST, Node, Range, SELECT, Step, size_of};

const TRAVERSAL: f64 = 0.1;
const REGEX_LENGTH: f64 = 0.25;
/// Characters of the longest pattern of a named format.
const FORMAT_PATTERN: f64 = 128.0;
/// Bytes of an address.
const ADDRESS: Range = Range { min: 4, max: 16 };

fn costs(cost: Range) -> Option<CallCost> {
    Some(CallCost { cost, result: None })
}

fn makes(cost: Range, result: Range) -> Option<CallCost> {
    Some(CallCost { cost, result: Some(result) })
}

fn regex(text: Range, pattern: Range) -> Range {
    text.plus(SELECT).by(TRAVERSAL).times(pattern.by(REGEX_LENGTH))
}

/// A literal number, if an operand is one.
fn number(node: Option<&Node<'_>>) -> Option<u64> {
    match &node?.expr?.kind {
        Kind::Literal(Literal::Int(number)) => Some(u64::try_from(*number).unwrap_or(0)),
        _ => None,
    }
}

impl Estimator<'_> {
    fn measured(&self, node: &Node<'_>) -> Range {
        node.size.or_else(|| self.size_at(&node.path)).unwrap_or(Range::UNKNOWN)
    }

    /// The elements of a list: none for a text.
    fn elements(&self, list: &Node<'_>) -> Option<Node<'static>> {
        let of = (*list.of.params().first()?).clone();
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push(Step::Items);
        }
        let size = self.size_at(&path);
        Some(Node { path, of, expr: None, size })
    }

    /// What functions of libraries cost; none for those of the language.
    pub(super) fn known_call(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
    ) -> Option<CallCost> {
        if let Some(cost) = self.of_lists(overload, target, args) {
            return Some(cost);
        }
        let arg = args.first().map(|arg| self.measured(arg));
        let own = target.map(|target| self.measured(target));
        match function {
            "check" => costs(Range::fixed(350_000)),
            "fieldSelector" | "labelSelector" => {
                let length = arg?;
                let requirements = length.by(0.5).by(50.0);
                costs(Range::fixed(10).plus(length.by(TRAVERSAL)).plus(requirements))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let Some(element) = self.elements(target?) else {
                    return costs(own?.by(TRAVERSAL));
                };
                let mut each = SELECT;
                if matches!(element.of, Type::String | Type::Bytes) {
                    each = each.plus(self.measured(&element).by(TRAVERSAL));
                }
                costs(own?.times(each))
            }
            "url" | "jsonpatch.escapeKey" => makes(arg?.by(TRAVERSAL), arg?),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => makes(own?.by(TRAVERSAL), own?),
            "replace" => {
                let [from, to, ..] = args else { return None };
                let result = replaced(own?, self.measured(from), self.measured(to));
                makes(own?.by(2.0 * TRAVERSAL), result)
            }
            "split" => {
                let max = number(args.get(1)).unwrap_or(own?.max);
                makes(own?.by(2.0 * TRAVERSAL), Range { min: 0, max })
            }
            "join" => {
                let element = self.elements(target?).map(|element| self.measured(&element));
                let mut size = element.map_or(Range::default(), |element| {
                    own.map_or(element, |own| own.times(element))
                });
                if let (Some(separator), Some(own)) = (arg, own) {
                    let gaps =
                        Range { min: own.min.saturating_sub(1), max: own.max.saturating_sub(1) };
                    size = size.plus(separator.times(gaps));
                }
                makes(size.by(TRAVERSAL), size)
            }
            "find" | "findAll" => makes(regex(own?, arg?), Range { min: 0, max: own?.max }),
            "ip" if overload == "cidr_ip" => costs(SELECT),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver"
            | "isSemver" => costs(arg?.by(TRAVERSAL)),
            "ip.isCanonical" => costs(arg?.by(2.0 * TRAVERSAL)),
            "containsIP" | "containsCIDR" => {
                let arg = arg?;
                let mut cost = ADDRESS.plus(ADDRESS).by(TRAVERSAL);
                if function == "containsCIDR" {
                    cost = cost.plus(ADDRESS.by(TRAVERSAL)).plus(SELECT);
                }
                if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                    cost = cost.plus(arg.by(TRAVERSAL));
                }
                costs(cost)
            }
            "validate" => costs(arg?.by(TRAVERSAL).by(FORMAT_PATTERN * REGEX_LENGTH)),
            "_==_" => equality(args),
            _ if NOMINAL.contains(&function) => costs(SELECT),
            _ => None,
        }
    }

    /// Of the libraries of lists and of sets.
    fn of_lists(
        &self,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
    ) -> Option<CallCost> {
        let allocates =
            |factor: f64, size: Range| makes(size.by(factor).plus(SELECT).plus(LIST), size);
        let own = target.map(|target| self.measured(target));
        match overload {
            "list_sets_contains_list"
            | "list_sets_intersects_list"
            | "list_sets_equivalent_list" => {
                let [one, other] = args else { return None };
                let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let pairs = self.measured(one).times(self.measured(other));
                costs(pairs.by(factor).plus(SELECT))
            }
            "list_slice" => {
                let start = number(args.first()).unwrap_or(0);
                let end = number(args.get(1)).unwrap_or(own?.max);
                // An end before the start wraps around upstream: as much as there can be.
                allocates(1.0, Range::fixed(end.wrapping_sub(start)))
            }
            "lists_range" => allocates(1.0, Range::fixed(number(args.first()).unwrap_or(u64::MAX))),
            "list_reverse" => allocates(1.0, own?),
            "list_flatten" => allocates(1.0, own?),
            "list_flatten_int" => {
                #[expect(clippy::cast_precision_loss, reason = "upstream counts in doubles too")]
                let depth = number(args.first()).unwrap_or(u64::MAX) as f64;
                allocates(depth, own?)
            }
            "list_distinct" => allocates(2.0, own?.times(own?)),
            _ => {
                let rest = overload.strip_prefix("list_")?;
                let (element, size) = if let Some(element) = rest.strip_suffix("_sort") {
                    (element, own?)
                } else {
                    let element = rest.strip_suffix("_sortByAssociatedKeys")?;
                    (element, self.measured(args.first()?))
                };
                let is_text = matches!(element, "string" | "bytes");
                let factor = if is_text { 2.0 + TRAVERSAL } else { 2.0 };
                allocates(factor, size.times(size))
            }
        }
    }
}

/// Builders, accessors and comparisons.
const NOMINAL: &[&str] = &[
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

/// Of types that libraries declare.
fn equality(args: &[Node<'_>]) -> Option<CallCost> {
    let [one, other] = args else { return None };
    if one.of != other.of {
        return None;
    }
    let traversed = |max: u64| costs(Range { min: 1, max }.by(TRAVERSAL));
    match one.of.name() {
        "kubernetes.URL" => traversed(other.size.map_or(1, |size| size.max)),
        "kubernetes.NamedFormat" => traversed(64),
        "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => costs(SELECT),
        name if name.starts_with("kubernetes.authorization.") => costs(SELECT),
        _ => None,
    }
}

/// How long a text is after replacing.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let (mut count, mut kept) = (Range::default(), Range::default());
    if from.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = text.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = text.min.div_ceil(from.max);
    }
    count.times(to).plus(kept)
}

/// What functions of the language cost.
pub(super) fn standard(overload: &str, target: Option<&Node<'_>>, args: &[Node<'_>]) -> CallCost {
    let target = target.map(size_of);
    let sizes: Vec<Range> = args.iter().map(size_of).collect();
    let found = match (overload, target, sizes.as_slice()) {
        ("string_format", Some(target), _) => costs(target.by(TRAVERSAL)),
        ("string_to_bytes", _, [size]) => {
            makes(size.by(TRAVERSAL), Range { min: size.min, max: size.max.wrapping_mul(4) })
        }
        ("bytes_to_string", _, [size]) => {
            makes(size.by(TRAVERSAL), Range { min: size.min / 4, max: size.max })
        }
        ("strings_quote", _, [size]) => {
            let max = size.max.wrapping_mul(2).wrapping_add(2);
            makes(size.by(TRAVERSAL), Range { min: size.min.wrapping_add(2), max })
        }
        ("starts_with_string" | "ends_with_string", _, [size]) => costs(size.by(TRAVERSAL)),
        ("in_list", _, [_, list]) => costs(list.by(1.0)),
        ("matches_string", Some(text), [pattern]) => costs(regex(text, *pattern)),
        ("contains_string", Some(text), [part]) => {
            costs(text.by(TRAVERSAL).times(part.by(TRAVERSAL)))
        }
        ("add_list", _, [one, other]) => makes(SELECT, one.plus(*other)),
        ("add_string" | "add_bytes", _, [one, other]) => {
            let size = one.plus(*other);
            makes(size.by(TRAVERSAL), size)
        }
        (
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals",
            _,
            [one, other],
        ) => {
            let max = one.max.min(other.max);
            costs(Range { min: max.min(1), max }.by(TRAVERSAL))
        }
        _ => None,
    };
    found.unwrap_or(CallCost { cost: SELECT, result: None })
}
