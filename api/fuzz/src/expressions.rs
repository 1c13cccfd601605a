//! Expressions in CEL: parsed, checked, estimated and evaluated.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use api_cel::{Declarations, EvalError, NoObjects, Program, Source, Type, Value, compile, parse};
use testbed::fuzz::Input;

use crate::laws;

/// What one evaluation may cost here: a tenth of what one of Kubernetes may.
const COST_MAX: u64 = 100_000;

static DECLARATIONS: LazyLock<Declarations> = LazyLock::new(|| {
    let plain = Declarations::kubernetes(Arc::new(NoObjects));
    plain.variable("self", Type::Dyn).variable("names", Type::list(Type::String))
});

/// Compiles an expression and asks it about a tree.
pub fn expressions(data: &[u8]) {
    let mut input = Input::new(data);
    let text = String::from_utf8_lossy(input.wide_piece()).into_owned();
    let own = serde_json::from_slice(input.rest()).unwrap_or_default();
    let parsed = laws::timed("parsing", || parse(&Source::new(&text)));
    let program = match laws::timed("compiling", || compile(&text, &DECLARATIONS)) {
        Ok(program) => program,
        Err(error) => return drop(laws::timed("an error", || error.to_string())),
    };
    assert!(parsed.is_ok(), "what compiles can be parsed");
    let (out, cost) = evaluated(&program, &own, COST_MAX);
    match &out {
        Err(why) if *why == EvalError::CostExceeded.to_string() => assert!(cost > COST_MAX, "Y7"),
        _ => assert!(cost <= COST_MAX, "Y7: {cost}"),
    }
    let (again, same_cost) = evaluated(&program, &own, COST_MAX);
    assert_eq!((&again, same_cost), (&out, cost), "an evaluation depends on its input only");
    if cost > COST_MAX {
        return;
    }
    // Y7: with just enough it ends the same, with less it does not go on.
    let (exact, _) = evaluated(&program, &own, cost);
    assert_eq!(exact, out, "Y7: the limit itself is no trouble");
    if let Some(less) = cost.checked_sub(1) {
        let (stopped, _) = evaluated(&program, &own, less);
        assert_eq!(stopped, Err(EvalError::CostExceeded.to_string()), "Y7: {text}");
    }
}

fn evaluated(
    program: &Program,
    own: &serde_json::Value,
    limit: u64,
) -> (Result<String, String>, u64) {
    laws::timed("an evaluation", || {
        let names = Value::list(["a", "b", "c"].map(Value::string).to_vec());
        let variables = HashMap::from([("self", Value::of_json(own, None)), ("names", names)]);
        let (out, cost) = program.evaluate(&variables, limit);
        (out.map(|one| format!("{one}")).map_err(|error| error.to_string()), cost)
    })
}
