//! Lists, sets of their elements, and maps that loops gather.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::standard::{compare, operator};
use crate::limits::RANGE_MAX;
use crate::value::{EvalError, Key, List, Map, Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
list_int_is_sorted_bool: [list(int)] isSorted() -> bool
list_uint_is_sorted_bool: [list(uint)] isSorted() -> bool
list_double_is_sorted_bool: [list(double)] isSorted() -> bool
list_bool_is_sorted_bool: [list(bool)] isSorted() -> bool
list_string_is_sorted_bool: [list(string)] isSorted() -> bool
list_bytes_is_sorted_bool: [list(bytes)] isSorted() -> bool
list_duration_is_sorted_bool: [list(duration)] isSorted() -> bool
list_timestamp_is_sorted_bool: [list(timestamp)] isSorted() -> bool
list_int_sum_int: [list(int)] sum() -> int
list_uint_sum_uint: [list(uint)] sum() -> uint
list_double_sum_double: [list(double)] sum() -> double
list_duration_sum_duration: [list(duration)] sum() -> duration
list_int_max_int: [list(int)] max() -> int
list_int_min_int: [list(int)] min() -> int
list_uint_max_uint: [list(uint)] max() -> uint
list_uint_min_uint: [list(uint)] min() -> uint
list_double_max_double: [list(double)] max() -> double
list_double_min_double: [list(double)] min() -> double
list_bool_max_bool: [list(bool)] max() -> bool
list_bool_min_bool: [list(bool)] min() -> bool
list_string_max_string: [list(string)] max() -> string
list_string_min_string: [list(string)] min() -> string
list_bytes_max_bytes: [list(bytes)] max() -> bytes
list_bytes_min_bytes: [list(bytes)] min() -> bytes
list_duration_max_duration: [list(duration)] max() -> duration
list_duration_min_duration: [list(duration)] min() -> duration
list_timestamp_max_timestamp: [list(timestamp)] max() -> timestamp
list_timestamp_min_timestamp: [list(timestamp)] min() -> timestamp
list_int_sort: [list(int)] sort() -> list(int)
list_uint_sort: [list(uint)] sort() -> list(uint)
list_double_sort: [list(double)] sort() -> list(double)
list_bool_sort: [list(bool)] sort() -> list(bool)
list_duration_sort: [list(duration)] sort() -> list(duration)
list_timestamp_sort: [list(timestamp)] sort() -> list(timestamp)
list_string_sort: [list(string)] sort() -> list(string)
list_bytes_sort: [list(bytes)] sort() -> list(bytes)
list_int_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(int)) -> list(T)
list_uint_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(uint)) -> list(T)
list_double_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(double)) -> list(T)
list_bool_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(bool)) -> list(T)
list_duration_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(duration)) -> list(T)
list_timestamp_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(timestamp)) -> list(T)
list_string_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(string)) -> list(T)
list_bytes_sortByAssociatedKeys: [list(T)] @sortByAssociatedKeys(list(bytes)) -> list(T)
list_a_index_of_int: [list(A)] indexOf(A) -> int
list_a_last_index_of_int: [list(A)] lastIndexOf(A) -> int
list_slice: [list(T)] slice(int, int) -> list(T)
list_flatten: [list(list(T))] flatten() -> list(T)
list_flatten_int: [list(dyn)] flatten(int) -> list(dyn)
lists_range: lists.range(int) -> list(int)
list_reverse: [list(T)] reverse() -> list(T)
list_distinct: [list(T)] distinct() -> list(T)
list_sets_contains_list: sets.contains(list(T), list(T)) -> bool
list_sets_equivalent_list: sets.equivalent(list(T), list(T)) -> bool
list_sets_intersects_list: sets.intersects(list(T), list(T)) -> bool
key_value: cel.@mapInsert(map(K, V), K, V) -> map(K, V)
map: cel.@mapInsert(map(K, V), map(K, V)) -> map(K, V)
";

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("isSorted", [Value::List(list)]) => is_sorted(list),
        ("sum", [Value::List(list)]) => sum(list),
        ("max", [Value::List(list)]) => extreme(list, "max", Ordering::Greater),
        ("min", [Value::List(list)]) => extreme(list, "min", Ordering::Less),
        ("sort", [Value::List(list)]) => sort(list),
        ("@sortByAssociatedKeys", [Value::List(list), Value::List(keys)]) => sort_by(list, keys),
        ("indexOf", [Value::List(list), one]) => number(list.iter().position(|each| each == *one)),
        ("lastIndexOf", [Value::List(list), one]) => {
            let all: Vec<Value<'a>> = list.iter().collect();
            number(all.iter().rposition(|each| each == one))
        }
        ("slice", [Value::List(list), Value::Int(from), Value::Int(to)]) => slice(list, *from, *to),
        ("flatten", [Value::List(list)]) => Ok(Value::list(flatten(list, 1))),
        ("flatten", [Value::List(_), Value::Int(level)]) if *level < 0 => {
            fail("level must be non-negative")
        }
        ("flatten", [Value::List(list), Value::Int(level)]) => {
            Ok(Value::list(flatten(list, *level)))
        }
        ("lists.range", [Value::Int(end)]) => {
            if *end > RANGE_MAX {
                return fail(format!("lists.range of more than {RANGE_MAX} is not allowed"));
            }
            Ok(Value::list((0..*end).map(Value::Int).collect()))
        }
        ("reverse", [Value::List(list)]) => {
            let mut all: Vec<Value<'a>> = list.iter().collect();
            all.reverse();
            Ok(Value::list(all))
        }
        ("distinct", [Value::List(list)]) => Ok(Value::list(distinct(list))),
        ("sets.contains", [Value::List(all), Value::List(part)]) => {
            Ok(Value::Bool(contains(all, part)))
        }
        ("sets.equivalent", [Value::List(one), Value::List(other)]) => {
            Ok(Value::Bool(contains(one, other) && contains(other, one)))
        }
        ("sets.intersects", [Value::List(one), Value::List(other)]) => {
            let known = Known::of(other);
            Ok(Value::Bool(one.iter().any(|each| known.has(&each))))
        }
        ("cel.@mapInsert", [Value::Map(map), key, value]) => {
            insert(map, [(key.clone(), value.clone())])
        }
        ("cel.@mapInsert", [Value::Map(map), Value::Map(more)]) => insert(
            map,
            more.keys().into_iter().filter_map(|key| {
                let value = more.get(&key)?;
                Some((key, value))
            }),
        ),
        _ => no_such_overload(),
    }
}

fn number<'a>(index: Option<usize>) -> Outcome<'a> {
    Ok(Value::Int(index.map_or(-1, |index| i64::try_from(index).unwrap_or(-1))))
}

fn is_sorted<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut before: Option<Value<'a>> = None;
    for one in list.iter() {
        if let Some(before) = &before {
            match compare(before, &one) {
                Ok(Ordering::Greater) => return Ok(Value::Bool(false)),
                Ok(_) => {}
                Err(outcome) => return outcome,
            }
        }
        before = Some(one);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut values = list.iter();
    // What the sum of no durations or doubles is, only the checker knows.
    let Some(first) = values.next() else { return Ok(Value::Int(0)) };
    values.try_fold(first, |sum, one| operator("_+_", &[sum, one]))
}

fn extreme<'a>(list: &List<'a>, name: &str, wanted: Ordering) -> Outcome<'a> {
    let mut values = list.iter();
    let Some(mut out) = values.next() else {
        return fail(format!("{name} called on empty list"));
    };
    for one in values {
        match compare(&one, &out) {
            Ok(order) if order == wanted => out = one,
            Ok(_) => {}
            Err(outcome) => return outcome,
        }
    }
    Ok(out)
}

fn sort<'a>(list: &List<'a>) -> Outcome<'a> {
    sort_by(list, list)
}

/// A list in the order of the keys of its items.
fn sort_by<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    if list.len() != keys.len() {
        return fail(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        ));
    }
    let mut all: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(list.iter()).collect();
    if let Some((first, _)) = all.first()
        && all.iter().any(|(key, _)| key.type_of() != first.type_of())
    {
        return fail("list elements must have the same type");
    }
    let mut failed = None;
    all.sort_by(|(one, _), (other, _)| {
        compare(one, other).unwrap_or_else(|outcome| {
            failed = Some(outcome);
            Ordering::Equal
        })
    });
    let sorted = || Ok(Value::list(all.into_iter().map(|(_, value)| value).collect()));
    failed.unwrap_or_else(sorted)
}

fn slice<'a>(list: &List<'a>, from: i64, to: i64) -> Outcome<'a> {
    let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else {
        return fail(format!("cannot slice({from}, {to}), negative indexes not supported"));
    };
    if start > end {
        return fail(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ));
    }
    if end > list.len() {
        return fail(format!("cannot slice({from}, {to}), list is length {}", list.len()));
    }
    Ok(Value::list((start..end).filter_map(|index| list.get(index)).collect()))
}

fn flatten<'a>(list: &List<'a>, level: i64) -> Vec<Value<'a>> {
    let mut out = Vec::new();
    for one in list.iter() {
        match one {
            Value::List(inner) if level > 0 => out.extend(flatten(&inner, level - 1)),
            other => out.push(other),
        }
    }
    out
}

fn distinct<'a>(list: &List<'a>) -> Vec<Value<'a>> {
    let mut out: Vec<Value<'a>> = Vec::new();
    let mut seen = HashSet::new();
    for one in list.iter() {
        let new = match Key::of(&one) {
            Some(key) => seen.insert(key),
            None => !out.contains(&one),
        };
        if new {
            out.push(one);
        }
    }
    out
}

fn contains(all: &List<'_>, part: &List<'_>) -> bool {
    let known = Known::of(all);
    part.iter().all(|one| known.has(&one))
}

/// What is in a list, so that looking for something in it does not mean to walk along it.
struct Known<'a> {
    keys: HashSet<Key>,
    others: Vec<Value<'a>>,
}

impl<'a> Known<'a> {
    fn of(list: &List<'a>) -> Self {
        let mut known = Self { keys: HashSet::new(), others: Vec::new() };
        for one in list.iter() {
            match Key::of(&one) {
                Some(key) => {
                    known.keys.insert(key);
                }
                None => known.others.push(one),
            }
        }
        known
    }

    fn has(&self, one: &Value<'_>) -> bool {
        match Key::of(one) {
            Some(key) => self.keys.contains(&key),
            None => self.others.contains(one),
        }
    }
}

fn insert<'a>(
    map: &Map<'a>,
    entries: impl IntoIterator<Item = (Value<'a>, Value<'a>)>,
) -> Outcome<'a> {
    let mut out = match map {
        Map::Own(entries) => Arc::clone(entries),
        Map::Json(..) | Map::Read(..) | Map::Asked(_) => return no_such_overload(),
    };
    let into = Arc::make_mut(&mut out);
    for (key, value) in entries {
        let Some(index) = Key::of(&key) else { return no_such_overload() };
        let message = format!("insert failed: key {key} already exists");
        if into.insert(index, (key, value)).is_some() {
            return Err(EvalError::Failed(message));
        }
    }
    Ok(Value::Map(Map::Own(out)))
}
