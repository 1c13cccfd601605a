//! Priority: a pod gets the number of its class, or of the default for all, of which there is at
//! most one.

use api_machinery::{Object, Status, View};
use serde_json::{Value, json};

use super::{Attributes, Operation, lookup};

const CLASSES: (&str, &str) = ("scheduling.k8s.io", "priorityclasses");
/// Every server makes them when it starts; nobody deletes them.
pub(crate) const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];
const POLICY: &[&str] = &["spec", "preemptionPolicy"];

/// What a pod gets from a class.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    name: String,
    value: i64,
    /// Empty when the class does not say.
    preemption: String,
}

impl Class {
    fn of(class: &Object) -> Self {
        Self {
            name: class.name().to_owned(),
            value: class.at(&["value"]).and_then(Value::as_i64).unwrap_or(0),
            preemption: class.text(&["preemptionPolicy"]).to_owned(),
        }
    }

    /// Without any default class.
    fn none() -> Self {
        Self { name: String::new(), value: 0, preemption: "PreemptLowerPriority".to_owned() }
    }
}

pub(super) async fn mutate(asked: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !asked.is_of("", "Pod") {
        return Ok(());
    }
    if let (Operation::Update, Some(old)) = (asked.operation, asked.old) {
        keep(pod, old);
        return Ok(());
    }
    let class = match pod.text(&["spec", "priorityClassName"]) {
        "" => default(asked)?.unwrap_or_else(Class::none),
        name => {
            let found = lookup::find(asked.server, CLASSES, ("", name)).await?;
            let found = found.as_ref().map(Class::of).or_else(|| system(name));
            found.ok_or_else(|| {
                let why = format!("no PriorityClass with name {name} was found");
                asked.forbidden(pod, &why)
            })?
        }
    };
    set(pod, &class).map_err(|why| asked.forbidden(pod, &why))
}

/// The classes of the system, for as long as a new cluster does not have them yet.
fn system(name: &str) -> Option<Class> {
    let (name, value, _) = SYSTEM.iter().find(|(one, _, _)| *one == name)?;
    Some(Class { name: (*name).to_owned(), value: *value, ..Class::none() })
}

/// What was given to a pod stays when an update leaves it out.
fn keep(pod: &mut Object, old: &Object) {
    for path in [&["spec", "priority"], POLICY] {
        let is_left_out = pod.at(path).is_none_or(Value::is_null);
        if let (true, Some(value)) = (is_left_out, old.at(path)) {
            pod.set(path, value.clone());
        }
    }
}

/// Gives a pod what its class says; it may not say something else itself.
fn set(pod: &mut Object, class: &Class) -> Result<(), String> {
    if !class.name.is_empty() {
        pod.set(&["spec", "priorityClassName"], class.name.as_str().into());
    }
    let (given, value) = (pod.at(&["spec", "priority"]).and_then(Value::as_i64), class.value);
    if let Some(given) = given.filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    pod.set(&["spec", "priority"], json!(value));
    if class.preemption.is_empty() {
        return Ok(());
    }
    let (given, policy) = (pod.text(POLICY), class.preemption.as_str());
    if !given.is_empty() && given != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    pod.set(POLICY, policy.into());
    Ok(())
}

/// The default class; should there be several, the one with the lowest number.
fn default(asked: &Attributes<'_>) -> Result<Option<Class>, Status> {
    let classes = lookup::list(asked.server, CLASSES, "")?;
    let defaults =
        classes.iter().filter(|class| View::new(&class.json()).get("globalDefault").is_true());
    let lowest =
        defaults.min_by_key(|class| View::new(&class.json()).get("value").number().unwrap_or(0));
    lowest.map(|class| Ok(Class::of(&class.object()?))).transpose()
}

/// A second default is refused, and so is the deletion of what the system needs.
pub(super) async fn validate(
    asked: &Attributes<'_>,
    object: Option<&Object>,
) -> Result<(), Status> {
    if !asked.is_of(CLASSES.0, "PriorityClass") {
        return Ok(());
    }
    let Some(class) = object else {
        if SYSTEM.iter().any(|(name, _, _)| *name == asked.name) {
            let why = "this is a system priority class and cannot be deleted";
            return Err(Status::forbidden(&asked.kind.group_resource(), asked.name, why));
        }
        return Ok(());
    };
    if class.at(&["globalDefault"]) != Some(&Value::Bool(true)) {
        return Ok(());
    }
    asked.server.caches.wait_until_fresh(&asked.server.storage).await?;
    let Some(held) = default(asked)? else { return Ok(()) };
    if asked.operation == Operation::Update && held.name == class.name() {
        return Ok(());
    }
    let why = format!(
        "PriorityClass {} is already marked as default. Only one default can exist",
        held.name
    );
    Err(asked.forbidden(class, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Object {
        Object::from_value(json!({"spec": spec})).unwrap()
    }

    fn class(preemption: &str) -> Class {
        Class { name: "high".to_owned(), value: 100, preemption: preemption.to_owned() }
    }

    #[test]
    fn a_pod_gets_what_its_class_says_and_may_not_say_otherwise() {
        for (spec, class, wanted) in [
            (
                json!({}),
                Class::none(),
                Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})),
            ),
            (
                json!({"priority": 100}),
                class("Never"),
                Ok(json!({"priorityClassName": "high",
                "priority": 100, "preemptionPolicy": "Never"})),
            ),
            (
                json!({"preemptionPolicy": "Never"}),
                class(""),
                Ok(json!({
                "priorityClassName": "high", "priority": 100, "preemptionPolicy": "Never"})),
            ),
            (
                json!({"priority": 5}),
                class("Never"),
                Err(
                    "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 100 from the given PriorityClass name",
                ),
            ),
            (
                json!({"preemptionPolicy": "Never"}),
                Class::none(),
                Err(
                    "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
                ),
            ),
        ] {
            let mut pod = pod(spec);
            let told = set(&mut pod, &class).map(|()| pod.at(&["spec"]).cloned().unwrap());
            assert_eq!(told, wanted.map_err(str::to_owned));
        }
    }

    #[test]
    fn an_update_that_leaves_the_number_out_keeps_it() {
        let old = pod(json!({"priority": 7, "preemptionPolicy": "Never"}));
        let mut new = pod(json!({"priority": null}));
        keep(&mut new, &old);
        assert_eq!(new, old);
        let mut new = pod(json!({"priority": 8, "preemptionPolicy": "Never"}));
        keep(&mut new, &old);
        assert_eq!(new.at(&["spec", "priority"]), Some(&json!(8)), "validation refuses it later");
    }
}
