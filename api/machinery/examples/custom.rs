//! Answers what our rules for custom kinds say of objects: the other side of a comparison with a
//! real server. Reads lines of JSON, writes lines of JSON.

use std::io::{BufRead as _, Write as _};

use api_machinery::Object;
use api_machinery::custom::{Rules, Schema, check, defaults, definition, lists, prune, rules};
use api_machinery::field::Path;
use api_machinery::openapi;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let answer = match asked["do"].as_str() {
            Some("definition") => definition_of(&asked),
            Some("openapi") => {
                let version = asked["version"].as_str().unwrap_or("v1");
                openapi::custom::document(&asked["object"]["spec"], version).unwrap_or_default()
            }
            _ => object_of(&asked),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn definition_of(asked: &Value) -> Value {
    let Some(mut definition) = Object::from_value(asked["object"].clone()) else {
        return json!({"errors": ["not an object"]});
    };
    definition::defaults::apply(&mut definition);
    definition::defaults::prepare_for_create(&mut definition);
    let errors = definition::create(&definition);
    json!({"errors": errors.iter().map(ToString::to_string).collect::<Vec<_>>()})
}

fn object_of(asked: &Value) -> Value {
    let schema = match Schema::parse(&asked["schema"]) {
        Ok(schema) => schema,
        Err(why) => return json!({"errors": [why.to_string()]}),
    };
    let mut value = asked["object"].clone();
    let mut unknown = prune::prune(&mut value, &schema, true);
    unknown.dedup();
    defaults::drop_nulls(&mut value, &schema);
    defaults::apply(&mut value, &schema);
    let mut errors = match &asked["old"] {
        Value::Null => check::create(&value, &schema, None),
        old => check::update(&value, old, &schema, None),
    };
    lists::check(&value, &schema, &Path::default(), &mut errors);
    let mut warnings = Vec::new();
    if let Some(rules) = Rules::compile(&schema) {
        if let Some(error) = rules::not_run_because_of(&errors) {
            errors.push(error);
        } else {
            let verdict = match &asked["old"] {
                Value::Null => rules.create(&value),
                old => rules.update(&value, old),
            };
            errors.extend(verdict.errors);
            warnings = verdict.warnings;
        }
    }
    json!({
        "errors": errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unknown": unknown,
        "warnings": warnings,
        "object": value,
    })
}
