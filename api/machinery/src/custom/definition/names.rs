//! The names of a custom kind: their form, and whether others have them already.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{list, text};
use crate::field::{Error, Path};
use crate::validate::names::label_1035;

/// Checks the form of names.
pub(super) fn check(names: &Value, path: &Path, errors: &mut Vec<Error>) {
    for name in ["plural", "singular"] {
        let value = text(names, name);
        let problems = label_1035(value);
        if !value.is_empty() && !problems.is_empty() {
            errors.push(Error::invalid(&path.child(name), value, problems.join(",")));
        }
    }
    for name in ["kind", "listKind"] {
        let value = text(names, name);
        let problems = label_1035(&value.to_lowercase());
        if !value.is_empty() && !problems.is_empty() {
            let problems = problems.join(",");
            let why = format!("may have mixed case, but should otherwise match: {problems}");
            errors.push(Error::invalid(&path.child(name), value, why));
        }
    }
    let mut each = |name: &str| {
        for (index, value) in list(names, name).iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            let problems = label_1035(value);
            if !problems.is_empty() {
                let path = path.child(name).index(index);
                errors.push(Error::invalid(&path, value, problems.join(",")));
            }
        }
    };
    each("shortNames");
    each("categories");
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), kind, why));
    }
}

/// What the names of a definition come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// `status.acceptedNames`.
    pub names: Value,
    /// The condition `NamesAccepted`, without its time.
    pub names_accepted: Value,
    /// The condition `Established`, without its time, until the kind is served.
    pub established: Value,
}

/// Decides which names a definition gets, given the accepted names of the others in its group
/// (`status.acceptedNames` of each, its own among them).
#[must_use]
pub fn accept<'a>(definition: &Value, of_group: impl Iterator<Item = &'a Value>) -> Accepted {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for names in of_group {
        resources.extend([text(names, "plural"), text(names, "singular")]);
        resources.extend(list(names, "shortNames").iter().filter_map(Value::as_str));
        kinds.extend([text(names, "kind"), text(names, "listKind")]);
    }
    let wanted = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let mut names = if had.is_object() { had.clone() } else { json!({}) };
    let mut conflict: Option<(&str, String)> = None;
    let mut take = |name: &str, used: &BTreeSet<&str>, reason: &'static str, names: &mut Value| {
        let value = text(wanted, name);
        if value != text(had, name) && used.contains(value) {
            conflict = Some((reason, format!("{value:?} is already in use")));
        } else {
            names[name] = wanted[name].clone();
        }
    };
    take("plural", &resources, "PluralConflict", &mut names);
    take("singular", &resources, "SingularConflict", &mut names);
    let short: Vec<_> = list(wanted, "shortNames")
        .iter()
        .filter(|name| !list(had, "shortNames").contains(name))
        .filter_map(Value::as_str)
        .filter(|name| !name.is_empty() && resources.contains(name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    let short_conflict = match short.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    };
    if short_conflict.is_none() {
        put(&mut names, "shortNames", &wanted["shortNames"]);
    }
    take("kind", &kinds, "KindConflict", &mut names);
    take("listKind", &kinds, "ListKindConflict", &mut names);
    // The last conflict is told, in upstream's order.
    let is_of_kind = conflict.as_ref().is_some_and(|(reason, _)| reason.contains("Kind"));
    if let Some(message) = short_conflict.filter(|_| !is_of_kind) {
        conflict = Some(("ShortNamesConflict", message));
    }
    put(&mut names, "categories", &wanted["categories"]);
    let names_accepted = match &conflict {
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition("NamesAccepted", "False", reason, message),
    };
    let established = established(definition, conflict.is_none());
    Accepted { names, names_accepted, established }
}

fn put(names: &mut Value, name: &str, value: &Value) {
    if !value.is_null() {
        names[name] = value.clone();
    } else if let Some(map) = names.as_object_mut() {
        map.remove(name);
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

fn established(definition: &Value, is_accepted: bool) -> Value {
    let mut conditions = list(&definition["status"], "conditions").iter();
    let had = conditions.find(|one| one["type"] == "Established").cloned();
    let had = had.unwrap_or_else(|| {
        condition("Established", "False", "NotAccepted", "not all names are accepted")
    });
    if is_accepted && had["status"] != "True" {
        let message = "the initial names have been accepted";
        return condition("Established", "False", "Installing", message);
    }
    had
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_have_are_not_given() {
        let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList",
            "shortNames": ["x", "y"]});
        let definition = json!({"spec": {"names": names}});
        let free = accept(&definition, std::iter::empty());
        assert_eq!(free.names, names);
        assert_eq!(free.names_accepted["reason"], "NoConflicts");
        assert_eq!(free.established["reason"], "Installing");
        let other = json!({"plural": "x", "singular": "y", "kind": "A", "listKind": "L"});
        let taken = accept(&definition, [&other].into_iter());
        assert_eq!(taken.names, json!({"plural": "as", "singular": "a", "listKind": "AList"}));
        assert_eq!(taken.names_accepted["reason"], "KindConflict");
        assert_eq!(taken.names_accepted["message"], "\"A\" is already in use");
        assert_eq!(taken.established["reason"], "NotAccepted");
    }
}
