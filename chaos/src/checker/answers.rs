//! Every answer is what a sequential store gives at the answer's revision. Together with R1 to R3
//! this makes the order of revisions a witness that the history is strictly serializable.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | A read answers with exactly the state at its revision, serializable reads too. |
//! | A2 | A write answers (previous values, guards) as the state just before its revision demands. |
//! | A3 | No answer is from a revision that the final log does not reach. |

use super::{Verdict, by_revision};
use crate::history::{History, Op, Reply};
use crate::model::kv::Store;

/// Checks A1 to A3 in one replay of the log.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("answers");
    let mut writes: Vec<(&Op, &Reply)> = Vec::new();
    let mut reads: Vec<(&Op, &Reply)> = Vec::new();
    for op in history.ops.iter().filter(|op| op.action.is_of_steps()) {
        if let Some(reply) = op.reply() {
            if reply.wrote() { writes.push((op, reply)) } else { reads.push((op, reply)) }
        }
    }
    writes.sort_by_key(|(_, reply)| reply.revision);
    reads.sort_by_key(|(_, reply)| reply.revision);

    let mut writes = writes.into_iter().peekable();
    let mut reads = reads.into_iter().peekable();
    let mut store = Store::at(history.base_revision);
    judge_reads(&store, &mut reads, &mut verdict);
    for (revision, events) in by_revision(history.log()) {
        while let Some((op, reply)) = writes.next_if(|(_, reply)| reply.revision <= revision) {
            if reply.revision == revision {
                judge("A2", &store, op, reply, &mut verdict);
            }
        }
        store.apply(revision, events);
        judge_reads(&store, &mut reads, &mut verdict);
    }
    for (op, reply) in reads.chain(writes) {
        verdict.checked += 1;
        verdict.fail(
            "A3",
            vec![op.index],
            format!(
                "answered at revision {}, but the log ends at {}",
                reply.revision, store.revision
            ),
        );
    }
    verdict
}

fn judge_reads<'a>(
    store: &Store,
    reads: &mut std::iter::Peekable<impl Iterator<Item = (&'a Op, &'a Reply)>>,
    verdict: &mut Verdict,
) {
    while let Some((op, reply)) = reads.next_if(|(_, reply)| reply.revision <= store.revision) {
        judge("A1", store, op, reply, verdict);
    }
}

fn judge(rule: &'static str, store: &Store, op: &Op, reply: &Reply, verdict: &mut Verdict) {
    verdict.checked += 1;
    let expected = store.predict(&op.action);
    if expected.succeeded != reply.succeeded || expected.steps != reply.steps {
        verdict.fail(
            rule,
            vec![op.index],
            format!(
                "at revision {} member {} answered succeeded={} {:?}; the log demands succeeded={} \
                 {:?}",
                reply.revision,
                op.member,
                reply.succeeded,
                reply.steps,
                expected.succeeded,
                expected.steps
            ),
        );
    }
}
