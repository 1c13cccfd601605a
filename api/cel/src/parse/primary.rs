//! Operands: literals, names, calls, selections, lists, maps and objects.

use std::sync::Arc;

use super::lexer::{Lexeme, Token};
use super::unescape::unescape;
use super::{OPERAND, Parser, Rule, Step};
use crate::ast::{Element, Entry, Expr, Field, Kind, Literal};
use crate::escape::RESERVED;

fn with(more: &[Token]) -> Vec<Token> {
    OPERAND.iter().chain(more).copied().collect()
}

impl Parser<'_> {
    pub(super) fn member(&mut self) -> Step<Expr> {
        self.within(Rule::Member, |parser| {
            let mut operand = parser.primary()?;
            loop {
                operand = match parser.peek() {
                    Token::Dot => {
                        parser.enter(Rule::Member)?;
                        parser.selection(operand)?
                    }
                    Token::OpenBracket => {
                        parser.enter(Rule::Member)?;
                        let open = parser.advance();
                        let optional = parser.accept(Token::Question).is_some();
                        let id = parser.id(open.start);
                        let index = parser.expr()?;
                        parser.take(&[Token::CloseBracket])?;
                        let function = if optional { "_[?_]" } else { "_[_]" };
                        parser.call(id, function, vec![operand, index])
                    }
                    _ => return Ok(operand),
                };
            }
        })
    }

    /// `.name`, `.?name` or `.name(...)`.
    fn selection(&mut self, operand: Expr) -> Step<Expr> {
        let dot = self.advance();
        let optional = self.accept(Token::Question).is_some();
        let name = self.lexemes[self.at];
        match name.token {
            Token::Ident => self.advance(),
            Token::EscapedIdent => {
                let place = name.start;
                self.advance();
                return Ok(self.wrong(place, "unsupported syntax: '`'"));
            }
            Token::True | Token::False | Token::Null => {
                let text = self.text(name);
                return Err(self.syntax(&format!("mismatched input '{text}' expecting IDENTIFIER")));
            }
            Token::End => return Err(self.syntax("no viable alternative at input '.'")),
            _ => {
                let from = dot.start;
                let text: String = self.source.chars[from..name.end].iter().collect();
                let text = text.replace(' ', "");
                return Err(self.syntax(&format!("no viable alternative at input '{text}'")));
            }
        };
        let text = self.text(name);
        if optional {
            let id = self.id(dot.start);
            let field = Kind::Literal(Literal::String(text.into()));
            let field = self.node(name.start, field);
            return Ok(Self::plain_call(id, "_?._", None, vec![operand, field]));
        }
        if let Some(open) = self.accept(Token::OpenParen) {
            let id = self.id(open.start);
            let args = self.arguments()?;
            return Ok(self.expand(id, &text, Some(operand), args));
        }
        let kind = Kind::Select { operand: Box::new(operand), field: text.into(), test: false };
        Ok(self.node(dot.start, kind))
    }

    /// What is between parentheses, the closing one included.
    fn arguments(&mut self) -> Step<Vec<Expr>> {
        let mut out = Vec::new();
        if self.accept(Token::CloseParen).is_some() {
            return Ok(out);
        }
        self.expect(&with(&[Token::CloseParen]))?;
        loop {
            out.push(self.expr()?);
            if self.take(&[Token::CloseParen, Token::Comma])?.token == Token::CloseParen {
                return Ok(out);
            }
        }
    }

    fn primary(&mut self) -> Step<Expr> {
        self.expect(OPERAND)?;
        let here = self.lexemes[self.at];
        match here.token {
            Token::Dot | Token::Ident => self.name(),
            Token::OpenParen => {
                self.advance();
                let inner = self.expr()?;
                self.take(&[Token::CloseParen])?;
                Ok(inner)
            }
            Token::OpenBracket => self.list(),
            Token::OpenBrace => self.map(),
            _ => self.literal(here),
        }
    }

    fn name(&mut self) -> Step<Expr> {
        let start = self.lexemes[self.at];
        let dot = self.accept(Token::Dot).is_some();
        let first = self.take(&[Token::Ident])?;
        let mut text = self.text(first);
        // `a.b.C{...}`: only the brace tells that this was the name of a type.
        if let Some((name, brace)) = self.object_name(&text, dot) {
            let id = self.id(brace.start);
            let fields = self.fields()?;
            return Ok(Expr { id, kind: Kind::Object { name: name.into(), fields } });
        }
        if RESERVED.contains(&text.as_str()) {
            let place = start.start;
            let wrong = self.wrong(place, format!("reserved identifier: {text}"));
            if self.accept(Token::OpenParen).is_some() {
                self.arguments()?;
            }
            return Ok(wrong);
        }
        if dot {
            text.insert(0, '.');
        }
        if let Some(open) = self.accept(Token::OpenParen) {
            let id = self.id(open.start);
            let args = self.arguments()?;
            return Ok(self.call(id, &text, args));
        }
        Ok(self.node(first.start, Kind::Ident(text.into())))
    }

    /// Reads on over `.b.C{`, if that is what follows.
    fn object_name(&mut self, first: &str, dot: bool) -> Option<(String, Lexeme)> {
        let mut name = first.to_owned();
        let mut at = self.at;
        loop {
            match self.lexemes[at].token {
                Token::OpenBrace => {
                    let brace = self.lexemes[at];
                    self.at = at + 1;
                    if dot {
                        name.insert(0, '.');
                    }
                    return Some((name, brace));
                }
                Token::Dot if self.lexemes.get(at + 1)?.token == Token::Ident => {
                    name.push('.');
                    name.push_str(&self.text(self.lexemes[at + 1]));
                    at += 2;
                }
                _ => return None,
            }
        }
    }

    fn fields(&mut self) -> Step<Vec<Field>> {
        let mut out = Vec::new();
        loop {
            if self.accept(Token::CloseBrace).is_some() {
                return Ok(out);
            }
            if !out.is_empty() {
                self.take(&[Token::Comma, Token::CloseBrace])?;
                if self.accept(Token::CloseBrace).is_some() {
                    return Ok(out);
                }
            }
            let optional = self.accept(Token::Question).is_some();
            let name = self.take(&[Token::Ident])?;
            let colon = self.take(&[Token::Colon])?;
            let id = self.id(colon.start);
            let value = self.expr()?;
            out.push(Field { id, name: self.text(name).into(), value, optional });
            if self.peek() != Token::Comma {
                self.take(&[Token::CloseBrace, Token::Comma])?;
                return Ok(out);
            }
        }
    }

    fn list(&mut self) -> Step<Expr> {
        let open = self.advance();
        let id = self.id(open.start);
        let mut out = Vec::new();
        loop {
            if self.accept(Token::CloseBracket).is_some() {
                break;
            }
            if out.is_empty() {
                self.expect(&with(&[Token::CloseBracket, Token::Comma, Token::Question]))?;
                // `[,]` is an empty list.
                if self.accept(Token::Comma).is_some() {
                    self.take(&[Token::CloseBracket])?;
                    break;
                }
            }
            let optional = self.accept(Token::Question).is_some();
            out.push(Element { value: self.expr()?, optional });
            if self.take(&[Token::CloseBracket, Token::Comma])?.token == Token::CloseBracket {
                break;
            }
        }
        Ok(Expr { id, kind: Kind::List(out) })
    }

    fn map(&mut self) -> Step<Expr> {
        let open = self.advance();
        let id = self.id(open.start);
        let mut out = Vec::new();
        loop {
            if self.accept(Token::CloseBrace).is_some() {
                break;
            }
            if out.is_empty() {
                self.expect(&with(&[Token::CloseBrace, Token::Comma, Token::Question]))?;
                if self.accept(Token::Comma).is_some() {
                    self.take(&[Token::CloseBrace])?;
                    break;
                }
            }
            let optional = self.accept(Token::Question).is_some();
            let key = self.expr()?;
            self.take(&[Token::Colon])?;
            let value = self.expr()?;
            out.push(Entry { key, value, optional });
            if self.take(&[Token::CloseBrace, Token::Comma])?.token == Token::CloseBrace {
                break;
            }
        }
        Ok(Expr { id, kind: Kind::Map(out) })
    }

    fn literal(&mut self, here: Lexeme) -> Step<Expr> {
        let place = here.start;
        let negative = here.token == Token::Minus;
        let mut lexeme = self.advance();
        if negative {
            lexeme = self.advance();
        }
        let text = self.text(lexeme);
        let sign = if negative { "-" } else { "" };
        let radix = |text: &str| text.strip_prefix("0x").map(|rest| (rest.to_owned(), 16));
        let literal = match lexeme.token {
            Token::True => Ok(Literal::Bool(true)),
            Token::False => Ok(Literal::Bool(false)),
            Token::Null => Ok(Literal::Null),
            Token::Int => {
                let (digits, radix) = radix(&text).unwrap_or((text, 10));
                i64::from_str_radix(&format!("{sign}{digits}"), radix)
                    .map(Literal::Int)
                    .map_err(|_| "invalid int literal")
            }
            Token::Uint => {
                let digits = &text[..text.len() - 1];
                let (digits, radix) = radix(digits).unwrap_or((digits.to_owned(), 10));
                u64::from_str_radix(&digits, radix)
                    .map(Literal::Uint)
                    .map_err(|_| "invalid uint literal")
            }
            Token::Float => match format!("{sign}{text}").parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Literal::Double(value)),
                _ => Err("invalid double literal"),
            },
            Token::String => {
                let chars = &self.source.chars[lexeme.start..lexeme.end];
                unescape(chars, false).map(|bytes| {
                    Literal::String(Arc::from(String::from_utf8_lossy(&bytes).as_ref()))
                })
            }
            Token::Bytes => {
                let chars = &self.source.chars[lexeme.start + 1..lexeme.end];
                unescape(chars, true).map(|bytes| Literal::Bytes(bytes.into()))
            }
            _ => Err("unexpected token"),
        };
        Ok(match literal {
            Ok(literal) => self.node(place, Kind::Literal(literal)),
            Err(message) => self.wrong(place, message),
        })
    }
}
