//! Custom kinds: what a CustomResourceDefinition says, and what that means for its objects.
//!
//! The path of a written object: [`defaults::drop_nulls`] and [`defaults::apply`] →
//! [`prune::prune`] → [`check::create`] (or `update`) and [`lists::check`] → [`Rules::create`] (or
//! `update`) where nothing of that says [`rules::not_run_because_of`].

pub mod check;
mod correlate;
pub mod defaults;
pub mod definition;
pub mod discovery;
mod fault;
pub mod formats;
mod go_text;
mod json_path;
pub mod kind;
pub mod lists;
mod pattern;
pub mod prune;
pub mod rules;
mod scalars;
pub mod schema;
pub mod structural;
mod walk;

pub use kind::{CustomKind, CustomVersion};
pub use rules::Rules;
pub use schema::Schema;
