//! Warnings for expressions that do not fit the types that a policy is for.

use std::collections::BTreeSet;

use api_cel::Type;
use serde_json::{Value, json};

use super::compile::{Compiler, Purpose};
use super::environment::Given;
use super::types;
use crate::kinds;
use crate::validate::{items, text};

/// Kinds that one policy is checked against.
const KINDS_MAX: usize = 10;
/// Expressions that one policy has checked, over all kinds: checking is work of its own.
const CHECKS_MAX: usize = 1000;

/// What to put into `status.typeChecking.expressionWarnings` of a policy that validates.
#[must_use]
pub fn expression_warnings(policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let compilers: Vec<(String, Compiler)> =
        kinds_of(spec).iter().filter_map(|kind| compiler(spec, kind)).collect();
    let mut warnings = Vec::new();
    let mut checks = 0;
    for (index, validation) in items(spec, "validations").iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let expression = text(validation, key);
            if expression.is_empty() || checks >= CHECKS_MAX {
                continue;
            }
            checks += compilers.len();
            let found: Vec<String> = compilers
                .iter()
                .filter_map(|(kind, compiler)| {
                    let checked = compiler.expression(expression, Purpose::TypeCheck);
                    checked.error().map(|error| format!("{kind}: {error}\n"))
                })
                .collect();
            if !found.is_empty() {
                let field = format!("spec.validations[{index}].{key}");
                warnings.push(json!({"fieldRef": field, "warning": found.join("\n")}));
            }
        }
    }
    warnings
}

/// Group, version and kind, in this order.
type GroupVersionKind = (&'static str, &'static str, &'static str);

/// The built-in kinds that a policy's rules name without a wildcard.
fn kinds_of(spec: &Value) -> BTreeSet<GroupVersionKind> {
    let mut out = BTreeSet::new();
    for rule in items(&spec["matchConstraints"], "resourceRules") {
        let list = |key: &str| -> BTreeSet<&str> {
            items(rule, key).iter().filter_map(Value::as_str).collect()
        };
        let (groups, versions) = (list("apiGroups"), list("apiVersions"));
        let has_wildcard = |list: &BTreeSet<&str>| list.iter().any(|one| one.contains('*'));
        if has_wildcard(&groups) || has_wildcard(&versions) {
            continue;
        }
        let resources = list("resources");
        let mut count = 0;
        let mut named: Vec<_> = kinds::all()
            .iter()
            .filter(|info| groups.contains(info.group) && versions.contains(info.version))
            .filter(|info| resources.contains(info.plural))
            .collect();
        named.sort_by_key(|info| (info.group, info.version, info.plural));
        for info in named {
            out.insert((info.group, info.version, info.kind));
            count += 1;
            if count == KINDS_MAX {
                return out;
            }
        }
    }
    out
}

fn compiler(spec: &Value, (group, version, kind): &GroupVersionKind) -> Option<(String, Compiler)> {
    let api_version = match *group {
        "" => (*version).to_owned(),
        group => format!("{group}/{version}"),
    };
    let object = types::of(kinds::type_of(&api_version, kind)?);
    let params = (!spec["paramKind"].is_null()).then(|| {
        let named = &spec["paramKind"];
        kinds::type_of(text(named, "apiVersion"), text(named, "kind")).map_or(Type::Dyn, types::of)
    });
    let mut compiler = Compiler::of(&Given { object, params, has_variables: true });
    for variable in items(spec, "variables").iter().take(CHECKS_MAX) {
        let (name, expression) = (text(variable, "name"), text(variable, "expression"));
        let _ = compiler.variable(name, expression, Purpose::TypeCheck);
    }
    Some((format!("{group}/{version}, Kind={kind}"), compiler))
}
