//! Admission policies without I/O: what their expressions may refer to, whether they compile, what
//! they come to, and what mutations make of an object.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | X1 | An expression is compiled once, against the same names and types whoever compiles it. |
//! | X2 | A variable is evaluated when it is first asked for, once for each list of expressions. |
//! | X3 | What a variable costs is paid from the budget of the expressions that ask for it. |
//! | X4 | Variables that use each other are together no deeper than one expression may be. |

pub mod authorizer;
mod compile;
mod environment;
mod evaluate;
mod patch;
mod type_check;
mod types;

#[cfg(test)]
mod tests;

/// What an expression comes to.
pub use api_cel::Value as Cel;
pub use compile::{Compiler, Expression, Purpose};
pub use evaluate::{Evaluated, Inputs, OutOfBudget, Scene};
pub use patch::{Patched, apply_configuration, json_patch};
pub use type_check::expression_warnings;
