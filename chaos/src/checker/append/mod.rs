//! Strict serializability of transactions that append to lists and read them, by what the lists say
//! about who came before whom (Adya's anomalies, found the way of Kingsbury and Alvaro's Elle).
//!
//! A list shows the order of its appends. From it follows who overwrote whose version (ww), who read
//! whose (wr), and who read what another then overwrote (rw); clocks add who was answered before who
//! was sent (realtime). If all of these together have no cycle, then there is an order of the
//! transactions that explains every answer. Every rule is named after its anomaly and says that there
//! is none.
//!
//! | Rule | What never is |
//! |------|---------------|
//! | internal | A transaction does not see its own appends, or a list changes inside it. |
//! | phantom | A list has an element that nobody appended. |
//! | G1a | A list has an element of a transaction that was refused or whose guards did not hold. |
//! | G1b | A list ends with an element after which its transaction appended another. |
//! | duplicate-append | A list has an element twice. |
//! | incompatible-order | Of two lists of a key neither is the beginning of the other. |
//! | lost-update | Two transactions appended to the same version, or one to another than it guarded. |
//! | lost-append | No read that was sent after an append was answered has its element. |
//! | G0 | A cycle of ww. |
//! | G1c | A cycle of ww and wr. |
//! | G-single | A cycle with one rw. |
//! | G2 | A cycle with more of them. |
//! | G0-realtime, ... | The same four, with realtime in the cycle. |
//!
//! Where cycles share transactions only the first kind in this order is reported.

mod cycles;
mod graph;
mod observed;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use graph::Graph;
use observed::{List, Observed, Owner, Txn};

use super::Verdict;
use crate::history::History;

/// Checks that none of the anomalies is there.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("append");
    let observed = Observed::of(history, &mut verdict);
    for txn in &observed.txns {
        for (key, list) in txn.shown() {
            verdict.checked += 1;
            judge_list(&observed, txn, key, &list, &mut verdict);
        }
    }
    judge_updates(&observed, &mut verdict);
    judge_appends(&observed, &mut verdict);
    let graph = Graph::of(&observed);
    cycles::judge(&graph, &mut verdict);
    verdict
}

fn judge_list(
    observed: &Observed<'_>,
    txn: &Txn<'_>,
    key: &str,
    list: &List<'_>,
    verdict: &mut Verdict,
) {
    if txn.is_answered()
        && let Some((longest, by)) = observed.longest.get(key)
        && !longest.starts_with(list)
    {
        let text = format!("{key} was {list:?} and {longest:?}");
        verdict.fail("incompatible-order", vec![txn.op, *by], text);
    }
    let mut before = BTreeSet::new();
    for element in list {
        if !before.insert(element) {
            let text = format!("{key} is {list:?}, with {element} more than once");
            verdict.fail("duplicate-append", vec![txn.op], text);
        }
        match observed.owners.get(&(key, *element)) {
            Some(Owner::Txn(_)) => {}
            Some(Owner::Aborted(op)) => {
                let text = format!("{key} is {list:?}, but {element} was never appended");
                verdict.fail("G1a", vec![*op, txn.op], text);
            }
            None => {
                let text = format!("{key} is {list:?}, but nobody appended {element}");
                verdict.fail("phantom", vec![txn.op], text);
            }
        }
    }
    let Some(last) = list.last() else { return };
    let Some(Owner::Txn(writer)) = observed.owners.get(&(key, *last)) else { return };
    let writer = &observed.txns[*writer];
    let whole = writer.appends.iter().find(|(other, _)| *other == key);
    if let Some((_, added)) = whole
        && added.last() != Some(last)
    {
        let text = format!("{key} is {list:?}, the middle of the append of {added:?}");
        verdict.fail("G1b", vec![writer.op, txn.op], text);
    }
}

/// Two transactions that found the same version of a list, and both changed it.
fn judge_updates(observed: &Observed<'_>, verdict: &mut Verdict) {
    let mut changed: HashMap<(&str, &List<'_>), usize> = HashMap::new();
    for txn in &observed.txns {
        for (key, _) in &txn.appends {
            let found = txn.reads.iter().find(|(other, _)| other == key);
            let Some((_, found)) = found else { continue };
            if let Some(other) = changed.insert((*key, found), txn.op) {
                let text = format!("both appended to {found:?} of {key}");
                verdict.fail("lost-update", vec![other, txn.op], text);
            }
        }
    }
}

/// Appends that were acknowledged and then never seen, though somebody looked.
fn judge_appends(observed: &Observed<'_>, verdict: &mut Verdict) {
    let mut looked: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
    for txn in observed.txns.iter().filter(|txn| txn.is_answered()) {
        for (key, list) in &txn.reads {
            let last = looked.entry(key).or_default();
            *last = (*last).max((txn.invoked_ns, txn.op));
            for element in list {
                let last = seen.entry((key, element)).or_default();
                *last = (*last).max(txn.invoked_ns);
            }
        }
    }
    for txn in observed.txns.iter().filter(|txn| txn.is_answered()) {
        for (key, added) in &txn.appends {
            let Some((looked_ns, by)) = looked.get(key).copied() else { continue };
            for element in added {
                let seen_ns = seen.get(&(*key, *element)).copied().unwrap_or(0);
                if looked_ns > txn.completed_ns && seen_ns <= txn.completed_ns {
                    let text = format!("{element} was appended to {key}, but then never seen");
                    verdict.fail("lost-append", vec![txn.op, by], text);
                }
            }
        }
    }
}
