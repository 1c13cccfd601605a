//! Macros: calls that stand for presence tests, loops and lazy operators of optional values.

use std::sync::Arc;

use super::Parser;
use crate::ast::{ACCUMULATOR, Comprehension, Element, Expr, Id, Kind, Literal};
use crate::limits::COPIED_NODES_MAX;

/// What a loop gathers.
#[derive(Clone, Copy)]
enum Loop {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformMap,
    TransformMapEntry,
}

/// The macro of this name with so many arguments, and how many of them name variables.
fn loop_of(function: &str, args: usize) -> Option<(Loop, usize)> {
    match (function, args) {
        ("all", 2 | 3) => Some((Loop::All, args - 1)),
        ("exists", 2 | 3) => Some((Loop::Exists, args - 1)),
        ("exists_one" | "existsOne", 2 | 3) => Some((Loop::ExistsOne, args - 1)),
        ("map", 2 | 3) => Some((Loop::Map, 1)),
        ("filter", 2) => Some((Loop::Filter, 1)),
        ("transformList", 3 | 4) => Some((Loop::Map, 2)),
        ("transformMap", 3 | 4) => Some((Loop::TransformMap, 2)),
        ("transformMapEntry", 3 | 4) => Some((Loop::TransformMapEntry, 2)),
        _ => None,
    }
}

impl Parser<'_> {
    pub(super) fn expand(
        &mut self,
        id: Id,
        function: &str,
        target: Option<Expr>,
        mut args: Vec<Expr>,
    ) -> Expr {
        match target {
            None if function == "has" && args.len() == 1 => {
                let arg = args.remove(0);
                let place = self.places[arg.id];
                match arg.kind {
                    Kind::Select { operand, field, test: false } => {
                        let at = self.places[id];
                        self.node(at, Kind::Select { operand, field, test: true })
                    }
                    _ => self.wrong(place, "invalid argument to has() macro"),
                }
            }
            Some(target) => match (loop_of(function, args.len()), function, args.len()) {
                (Some((kind, names)), ..) => self.comprehension(id, (kind, names), target, args),
                (None, "sortBy", 2) => self.sort_by(id, target, args),
                (None, "optMap" | "optFlatMap", 2) => self.opt_map(id, function, target, args),
                _ => Self::plain_call(id, function, Some(target), args),
            },
            None => Self::plain_call(id, function, None, args),
        }
    }

    fn comprehension(
        &mut self,
        id: Id,
        (kind, names): (Loop, usize),
        target: Expr,
        args: Vec<Expr>,
    ) -> Expr {
        let place = self.places[id];
        let plain = matches!(kind, Loop::Map | Loop::Filter) && names == 1;
        let mut variables: Vec<Arc<str>> = Vec::new();
        for arg in &args[..names] {
            let at = self.places[arg.id];
            let Kind::Ident(name) = &arg.kind else {
                let message = if plain {
                    "argument is not an identifier"
                } else {
                    "argument must be a simple name"
                };
                return self.wrong(at, message);
            };
            if variables.contains(name) {
                return self.wrong(at, format!("duplicate variable name: {name}"));
            }
            if &**name == "__result__" {
                return self.wrong(at, "iteration variable overwrites accumulator variable");
            }
            variables.push(Arc::clone(name));
        }
        let mut rest = args;
        let first = rest[0].clone();
        rest.drain(..names);
        let body = rest.pop().expect("a macro has an argument after its variables");
        let filter = rest.pop();
        let [start, condition, step, result] = self.parts(place, kind, body, (filter, &first));
        let mut variables = variables.into_iter();
        let variable = variables.next().expect("a macro has a variable");
        let second = variables.next();
        let parts = Comprehension {
            range: target,
            variable,
            second,
            accumulator: ACCUMULATOR.into(),
            start,
            condition,
            step,
            result,
        };
        self.node(place, Kind::Comprehension(Box::new(parts)))
    }

    /// What a loop starts with, whether it goes on, its step, and its result.
    fn parts(
        &mut self,
        place: usize,
        kind: Loop,
        body: Expr,
        (filter, first): (Option<Expr>, &Expr),
    ) -> [Expr; 4] {
        let literal = |parser: &mut Self, one| parser.node(place, Kind::Literal(one));
        let gathered = |parser: &mut Self| parser.node(place, Kind::Ident(ACCUMULATOR.into()));
        let (start, condition) = match kind {
            Loop::All => {
                let accumulator = gathered(self);
                let condition = self.made(place, "@not_strictly_false", vec![accumulator]);
                (Kind::Literal(Literal::Bool(true)), condition)
            }
            Loop::Exists => {
                let accumulator = gathered(self);
                let not = self.made(place, "!_", vec![accumulator]);
                let condition = self.made(place, "@not_strictly_false", vec![not]);
                (Kind::Literal(Literal::Bool(false)), condition)
            }
            Loop::ExistsOne => (Kind::Literal(Literal::Int(0)), literal(self, Literal::Bool(true))),
            Loop::Map | Loop::Filter => (Kind::List(vec![]), literal(self, Literal::Bool(true))),
            Loop::TransformMap | Loop::TransformMapEntry => {
                (Kind::Map(vec![]), literal(self, Literal::Bool(true)))
            }
        };
        let start = self.node(place, start);
        let left = gathered(self);
        let (mut step, mut only_if) = match kind {
            Loop::All => (self.made(place, "_&&_", vec![left, body]), None),
            Loop::Exists => (self.made(place, "_||_", vec![left, body]), None),
            Loop::ExistsOne => {
                let one = literal(self, Literal::Int(1));
                (self.made(place, "_+_", vec![left, one]), Some(body))
            }
            Loop::Map => (self.appended(place, left, body), filter),
            Loop::Filter => (self.appended(place, left, first.clone()), Some(body)),
            Loop::TransformMap => {
                let key = self.node(place, first.kind.clone());
                (self.made(place, "cel.@mapInsert", vec![left, key, body]), filter)
            }
            Loop::TransformMapEntry => {
                (self.made(place, "cel.@mapInsert", vec![left, body]), filter)
            }
        };
        if let Some(filter) = only_if.take() {
            let unchanged = gathered(self);
            step = self.made(place, "_?_:_", vec![filter, step, unchanged]);
        }
        let mut result = gathered(self);
        if matches!(kind, Loop::ExistsOne) {
            let one = literal(self, Literal::Int(1));
            result = self.made(place, "_==_", vec![result, one]);
        }
        [start, condition, step, result]
    }

    fn made(&mut self, place: usize, function: &str, args: Vec<Expr>) -> Expr {
        let id = self.id(place);
        Self::plain_call(id, function, None, args)
    }

    fn appended(&mut self, place: usize, list: Expr, value: Expr) -> Expr {
        let one = self.node(place, Kind::List(vec![Element { value, optional: false }]));
        self.made(place, "_+_", vec![list, one])
    }

    /// `l.sortBy(e, f(e))`: the list gets a name, and is sorted by what is made of its items.
    fn sort_by(&mut self, id: Id, target: Expr, args: Vec<Expr>) -> Expr {
        const LIST: &str = "@__sortBy_input__";
        let place = self.places[id];
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Object { .. }) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return self.wrong(self.places[target.id], message);
        }
        let input = self.node(place, Kind::Ident(LIST.into()));
        let keys = self.comprehension(id, (Loop::Map, 1), input, args);
        let input = self.node(place, Kind::Ident(LIST.into()));
        let sorted = self.id(place);
        let sorted = Self::plain_call(sorted, "@sortByAssociatedKeys", Some(input), vec![keys]);
        let parts = Comprehension {
            range: self.node(place, Kind::List(vec![])),
            variable: "#unused".into(),
            second: None,
            accumulator: LIST.into(),
            start: target,
            condition: self.node(place, Kind::Literal(Literal::Bool(false))),
            step: self.node(place, Kind::Ident(LIST.into())),
            result: sorted,
        };
        self.node(place, Kind::Comprehension(Box::new(parts)))
    }

    /// `o.optMap(v, f(v))`: none stays none, and a value is given to `f`.
    fn opt_map(&mut self, id: Id, function: &str, target: Expr, mut args: Vec<Expr>) -> Expr {
        let place = self.places[id];
        let body = args.pop().expect("optMap has two arguments");
        let at = self.places[args[0].id];
        let Kind::Ident(variable) = args[0].kind.clone() else {
            let message = format!("{function}() variable name must be a simple identifier");
            return self.wrong(at, message);
        };
        self.copied += size(&target);
        if self.copied > COPIED_NODES_MAX {
            return self
                .wrong(place, format!("nested {function}() calls make too large an expression"));
        }
        let named = |parser: &mut Self, function: &str, args| parser.made(place, function, args);
        let member = |parser: &mut Self, function: &str, target: Expr| {
            let id = parser.id(place);
            Self::plain_call(id, function, Some(target), vec![])
        };
        let has = member(self, "hasValue", target.clone());
        let value = member(self, "value", target);
        let range = self.node(place, Kind::List(vec![]));
        let condition = self.node(place, Kind::Literal(Literal::Bool(false)));
        let step = self.node(place, Kind::Ident(Arc::clone(&variable)));
        let parts = Comprehension {
            range,
            variable: "#unused".into(),
            second: None,
            // The body sees the value under the name that the user chose.
            accumulator: variable,
            start: value,
            condition,
            step,
            result: body,
        };
        let folded = self.node(place, Kind::Comprehension(Box::new(parts)));
        let some =
            if function == "optMap" { named(self, "optional.of", vec![folded]) } else { folded };
        let none = named(self, "optional.none", vec![]);
        self.made(place, "_?_:_", vec![has, some, none])
    }
}

/// How many nodes a tree has.
fn size(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(size).sum::<usize>()
}
