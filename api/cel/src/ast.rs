//! The tree of an expression: every node has a number, and numbers have places in the text.

use std::sync::Arc;

/// The number of a node: an index into the tables of places, types and references.
pub type Id = usize;

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Literal(Literal),
    Ident(Arc<str>),
    /// `operand.field`; `test` for `has(operand.field)`.
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        function: Arc<str>,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Object {
        name: Arc<str>,
        fields: Vec<Field>,
    },
    Comprehension(Box<Comprehension>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub id: Id,
    pub name: Arc<str>,
    pub value: Expr,
    pub optional: bool,
}

/// A loop over a list or the keys of a map, which a macro stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Comprehension {
    pub range: Expr,
    pub variable: Arc<str>,
    pub second: Option<Arc<str>>,
    pub accumulator: Arc<str>,
    pub start: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

/// The name of what a comprehension gathers; no identifier of a user can be it.
pub const ACCUMULATOR: &str = "@result";

impl Expr {
    /// The nodes right below.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![&**operand],
            Kind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            Kind::List(elements) => elements.iter().map(|one| &one.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|one| [&one.key, &one.value]).collect(),
            Kind::Object { fields, .. } => fields.iter().map(|one| &one.value).collect(),
            Kind::Comprehension(one) => {
                vec![&one.range, &one.start, &one.condition, &one.step, &one.result]
            }
        }
    }

    /// The nodes right below, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![&mut **operand],
            Kind::Call { target, args, .. } => {
                target.as_deref_mut().into_iter().chain(args).collect()
            }
            Kind::List(elements) => elements.iter_mut().map(|one| &mut one.value).collect(),
            Kind::Map(entries) => {
                entries.iter_mut().flat_map(|one| [&mut one.key, &mut one.value]).collect()
            }
            Kind::Object { fields, .. } => fields.iter_mut().map(|one| &mut one.value).collect(),
            Kind::Comprehension(one) => {
                let one = &mut **one;
                vec![
                    &mut one.range,
                    &mut one.start,
                    &mut one.condition,
                    &mut one.step,
                    &mut one.result,
                ]
            }
        }
    }

    /// `a.b.c` as one name, when it is nothing but names.
    #[must_use]
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => {
                let mut name = operand.qualified_name()?;
                name.push('.');
                name.push_str(field);
                Some(name)
            }
            _ => None,
        }
    }
}
