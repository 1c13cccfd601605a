//! Named formats of strings, and what is wrong with one that does not have it.

use base64::Engine;

use super::{regex, time, urls};
use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
format-validate: [kubernetes.NamedFormat] validate(string) -> optional_type(list(string))
format-named: format.named(string) -> optional_type(kubernetes.NamedFormat)
format.dns1123Label: format.dns1123Label() -> kubernetes.NamedFormat
format.dns1123Subdomain: format.dns1123Subdomain() -> kubernetes.NamedFormat
format.dns1035Label: format.dns1035Label() -> kubernetes.NamedFormat
format.qualifiedName: format.qualifiedName() -> kubernetes.NamedFormat
format.dns1123LabelPrefix: format.dns1123LabelPrefix() -> kubernetes.NamedFormat
format.dns1123SubdomainPrefix: format.dns1123SubdomainPrefix() -> kubernetes.NamedFormat
format.dns1035LabelPrefix: format.dns1035LabelPrefix() -> kubernetes.NamedFormat
format.labelValue: format.labelValue() -> kubernetes.NamedFormat
format.uri: format.uri() -> kubernetes.NamedFormat
format.uuid: format.uuid() -> kubernetes.NamedFormat
format.byte: format.byte() -> kubernetes.NamedFormat
format.date: format.date() -> kubernetes.NamedFormat
format.datetime: format.datetime() -> kubernetes.NamedFormat
";

#[derive(Debug)]
pub struct Format {
    pub(crate) name: &'static str,
    /// How long a regular expression costs count it as.
    pub(crate) regex_size: u64,
}

const fn format(name: &'static str, regex_size: u64) -> Format {
    Format { name, regex_size }
}

static FORMATS: &[Format] = &[
    format("dns1123Label", 30),
    format("dns1123Subdomain", 60),
    format("dns1035Label", 30),
    format("qualifiedName", 60),
    format("dns1123LabelPrefix", 30),
    format("dns1123SubdomainPrefix", 60),
    format("dns1035LabelPrefix", 30),
    format("labelValue", 40),
    format("uri", 1100),
    format("uuid", 67),
    format("byte", 84),
    format("date", 158),
    format("datetime", 158),
];

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const UUID: &str = "(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12}$";

/// A pattern that a text must have, and the words for what does not.
struct Rule<'r> {
    pattern: &'r str,
    words: &'r str,
    examples: &'r [&'r str],
    bytes_max: usize,
}

impl Rule<'_> {
    fn check(&self, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        if text.len() > self.bytes_max {
            out.push(format!("must be no more than {} bytes", self.bytes_max));
        }
        let whole = format!("^({})$", self.pattern);
        if !regex::compile(&whole).is_ok_and(|one| one.is_match(text)) {
            let examples: Vec<String> =
                self.examples.iter().map(|one| format!("'{one}', ")).collect();
            out.push(format!(
                "{} (e.g. {}regex used for validation is '{}')",
                self.words,
                examples.join(" or "),
                self.pattern
            ));
        }
        out
    }
}

fn label(text: &str) -> Vec<String> {
    Rule {
        pattern: LABEL,
        words: "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
                '-', and must start and end with an alphanumeric character",
        examples: &["my-name", "123-abc"],
        bytes_max: 63,
    }
    .check(text)
}

fn subdomain(text: &str) -> Vec<String> {
    Rule {
        pattern: &format!("{LABEL}(\\.{LABEL})*"),
        words: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                characters, '-' or '.', and must start and end with an alphanumeric character",
        examples: &["example.com"],
        bytes_max: 253,
    }
    .check(text)
}

fn label_1035(text: &str) -> Vec<String> {
    Rule {
        pattern: "[a-z]([-a-z0-9]*[a-z0-9])?",
        words: "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
                with an alphabetic character, and end with an alphanumeric character",
        examples: &["my-name", "abc-123"],
        bytes_max: 63,
    }
    .check(text)
}

fn label_value(text: &str) -> Vec<String> {
    Rule {
        pattern: &format!("({LABEL_KEY})?"),
        words: "a valid label must be an empty string or consist of alphanumeric characters, '-', \
                '_' or '.', and must start and end with an alphanumeric character",
        examples: &["MyValue", "my_value", "12345"],
        bytes_max: 63,
    }
    .check(text)
}

fn qualified_name(text: &str) -> Vec<String> {
    let words = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character";
    let examples = &["MyName", "my.name", "123-abc"];
    let parts: Vec<&str> = text.split('/').collect();
    let (mut out, name) = match parts.as_slice() {
        [name] => (Vec::new(), *name),
        ["", name] => (vec!["prefix part must be non-empty".to_owned()], *name),
        [prefix, name] => {
            let wrong = subdomain(prefix).into_iter().map(|one| format!("prefix part {one}"));
            (wrong.collect(), *name)
        }
        _ => {
            return vec![format!(
                "a qualified name {words} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                 for validation is '{LABEL_KEY}') with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    }
    let rule = Rule { pattern: LABEL_KEY, words, examples, bytes_max: 63 };
    out.extend(rule.check(name).into_iter().map(|one| format!("name part {one}")));
    out
}

/// A prefix of a name may end in a dash.
fn unprefixed(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn validate(format: &Format, text: &str) -> Vec<String> {
    let or = |valid: bool, message: &str| {
        if valid { Vec::new() } else { vec![message.to_owned()] }
    };
    match format.name {
        "dns1123Label" => label(text),
        "dns1123LabelPrefix" => label(&unprefixed(text)),
        "dns1123Subdomain" => subdomain(text),
        "dns1123SubdomainPrefix" => subdomain(&unprefixed(text)),
        "dns1035Label" => label_1035(text),
        "dns1035LabelPrefix" => label_1035(&unprefixed(text)),
        "qualifiedName" => qualified_name(text),
        "labelValue" => label_value(text),
        "uri" => urls::Url::parse(text).err().into_iter().collect(),
        "uuid" => or(
            regex::compile(UUID).is_ok_and(|one| one.is_match(text)),
            "does not match the UUID format",
        ),
        "byte" => or(
            base64::engine::general_purpose::STANDARD.decode(text).is_ok() && !text.is_empty(),
            "invalid base64",
        ),
        "date" => or(
            text.len() == 10 && time::parse_timestamp(&format!("{text}T00:00:00Z")).is_some(),
            "invalid date",
        ),
        _ => or(time::parse_timestamp(text).is_some(), "invalid datetime"),
    }
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    let named = |name: &str| FORMATS.iter().find(|one| one.name == name);
    match (function, args) {
        ("validate", [Value::Format(format), Value::String(text)]) => {
            let wrong = validate(format, text);
            if wrong.is_empty() {
                return Ok(Value::Optional(None));
            }
            Ok(Value::some(Value::list(wrong.into_iter().map(Value::string).collect())))
        }
        ("format.named", [Value::String(name)]) => {
            Ok(Value::Optional(named(name).map(|one| Box::new(Value::Format(one)))))
        }
        (name, []) => match name.strip_prefix("format.").and_then(named) {
            Some(format) => Ok(Value::Format(format)),
            None => fail(format!("no such format: {name}")),
        },
        _ => no_such_overload(),
    }
}
