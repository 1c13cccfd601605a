//! Compiles the expressions of one policy.

use std::collections::HashMap;

use api_cel::ast::{Expr, Kind};
use api_cel::limits::TREE_DEPTH_MAX;
use api_cel::{CompileError, Program, Type, compile};

use super::environment::{Environment, Given};

/// What an expression is for: it decides what it may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A validation or a match condition.
    Condition,
    Message,
    AuditAnnotation,
    Variable,
    ApplyConfiguration,
    JsonPatch,
    /// Nothing is asked of what it comes to, and it is not run.
    TypeCheck,
}

impl Purpose {
    /// The types that it may come to; none for any.
    fn types(self) -> Vec<Type> {
        match self {
            Self::Condition => vec![Type::Bool],
            Self::Message => vec![Type::String],
            Self::AuditAnnotation => vec![Type::String, Type::Null],
            Self::ApplyConfiguration => vec![Type::object("Object")],
            Self::JsonPatch => vec![Type::list(Type::object("JSONPatch"))],
            Self::Variable | Self::TypeCheck => Vec::new(),
        }
    }
}

/// An expression, and its program or why there is none.
#[derive(Debug)]
pub struct Expression {
    pub text: String,
    pub program: Result<Program, String>,
    /// How deep it lies with the variables that it uses.
    depth: usize,
}

impl Expression {
    /// Why it does not compile.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// Compiles the expressions of one policy; variables first, in their order.
#[derive(Debug)]
pub struct Compiler {
    environment: Environment,
    pub(super) variables: HashMap<String, Expression>,
}

impl Compiler {
    /// For a policy; without variables its expressions do not know the name `variables`.
    #[must_use]
    pub fn new(has_params: bool, has_variables: bool) -> Self {
        let params = has_params.then_some(Type::Dyn);
        Self::of(&Given { object: Type::Dyn, params, has_variables })
    }

    pub(super) fn of(given: &Given) -> Self {
        Self { environment: Environment::new(given), variables: HashMap::new() }
    }

    /// Compiles a variable and makes it known to what is compiled later. Gives its error.
    pub fn variable(&mut self, name: &str, text: &str, purpose: Purpose) -> Option<String> {
        let compiled = self.expression(text, purpose);
        let of = compiled.program.as_ref().ok().map(|program| program.checked.result_type());
        self.environment.add_variable(name, of.as_ref());
        let error = compiled.error().map(str::to_owned);
        self.variables.insert(name.to_owned(), compiled);
        error
    }

    /// Compiles an expression.
    #[must_use]
    pub fn expression(&self, text: &str, purpose: Purpose) -> Expression {
        let declarations = match purpose {
            Purpose::Message => &self.environment.plain,
            Purpose::ApplyConfiguration | Purpose::JsonPatch => &self.environment.patching,
            Purpose::Condition
            | Purpose::AuditAnnotation
            | Purpose::Variable
            | Purpose::TypeCheck => &self.environment.full,
        };
        let compiled = compile(text, declarations).map_err(|error| match (error, purpose) {
            (CompileError::Issues(issues), Purpose::TypeCheck) => issues.to_string(),
            (CompileError::Issues(issues), _) => format!("compilation failed: {issues}"),
            (CompileError::Constant(error), _) => format!("program instantiation failed: {error}"),
        });
        let (program, depth) = match compiled {
            Ok(program) => {
                let depth = self.depth(&program.checked.expr);
                (self.fits(program, purpose, depth), depth)
            }
            Err(error) => (Err(error), 0),
        };
        Expression { text: text.to_owned(), program, depth }
    }

    fn fits(&self, program: Program, purpose: Purpose, depth: usize) -> Result<Program, String> {
        let (wanted, found) = (purpose.types(), program.checked.result_type());
        if !wanted.is_empty() && !wanted.contains(&found) {
            let names: Vec<String> = wanted.iter().map(name).collect();
            let wanted = match names.as_slice() {
                [one] => one.clone(),
                many => format!("one of [{}]", many.join(" ")),
            };
            return Err(format!("must evaluate to {wanted} but got {}", name(&found)));
        }
        // X4: a variable is evaluated on the stack of what asks for it.
        if depth > TREE_DEPTH_MAX {
            return Err("compilation failed: variables that use each other are too deep".to_owned());
        }
        Ok(program)
    }

    fn depth(&self, expr: &Expr) -> usize {
        let own = match &expr.kind {
            Kind::Select { operand, field, .. } if is_variables(operand) => self.depth_of(field),
            _ => 0,
        };
        let below = expr.children().into_iter().map(|child| self.depth(child)).max();
        1 + own.max(below.unwrap_or(0))
    }

    fn depth_of(&self, variable: &str) -> usize {
        self.variables.get(variable).map_or(0, |variable| variable.depth)
    }
}

fn is_variables(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Ident(name) if matches!(&**name, "variables" | ".variables"))
}

/// A type as upstream prints it outside of reports.
fn name(of: &Type) -> String {
    let params: Vec<String> = match of {
        Type::List(one) => vec![name(one)],
        Type::Map(key, value) => vec![name(key), name(value)],
        Type::Opaque(_, params) => params.iter().map(name).collect(),
        Type::Type(Some(one)) => vec![name(one)],
        _ => Vec::new(),
    };
    match params.as_slice() {
        [] => of.name().to_owned(),
        params => format!("{}({})", of.name(), params.join(", ")),
    }
}
