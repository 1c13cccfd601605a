//! What is constant is evaluated before: literals, conversions of them, and types.

use std::collections::HashMap;

use crate::ast::{Expr, Kind, Literal};
use crate::check::Reference;
use crate::value::{EvalError, Key, Map, Value};

use super::{Program, dispatch};

/// Conversions whose constant arguments are converted beforehand.
const CONVERSIONS: &[&str] =
    &["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

pub(super) fn fold(program: &mut Program, optimize: bool) -> Result<(), EvalError> {
    let root = program.checked.expr.clone();
    visit(program, &root, optimize)
}

fn visit(program: &mut Program, expr: &Expr, optimize: bool) -> Result<(), EvalError> {
    for child in expr.children() {
        visit(program, child, optimize)?;
    }
    if let Some(pattern) = pattern(expr) {
        program.patterns.insert(expr.id, pattern);
    }
    if let Some(constant) = constant(program, expr, optimize)? {
        program.constants.insert(expr.id, constant);
    }
    Ok(())
}

/// The pattern of a call that has a constant one.
fn pattern(expr: &Expr) -> Option<regex::Regex> {
    let Kind::Call { target, function, args } = &expr.kind else { return None };
    if !matches!(&**function, "matches" | "find" | "findAll") {
        return None;
    }
    let pattern = target.as_deref().into_iter().chain(args).nth(1)?;
    let Kind::Literal(Literal::String(text)) = &pattern.kind else { return None };
    crate::library::regex::compile(text).ok()
}

fn constant(
    program: &mut Program,
    expr: &Expr,
    optimize: bool,
) -> Result<Option<Value<'static>>, EvalError> {
    if let Some(Reference::Type(of)) = &program.checked.references[expr.id]
        && !matches!(expr.kind, Kind::Object { .. })
    {
        return Ok(Some(Value::Type(of.clone())));
    }
    let known =
        |one: &Expr, constants: &HashMap<usize, Value<'static>>| constants.get(&one.id).cloned();
    let constants = &program.constants;
    Ok(match &expr.kind {
        Kind::Literal(literal) => Some(Value::of_literal(literal)),
        _ if !optimize => None,
        Kind::List(elements) if elements.iter().all(|one| !one.optional) => {
            let values: Option<Vec<Value<'static>>> =
                elements.iter().map(|one| known(&one.value, constants)).collect();
            values.map(Value::list)
        }
        Kind::Map(entries) if entries.iter().all(|one| !one.optional) => {
            let pairs: Option<Vec<(Value<'static>, Value<'static>)>> = entries
                .iter()
                .map(|one| Some((known(&one.key, constants)?, known(&one.value, constants)?)))
                .collect();
            pairs.map(|pairs| Value::Map(Map::own(pairs)))
        }
        Kind::Call { target: None, function, args } if &**function == "@in" => {
            let [_, list] = args.as_slice() else { return Ok(None) };
            let Some(Value::List(list)) = known(list, constants) else { return Ok(None) };
            if list.is_empty() {
                return Ok(Some(Value::Bool(false)));
            }
            let keys: Option<_> = list.iter().map(|one| Key::of(&one)).collect();
            if let Some(keys) = keys {
                program.members.insert(expr.id, keys);
            }
            None
        }
        Kind::Call { target: None, function, args } if CONVERSIONS.contains(&&**function) => {
            let [arg] = args.as_slice() else { return Ok(None) };
            let Some(value) = known(arg, constants) else { return Ok(None) };
            let Some(Reference::Functions(overloads)) = &program.checked.references[expr.id] else {
                return Ok(None);
            };
            Some(dispatch(function, overloads, &[value])?)
        }
        _ => None,
    })
}
