//! Custom kinds: their definitions, their schemas, and objects that are held to them.

use api_machinery::custom::{CustomKind, Rules, Schema, check, defaults, definition, lists, prune};
use api_machinery::field::Path;
use api_machinery::{Object, openapi};
use serde_json::{Value, json};
use testbed::fuzz::Input;

use crate::laws;

/// Defines a kind and makes an object of it.
pub fn custom(data: &[u8]) {
    let mut input = Input::new(data);
    let is_whole = input.byte() & 1 == 1;
    let Ok(first) = serde_json::from_slice::<Value>(input.wide_piece()) else { return };
    let second = serde_json::from_slice(input.rest()).unwrap_or_default();
    if is_whole {
        laws::timed("a definition", || defined(first));
    } else {
        laws::timed("a schema", || of_schema(&first, second));
    }
}

/// A whole definition, or what is wrong with it.
fn defined(tree: Value) {
    let Value::Object(mut tree) = tree else { return };
    tree.insert("apiVersion".to_owned(), "apiextensions.k8s.io/v1".into());
    tree.insert("kind".to_owned(), "CustomResourceDefinition".into());
    let Some(mut object) = Object::from_value(Value::Object(tree)) else { return };
    definition::defaults::apply(&mut object);
    let once = object.clone();
    definition::defaults::apply(&mut object);
    assert!(once == object, "Y4: defaults of definitions");
    definition::defaults::prepare_for_create(&mut object);
    let errors = definition::create(&object);
    if !errors.is_empty() {
        return;
    }
    let tree = Value::Object(object.0.clone());
    drop(openapi::custom::document(&tree["spec"], "v1"));
    // What may be created is served, or refused with a reason.
    drop(CustomKind::load(&object));
}

fn of_schema(schema: &Value, mut value: Value) {
    let Ok(schema) = Schema::parse(schema) else { return };
    let unknown = prune::prune(&mut value, &schema, true);
    let pruned = value.clone();
    let again = prune::prune(&mut value, &schema, true);
    assert!(again.is_empty() && value == pruned, "Y4: {unknown:?} and then {again:?}");
    defaults::drop_nulls(&mut value, &schema);
    defaults::apply(&mut value, &schema);
    let once = value.clone();
    defaults::apply(&mut value, &schema);
    assert!(once == value, "Y4: defaults of custom kinds");
    let mut errors = check::create(&value, &schema, None);
    lists::check(&value, &schema, &Path::default(), &mut errors);
    for error in &errors {
        drop(error.to_string());
    }
    drop(check::update(&value, &json!({}), &schema, None));
    if let Some(rules) = Rules::compile(&schema) {
        let first = rules.create(&value);
        drop(rules.update(&value, &once));
        assert_eq!(rules.create(&value).errors.len(), first.errors.len(), "rules are functions");
    }
}
