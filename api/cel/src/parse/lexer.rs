//! Text to tokens, each with its place; what is no token is an error and is skipped.

use crate::source::{Issue, Source};

/// In the order of the grammar's token types, in which error messages list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    End,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    EscapedIdent,
}

impl Token {
    /// How error messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::End => "<EOF>",
            Self::Equals => "'=='",
            Self::NotEquals => "'!='",
            Self::In => "'in'",
            Self::Less => "'<'",
            Self::LessEquals => "'<='",
            Self::GreaterEquals => "'>='",
            Self::Greater => "'>'",
            Self::And => "'&&'",
            Self::Or => "'||'",
            Self::OpenBracket => "'['",
            Self::CloseBracket => "']'",
            Self::OpenBrace => "'{'",
            Self::CloseBrace => "'}'",
            Self::OpenParen => "'('",
            Self::CloseParen => "')'",
            Self::Dot => "'.'",
            Self::Comma => "','",
            Self::Minus => "'-'",
            Self::Not => "'!'",
            Self::Question => "'?'",
            Self::Colon => "':'",
            Self::Plus => "'+'",
            Self::Star => "'*'",
            Self::Slash => "'/'",
            Self::Percent => "'%'",
            Self::True => "'true'",
            Self::False => "'false'",
            Self::Null => "'null'",
            Self::Float => "NUM_FLOAT",
            Self::Int => "NUM_INT",
            Self::Uint => "NUM_UINT",
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Ident => "IDENTIFIER",
            Self::EscapedIdent => "ESC_IDENTIFIER",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// How far a token reaches, or where it broke off.
type Reach = Result<(Token, usize), usize>;

pub(crate) fn lex(source: &Source) -> (Vec<Lexeme>, Vec<Issue>) {
    let chars = &source.chars;
    let (mut out, mut issues) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < chars.len() {
        let here = chars[at];
        if matches!(here, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
            at += 1;
        } else if here == '/' && chars.get(at + 1) == Some(&'/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else {
            match longest(chars, at) {
                Ok((token, end)) => {
                    out.push(Lexeme { token, start: at, end });
                    at = end;
                }
                Err(broken) => {
                    let end = (broken + 1).min(chars.len());
                    let message = format!(
                        "Syntax error: token recognition error at: '{}'",
                        escape_whitespace(&chars[at..end])
                    );
                    issues.push(Issue { place: Some(at), message });
                    at = end;
                }
            }
        }
    }
    out.push(Lexeme { token: Token::End, start: chars.len(), end: chars.len() });
    (out, issues)
}

fn escape_whitespace(chars: &[char]) -> String {
    let text: String = chars.iter().collect();
    text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn longest(chars: &[char], at: usize) -> Reach {
    let next = chars.get(at + 1).copied();
    let two =
        |second: char, token| if next == Some(second) { Ok((token, at + 2)) } else { Err(at + 1) };
    let or = |second: char, long, short| {
        Ok(if next == Some(second) { (long, at + 2) } else { (short, at + 1) })
    };
    let single = |token| Ok((token, at + 1));
    match chars[at] {
        '=' => two('=', Token::Equals),
        '&' => two('&', Token::And),
        '|' => two('|', Token::Or),
        '!' => or('=', Token::NotEquals, Token::Not),
        '<' => or('=', Token::LessEquals, Token::Less),
        '>' => or('=', Token::GreaterEquals, Token::Greater),
        '[' => single(Token::OpenBracket),
        ']' => single(Token::CloseBracket),
        '{' => single(Token::OpenBrace),
        '}' => single(Token::CloseBrace),
        '(' => single(Token::OpenParen),
        ')' => single(Token::CloseParen),
        '.' if next.is_some_and(|c| c.is_ascii_digit()) => Ok(number(chars, at)),
        '.' => single(Token::Dot),
        ',' => single(Token::Comma),
        '-' => single(Token::Minus),
        '?' => single(Token::Question),
        ':' => single(Token::Colon),
        '+' => single(Token::Plus),
        '*' => single(Token::Star),
        '/' => single(Token::Slash),
        '%' => single(Token::Percent),
        '0'..='9' => Ok(number(chars, at)),
        '"' | '\'' => string(chars, at, false).map(|end| (Token::String, end)),
        '`' => escaped_ident(chars, at),
        'a'..='z' | 'A'..='Z' | '_' => Ok(word(chars, at)),
        _ => Err(at),
    }
}

fn digits(chars: &[char], mut at: usize) -> usize {
    while chars.get(at).is_some_and(char::is_ascii_digit) {
        at += 1;
    }
    at
}

fn number(chars: &[char], start: usize) -> (Token, usize) {
    let is = |at: usize, what: fn(&char) -> bool| chars.get(at).is_some_and(what);
    let unsigned = |end: usize, token| {
        if is(end, |c| matches!(c, 'u' | 'U')) { (Token::Uint, end + 1) } else { (token, end) }
    };
    if chars[start] == '0' && is(start + 1, |c| *c == 'x') && is(start + 2, char::is_ascii_hexdigit)
    {
        let mut end = start + 2;
        while is(end, char::is_ascii_hexdigit) {
            end += 1;
        }
        return unsigned(end, Token::Int);
    }
    let mut end = digits(chars, start);
    let mut float = false;
    if is(end, |c| *c == '.') && is(end + 1, char::is_ascii_digit) {
        end = digits(chars, end + 1);
        float = true;
    }
    if is(end, |c| matches!(c, 'e' | 'E')) {
        let sign = usize::from(is(end + 1, |c| matches!(c, '+' | '-')));
        if is(end + 1 + sign, char::is_ascii_digit) {
            end = digits(chars, end + 1 + sign);
            float = true;
        }
    }
    if float { (Token::Float, end) } else { unsigned(end, Token::Int) }
}

/// An identifier, a word of the language, or a string with a prefix: whichever is longest.
fn word(chars: &[char], start: usize) -> (Token, usize) {
    let mut end = start;
    while chars.get(end).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
        end += 1;
    }
    let prefix: String = chars[start..end].iter().collect::<String>().to_ascii_lowercase();
    if matches!(prefix.as_str(), "r" | "b" | "br")
        && matches!(chars.get(end), Some('"' | '\''))
        && let Ok(close) = string(chars, end, prefix.ends_with('r'))
    {
        let token = if prefix.starts_with('b') { Token::Bytes } else { Token::String };
        return (token, close);
    }
    let text: String = chars[start..end].iter().collect();
    let token = match text.as_str() {
        "in" => Token::In,
        "true" => Token::True,
        "false" => Token::False,
        "null" => Token::Null,
        _ => Token::Ident,
    };
    (token, end)
}

fn escaped_ident(chars: &[char], start: usize) -> Reach {
    let mut at = start + 1;
    while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(*c)) {
        at += 1;
    }
    let closed = chars.get(at) == Some(&'`') && at > start + 1;
    if closed { Ok((Token::EscapedIdent, at + 1)) } else { Err(at) }
}

/// Where the string that opens at `start` ends, or where it breaks off.
fn string(chars: &[char], start: usize, raw: bool) -> Result<usize, usize> {
    let quote = chars[start];
    let triple = chars.get(start + 1) == Some(&quote) && chars.get(start + 2) == Some(&quote);
    let mut at = start + if triple { 3 } else { 1 };
    loop {
        let Some(&here) = chars.get(at) else {
            // Three quotes that never close are an empty string and one that never closes.
            return if triple { Ok(start + 2) } else { Err(at) };
        };
        if here == quote {
            if !triple {
                return Ok(at + 1);
            }
            if chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote) {
                return Ok(at + 3);
            }
            at += 1;
        } else if here == '\\' && !raw {
            at = match escape_end(chars, at) {
                Err(_) if triple => return Ok(start + 2),
                other => other?,
            };
        } else if !triple && matches!(here, '\n' | '\r') {
            return Err(at);
        } else {
            at += 1;
        }
    }
}

fn escape_end(chars: &[char], at: usize) -> Result<usize, usize> {
    let all = |count: usize, what: fn(&char) -> bool| {
        let from = at + 2;
        let bad = (from..from + count).find(|at| !chars.get(*at).is_some_and(what));
        bad.map_or(Ok(from + count), Err)
    };
    match chars.get(at + 1) {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => Ok(at + 2),
        Some('0'..='3') => all(2, |c| matches!(c, '0'..='7')),
        Some('x' | 'X') => all(2, char::is_ascii_hexdigit),
        Some('u') => all(4, char::is_ascii_hexdigit),
        Some('U') => all(8, char::is_ascii_hexdigit),
        _ => Err(at + 1),
    }
}
