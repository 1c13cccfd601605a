//! What bounds an expression and its evaluation.

/// Code points of an expression.
pub const EXPRESSION_CODE_POINTS_MAX: usize = 100_000;
/// How deep each rule of the grammar may lie in itself.
pub const RECURSION_DEPTH_MAX: usize = 250;
/// How deep a tree may be after macros were expanded: what the evaluator's stack holds.
pub const TREE_DEPTH_MAX: usize = 300;
/// Errors that a report shows.
pub const ERRORS_MAX: usize = 100;
/// A line that is longer is not shown under its error.
pub const SNIPPET_CODE_POINTS_MAX: usize = 16_384;
/// Cost of one evaluation: what an expression of Kubernetes may use at most.
pub const COST_PER_CALL_MAX: u64 = 1_000_000;
/// Bytes of a compiled regular expression.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// How deep expressions may lie in each other before they are parsed on a stack of their own.
pub const SHALLOW_NESTING_MAX: usize = 50;
/// Bytes of that stack.
pub const STACK_BYTES: usize = 64 << 20;
/// Elements of a list that a library function makes from a number.
pub const RANGE_MAX: i64 = 1_000_000;
/// Nodes that macros may write twice: nested ones would double the tree each time.
pub const COPIED_NODES_MAX: usize = 50_000;
