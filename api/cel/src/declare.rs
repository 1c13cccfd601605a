//! What an expression may refer to: variables, functions with overloads, and types with fields.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::types::Type;
use crate::value::{Outcome, Value};

/// Knows the fields of object types: an `OpenAPI` schema, or a built-in type.
pub trait Provider: Send + Sync {
    /// Whether there is a type of this name.
    fn has_type(&self, name: &str) -> bool;
    /// The type of a field, by its name in expressions.
    fn field(&self, object: &str, field: &str) -> Option<Type>;
    /// A field's name in JSON, where it differs from that in expressions.
    fn property(&self, _object: &str, field: &str) -> Option<Arc<str>> {
        let _ = field;
        None
    }
}

/// No object types.
#[derive(Debug)]
pub struct NoObjects;

impl Provider for NoObjects {
    fn has_type(&self, _name: &str) -> bool {
        false
    }

    fn field(&self, _object: &str, _field: &str) -> Option<Type> {
        None
    }
}

/// What carries an overload out.
#[derive(Clone)]
pub enum Run {
    /// A library: it is told the function's name.
    Library(for<'v> fn(&str, &[Value<'v>]) -> Outcome<'v>),
    /// The caller's own.
    Own(OwnFunction),
}

/// A function that the caller of this crate carries out.
pub type OwnFunction = Arc<dyn for<'v> Fn(&[Value<'v>]) -> Outcome<'v> + Send + Sync>;

#[derive(Clone)]
pub struct Overload {
    pub id: Arc<str>,
    /// Called as `target.function(...)`; the first parameter is the target.
    pub member: bool,
    pub params: Vec<Type>,
    pub result: Type,
    pub run: Run,
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// Everything that is declared.
#[derive(Clone)]
pub struct Declarations {
    pub(crate) variables: HashMap<Arc<str>, Type>,
    pub(crate) functions: HashMap<Arc<str>, Vec<Arc<Overload>>>,
    pub(crate) provider: Arc<dyn Provider>,
}

impl fmt::Debug for Declarations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declarations").field("variables", &self.variables).finish_non_exhaustive()
    }
}

impl Declarations {
    /// Nothing but what the caller adds.
    #[must_use]
    pub fn empty(provider: Arc<dyn Provider>) -> Self {
        Self { variables: HashMap::new(), functions: HashMap::new(), provider }
    }

    /// The standard library and those of Kubernetes 1.36.
    #[must_use]
    pub fn kubernetes(provider: Arc<dyn Provider>) -> Self {
        let mut out = Self::empty(provider);
        for (table, run) in crate::library::LIBRARIES {
            out.table(table, &Run::Library(*run));
        }
        out
    }

    /// The same, without a function of the libraries.
    #[must_use]
    pub fn without(mut self, function: &str) -> Self {
        self.functions.remove(function);
        self
    }

    /// The same, with other types with fields.
    #[must_use]
    pub fn provided_by(self, provider: Arc<dyn Provider>) -> Self {
        Self { provider, ..self }
    }

    #[must_use]
    pub fn variable(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.into(), of);
        self
    }

    /// Declares an overload by its signature, `target.name(params) -> result` or
    /// `name(params) -> result`; a capital letter stands for any type.
    ///
    /// # Errors
    /// What of the signature is not understood.
    pub fn function(mut self, id: &str, signature: &str, run: OwnFunction) -> Result<Self, String> {
        self.add(id, signature, Run::Own(run))?;
        Ok(self)
    }

    fn table(&mut self, table: &str, run: &Run) {
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (id, signature) = line.split_once(": ").expect("each line has an id");
            self.add(id, signature, run.clone()).expect("the library's signatures are well-formed");
        }
    }

    fn add(&mut self, id: &str, signature: &str, run: Run) -> Result<(), String> {
        let (call, result) = signature.rsplit_once(" -> ").ok_or("no result")?;
        let call = call.strip_suffix(')').ok_or("no closing parenthesis")?;
        let mut params = Vec::new();
        // `[T] name(...)` is a member of T.
        let (target, call) = match call.strip_prefix('[') {
            Some(rest) => {
                let (target, call) = rest.split_once("] ").ok_or("no target")?;
                (Some(target), call)
            }
            None => (None, call),
        };
        let (name, args) = call.split_once('(').ok_or("no parenthesis")?;
        if let Some(target) = target {
            params.push(parse_type(target)?);
        }
        for arg in split(args) {
            params.push(parse_type(arg)?);
        }
        let overload = Overload {
            id: id.into(),
            member: target.is_some(),
            params,
            result: parse_type(result)?,
            run,
        };
        self.functions.entry(name.into()).or_default().push(Arc::new(overload));
        Ok(())
    }
}

/// The parts between commas that no parentheses enclose.
fn split(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(text[start..].trim());
    out.retain(|one| !one.is_empty());
    out
}

fn parse_type(text: &str) -> Result<Type, String> {
    if let Some((name, rest)) = text.split_once('(') {
        let inner = rest.strip_suffix(')').ok_or_else(|| format!("unclosed type {text}"))?;
        let mut params = split(inner).into_iter().map(parse_type).collect::<Result<Vec<_>, _>>()?;
        let last = params.pop().ok_or_else(|| format!("no parameter in {text}"))?;
        return match (name, params.pop()) {
            ("list", None) => Ok(Type::list(last)),
            ("optional_type", None) => Ok(Type::optional(last)),
            ("type", None) => Ok(Type::Type(Some(Arc::new(last)))),
            ("map", Some(key)) => Ok(Type::map(key, last)),
            _ => Err(format!("unknown type {text}")),
        };
    }
    if text.len() == 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) {
        return Ok(Type::Param(text.into()));
    }
    Ok(Type::of_name(text).unwrap_or_else(|| Type::object(text)))
}
