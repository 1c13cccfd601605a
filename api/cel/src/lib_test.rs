//! Expressions from text to value, cost and error. Compile errors are what a real kube-apiserver
//! 1.36 answered, costs are those of upstream's tests; values and other failures are by reading.

use std::collections::HashMap;
use std::sync::Arc;

use crate::*;

fn declarations() -> Declarations {
    Declarations::kubernetes(Arc::new(NoObjects)).variable("self", Type::Dyn)
}

fn evaluate(text: &str, own: &serde_json::Value) -> (Result<String, String>, u64) {
    let program = match compile(text, &declarations()) {
        Ok(program) => program,
        Err(error) => return (Err(error.to_string()), 0),
    };
    let variables = HashMap::from([("self", Value::of_json(own, None))]);
    let (out, cost) = program.evaluate(&variables, limits::COST_PER_CALL_MAX);
    (out.map(|one| one.to_string()).map_err(|error| error.to_string()), cost)
}

/// Asked as a policy's expression, by a dry run.
#[test]
fn errors_of_an_expression_are_upstreams() {
    const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
                           NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    let end = format!("Syntax error: mismatched input '<EOF>' expecting {OPERAND}");
    let cases = [
        ("1 +", format!("1:4: {end}\n | 1 +\n | ...^")),
        ("1 + 'a'", "1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^".to_owned()),
        ("x.y", "1:1: undeclared reference to 'x' (in container '')\n | x.y\n | ^".to_owned()),
        ("a b", "1:3: Syntax error: extraneous input 'b' expecting <EOF>\n | a b\n | ..^".to_owned()),
        ("[1, 2", "1:6: Syntax error: mismatched input '<EOF>' expecting {']', ','}\n | [1, 2\n | .....^".to_owned()),
        ("has(a)", "1:5: invalid argument to has() macro\n | has(a)\n | ....^".to_owned()),
        ("[1].all(1, true)", "1:9: argument must be a simple name\n | [1].all(1, true)\n | ........^".to_owned()),
        ("if", "1:1: reserved identifier: if\n | if\n | ^".to_owned()),
        ("foo.", "1:5: Syntax error: no viable alternative at input '.'\n | foo.\n | ....^".to_owned()),
        ("a ? b", "1:6: Syntax error: mismatched input '<EOF>' expecting ':'\n | a ? b\n | .....^".to_owned()),
        ("'a'.foo() == 1", "1:8: undeclared reference to 'foo' (in container '')\n | 'a'.foo() == 1\n | .......^".to_owned()),
        ("[1,'a'].size() == 1", "1:4: expected type 'int' but found 'string'\n | [1,'a'].size() == 1\n | ...^".to_owned()),
        ("'a'.matches('[')", "1:13: invalid matches argument\n | 'a'.matches('[')\n | ............^".to_owned()),
        ("''.foo", "1:3: type 'string' does not support field selection\n | ''.foo\n | ..^".to_owned()),
        ("a.true", "1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | a.true\n | ..^".to_owned()),
        ("-'a' == 1", "1:1: found no matching overload for '-_' applied to '(string)'\n | -'a' == 1\n | ^".to_owned()),
    ];
    for (text, expected) in cases {
        let error = compile(text, &declarations()).unwrap_err().to_string();
        assert_eq!(error, format!("ERROR: <input>:{expected}"), "{text}");
    }
}

#[test]
fn expressions_are_true() {
    let own = serde_json::json!({"a": 1, "list": [1, 2, 3], "map": {"k": "v"}, "s": "Rook"});
    for text in [
        "1 + 2 * 3 == 7",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 3)",
        "self.list.map(x, x * 2) == [2, 4, 6]",
        "self.list.filter(x, x > 1).size() == 2",
        "self.list.exists_one(x, x == 2)",
        "has(self.a) && !has(self.b)",
        "self.map.all(k, k == 'k')",
        "self.?b.orValue(5) == 5 && self.?a.hasValue()",
        "self[?'b'] == optional.none()",
        "[1, 2].transformList(i, v, i + v) == [1, 3]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "optional.of(1).optMap(x, x + 1).value() == 2",
        "self.s.lowerAscii() == 'rook' && self.s.substring(1) == 'ook'",
        "'%s-%d'.format(['a', dyn(1)]) == 'a-1'",
        "duration('1h') == duration('60m') && string(duration('1h')) == '3600s'",
        "timestamp('2023-01-01T00:00:00Z').getFullYear() == 2023",
        "quantity('1.5Gi').isGreaterThan(quantity('1G'))",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "ip.isCanonical('::1') && !isIP('x')",
        "semver('1.2.3').isLessThan(semver('1.10.0'))",
        "sets.contains([1, 2], [2]) && !sets.intersects([1], [2])",
        "url('https://a.b:80/c?d=e').getHost() == 'a.b:80'",
        "format.dns1123Label().validate('x') == optional.none()",
        "b'\\x61' == bytes('a') && r'\\n'.size() == 2",
        "type(1) == int && 1.0 == double(1)",
        "false && 1 / 0 == 1 || true",
        "'abc 123'.find('[0-9]+') == '123'",
        "'%s %s %s'.format([1, duration('1s'), 'a']) == '1 1s a'",
    ] {
        assert_eq!(evaluate(text, &own).0, Ok("true".to_owned()), "{text}");
    }
}

#[test]
fn failures_are_upstreams() {
    let own = serde_json::json!({"list": []});
    for (text, expected) in [
        ("self.x", "no such key: x"),
        ("self.list[0]", "index out of bounds: 0"),
        ("1 / (1 - 1)", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("dyn(1) + dyn('a')", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
    ] {
        assert_eq!(evaluate(text, &own).0, Err(expected.to_owned()), "{text}");
    }
}

/// From upstream's test of cost stability.
#[test]
fn costs_are_upstreams() {
    let own = serde_json::json!({"val1": "Rook takes 👑", "val2": 5});
    for (text, expected) in [
        ("self.val1.startsWith('Rook')", 4),
        ("!self.val1.startsWith('knight')", 5),
        ("self.val1.matches('^[^0-9]*$')", 8),
        ("size(self.val1) == 12", 4),
        ("self.val1.charAt(3) == 'k'", 4),
        ("self.val1.split(' ') == ['Rook', 'takes', '👑']", 6),
        ("self.val1.upperAscii() == 'ROOK TAKES 👑'", 6),
        ("double(5) < 10.0", 1),
        ("double(self.val2) < 10.0", 4),
        ("type(self.val1) == string", 4),
    ] {
        let (out, cost) = evaluate(text, &own);
        assert_eq!((out.is_ok(), cost), (true, expected), "{text}");
    }
}

#[test]
fn the_cost_limit_cannot_be_absorbed() {
    let program = compile("self.all(x, self.all(y, true)) || true", &declarations()).unwrap();
    let own = serde_json::json!(vec![1; 100]);
    let variables = HashMap::from([("self", Value::of_json(&own, None))]);
    assert_eq!(program.evaluate(&variables, 50).0, Err(EvalError::CostExceeded));
}

struct Nothing;

impl Sizes for Nothing {
    fn size_max(&self, _path: &[Step]) -> Option<u64> {
        None
    }
}

/// Deep trees are compiled and run on the stack that a thread of the server has.
#[test]
fn what_upstream_takes_fits_on_the_stack() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(240), close.repeat(240));
    let texts = [
        nested("(", ")"),
        nested("[", "]"),
        nested("-(", ")"),
        nested("{1: ", "}"),
        nested("type(", ")"),
        format!("{}1", "true ? 1 : ".repeat(240)),
        format!("{}true{}", "[1].all(x, ".repeat(90), ")".repeat(90)),
    ];
    let run = move || {
        for text in &texts {
            let (outcome, _) = evaluate(text, &serde_json::json!(1));
            assert!(outcome.is_ok(), "{text}: {outcome:?}");
            let program = compile(text, &declarations()).unwrap();
            let cost = estimate(&program.checked, &Nothing);
            assert!(cost.min <= cost.max, "{text}");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn lists_are_sorted_and_their_ends_found() {
    let own = serde_json::json!({"l": [{"n": 3}, {"n": 1}, {"n": 2}]});
    for text in [
        "self.l.sortBy(e, int(e.n)).map(e, e.n) == [1, 2, 3]",
        "self.l.first().value().n == 3 && self.l.last().orValue({'n': 0}).n == 2",
        "[].first() == optional.none()",
        "sets.contains([[1], [2]], [[1]]) && !sets.contains([[1]], [[2]])",
        "'abc'.matches('^a') && 'abc'.find('b.') == 'bc'",
    ] {
        assert_eq!(evaluate(text, &own).0, Ok("true".to_owned()), "{text}");
    }
}
