//! The one who makes the store forget its past, and now and then writes so much at once that a watch's
//! response must be cut in pieces.

use rand::Rng as _;

use super::caller::Caller;
use super::observers::Told;
use crate::client::bulk;
use crate::history::{Action, Outcome, Step};
use crate::limits;

/// What the keys with large values start with.
pub const BULK: &str = "bulk/";

/// Works until it is stopped; `None` when the history is full. It never compacts what nobody was told:
/// the log would have a hole.
pub(super) async fn run(mut caller: Caller, told: Told) -> Option<()> {
    let mut compacted = 0;
    while caller.turn().await {
        let known = told.highest();
        let action = match caller.rng.random_range(0..20) {
            // Both must be refused.
            0 => Action::Compact { revision: caller.rng.random_range(0..=compacted) },
            1 => Action::Compact { revision: known + limits::COMPACT_FAR_AHEAD },
            2 => write_much(&mut caller),
            _ => {
                let back = caller.rng.random_range(-100..200).max(0);
                Action::Compact { revision: (known - back).max(1) }
            }
        };
        let outcome = caller.call(&action).await?;
        if let (Action::Compact { revision }, Outcome::Ok(_)) = (&action, &outcome) {
            compacted = compacted.max(*revision);
        }
    }
    Some(())
}

fn write_much(caller: &mut Caller) -> Action {
    let put = |place: usize| Step::Put {
        key: format!("{BULK}{place}"),
        value: bulk(limits::BULK_VALUE_BYTES, &caller.value()),
    };
    let then = (0..limits::BULK_VALUES).map(put).collect();
    Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() }
}
