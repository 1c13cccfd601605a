//! The Common Expression Language as Kubernetes 1.36 uses it: parser, checker, evaluator, libraries.
//!
//! No I/O and no clock: text and values in, values and costs out.

pub mod ast;
mod check;
mod declare;
mod escape;
mod estimate;
mod eval;
mod level;
mod library;
pub mod limits;
mod parse;
mod source;
mod types;
mod value;

pub use check::{Checked, Reference, check};
pub use declare::{Declarations, NoObjects, Overload, OwnFunction, Provider, Run};
pub use escape::{RESERVED, escape, unescape};
pub use estimate::{Range, Sizes, Step, estimate};
pub use eval::{Activation, Program};
pub use level::{Level, Order, Reader};
pub use parse::{Parsed, parse};
pub use source::{Issue, Issues, Source};
pub use types::Type;
pub use value::{EvalError, Key, List, Map, Object, Outcome, OwnValue, Shape, Text, Value, fail};

/// Why an expression is not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{0}")]
    Issues(#[from] Issues),
    #[error("{0}")]
    Constant(#[from] EvalError),
}

/// Parses, checks and prepares an expression.
///
/// # Errors
/// What is wrong with it, as cel-go words it.
pub fn compile(text: &str, declarations: &Declarations) -> Result<Program, CompileError> {
    let source = Source::new(text);
    let parsed = parse(&source)?;
    let checked = check(&source, parsed, declarations)?;
    Ok(Program::new(checked, true)?)
}

#[cfg(test)]
#[path = "lib_test.rs"]
mod tests;
