//! Constants that could never work: regular expressions, times, and lists of mixed types.

use crate::ast::{Expr, Id, Kind, Literal};
use crate::source::Issue;
use crate::types::Type;

/// Finds them below a node whose types hold.
pub(super) fn validate(
    expr: &Expr,
    places: &[usize],
    types: &[Option<Type>],
    issues: &mut Vec<Issue>,
) {
    let mut issue = |id: Id, message: String| {
        issues.push(Issue { place: Some(places[id]), message });
    };
    let type_of = |id: Id| types[id].clone().unwrap_or(Type::Dyn);
    let mut differ = |wanted: &Type, id: Id| {
        let found = type_of(id);
        let found = found.unwrap_optional().cloned().unwrap_or(found);
        if *wanted != found {
            issue(id, format!("expected type '{wanted}' but found '{found}'"));
        }
    };
    match &expr.kind {
        Kind::List(elements) => {
            if let Some(first) = elements.first() {
                let wanted = type_of(first.value.id);
                let wanted = if first.optional {
                    wanted.unwrap_optional().cloned().unwrap_or(wanted)
                } else {
                    wanted
                };
                elements[1..].iter().for_each(|one| differ(&wanted, one.value.id));
            }
        }
        Kind::Map(entries) => {
            if let Some(first) = entries.first() {
                let (key, value) = (type_of(first.key.id), type_of(first.value.id));
                let value = value.unwrap_optional().cloned().unwrap_or(value);
                for one in &entries[1..] {
                    differ(&key, one.key.id);
                    differ(&value, one.value.id);
                }
            }
        }
        Kind::Call { function, args, .. } => {
            if let Some((id, what)) = bad_argument(function, args) {
                issue(id, format!("invalid {what} argument"));
            }
        }
        _ => {}
    }
    // What is given to `format` may be of mixed types.
    if matches!(&expr.kind, Kind::Call { function, .. } if &**function == "format") {
        return;
    }
    for child in expr.children() {
        validate(child, places, types, issues);
    }
}

fn bad_argument<'f>(function: &'f str, args: &[Expr]) -> Option<(Id, &'f str)> {
    let last = args.last()?;
    let Kind::Literal(Literal::String(text)) = &last.kind else { return None };
    let valid = match function {
        "matches" => crate::library::regex::compile(text).is_ok(),
        "duration" if args.len() == 1 => crate::library::time::parse_duration(text).is_some(),
        "timestamp" if args.len() == 1 => crate::library::time::parse_timestamp(text).is_some(),
        _ => true,
    };
    (!valid).then_some((last.id, function))
}
