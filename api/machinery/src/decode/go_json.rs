//! Why bytes are no JSON, in the words of Go's reader, which upstream passes on to clients.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | J1 | Every byte is looked at once, and nothing is built: the bytes come from the network. |
//! | J2 | What is said is about the first byte that no JSON can have there. |

/// What is open around a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array,
    /// A key comes next, or has been read.
    Object,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of an array that has just begun.
    ValueOrEnd,
    Key,
    /// A key, or the end of an object that has just begun.
    KeyOrEnd,
    Colon,
    /// What stands behind a whole value.
    After,
}

const END: &str = "unexpected end of JSON input";

/// Why these bytes are not JSON; `None` when they are.
pub(crate) fn why_not_json(bytes: &[u8]) -> Option<String> {
    Scanner { bytes, at: 0, open: Vec::new() }.run().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(), String> {
        let mut next = Next::Value;
        loop {
            self.skip_space();
            let Some(byte) = self.peek() else {
                return match next {
                    Next::After if self.open.is_empty() => Ok(()),
                    _ => Err(END.to_owned()),
                };
            };
            next = match (next, byte) {
                (Next::ValueOrEnd, b']') | (Next::KeyOrEnd, b'}') => self.close(),
                (Next::Value | Next::ValueOrEnd, _) => self.value(byte)?,
                (Next::Key | Next::KeyOrEnd, b'"') => {
                    self.string()?;
                    Next::Colon
                }
                (Next::Key | Next::KeyOrEnd, _) => {
                    return Err(self.wrong("looking for beginning of object key string"));
                }
                (Next::Colon, b':') => self.take(Next::Value),
                (Next::Colon, _) => return Err(self.wrong("after object key")),
                (Next::After, _) => self.after(byte)?,
            };
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, next: Next) -> Next {
        self.at += 1;
        next
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        self.take(Next::After)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// J2, about the byte that is next.
    fn wrong(&self, place: &str) -> String {
        self.peek().map_or_else(
            || END.to_owned(),
            |byte| format!("invalid character {} {place}", shown(byte)),
        )
    }

    fn value(&mut self, byte: u8) -> Result<Next, String> {
        match byte {
            b'{' => {
                self.open.push(Open::Object);
                return Ok(self.take(Next::KeyOrEnd));
            }
            b'[' => {
                self.open.push(Open::Array);
                return Ok(self.take(Next::ValueOrEnd));
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(self.wrong("looking for beginning of value")),
        }
        Ok(Next::After)
    }

    fn after(&mut self, byte: u8) -> Result<Next, String> {
        match (self.open.last(), byte) {
            (Some(Open::Array), b',') => Ok(self.take(Next::Value)),
            (Some(Open::Object), b',') => Ok(self.take(Next::Key)),
            (Some(Open::Array), b']') | (Some(Open::Object), b'}') => Ok(self.close()),
            (Some(Open::Array), _) => Err(self.wrong("after array element")),
            (Some(Open::Object), _) => Err(self.wrong("after object key:value pair")),
            (None, _) => Err(self.wrong("after top-level value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.bytes() {
            if self.peek() != Some(wanted) {
                let place = format!("in literal {word} (expecting {})", shown(wanted));
                return Err(self.wrong(&place));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(place));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                None | Some(..=0x1f) => return Err(self.wrong("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.wrong("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.wrong("in string escape code")),
        }
        Ok(())
    }
}

/// A byte as Go quotes it.
fn shown(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        ..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (text, wanted) in [
            ("", END),
            ("{", END),
            (" \n", END),
            ("[1,", END),
            ("{\"a\"", END),
            ("\"a", END),
            ("tru", END),
            ("-", END),
            ("{} x", "invalid character 'x' after top-level value"),
            ("{}{}", "invalid character '{' after top-level value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\":]", "invalid character ']' looking for beginning of value"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("\u{fe}", "invalid character 'Ã' looking for beginning of value"),
            ("nul1", "invalid character '1' in literal null (expecting 'l')"),
            ("01", "invalid character '1' after top-level value"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("1.a", "invalid character 'a' after decimal point in numeric literal"),
            ("1e]", "invalid character ']' in exponent of numeric literal"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00x\"", "invalid character 'x' in \\u hexadecimal character escape"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(why_not_json(text.as_bytes()).as_deref(), Some(wanted), "{text}");
        }
        for text in ["null", " 0 ", "-1.5e+3", "[]", "{}", "[{\"a\":[true,false]},\"\\u00ff\"]"] {
            assert_eq!(why_not_json(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn it_agrees_with_the_reader_about_what_is_json() {
        let seed = br#"{"a":[1,2.5e3,-0,"x\n\u0041",true,null,{}],"b":{"c":[]}}"#;
        for at in 0..seed.len() {
            for byte in [b'{', b'}', b'[', b']', b',', b':', b'"', b'0', b'-', b' ', b'x', b'\\'] {
                let mut text = seed.to_vec();
                text[at] = byte;
                let read = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
                let told = why_not_json(&text);
                assert_eq!(told.is_none(), read, "{:?} {told:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
