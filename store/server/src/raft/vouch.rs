//! A follower that asks its leader for a read index vouches for it: in a cluster of three the two of them
//! are a majority, and nobody else needs to be asked.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | The asker looked at its vote after its reader came, and had voted for nobody later than the one that it tells. |
//! | V2 | The leader answers only if it is that one or a later one, and if the asker and itself are a majority of each of its voter sets. |
//! | V3 | And only once an entry of its own is committed: till then it may not know all that was. |
//!
//! Later means by term and then by id: a term can have more than one leader, and whoever has voted for the
//! first can still vote for the second.
//!
//! Why that is enough: whoever was elected later than this leader before the reader came had
//! the vote of one of these two (V2), and neither had given it (V1). So every write that was
//! acknowledged before is in this leader's log, and committed there (V3). It is the argument of the
//! heartbeats that a read index costs otherwise (Raft, dissertation, 6.4), with the question itself as
//! the heartbeat's answer.

use std::collections::BTreeSet;

use openraft::ServerState;

use super::{
    Node,
    types::{LeaderId, LogId, Vote},
};

/// What an asker says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voucher {
    pub(crate) member_id: u64,
    /// Whom it has voted for last.
    pub(crate) voted: LeaderId,
}

/// A leader, as far as its answer depends on it.
struct Leader<'a> {
    id: u64,
    vote: &'a Vote,
    voter_sets: &'a [BTreeSet<u64>],
    committed: Option<&'a LogId>,
}

/// The read index, if this member leads and the asker's word is enough; else others must be asked.
pub(crate) async fn read_index(raft: &Node, voucher: Voucher) -> Option<LogId> {
    let id = *raft.node_id();
    let answer = raft.with_raft_state(move |state| {
        if state.server_state != ServerState::Leader {
            return None;
        }
        let leader = Leader {
            id,
            vote: state.vote_ref(),
            voter_sets: state.membership_state.effective().membership().get_joint_config(),
            committed: state.local_committed(),
        };
        judge(&leader, voucher)
    });
    answer.await.ok()?
}

fn judge(leader: &Leader<'_>, voucher: Voucher) -> Option<LogId> {
    let vote = leader.vote;
    if !vote.committed || vote.leader_id.node_id != leader.id {
        return None;
    }
    // V1, V2
    if voucher.voted > vote.leader_id || voucher.member_id == leader.id {
        return None;
    }
    let pair = |voters: &BTreeSet<u64>| {
        [leader.id, voucher.member_id].iter().filter(|id| voters.contains(id)).count()
    };
    if !leader.voter_sets.iter().all(|voters| pair(voters) > voters.len() / 2) {
        return None;
    }
    // V3
    leader.committed.filter(|committed| committed.leader_id == vote.leader_id).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: u64 = 5;

    fn ask(voter_sets: &[&[u64]], (member_id, term): (u64, u64), committed_in: u64) -> bool {
        ask_of(voter_sets, member_id, LeaderId { term, node_id: 1 }, committed_in)
    }

    fn ask_of(sets: &[&[u64]], member_id: u64, voted: LeaderId, committed_in: u64) -> bool {
        let sets: Vec<BTreeSet<u64>> =
            sets.iter().map(|ids| ids.iter().copied().collect()).collect();
        let vote = Vote::new_committed(TERM, 1);
        let committed = LogId::new(LeaderId { term: committed_in, node_id: 1 }, 9);
        let leader = Leader { id: 1, vote: &vote, voter_sets: &sets, committed: Some(&committed) };
        judge(&leader, Voucher { member_id, voted }) == Some(committed)
    }

    #[test]
    fn a_leader_and_its_asker_must_be_a_majority_of_each_set_of_voters() {
        assert!(ask(&[&[1, 2, 3]], (2, TERM), TERM));
        assert!(ask(&[&[1, 2]], (2, TERM), TERM));
        // A learner has no vote, and two of five or of four are too few.
        assert!(!ask(&[&[1, 2, 3]], (4, TERM), TERM));
        assert!(!ask(&[&[1, 2, 3, 4]], (2, TERM), TERM));
        assert!(!ask(&[&[1, 2, 3, 4, 5]], (2, TERM), TERM));
        // Joint: of both.
        assert!(ask(&[&[1, 2, 3], &[1, 2]], (2, TERM), TERM));
        assert!(!ask(&[&[1, 2, 3], &[1, 3, 4]], (2, TERM), TERM));
        // Nobody vouches for himself.
        assert!(!ask(&[&[1, 2, 3]], (1, TERM), TERM));
    }

    #[test]
    fn an_asker_that_may_have_elected_somebody_later_vouches_for_nobody() {
        assert!(!ask(&[&[1, 2, 3]], (2, TERM + 1), TERM));
        assert!(ask(&[&[1, 2, 3]], (2, TERM - 1), TERM));
    }

    /// Comparing terms alone let a leader answer from its past that another had replaced in its own term.
    #[test]
    fn an_asker_that_elected_another_in_the_same_term_vouches_for_nobody() {
        let voted = |node_id| LeaderId { term: TERM, node_id };
        assert!(!ask_of(&[&[1, 2, 3]], 2, voted(3), TERM));
        assert!(ask_of(&[&[1, 2, 3]], 2, voted(1), TERM));
        assert!(ask_of(&[&[1, 2, 3]], 2, voted(0), TERM));
    }

    #[test]
    fn a_new_leader_that_has_committed_nothing_yet_asks_the_others() {
        assert!(!ask(&[&[1, 2, 3]], (2, TERM), TERM - 1));
    }

    #[test]
    fn a_member_that_does_not_lead_has_no_read_index() {
        let sets = [BTreeSet::from([1, 2, 3])];
        let committed = LogId::new(LeaderId { term: TERM, node_id: 2 }, 9);
        let voted = LeaderId { term: TERM, node_id: 1 };
        for vote in [Vote::new(TERM, 1), Vote::new_committed(TERM, 2)] {
            let leader =
                Leader { id: 1, vote: &vote, voter_sets: &sets, committed: Some(&committed) };
            assert_eq!(judge(&leader, Voucher { member_id: 2, voted }), None);
        }
    }
}
