//! Text to a tree, by descent through the grammar, macros expanded on the way.
//!
//! After the first error of the grammar that skipping one token cannot mend the parser stops, where
//! upstream guesses on: the report has that error and not what follows from it.

mod lexer;
mod macros;
mod primary;
mod unescape;

use std::sync::Arc;

use crate::ast::{Expr, Id, Kind};
use crate::limits::{
    EXPRESSION_CODE_POINTS_MAX, RECURSION_DEPTH_MAX, SHALLOW_NESTING_MAX, STACK_BYTES,
    TREE_DEPTH_MAX,
};
use crate::source::{Issue, Issues, Source};
use lexer::{Lexeme, Token};

/// A tree, and the place of each of its nodes.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub expr: Expr,
    pub places: Vec<usize>,
}

/// The parser had to stop; what it found is among its issues.
struct Stopped;
type Step<T> = Result<T, Stopped>;

/// What an operand can begin with.
const OPERAND: &[Token] = &[
    Token::OpenBracket,
    Token::OpenBrace,
    Token::OpenParen,
    Token::Dot,
    Token::Minus,
    Token::Not,
    Token::True,
    Token::False,
    Token::Null,
    Token::Float,
    Token::Int,
    Token::Uint,
    Token::String,
    Token::Bytes,
    Token::Ident,
];

/// The rules of the grammar whose depth is bounded.
#[derive(Clone, Copy)]
enum Rule {
    Expr,
    Relation,
    Calc,
    Unary,
    Member,
}

struct Parser<'s> {
    source: &'s Source,
    lexemes: Vec<Lexeme>,
    at: usize,
    places: Vec<usize>,
    issues: Vec<Issue>,
    depth: [usize; 5],
    /// Nodes that macros wrote twice.
    copied: usize,
}

/// Parses an expression.
///
/// # Errors
/// Everything that is wrong with its grammar and its macros.
pub fn parse(source: &Source) -> Result<Parsed, Issues> {
    let size = source.chars.len();
    if size > EXPRESSION_CODE_POINTS_MAX {
        let message = format!(
            "expression code point size exceeds limit: size: {size}, limit {EXPRESSION_CODE_POINTS_MAX}"
        );
        return Err(source.report(vec![Issue { place: None, message }]));
    }
    let (lexemes, issues) = lexer::lex(source);
    let mut parser =
        Parser { source, lexemes, at: 0, places: Vec::new(), issues, depth: [0; 5], copied: 0 };
    let expr = match nesting(&parser.lexemes) {
        depth if depth <= SHALLOW_NESTING_MAX => parser.whole(),
        _ => on_a_large_stack(&mut parser),
    };
    match expr {
        Ok(expr) if parser.issues.is_empty() => {
            if depth_exceeds(&expr, TREE_DEPTH_MAX) {
                let message = "max recursion depth exceeded".to_owned();
                return Err(source.report(vec![Issue { place: None, message }]));
            }
            Ok(Parsed { expr, places: parser.places })
        }
        _ => Err(source.report(parser.issues)),
    }
}

/// How deep expressions can lie in each other: in brackets, and behind conditions.
fn nesting(lexemes: &[Lexeme]) -> usize {
    let (mut depth, mut deepest, mut conditions) = (0_usize, 0, 0);
    for lexeme in lexemes {
        match lexeme.token {
            Token::OpenParen | Token::OpenBracket | Token::OpenBrace => depth += 1,
            Token::CloseParen | Token::CloseBracket | Token::CloseBrace => {
                depth = depth.saturating_sub(1);
            }
            Token::Question => conditions += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + conditions
}

/// Parses on a stack of its own: that of a caller's thread may be too small for what lies deep.
fn on_a_large_stack(parser: &mut Parser<'_>) -> Step<Expr> {
    let parsed = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, || parser.whole()).ok()?.join().ok()
    });
    parsed.unwrap_or_else(|| {
        let message = "no stack that the expression could be parsed on".to_owned();
        parser.issues.push(Issue { place: None, message });
        Err(Stopped)
    })
}

/// Whether a tree is deeper than this; stops looking there.
fn depth_exceeds(expr: &Expr, left: usize) -> bool {
    left == 0 || expr.children().iter().any(|child| depth_exceeds(child, left - 1))
}

impl Parser<'_> {
    fn whole(&mut self) -> Step<Expr> {
        let expr = self.expr()?;
        self.take(&[Token::End])?;
        Ok(expr)
    }

    fn peek(&self) -> Token {
        self.lexemes[self.at].token
    }

    fn peek_second(&self) -> Token {
        self.lexemes.get(self.at + 1).map_or(Token::End, |one| one.token)
    }

    fn advance(&mut self) -> Lexeme {
        let here = self.lexemes[self.at];
        // The last token is the end, which is never passed.
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        here
    }

    fn accept(&mut self, token: Token) -> Option<Lexeme> {
        (self.peek() == token).then(|| self.advance())
    }

    fn text(&self, lexeme: Lexeme) -> String {
        match lexeme.token {
            Token::End => "<EOF>".to_owned(),
            _ => self.source.chars[lexeme.start..lexeme.end].iter().collect(),
        }
    }

    fn id(&mut self, place: usize) -> Id {
        self.places.push(place);
        self.places.len() - 1
    }

    fn node(&mut self, place: usize, kind: Kind) -> Expr {
        Expr { id: self.id(place), kind }
    }

    fn issue(&mut self, place: usize, message: impl Into<String>) {
        self.issues.push(Issue { place: Some(place), message: message.into() });
    }

    fn syntax(&mut self, message: &str) -> Stopped {
        let place = self.lexemes[self.at].start;
        self.issue(place, format!("Syntax error: {message}"));
        Stopped
    }

    /// An error where a node should be: it is kept, and the text is read on.
    fn wrong(&mut self, place: usize, message: impl Into<String>) -> Expr {
        self.issue(place, message);
        self.node(place, Kind::Literal(crate::ast::Literal::Null))
    }

    /// One of these tokens comes next; a single token too many before it is reported and skipped.
    fn expect(&mut self, wanted: &[Token]) -> Step<()> {
        if wanted.contains(&self.peek()) {
            return Ok(());
        }
        let found = self.text(self.lexemes[self.at]);
        let mut names: Vec<Token> = wanted.to_vec();
        names.sort_unstable();
        let names: Vec<&str> = names.iter().map(|one| one.name()).collect();
        let names = match names.as_slice() {
            [one] => (*one).to_owned(),
            _ => format!("{{{}}}", names.join(", ")),
        };
        let found = found.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
        if self.peek() != Token::End && wanted.contains(&self.peek_second()) {
            self.syntax(&format!("extraneous input '{found}' expecting {names}"));
            self.advance();
            return Ok(());
        }
        Err(self.syntax(&format!("mismatched input '{found}' expecting {names}")))
    }

    fn take(&mut self, wanted: &[Token]) -> Step<Lexeme> {
        self.expect(wanted)?;
        Ok(self.advance())
    }

    fn enter(&mut self, rule: Rule) -> Step<()> {
        self.depth[rule as usize] += 1;
        if self.depth[rule as usize] > RECURSION_DEPTH_MAX {
            let message = format!("expression recursion limit exceeded: {RECURSION_DEPTH_MAX}");
            self.issues.push(Issue { place: None, message });
            return Err(Stopped);
        }
        Ok(())
    }

    /// Runs a rule of the grammar with its depth counted.
    fn within<T>(&mut self, rule: Rule, run: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let before = self.depth[rule as usize];
        self.enter(rule)?;
        let out = run(self)?;
        self.depth[rule as usize] = before;
        Ok(out)
    }

    fn expr(&mut self) -> Step<Expr> {
        self.within(Rule::Expr, |parser| {
            let condition = parser.or()?;
            let Some(operator) = parser.accept(Token::Question) else { return Ok(condition) };
            let id = parser.id(operator.start);
            let yes = parser.or()?;
            parser.take(&[Token::Colon])?;
            let no = parser.expr()?;
            Ok(parser.call(id, "_?_:_", vec![condition, yes, no]))
        })
    }

    fn or(&mut self) -> Step<Expr> {
        self.logic(Token::Or, "_||_", |parser| parser.logic(Token::And, "_&&_", Self::relation))
    }

    /// `a && b && c`: a balanced tree, so that a long one is not a deep one.
    fn logic(
        &mut self,
        token: Token,
        function: &str,
        operand: impl Fn(&mut Self) -> Step<Expr>,
    ) -> Step<Expr> {
        let mut terms = vec![operand(self)?];
        let mut ids = Vec::new();
        while let Some(operator) = self.accept(token) {
            let id = self.id(operator.start);
            ids.push(id);
            terms.push(operand(self)?);
        }
        Ok(self.balance(function, &ids, terms))
    }

    fn balance(&mut self, function: &str, ids: &[Id], mut terms: Vec<Expr>) -> Expr {
        if ids.is_empty() {
            return terms.pop().expect("there is one term more than operators");
        }
        let middle = ids.len() / 2;
        let right = terms.split_off(middle + 1);
        let left = self.balance(function, &ids[..middle], terms);
        let right = self.balance(function, &ids[middle + 1..], right);
        self.call(ids[middle], function, vec![left, right])
    }

    fn relation(&mut self) -> Step<Expr> {
        self.within(Rule::Relation, |parser| {
            let mut left = parser.sum()?;
            loop {
                let function = match parser.peek() {
                    Token::Less => "_<_",
                    Token::LessEquals => "_<=_",
                    Token::Greater => "_>_",
                    Token::GreaterEquals => "_>=_",
                    Token::Equals => "_==_",
                    Token::NotEquals => "_!=_",
                    Token::In => "@in",
                    _ => return Ok(left),
                };
                parser.enter(Rule::Relation)?;
                let place = parser.advance().start;
                let id = parser.id(place);
                let right = parser.sum()?;
                left = parser.call(id, function, vec![left, right]);
            }
        })
    }

    fn sum(&mut self) -> Step<Expr> {
        self.within(Rule::Calc, |parser| {
            let mut left = parser.product()?;
            loop {
                let function = match parser.peek() {
                    Token::Plus => "_+_",
                    Token::Minus => "_-_",
                    _ => return Ok(left),
                };
                parser.enter(Rule::Calc)?;
                let place = parser.advance().start;
                let id = parser.id(place);
                let right = parser.product()?;
                left = parser.call(id, function, vec![left, right]);
            }
        })
    }

    fn product(&mut self) -> Step<Expr> {
        let mut left = self.unary()?;
        let before = self.depth[Rule::Calc as usize];
        loop {
            let function = match self.peek() {
                Token::Star => "_*_",
                Token::Slash => "_/_",
                Token::Percent => "_%_",
                _ => break,
            };
            self.enter(Rule::Calc)?;
            let place = self.advance().start;
            let id = self.id(place);
            let right = self.unary()?;
            left = self.call(id, function, vec![left, right]);
        }
        self.depth[Rule::Calc as usize] = before;
        Ok(left)
    }

    fn unary(&mut self) -> Step<Expr> {
        self.within(Rule::Unary, |parser| {
            let token = parser.peek();
            let function = match token {
                Token::Not => "!_",
                Token::Minus if !parser.is_negative_number() => "-_",
                _ => return parser.member(),
            };
            let place = parser.lexemes[parser.at].start;
            let mut count = 0_usize;
            while parser.peek() == token && !(count > 0 && parser.is_negative_number()) {
                parser.advance();
                count += 1;
            }
            let id = parser.id(place);
            let operand = parser.member()?;
            // Two of them are none.
            Ok(if count.is_multiple_of(2) {
                operand
            } else {
                parser.call(id, function, vec![operand])
            })
        })
    }

    fn is_negative_number(&self) -> bool {
        self.peek() == Token::Minus && matches!(self.peek_second(), Token::Int | Token::Float)
    }

    /// A call of a function or operator, or what a macro of that name makes of it.
    fn call(&mut self, id: Id, function: &str, args: Vec<Expr>) -> Expr {
        self.expand(id, function, None, args)
    }

    fn plain_call(id: Id, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let function: Arc<str> = Arc::from(function);
        Expr { id, kind: Kind::Call { target: target.map(Box::new), function, args } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_expression_is_not_a_deep_one() {
        let long = vec!["a"; 5000].join(" && ");
        assert!(parse(&Source::new(&long)).is_ok());
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        for (open, close) in [("(", ")"), ("[", "]"), ("-(", ")"), ("a[", "]"), ("f(", ")")] {
            let text = format!("{}1{}", open.repeat(300), close.repeat(300));
            let error = parse(&Source::new(&text)).unwrap_err();
            assert_eq!(error.issues[0].message, "expression recursion limit exceeded: 250");
        }
        for text in ["a", " + a", ".b"].map(|one| format!("a{}", one.repeat(300))) {
            let _ = parse(&Source::new(&text));
        }
        assert!(parse(&Source::new(&format!("a{}", ".b".repeat(300)))).is_err());
        assert!(parse(&Source::new(&format!("a{}", " + a".repeat(300)))).is_err());
    }
}
