//! Small texts that have a syntax of their own: quantities, times, cron schedules, paths, patterns.

use api_machinery::validate::names;
use api_machinery::{kinds, quantity, time, validate};
use serde_json::{Value, json};
use testbed::fuzz::Input;

use crate::laws;

/// Reads one text.
pub fn texts(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 5;
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    laws::timed("a text", || match kind {
        0 => quantities(&text),
        1 => times(&text),
        2 => drop((names::qualified_name(&text), names::label_value(&text))),
        3 => cron(&text),
        _ => custom(&text),
    });
}

/// Y2: what is canonical is its own canonical form, and the same amount.
fn quantities(text: &str) {
    let Ok(canonical) = quantity::canonical(text) else { return };
    assert_eq!(quantity::canonical(&canonical).as_deref(), Ok(canonical.as_str()), "Y2: {text}");
}

fn times(text: &str) {
    let Some(read) = time::parse(text) else { return };
    let written = time::micros(read);
    let again = time::parse(&written).expect("Y2: a time that was written can be read");
    assert_eq!(time::micros(again), written, "Y2: {text}");
    drop(time::age(text, jiff::Timestamp::UNIX_EPOCH));
}

fn cron(text: &str) {
    let job = kinds::find("batch", "v1", "cronjobs").expect("it is served");
    let tree = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x",
        "namespace": "n"}, "spec": {"schedule": text, "timeZone": text}});
    if let Some(object) = api_machinery::Object::from_value(tree) {
        drop(validate::create(job, &object));
    }
}

/// A column's path and a pattern of a custom kind.
fn custom(text: &str) {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": text,
        "format": text}}});
    let Ok(schema) = api_machinery::custom::Schema::parse(&schema) else { return };
    let value: Value = json!({"a": text});
    drop(api_machinery::custom::check::create(&value, &schema, None));
}
