//! Patterns of schemas: Go's regular expressions, run by the crate `regex`.
//!
//! Both are RE2's kind and take linear time; where they read a pattern differently it is written
//! anew: `\d`, `\w`, `\s` and `\b` are ASCII in Go, `[` is an ordinary letter inside of a class,
//! and a brace that is no repetition is one, too.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use crate::limits::{PATTERN_BYTES_MAX, PATTERNS_KEPT_MAX};

/// Whether a text has a match of a pattern.
///
/// # Errors
/// What is wrong with the pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Result<bool, String> {
    // A compiled pattern is a hundred times its text: few are kept, and none with the schema.
    static KEPT: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let known = KEPT.lock().get(pattern).cloned();
    if let Some(regex) = known {
        return Ok(regex.is_match(text));
    }
    let regex = compile(pattern)?;
    let fits = regex.is_match(text);
    let mut kept = KEPT.lock();
    if kept.len() >= PATTERNS_KEPT_MAX {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), regex);
    Ok(fits)
}

/// What is wrong with a pattern, in Go's words where it is a common mistake.
///
/// # Errors
/// `error parsing regexp: ...`
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let wrong = |why: String| format!("error parsing regexp: {why}");
    let rewritten = Rewriter::new(pattern).run().map_err(wrong)?;
    let built = RegexBuilder::new(&rewritten).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong(format!("expression too large: `{pattern}`")),
        _ => wrong(format!("invalid or unsupported Perl syntax: `{pattern}`")),
    })
}

struct Rewriter<'a> {
    pattern: &'a str,
    letters: Vec<(usize, char)>,
    at: usize,
    out: String,
    groups: usize,
    /// Where the last repetition began; what follows it at once may not be another one.
    repetition: Option<(usize, usize)>,
    has_operand: bool,
}

impl<'a> Rewriter<'a> {
    fn new(pattern: &'a str) -> Self {
        Self {
            pattern,
            letters: pattern.char_indices().collect(),
            at: 0,
            out: String::with_capacity(pattern.len() + 16),
            groups: 0,
            repetition: None,
            has_operand: false,
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).map(|(_, letter)| *letter)
    }

    fn position(&self) -> usize {
        self.letters.get(self.at).map_or(self.pattern.len(), |(position, _)| *position)
    }

    fn run(mut self) -> Result<String, String> {
        while let Some(letter) = self.peek(0) {
            match letter {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.open()?,
                ')' => {
                    if self.groups == 0 {
                        return Err(format!("unexpected ): `{}`", self.pattern));
                    }
                    self.groups -= 1;
                    self.push_operand(')');
                }
                '*' | '+' | '?' => self.repeat(1)?,
                '{' => match self.braces()? {
                    Some(length) => self.repeat(length)?,
                    None => {
                        self.out.push('\\');
                        self.push_operand('{');
                    }
                },
                '|' => {
                    self.push_operand('|');
                    self.has_operand = false;
                }
                '}' | ']' => {
                    self.out.push('\\');
                    self.push_operand(letter);
                }
                _ => self.push_operand(letter),
            }
        }
        if self.groups > 0 {
            return Err(format!("missing closing ): `{}`", self.pattern));
        }
        Ok(self.out)
    }

    fn push_operand(&mut self, letter: char) {
        self.out.push(letter);
        self.at += 1;
        self.has_operand = true;
        self.repetition = None;
    }

    fn open(&mut self) -> Result<(), String> {
        let start = self.position();
        self.out.push('(');
        self.at += 1;
        self.groups += 1;
        self.has_operand = false;
        self.repetition = None;
        if self.peek(0) != Some('?') {
            return Ok(());
        }
        let rest = &self.pattern[start..];
        let flags: String = rest.chars().skip(2).take_while(|c| *c != ':' && *c != ')').collect();
        let is_name = rest.starts_with("(?P<") || rest.starts_with("(?<");
        if is_name && !rest.starts_with("(?<=") && !rest.starts_with("(?<!") {
            let end = rest.find('>').ok_or_else(|| format!("invalid named capture: `{rest}`"))?;
            self.out.push_str(&rest[1..=end]);
            self.at += rest[1..=end].chars().count();
            return Ok(());
        }
        if !flags.chars().all(|flag| "imsU-".contains(flag)) {
            let length = flags.chars().next().map_or(0, char::len_utf8);
            let shown = &rest[..(2 + length).min(rest.len())];
            return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
        }
        self.out.push('?');
        self.out.push_str(&flags);
        self.at += 1 + flags.chars().count();
        match self.peek(0) {
            Some(':') => self.out.push(':'),
            Some(')') => {
                self.out.push(')');
                self.groups -= 1;
            }
            _ => return Err(format!("missing closing ): `{}`", self.pattern)),
        }
        self.at += 1;
        Ok(())
    }

    /// The letters of a repetition in braces; `None` when it is none.
    fn braces(&self) -> Result<Option<usize>, String> {
        let rest = &self.pattern[self.position()..];
        let Some(end) = rest.find('}') else { return Ok(None) };
        let inside = &rest[1..end];
        let (min, max) = match inside.split_once(',') {
            Some((min, "")) => (min, None),
            Some((min, max)) => (min, Some(max)),
            None => (inside, Some(inside)),
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !is_number(min) || !max.is_none_or(is_number) {
            return Ok(None);
        }
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let is_bad = |text: &str| count(text) > 1000;
        if is_bad(min) || max.is_some_and(|max| is_bad(max) || count(max) < count(min)) {
            return Err(format!("invalid repeat count: `{}`", &rest[..=end]));
        }
        Ok(Some(end + 1))
    }

    fn repeat(&mut self, length: usize) -> Result<(), String> {
        let start = self.position();
        // The lazy form is part of the repetition.
        let length = length + usize::from(self.peek(length) == Some('?'));
        let text = &self.pattern[start..start + length];
        if let Some((first, end)) = self.repetition
            && end == start
        {
            let both = &self.pattern[first..start + length];
            return Err(format!("invalid nested repetition operator: `{both}`"));
        }
        if !self.has_operand {
            return Err(format!("missing argument to repetition operator: `{text}`"));
        }
        self.out.push_str(text);
        self.at += length;
        self.repetition = Some((start, start + length));
        Ok(())
    }

    /// An escape, inside of a class or not.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let start = self.position();
        let Some(letter) = self.peek(1) else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        if letter == 'Q' && !in_class {
            let rest = &self.pattern[start + 2..];
            let text = rest.split("\\E").next().unwrap_or(rest);
            self.out.push_str(&regex::escape(text));
            let ended = rest.len() > text.len();
            self.at += 2 + text.chars().count() + if ended { 2 } else { 0 };
            self.has_operand = true;
            self.repetition = None;
            return Ok(());
        }
        let written = match (letter, in_class) {
            ('d', true) => "0-9",
            ('w', true) => "0-9A-Za-z_",
            ('s', true) => "\\t\\n\\x0c\\r ",
            ('d', false) => "[0-9]",
            ('w', false) => "[0-9A-Za-z_]",
            ('s', false) => "[\\t\\n\\x0c\\r ]",
            ('D', _) => "[^0-9]",
            ('W', _) => "[^0-9A-Za-z_]",
            ('S', _) => "[^\\t\\n\\x0c\\r ]",
            ('b', false) => "(?-u:\\b)",
            ('B', false) => "\\B",
            ('A', false) => "\\A",
            ('z', false) => "\\z",
            ('a', _) => "\\x07",
            ('f', _) => "\\x0c",
            ('v', _) => "\\x0b",
            ('t', _) => "\\t",
            ('n', _) => "\\n",
            ('r', _) => "\\r",
            ('p' | 'P' | 'x', _) => return self.long_escape(letter),
            ('0'..='7', _) => return self.octal(),
            _ if letter.is_ascii_punctuation() && letter != '_' => {
                self.out.push_str(&regex::escape(&letter.to_string()));
                self.skip_escape(2);
                return Ok(());
            }
            _ => return Err(format!("invalid escape sequence: `\\{letter}`")),
        };
        self.out.push_str(written);
        self.skip_escape(2);
        Ok(())
    }

    fn skip_escape(&mut self, letters: usize) {
        self.at += letters;
        self.has_operand = true;
        self.repetition = None;
    }

    /// `\pN`, `\p{Greek}`, `\x7F`, `\x{10FFFF}`.
    fn long_escape(&mut self, letter: char) -> Result<(), String> {
        let rest = &self.pattern[self.position()..];
        let length = match rest[2..].chars().next() {
            Some('{') => rest.find('}').map(|end| end + 1),
            Some(first) if letter != 'x' => Some(2 + first.len_utf8()),
            _ => rest.get(2..4).filter(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit())).map(|_| 4),
        };
        let Some(length) = length else {
            return Err(format!("invalid escape sequence: `{}`", rest.get(..2).unwrap_or(rest)));
        };
        let text = &rest[..length];
        self.out.push_str(text);
        self.skip_escape(text.chars().count());
        Ok(())
    }

    /// `\0`, `\01` and `\123`; one digit from 1 to 7 would be a backreference.
    fn octal(&mut self) -> Result<(), String> {
        let digits: String = (1..=3)
            .map_while(|ahead| self.peek(ahead).filter(|digit| ('0'..='7').contains(digit)))
            .collect();
        if digits.len() == 1 && digits != "0" {
            return Err(format!("invalid escape sequence: `\\{digits}`"));
        }
        let number = u32::from_str_radix(&digits, 8).unwrap_or(0);
        self.out.push_str(&format!("\\x{{{number:x}}}"));
        self.skip_escape(1 + digits.len());
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        let start = self.position();
        self.out.push('[');
        self.at += 1;
        if self.peek(0) == Some('^') {
            self.out.push('^');
            self.at += 1;
        }
        let mut is_first = true;
        // After a range or a class, a hyphen is a hyphen.
        let mut is_closed = false;
        loop {
            let Some(letter) = self.peek(0) else {
                return Err(format!("missing closing ]: `{}`", &self.pattern[start..]));
            };
            let is_set = |letter: Option<char>| letter.is_some_and(|c| "dDwWsSpP".contains(c));
            let was_closed = is_closed;
            is_closed = letter == '\\' && is_set(self.peek(1));
            match letter {
                ']' if !is_first => break,
                '[' if self.peek(1) == Some(':') && self.named_class() => {}
                '\\' => self.escape(true)?,
                ']' | '[' | '&' | '~' | '^' => {
                    self.out.push('\\');
                    self.push_operand(letter);
                }
                '-' if is_first
                    || was_closed
                    || self.peek(1) == Some(']')
                    || (self.peek(1) == Some('\\') && is_set(self.peek(2))) =>
                {
                    self.out.push('\\');
                    self.push_operand('-');
                }
                '-' => {
                    self.push_operand('-');
                    is_closed = true;
                    is_first = false;
                    match self.peek(0) {
                        Some('\\') => self.escape(true)?,
                        Some(end) => {
                            if matches!(end, '[' | '&' | '~' | '^' | '-') {
                                self.out.push('\\');
                            }
                            self.push_operand(end);
                        }
                        None => {}
                    }
                    continue;
                }
                _ => self.push_operand(letter),
            }
            is_first = false;
        }
        self.push_operand(']');
        Ok(())
    }

    /// `[:alpha:]` inside of a class.
    fn named_class(&mut self) -> bool {
        let rest = &self.pattern[self.position()..];
        let Some(end) = rest.find(":]") else { return false };
        let text = &rest[..end + 2];
        self.out.push_str(text);
        self.at += text.chars().count();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, fits) in [
            ("^a+$", "aaa", true),
            ("^a+$", "aaa\n", false),
            ("^\\d+$", "12", true),
            ("^\\d+$", "\u{0663}", false),
            ("^\\w$", "\u{e9}", false),
            ("^[\\w.-]+$", "a-b.c", true),
            ("^[[a]+$", "[a", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "a&b", true),
            ("^a{,2}$", "a{,2}", true),
            ("^{x}$", "{x}", true),
            ("^a{2,3}?$", "aaa", true),
            ("^\\Qa.b\\E$", "a.b", true),
            ("^\\<$", "<", true),
            ("^[[:alpha:]]+$", "ab", true),
            ("^[a-c-\\p{L}_-]+$", "b-_", true),
            ("^[a-z0-9]+$", "q7", true),
            ("(?i)^ABC$", "abc", true),
            ("^(?P<x>a|b)*$", "abab", true),
            ("^\\x41\\x{42}$", "AB", true),
            ("^[^\\s]+$", "a b", false),
            ("^\\pL+$", "\u{e9}", true),
            ("", "anything", true),
        ] {
            assert_eq!(matches(pattern, text), Ok(fits), "{pattern} {text}");
        }
    }

    #[test]
    fn wrong_patterns_are_told_in_gos_words() {
        for (pattern, why) in [
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("\\y", "invalid escape sequence: `\\y`"),
            ("\\1", "invalid escape sequence: `\\1`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
        ] {
            assert_eq!(compile(pattern).unwrap_err(), format!("error parsing regexp: {why}"));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in "\\PC{0,20}|[\\\\\\[\\](){}*+?|^$.:,a0pPxQE-]{0,12}") {
            let _ = compile(&pattern);
        }
    }
}
