//! The rules at work on an object.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use api_cel::{Activation, EvalError, Outcome, Value as Cel};
use serde_json::{Map, Value};

use super::compile::Compiled;
use super::types::reader;
use super::{NO_PATH, Node, Rules, Verdict};
use crate::custom::correlate::Old;
use crate::custom::go_text::shown;
use crate::custom::schema::{Kind, List, ListType, Rule};
use crate::field::{Error, ErrorKind};
use crate::limits::{CUSTOM_FAULTS_MAX, CUSTOM_RULES_COST_MAX, RULE_MESSAGE_BYTES_MAX};

/// `base` is where the value is, empty for a whole object.
pub(super) fn run(rules: &Rules, new: &Value, old: Option<&Value>, base: &str) -> Verdict {
    let mut runner = Runner { rules, left: CUSTOM_RULES_COST_MAX, verdict: Verdict::default() };
    // Of what is no object's the old value takes part, and forgives nothing.
    let current = old.filter(|_| base.is_empty()).map(|old| Old::root(new, old, &rules.schema));
    let frame = Frame::with(current, None);
    let spot = Spot { above: None, step: Way::Root(base) };
    // Whether it went to its end is in the verdict.
    let _ = runner.node(&rules.root, &spot, (new, old), &frame);
    runner.verdict
}

/// No further rules are run.
struct Stopped;
type Step = Result<(), Stopped>;

/// Where in an object a value is.
#[derive(Clone, Copy)]
struct Spot<'a> {
    above: Option<&'a Spot<'a>>,
    step: Way<'a>,
}

#[derive(Clone, Copy)]
enum Way<'a> {
    Root(&'a str),
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Spot<'a> {
    fn below(&'a self, step: Way<'a>) -> Spot<'a> {
        Spot { above: Some(self), step }
    }

    /// As it stands in errors, with the field that the rule blames.
    fn text(&self, field: Option<&str>) -> String {
        let mut steps = vec![self.step];
        let mut here = self;
        while let Some(above) = here.above {
            steps.push(above.step);
            here = above;
        }
        let mut out = String::new();
        for step in steps.into_iter().rev().chain(field.map(Way::Field)) {
            match step {
                Way::Root(base) => out.push_str(base),
                Way::Field(name) if out.is_empty() => out.push_str(name),
                Way::Field(name) => {
                    out.push('.');
                    out.push_str(name);
                }
                Way::Key(key) => out.push_str(&format!("[{key}]")),
                Way::Index(index) => out.push_str(&format!("[{index}]")),
            }
        }
        if out.is_empty() { NO_PATH.to_owned() } else { out }
    }
}

/// What a value was before the update, or else the nearest value around it of which that is known.
struct Frame<'f> {
    current: Option<Old<'f>>,
    nearest: Option<&'f Frame<'f>>,
    unchanged: Cell<Option<bool>>,
}

impl<'f> Frame<'f> {
    fn with(current: Option<Old<'f>>, nearest: Option<&'f Frame<'f>>) -> Self {
        Self { current, nearest, unchanged: Cell::new(None) }
    }

    /// CR2
    fn is_unchanged(&self) -> bool {
        match (self.current, self.nearest) {
            (Some(old), _) => {
                let known = self.unchanged.get().unwrap_or_else(|| old.is_unchanged());
                self.unchanged.set(Some(known));
                known
            }
            (None, Some(nearest)) => nearest.is_unchanged(),
            (None, None) => false,
        }
    }

    fn member(&'f self, name: &str) -> Frame<'f> {
        match self.current {
            None => Self::with(None, self.nearest),
            // Both were converted to the same version and kind.
            Some(_) if self.nearest.is_none() && matches!(name, "apiVersion" | "kind") => {
                Self::with(None, None)
            }
            Some(old) => Self::with(old.member(name), Some(self)),
        }
    }

    fn item(&'f self, old: Option<Old<'f>>) -> Frame<'f> {
        match self.current {
            None => Self::with(None, self.nearest),
            Some(_) => Self::with(old, Some(self)),
        }
    }
}

/// What the variables of a rule stand for.
struct Variables<'a> {
    own: Cel<'a>,
    old: Option<Cel<'a>>,
}

impl<'a> Activation<'a> for Variables<'a> {
    fn variable(&self, name: &str) -> Option<Outcome<'a>> {
        match name {
            "self" => Some(Ok(self.own.clone())),
            "oldSelf" => self.old.clone().map(Ok),
            _ => None,
        }
    }
}

struct Runner<'r> {
    rules: &'r Rules,
    /// What rules may still cost (CR1).
    left: u64,
    verdict: Verdict,
}

impl Runner<'_> {
    /// The recursion is limited by the depth of a schema.
    fn node(
        &mut self,
        node: &Node,
        spot: &Spot<'_>,
        (new, old): (&Value, Option<&Value>),
        frame: &Frame<'_>,
    ) -> Step {
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.rules_of(node, spot, (new, old), frame)?;
        for branch in &node.all_of {
            let frame = Frame::with(None, frame.nearest);
            self.node(branch, spot, (new, old), &frame)?;
        }
        match new {
            Value::Array(items) => self.items(node, spot, (items, old), frame),
            Value::Object(map) => {
                let old = old.and_then(Value::as_object);
                self.members(node, spot, (map, old), frame)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn items(
        &mut self,
        node: &Node,
        spot: &Spot<'_>,
        (items, old): (&[Value], Option<&Value>),
        frame: &Frame<'_>,
    ) -> Step {
        let Some(below) = &node.items else { return Ok(()) };
        let before = Before::of(node.list.as_deref(), old);
        let olds = frame.current.map(Old::items).unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            let frame = frame.item(olds.get(index).copied().flatten());
            let old = before.find(item);
            self.node(below, &spot.below(Way::Index(index)), (item, old), &frame)?;
        }
        Ok(())
    }

    fn members(
        &mut self,
        node: &Node,
        spot: &Spot<'_>,
        (map, old): (&Map<String, Value>, Option<&Map<String, Value>>),
        frame: &Frame<'_>,
    ) -> Step {
        let before = |name: &str| old.and_then(|old| old.get(name));
        if let Some(below) = &node.additional {
            for (name, member) in map {
                let values = (member, before(name));
                self.node(below, &spot.below(Way::Key(name)), values, &frame.member(name))?;
            }
        }
        for (name, below) in &node.properties {
            let Some(member) = map.get(&**name) else { continue };
            let values = (member, before(name));
            self.node(below, &spot.below(Way::Field(name)), values, &frame.member(name))?;
        }
        Ok(())
    }

    fn rules_of(
        &mut self,
        node: &Node,
        spot: &Spot<'_>,
        (new, old): (&Value, Option<&Value>),
        frame: &Frame<'_>,
    ) -> Step {
        if node.rules.is_empty() {
            return Ok(());
        }
        if self.left == 0 {
            return self.stop(node, spot, OUT_OF_BUDGET);
        }
        let level = reader(&self.rules.types, node.level);
        let own = level.value(new);
        let before = if node.uses_old_self { old.map(|old| level.value(old)) } else { None };
        let plain = Variables { own: own.clone(), old: before.clone() };
        let optional = Variables { own, old: Some(Cel::Optional(before.map(Box::new))) };
        for compiled in &node.rules {
            let is_optional = compiled.rule.optional_old_self == Some(true);
            if compiled.uses_old_self && old.is_none() && !is_optional {
                continue;
            }
            let variables = if is_optional { &optional } else { &plain };
            self.rule(node, spot, (compiled, new), (variables, &plain, frame))?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        node: &Node,
        spot: &Spot<'_>,
        (compiled, new): (&Compiled, &Value),
        (variables, plain, frame): (&Variables<'_>, &Variables<'_>, &Frame<'_>),
    ) -> Step {
        let program = match &compiled.program {
            None => return Ok(()),
            Some(Err(why)) => {
                return self.tell(invalid(node, spot, format!("rule compile error: {why}")));
            }
            Some(Ok(program)) => program,
        };
        let (outcome, cost) = program.evaluate(variables, api_cel::limits::COST_PER_CALL_MAX);
        if cost > self.left {
            return self.stop(node, spot, OUT_OF_BUDGET);
        }
        self.left -= cost;
        let name = name_of(&compiled.rule);
        match outcome {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(why @ EvalError::CostExceeded) => {
                let what = format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                );
                return self.stop(node, spot, &what);
            }
            Err(EvalError::Failed(why)) if why.starts_with("no such overload") => {
                return self.tell(invalid(node, spot, format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                )));
            }
            Err(EvalError::Failed(why)) => {
                return self.tell(invalid(node, spot, format!("{why} evaluating rule: {name}")));
            }
        }
        let is_forgiven = !compiled.uses_old_self && frame.is_unchanged();
        let field = spot.text(compiled.field.as_deref());
        let message = match self.message(compiled, plain) {
            Ok(message) => message,
            Err(why) => {
                let error = Error { field, ..invalid(node, spot, why) };
                self.tell_or_warn(error, is_forgiven)?;
                return Err(Stopped);
            }
        };
        let detail = message.unwrap_or_else(|| {
            let given = compiled.rule.message.trim();
            if compiled.rule.message.is_empty() {
                format!("failed rule: {name}")
            } else {
                given.to_owned()
            }
        });
        let value = (!matches!(node.kind, Kind::Object | Kind::Array)).then_some(new);
        self.tell_or_warn(refusal(&compiled.rule.reason, field, value, detail), is_forgiven)
    }

    /// The message that an expression makes; none when it makes none that can be used.
    fn message(
        &mut self,
        compiled: &Compiled,
        variables: &Variables<'_>,
    ) -> Result<Option<String>, String> {
        let Some(Ok(program)) = &compiled.message else { return Ok(None) };
        let (outcome, cost) = program.evaluate(variables, api_cel::limits::COST_PER_CALL_MAX);
        let text = &compiled.rule.message_expression;
        if cost > self.left {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned());
        }
        if outcome == Err(EvalError::CostExceeded) {
            return Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {text:?}"
            ));
        }
        self.left -= cost;
        let Ok(Cel::String(message)) = outcome else { return Ok(None) };
        let message = message.trim();
        let is_usable = !message.is_empty()
            && message.len() <= RULE_MESSAGE_BYTES_MAX
            && !message.contains('\n');
        Ok(is_usable.then(|| message.to_owned()))
    }

    fn tell_or_warn(&mut self, error: Error, is_forgiven: bool) -> Step {
        if !is_forgiven {
            return self.tell(error);
        }
        if self.verdict.warnings.len() < CUSTOM_FAULTS_MAX {
            self.verdict.warnings.push(error.to_string());
        }
        Ok(())
    }

    fn tell(&mut self, error: Error) -> Step {
        self.verdict.errors.push(error);
        if self.verdict.errors.len() < CUSTOM_FAULTS_MAX { Ok(()) } else { Err(Stopped) }
    }

    fn stop(&mut self, node: &Node, spot: &Spot<'_>, why: &str) -> Step {
        self.verdict.errors.push(invalid(node, spot, why.to_owned()));
        Err(Stopped)
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The items that a list had before, by their keys: only those of maps can be found again.
struct Before<'a> {
    list: Option<&'a List>,
    items: HashMap<String, &'a Value>,
}

impl<'a> Before<'a> {
    fn of(list: Option<&'a List>, old: Option<&'a Value>) -> Self {
        let list = list.filter(|list| list.kind == ListType::Map && !list.keys.is_empty());
        let mut items = HashMap::new();
        if let (Some(list), Some(Value::Array(old))) = (list, old) {
            for item in old {
                if let Some(key) = key_of(item, list) {
                    items.entry(key).or_insert(item);
                }
            }
        }
        Self { list, items }
    }

    fn find(&self, item: &Value) -> Option<&'a Value> {
        self.items.get(&key_of(item, self.list?)?).copied()
    }
}

/// What names an item: all of its keys, which have to be there and scalars.
fn key_of(item: &Value, list: &List) -> Option<String> {
    let mut key = BTreeMap::new();
    for name in &list.keys {
        let value = item.as_object()?.get(&**name)?;
        if value.is_null() || value.is_array() || value.is_object() {
            return None;
        }
        key.insert(&**name, value);
    }
    serde_json::to_string(&key).ok()
}

/// A rule's name in messages.
fn name_of(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}

/// An error that shows the type in the value's place.
fn invalid(node: &Node, spot: &Spot<'_>, detail: String) -> Error {
    let value = Some(node.kind.name().into());
    Error { kind: ErrorKind::Invalid, field: spot.text(None), value, detail }
}

fn refusal(reason: &str, field: String, value: Option<&Value>, detail: String) -> Error {
    let with_value = |kind, detail: String| {
        // Numbers look different here than in JSON, so that they are part of the detail.
        let value = value.map(shown);
        let detail = match (value, detail.is_empty()) {
            (Some(value), true) => value,
            (Some(value), false) => format!("{value}: {detail}"),
            (None, _) => detail,
        };
        Error { kind, field: field.clone(), value: None, detail }
    };
    match reason {
        "FieldValueForbidden" => Error { kind: ErrorKind::Forbidden, field, value: None, detail },
        "FieldValueRequired" => Error { kind: ErrorKind::Required, field, value: None, detail },
        "FieldValueDuplicate" => with_value(ErrorKind::Duplicate, String::new()),
        _ => with_value(ErrorKind::Invalid, detail),
    }
}
