//! F1 and F2: the two ways of decoding are one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::raw::Raw;
use super::super::walk::Walk;
use super::*;
use crate::kinds;

/// What the walk makes of a document, or what it says.
fn walked(id: TypeId, raw: Raw) -> Result<Map<String, Value>, Vec<String>> {
    let mut walk = Walk::new();
    match walk.message(id, raw) {
        Ok(map) if walk.strict_errors.is_empty() => Ok(map),
        Ok(_) => Err(walk.strict_errors),
        Err(why) => Err([walk.strict_errors, vec![why]].concat()),
    }
}

fn check(id: TypeId, text: &str) {
    let raw: Raw = serde_json::from_str(text).unwrap();
    let wanted = walked(id, raw);
    let Ok(mut tree) = read(text.as_bytes()) else {
        // Only what is no object, or has a key twice.
        let tree: Value = serde_json::from_str(text).unwrap();
        assert!(!tree.is_object() || tree.to_string().len() < text.len(), "{text}");
        return;
    };
    let is_reset =
        tree.get("metadata").is_some_and(|metadata| metadata["managedFields"] == json!([]));
    match object(id, &mut tree) {
        Ok(()) => assert_eq!(Ok(tree), wanted, "F1: {text}"),
        Err(Misfit) if is_reset => {}
        // F2: the walk has something to say, and says the same of what is left.
        Err(Misfit) => {
            let [mut said, mut still_said] =
                [wanted, walked(id, Value::Object(tree).into())].map(|one| one.expect_err(text));
            said.sort();
            still_said.sort();
            assert_eq!(said, still_said, "F2: {text}");
        }
    }
}

/// A value that fits a type more often than not.
fn value(schema: &'static Schema, field: &'static Field, depth: u32) -> BoxedStrategy<Value> {
    let one = match field.kind {
        Kind::String => prop_oneof![Just(json!("")), "[a-z]{1,3}".prop_map(Value::from)].boxed(),
        Kind::Bytes => {
            prop_oneof![Just(json!("YQ==")), Just(json!("Y\nQ==")), Just(json!("x"))].boxed()
        }
        Kind::Int32 | Kind::Int64 => {
            prop_oneof![3 => (0..3_i64).prop_map(Value::from), 1 => Just(json!(3_000_000_000_u64))]
                .boxed()
        }
        Kind::Double => prop_oneof![Just(json!(0)), Just(json!(0.5))].boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Message(id) => match schema.of(id).special {
            Special::None if depth == 0 => Just(json!({})).boxed(),
            Special::None => message(schema, id, depth - 1),
            Special::Quantity => prop_oneof![
                Just(json!("0.5")),
                Just(json!("1Gi")),
                Just(json!(2)),
                Just(json!("x"))
            ]
            .boxed(),
            Special::Time | Special::MicroTime => prop_oneof![
                Just(json!("")),
                "[012][0-9]{3}-[01][0-9]-[0123][0-9]T[012][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{6})?Z"
                    .prop_map(Value::from),
                Just(json!("2026-01-02T03:04:05+01:00")),
            ]
            .boxed(),
            Special::Items => {
                prop_oneof![Just(json!([])), Just(json!(["a"])), Just(json!([1]))].boxed()
            }
            Special::IntOrString | Special::Duration | Special::AnyJson | Special::RawExtension => {
                prop_oneof![Just(json!(1)), Just(json!("1m0s")), Just(json!({"a": [null]}))].boxed()
            }
        },
    };
    let one = prop_oneof![12 => one, 2 => Just(Value::Null), 1 => Just(json!([1, {"x": "y"}]))];
    let shaped = match field.shape {
        Shape::One => one.boxed(),
        Shape::List => prop::collection::vec(one, 0..3).prop_map(Value::from).boxed(),
        Shape::Map => prop::collection::btree_map("[ab]", one, 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
    };
    prop_oneof![15 => shaped, 1 => Just(Value::Null), 1 => Just(json!("text"))].boxed()
}

fn message(schema: &'static Schema, id: TypeId, depth: u32) -> BoxedStrategy<Value> {
    let fields: Vec<BoxedStrategy<(String, Value)>> = schema
        .json_fields(id)
        .into_iter()
        .map(|field| {
            let name = field.json.clone();
            value(schema, field, depth).prop_map(move |value| (name.clone(), value)).boxed()
        })
        .chain(["apiVersion", "kind", "unknown"].map(|name| {
            let text =
                prop_oneof![3 => Just(json!("v1")), 1 => Just(Value::Null), 1 => Just(json!(1))];
            text.prop_map(move |value| (name.to_owned(), value)).boxed()
        }))
        .collect();
    let count = fields.len();
    prop::sample::subsequence(fields, 0..=count.min(4))
        .prop_flat_map(|chosen| chosen)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
        .boxed()
}

fn ids() -> Vec<TypeId> {
    let kinds = [
        ("v1", "Pod"),
        ("v1", "Secret"),
        ("v1", "Event"),
        ("apps/v1", "Deployment"),
        ("events.k8s.io/v1", "Event"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("meta.k8s.io/v1", "DeleteOptions"),
    ];
    kinds.iter().map(|(version, kind)| kinds::type_of(version, kind).unwrap()).collect()
}

fn documents() -> impl Strategy<Value = (TypeId, Value)> {
    let each = ids()
        .into_iter()
        .map(|id| message(Schema::get(), id, 3).prop_map(move |tree| (id, tree)).boxed());
    prop::strategy::Union::new(each)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_ways_make_the_same((id, tree) in documents()) {
        check(id, &tree.to_string());
    }

    #[test]
    fn a_time_that_is_taken_as_it_is_would_be_written_so(
        text in "[0-3][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{6})?Z"
    ) {
        if is_written(&text, SECONDS) {
            prop_assert_eq!(&time::seconds(time::parse(&text).unwrap()), &text);
        }
        if is_written(&text, MICROS) {
            prop_assert_eq!(&time::micros(time::parse(&text).unwrap()), &text);
        }
    }
}

#[test]
fn a_key_that_comes_twice_and_what_is_too_deep_are_left_to_the_walk() {
    for text in [r#"{"a": 1, "a": 1}"#, r#"{"a": {"b": {}, "b": {}}}"#, "[]", "{", "{} {}", "null"]
    {
        assert_eq!(read(text.as_bytes()), Err(Misfit), "{text}");
    }
    let nested = |depth: usize| {
        format!("{}{}", r#"{"a":"#.repeat(depth), "1".to_owned() + &"}".repeat(depth))
    };
    assert!(read(nested(BODY_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(read(nested(BODY_DEPTH_MAX + 1).as_bytes()), Err(Misfit));
}

#[test]
fn every_kind_fits_when_it_is_empty() {
    for info in kinds::all() {
        check(info.type_id(), "{}");
        let text = r#"{"metadata":{"name":"a","managedFields":[]},"spec":{},"status":null}"#;
        check(info.type_id(), text);
    }
}
