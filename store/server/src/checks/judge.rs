//! What follows from what the members said: who differs from a majority is fenced (H2, H3).

use std::collections::{BTreeMap, BTreeSet};

use proto::{
    etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction},
    orlop::store::v1::{Fence, command::Op},
};

use crate::{auth, rpc::Services};

/// What follows from the answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody differs from a majority; these are known to agree with it.
    Agreed(BTreeSet<u64>),
    /// H2: these differ from a majority; and these agree with it.
    Differ(BTreeSet<u64>, BTreeSet<u64>),
    /// All voters answered, and no answer is that of a majority.
    Split,
    /// Too few answered.
    Unclear,
}

pub(super) fn judge<T: Ord>(voters: &BTreeSet<u64>, found: &BTreeMap<u64, T>) -> Verdict {
    let mut votes: BTreeMap<&T, usize> = BTreeMap::new();
    for voter in voters {
        if let Some(data) = found.get(voter) {
            *votes.entry(data).or_default() += 1;
        }
    }
    let majority = votes.into_iter().find(|(_, count)| *count > voters.len() / 2);
    let Some((majority, _)) = majority else {
        let all = voters.iter().all(|voter| found.contains_key(voter));
        return if all && !voters.is_empty() { Verdict::Split } else { Verdict::Unclear };
    };
    let (agree, differ): (BTreeSet<u64>, BTreeSet<u64>) =
        found.keys().partition(|id| found.get(id) == Some(majority));
    if differ.is_empty() { Verdict::Agreed(agree) } else { Verdict::Differ(differ, agree) }
}

pub(super) async fn propose(services: &Services, op: Op) {
    if let Err(error) = services.proposer.propose(auth::member(), op).await {
        tracing::warn!(?error, "what was found of the members' data is not agreed on yet");
    }
}

/// Does what follows. H3: not before `again`, which is only looked at then, says the same. False if
/// nothing could be said.
pub(super) async fn act(
    services: &Services,
    verdict: Verdict,
    again: impl Future<Output = Option<Verdict>> + Send,
) -> bool {
    match verdict {
        Verdict::Unclear => false,
        Verdict::Agreed(_) => true,
        Verdict::Differ(differ, _) => {
            let fenced: BTreeSet<u64> = services.state.view().fenced().into_iter().collect();
            if differ.is_subset(&fenced) {
                return true;
            }
            let Some(Verdict::Differ(again, _)) = again.await else { return false };
            for member_id in differ.intersection(&again).copied().filter(|id| !fenced.contains(id))
            {
                services.metrics.differences.inc();
                tracing::error!(member = member_id, "its data differ from the majority's: fenced");
                propose(services, Op::Fence(Fence { member_id, lifted: false })).await;
            }
            true
        }
        Verdict::Split => {
            if again.await != Some(Verdict::Split) {
                return false;
            }
            let alarm = i32::from(AlarmType::Corrupt);
            if services.state.view().alarms().iter().any(|raised| raised.alarm == alarm) {
                return true;
            }
            services.metrics.differences.inc();
            tracing::error!("the members' data differ, and no majority agrees: nothing is written");
            // As etcd: member zero, because nobody knows whose.
            let action = i32::from(AlarmAction::Activate);
            propose(services, Op::Alarm(AlarmRequest { action, member_id: 0, alarm })).await;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &[(u64, u32)]) -> BTreeMap<u64, u32> {
        list.iter().copied().collect()
    }

    #[test]
    fn only_a_majority_of_all_voters_is_believed() {
        let voters: BTreeSet<u64> = (1..=3).collect();
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        assert_eq!(judge(&voters, &found(&[(1, 7), (2, 7)])), Verdict::Agreed(set(&[1, 2])));
        let differ = judge(&voters, &found(&[(1, 7), (2, 8), (3, 8)]));
        assert_eq!(differ, Verdict::Differ(set(&[1]), set(&[2, 3])));
        // One against one, and the third is silent: nobody knows.
        assert_eq!(judge(&voters, &found(&[(1, 7), (2, 8)])), Verdict::Unclear);
        assert_eq!(judge(&voters, &found(&[(1, 7), (2, 8), (3, 9)])), Verdict::Split);
        // A learner can differ, and does not vote.
        let learner = judge(&voters, &found(&[(1, 7), (2, 7), (3, 7), (4, 8)]));
        assert_eq!(learner, Verdict::Differ(set(&[4]), set(&[1, 2, 3])));
        let learners = judge(&voters, &found(&[(1, 7), (4, 8), (5, 8), (6, 8)]));
        assert_eq!(learners, Verdict::Unclear);
    }
}
