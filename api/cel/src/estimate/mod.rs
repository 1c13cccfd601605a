//! What an expression can cost at most, from how large its variables can be: upstream's estimate.

mod calls;
mod range;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{ACCUMULATOR, Comprehension, Entry, Expr, Id, Kind, Literal};
use crate::check::{Checked, Reference};
use crate::types::Type;

pub use range::Range;

const SELECT: Range = Range::fixed(1);
const LIST: Range = Range::fixed(10);
const MAP: Range = Range::fixed(30);
const OBJECT: Range = Range::fixed(40);

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// By its name in expressions.
    Field(Arc<str>),
    Items,
    Indices,
    Keys,
    Values,
}

/// Knows how large values can be.
pub trait Sizes {
    /// Characters, bytes, items or entries of what a path below a variable leads to; none when
    /// there is no such thing.
    fn size_max(&self, path: &[Step]) -> Option<u64>;
}

/// The least and the most that an expression can cost.
#[must_use]
pub fn estimate(checked: &Checked, sizes: &dyn Sizes) -> Range {
    let mut estimator = Estimator {
        checked,
        sizes,
        paths: HashMap::new(),
        known: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(&checked.expr)
}

/// From a variable, which is the first step; empty for what is part of none.
type Path = Vec<Step>;

/// How large the keys and values of a list or map are.
#[derive(Clone, Copy)]
struct EntrySizes {
    is_list: bool,
    key: Range,
    value: Range,
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Range>,
    entries: Option<EntrySizes>,
}

/// An operand of a call.
struct Node<'e> {
    path: Path,
    of: Type,
    expr: Option<&'e Expr>,
    size: Option<Range>,
}

struct Estimator<'e> {
    checked: &'e Checked,
    sizes: &'e dyn Sizes,
    paths: HashMap<Id, Path>,
    known: HashMap<Id, Range>,
    entries: HashMap<Id, EntrySizes>,
    locals: Vec<Local>,
}

/// What a call costs without its operands, and how large its result is.
#[derive(Clone, Copy)]
struct CallCost {
    cost: Range,
    result: Option<Range>,
}

impl<'e> Estimator<'e> {
    /// The recursion is limited by the depth of a tree.
    fn cost(&mut self, expr: &'e Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::default(),
            Kind::Ident(name) => {
                let local = self.local(name).map(|local| local.path.clone());
                let path = local.unwrap_or_else(|| vec![Step::Field(Arc::clone(name))]);
                self.paths.insert(expr.id, path);
                SELECT
            }
            Kind::Select { operand, test: true, .. } => self.cost(operand),
            Kind::Select { operand, field, test: false } => {
                let mut sum = self.cost(operand);
                if matches!(self.type_of(operand), Type::Map(..) | Type::Object(_)) {
                    sum = sum.plus(SELECT);
                }
                let path = self.path_with(operand, Step::Field(Arc::clone(field)));
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call { target, function, args } => {
                self.call(expr, target.as_deref(), function, args)
            }
            Kind::List(elements) => {
                let (mut sum, mut item) =
                    (LIST, if elements.is_empty() { Range::default() } else { Range::NONE });
                for one in elements {
                    sum = sum.plus(self.cost(&one.value));
                    item = item.union(self.size_or_unknown(&one.value));
                }
                let entries = EntrySizes { is_list: true, key: SELECT, value: item };
                self.entries.insert(expr.id, entries);
                sum
            }
            Kind::Map(entries) => self.map(expr.id, entries),
            Kind::Object { fields, .. } => {
                fields.iter().fold(OBJECT, |sum, one| sum.plus(self.cost(&one.value)))
            }
            Kind::Comprehension(parts) => self.comprehension(expr.id, parts),
        }
    }

    fn map(&mut self, id: Id, entries: &'e [Entry]) -> Range {
        let nothing = if entries.is_empty() { Range::default() } else { Range::NONE };
        let (mut sum, mut key, mut value) = (MAP, nothing, nothing);
        for one in entries {
            sum = sum.plus(self.cost(&one.key)).plus(self.cost(&one.value));
            key = key.union(self.size_or_unknown(&one.key));
            value = value.union(self.size_or_unknown(&one.value));
        }
        self.entries.insert(id, EntrySizes { is_list: false, key, value });
        sum
    }

    fn comprehension(&mut self, id: Id, parts: &'e Comprehension) -> Range {
        let mut sum = self.cost(&parts.range).plus(self.cost(&parts.start));
        let depth = self.locals.len();
        let accumulated = Local {
            name: Arc::clone(&parts.accumulator),
            path: self.path(&parts.start),
            size: self.size(&parts.start),
            entries: self.entry_sizes(&parts.start),
        };
        self.locals.push(accumulated);
        if is_binding(parts) {
            sum = sum.plus(self.cost(&parts.result));
            let (size, entries) = (self.size(&parts.result), self.entry_sizes(&parts.result));
            self.locals.truncate(depth);
            self.remember(id, size, entries);
            return sum;
        }
        self.push_variables(parts);
        let round = self.cost(&parts.condition).plus(self.cost(&parts.step));
        self.locals.truncate(depth + 1);
        sum = sum.plus(self.cost(&parts.result));
        self.locals.truncate(depth);
        let rounds = self.size_or_unknown(&parts.range);
        match &parts.start.kind {
            Kind::Literal(_) => {
                let size = self.size(&parts.start);
                self.remember(id, size, None);
            }
            Kind::List(_) | Kind::Map(_) => {
                let entries = self.entry_sizes(&parts.step);
                self.remember(id, Some(rounds), entries);
            }
            Kind::Ident(_)
            | Kind::Select { .. }
            | Kind::Call { .. }
            | Kind::Object { .. }
            | Kind::Comprehension(_) => {}
        }
        sum.plus(rounds.times(round))
    }

    fn push_variables(&mut self, parts: &'e Comprehension) {
        let entries = self.entry_sizes(&parts.range);
        let is_list = match entries {
            Some(entries) => entries.is_list,
            None => matches!(self.type_of(&parts.range), Type::List(_)),
        };
        let (key, value) =
            if is_list { (Step::Indices, Step::Items) } else { (Step::Keys, Step::Values) };
        let mut push = |name: &Arc<str>, step: Step, size: Option<Range>| {
            let path = self.path_with(&parts.range, step);
            self.locals.push(Local { name: Arc::clone(name), path, size, entries: None });
        };
        let (key_size, value_size) =
            (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        match &parts.second {
            Some(second) => {
                push(&parts.variable, key, key_size);
                push(second, value, value_size);
            }
            None if is_list => push(&parts.variable, value, value_size),
            None => push(&parts.variable, key, key_size),
        }
    }

    fn call(
        &mut self,
        expr: &'e Expr,
        target: Option<&'e Expr>,
        function: &str,
        args: &'e [Expr],
    ) -> Range {
        if let ("dyn", [arg]) = (function, args) {
            let sum = SELECT.plus(self.cost(arg));
            let (size, entries) = (self.size(arg), self.entry_sizes(arg));
            self.remember(expr.id, size, entries);
            return sum;
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut nodes = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.cost(arg));
            nodes.push(self.node(arg));
        }
        let mut sum = Range::default();
        let target = target.map(|target| {
            sum = sum.plus(self.cost(target));
            self.node(target)
        });
        let overloads: Vec<Arc<str>> = match &self.checked.references[expr.id] {
            Some(Reference::Functions(found)) => {
                found.iter().map(|one| Arc::clone(&one.id)).collect()
            }
            // The selection of an optional field has a type of its own, and one overload.
            _ => vec!["select_optional_field".into()],
        };
        let (mut cost, mut result) = (Range::NONE, None::<Range>);
        for overload in overloads {
            let one =
                self.one_call(expr.id, (function, &overload), target.as_ref(), (&nodes, &costs));
            cost = cost.union(one.cost);
            if let Some(size) = one.result {
                result = Some(result.map_or(size, |before| before.union(size)));
            }
            let step = match &*overload {
                "index_list" => Some(Step::Items),
                "index_map" => Some(Step::Values),
                _ => None,
            };
            if let (Some(step), Some(container)) = (step, args.first()) {
                result = self.entry_sizes(container).map(|entries| entries.value);
                let path = self.path_with(container, step);
                self.paths.insert(expr.id, path);
            }
            result = result.or_else(|| self.size(expr));
        }
        self.remember(expr.id, result, None);
        sum.plus(cost)
    }

    fn one_call(
        &mut self,
        id: Id,
        (function, overload): (&str, &str),
        target: Option<&Node<'_>>,
        (nodes, costs): (&[Node<'_>], &[Range]),
    ) -> CallCost {
        let operands = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        if let Some(one) = self.known_call(function, overload, target, nodes) {
            return CallCost { cost: one.cost.plus(operands), result: one.result };
        }
        match (overload, costs) {
            ("logical_or" | "logical_and", [left, right]) => {
                let cost = Range { min: left.min, max: left.plus(*right).max };
                return CallCost { cost, result: None };
            }
            ("conditional", [condition, yes, no]) => {
                let size = size_of(&nodes[1]).union(size_of(&nodes[2]));
                self.join_entries(id, &nodes[1], &nodes[2]);
                let cost = condition.plus(yes.union(*no));
                return CallCost { cost, result: Some(size) };
            }
            ("add_string" | "add_bytes" | "add_list", [_, _]) => {
                self.join_entries(id, &nodes[0], &nodes[1]);
            }
            _ => {}
        }
        let one = calls::standard(overload, target, nodes);
        CallCost { cost: one.cost.plus(operands), result: one.result }
    }

    fn join_entries(&mut self, id: Id, one: &Node<'_>, other: &Node<'_>) {
        let find = |node: &Node<'_>| node.expr.and_then(|expr| self.entry_sizes(expr));
        if let (Some(one), Some(other)) = (find(one), find(other)) {
            let joined = EntrySizes {
                is_list: one.is_list,
                key: one.key.union(other.key),
                value: one.value.union(other.value),
            };
            self.entries.insert(id, joined);
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| *local.name == *name)
    }

    fn type_of(&self, expr: &Expr) -> Type {
        self.checked.types[expr.id].clone().unwrap_or(Type::Dyn)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn path_with(&self, expr: &Expr, step: Step) -> Path {
        let mut path = self.path(expr);
        path.push(step);
        path
    }

    fn node(&mut self, expr: &'e Expr) -> Node<'e> {
        let size = self.size(expr);
        Node { path: self.path(expr), of: self.type_of(expr), expr: Some(expr), size }
    }

    fn remember(&mut self, id: Id, size: Option<Range>, entries: Option<EntrySizes>) {
        if let Some(size) = size {
            self.known.insert(id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(id, entries);
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(known) = self.known.get(&expr.id) {
            return Some(*known);
        }
        if let Some(written) = written_size(expr) {
            return Some(Range::fixed(written));
        }
        if let Some(size) = self.size_at(&self.path(expr)) {
            self.known.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(&self.type_of(expr)) {
            return Some(SELECT);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    /// The size of what a path leads to, by the caller's knowledge of the variable.
    fn size_at(&self, path: &[Step]) -> Option<Range> {
        let (_, below) = path.split_first()?;
        self.sizes.size_max(below).map(|max| Range { min: 0, max })
    }

    fn entry_sizes(&self, expr: &Expr) -> Option<EntrySizes> {
        if let Some(known) = self.entries.get(&expr.id) {
            return Some(*known);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }
}

fn size_of(node: &Node<'_>) -> Range {
    node.size.unwrap_or(Range::UNKNOWN)
}

/// Whether a loop only gives a name to a value.
fn is_binding(parts: &Comprehension) -> bool {
    matches!(&parts.range.kind, Kind::List(elements) if elements.is_empty())
        && matches!(&parts.condition.kind, Kind::Literal(Literal::Bool(false)))
        && *parts.accumulator != *ACCUMULATOR
}

/// The size of what is written in the expression itself.
fn written_size(expr: &Expr) -> Option<u64> {
    let size = match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List(elements) => elements.len(),
        Kind::Map(entries) => entries.len(),
        Kind::Ident(_)
        | Kind::Select { .. }
        | Kind::Call { .. }
        | Kind::Object { .. }
        | Kind::Comprehension(_) => return None,
    };
    Some(size as u64)
}

fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        _ => of.unwrap_optional().is_some_and(is_scalar),
    }
}
