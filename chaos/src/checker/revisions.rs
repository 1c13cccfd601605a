//! Revisions never go back, and order what happened as it happened.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | A revision belongs to one write: no two writes are acknowledged at the same one. |
//! | R2 | A write sent after anybody knew revision N is acknowledged above N. |
//! | R3 | A linearizable read sent after anybody knew revision N answers at N or above. |

use std::collections::BTreeMap;

use super::Verdict;
use super::floor::Floor;
use crate::history::History;

/// Checks R1 to R3.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("revisions");
    let floor = Floor::of(history);
    let mut owners = BTreeMap::new();
    for op in &history.ops {
        let Some(reply) = op.reply() else { continue };
        if op.action.is_serializable() {
            continue;
        }
        verdict.checked += 1;
        let (known, source) = floor.before(op.invoked_ns);
        let (rule, least) = if reply.wrote() { ("R2", known + 1) } else { ("R3", known) };
        if reply.revision < least {
            let ops = source.op().into_iter().chain([op.index]).collect();
            verdict.fail(
                rule,
                ops,
                format!(
                    "operation {} answered at revision {} on member {}, but was sent after {} knew \
                     revision {known}",
                    op.index,
                    reply.revision,
                    op.member,
                    source.describe()
                ),
            );
        }
        if reply.wrote()
            && let Some(other) = owners.insert(reply.revision, op.index)
        {
            verdict.fail(
                "R1",
                vec![other, op.index],
                format!("revision {} was given to two writes", reply.revision),
            );
        }
    }
    verdict
}
