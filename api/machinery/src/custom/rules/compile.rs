//! One rule as a program, or why it is none.

use std::sync::{Arc, OnceLock};

use api_cel::{
    CompileError, Declarations, NoObjects, Program, Provider, Reference, Type, compile, estimate,
};

use super::types::{Below, Types};
use crate::custom::definition::field_path;
use crate::custom::schema::{Rule, Schema};

/// A rule that was compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    /// None for a rule without text.
    pub(super) program: Option<Result<Program, String>>,
    pub(super) uses_old_self: bool,
    /// What makes the message.
    pub(super) message: Option<Result<Program, String>>,
    /// The field that is blamed, below the rule's own.
    pub(super) field: Option<String>,
    /// Upstream's estimates of what it can cost.
    pub(super) cost_max: u64,
    pub(super) message_cost_max: u64,
}

/// What the rules of one level can name.
pub(super) struct Names {
    plain: Declarations,
    optional: Declarations,
}

impl Names {
    pub(super) fn of(types: &Arc<Types>, level: usize) -> Self {
        static LIBRARIES: OnceLock<Declarations> = OnceLock::new();
        let libraries = LIBRARIES.get_or_init(|| {
            // Patches are made by policies only.
            Declarations::kubernetes(Arc::new(NoObjects)).without("jsonpatch.escapeKey")
        });
        let provider: Arc<dyn Provider> = Arc::clone(types) as Arc<dyn Provider>;
        let of = types.type_of(level);
        let own = libraries.clone().provided_by(provider).variable("self", of.clone());
        Self {
            plain: own.clone().variable("oldSelf", of.clone()),
            optional: own.variable("oldSelf", Type::optional(of)),
        }
    }
}

pub(super) fn rule(
    rule: &Rule,
    schema: &Schema,
    names: &Names,
    (types, level): (&Types, usize),
) -> Compiled {
    let mut out = Compiled {
        rule: rule.clone(),
        program: None,
        uses_old_self: false,
        message: None,
        field: None,
        cost_max: 0,
        message_cost_max: 0,
    };
    if rule.rule.trim().is_empty() {
        return out;
    }
    let is_optional = rule.optional_old_self == Some(true);
    let names = if is_optional { &names.optional } else { &names.plain };
    let sizes = Below { types, level };
    let program = match compile(&rule.rule, names) {
        Err(why) => Err(told(&why, "compilation failed: ", "program instantiation failed: ")),
        Ok(program) if program.checked.result_type() != Type::Bool => {
            Err("cel expression must evaluate to a bool".to_owned())
        }
        Ok(program) => Ok(program),
    };
    if let Ok(program) = &program {
        let mut references = program.checked.references.iter().flatten();
        out.uses_old_self =
            references.any(|one| matches!(one, Reference::Variable(name) if **name == *"oldSelf"));
        out.cost_max = estimate(&program.checked, &sizes).max;
        if !rule.message_expression.is_empty() {
            let message = message(&rule.message_expression, names);
            if let Ok(message) = &message {
                out.message_cost_max = estimate(&message.checked, &sizes).max;
            }
            out.message = Some(message);
        }
        out.field = field_path::normalized(&rule.field_path, schema);
    }
    out.program = Some(program);
    out
}

fn message(text: &str, names: &Declarations) -> Result<Program, String> {
    let program = compile(text, names).map_err(|why| {
        told(
            &why,
            "messageExpression compilation failed: ",
            "messageExpression instantiation failed: ",
        )
    })?;
    if program.checked.result_type() != Type::String {
        return Err("messageExpression must evaluate to a string".to_owned());
    }
    Ok(program)
}

fn told(why: &CompileError, issues: &str, constant: &str) -> String {
    let what = match why {
        CompileError::Issues(_) => issues,
        CompileError::Constant(_) => constant,
    };
    format!("{what}{why}")
}
