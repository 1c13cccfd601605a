//! Makes a failing script as short as can be: fewer steps, then fewer fields in each.

use std::time::Instant;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::limits;
use crate::run::{Difference, Pair};
use crate::step::Step;

struct Attempts<'a> {
    pair: &'a mut Pair,
    left: usize,
    until: Instant,
}

impl Attempts<'_> {
    /// The difference that a script shows, if it still shows one.
    async fn fails(&mut self, script: &[Step]) -> anyhow::Result<Option<Difference>> {
        if self.left == 0 || Instant::now() > self.until {
            return Ok(None);
        }
        self.left -= 1;
        Ok(self.pair.run(script).await?.difference)
    }
}

/// A shorter script that still fails, and how; no difference when the given one no longer fails.
///
/// # Errors
/// When a server cannot be had.
pub async fn shrink(
    pair: &mut Pair,
    script: Vec<Step>,
) -> anyhow::Result<(Vec<Step>, Option<Difference>)> {
    let until = Instant::now() + limits::SHRINK_TIME;
    let mut attempts = Attempts { pair, left: limits::SHRINK_ATTEMPTS, until };
    let Some(mut difference) = attempts.fails(&script).await? else { return Ok((script, None)) };
    let mut script = script;
    script.truncate(difference.place + 1);
    let mut size = script.len().div_ceil(2);
    loop {
        let mut at = 0;
        let before = script.len();
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + size).min(script.len()));
            match attempts.fails(&shorter).await? {
                Some(found) => {
                    shorter.truncate(found.place + 1);
                    (script, difference) = (shorter, found);
                }
                None => at += size,
            }
        }
        if size == 1 && script.len() == before {
            break;
        }
        size = (size / 2).max(1);
    }
    for place in (0..script.len()).rev() {
        let mut number = 0;
        while place < script.len()
            && let Some(simpler) = simplified(&script[place], number)
        {
            let mut changed = script.clone();
            changed[place] = simpler;
            match attempts.fails(&changed).await? {
                Some(found) => {
                    changed.truncate(found.place + 1);
                    (script, difference) = (changed, found);
                }
                None => number += 1,
            }
        }
    }
    Ok((script, Some(difference)))
}

/// The step without the `number`-th thing that can be left out of it.
fn simplified(step: &Step, number: usize) -> Option<Step> {
    let mut step = step.clone();
    let request = match &mut step {
        Step::Call { request, .. } | Step::Watch { request, .. } | Step::KeepAlive { request } => {
            request
        }
        Step::Raw { .. } | Step::Close { .. } | Step::Expire { .. } => return None,
    };
    let mut left = number;
    remove(request, &mut left).then_some(step)
}

/// Removes the `left`-th field or list element, depth first; false when there are fewer.
fn remove(message: &mut DynamicMessage, left: &mut usize) -> bool {
    let set: Vec<_> =
        message.descriptor().fields().filter(|field| message.has_field(field)).collect();
    for field in set {
        if *left == 0 {
            message.clear_field(&field);
            return true;
        }
        *left -= 1;
        let mut value = message.get_field(&field).into_owned();
        let removed = match &mut value {
            Value::Message(inner) => remove(inner, left),
            Value::List(list) => remove_from_list(list, left),
            _ => false,
        };
        if removed {
            message.set_field(&field, value);
            return true;
        }
    }
    false
}

fn remove_from_list(list: &mut Vec<Value>, left: &mut usize) -> bool {
    for at in 0..list.len() {
        if *left == 0 {
            list.remove(at);
            return true;
        }
        *left -= 1;
        if let Value::Message(inner) = &mut list[at]
            && remove(inner, left)
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_left_out_of_a_step() {
        let step: Step =
            r#"KV/Txn compare:[{key:"a"}],success:[{request_put{key:"b"}}]"#.parse().unwrap();
        let all: Vec<String> = (0..)
            .map_while(|number| simplified(&step, number))
            .map(|one| one.to_string())
            .collect();
        assert_eq!(
            all,
            [
                r#"KV/Txn success:[{request_put{key:"b"}}]"#,
                r#"KV/Txn success:[{request_put{key:"b"}}]"#,
                r#"KV/Txn compare:[{}],success:[{request_put{key:"b"}}]"#,
                r#"KV/Txn compare:[{key:"a"}]"#,
                r#"KV/Txn compare:[{key:"a"}]"#,
                r#"KV/Txn compare:[{key:"a"}],success:[{}]"#,
                r#"KV/Txn compare:[{key:"a"}],success:[{request_put{}}]"#,
            ]
        );
    }
}
