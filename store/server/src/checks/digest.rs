//! What the members did with the log, compared: every few seconds the leader asks all of them for the
//! digest of everything that they applied, keys, leases, users and members alike.
//!
//! Reads nothing of the data, so it sees a difference as soon as a command is carried out differently,
//! and not what only lies there differently: that is for `compare`. Rules H2 and H3 hold here, too.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H5 | Digests are compared as of the same entry, and if they began at the same one; others are no difference. |
//! | H6 | Where they began at different ones, as after an upgrade, they begin anew together. |
//! | H7 | Nobody is asked again before something was applied since all members agreed. |
//! | H8 | No fence is lifted while the digest is known to differ. |

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use proto::orlop::{
    peer::v1::{self as peer, digest_response::Result as Answer},
    store::v1::{DigestRestart, command::Op},
};
use store_state_machine::{DIGEST_SCHEME, Digest};
use tokio::time::{sleep, timeout};

use super::judge::{self, Verdict};
use crate::{limits, rpc::Services};

/// What this member answers to whoever compares.
pub(crate) async fn answer(services: &Services, applied_index: u64) -> peer::DigestResponse {
    let unknown = |why: &str| Answer::Unknown(peer::Unknown { why: why.to_owned() });
    let result = if !services.reader.reaches(applied_index, limits::HASH_APPLY_TIMEOUT).await {
        unknown("the entry was not applied in time")
    } else if let Some(digest) = services.digests.after(applied_index) {
        Answer::Digested(digested(digest))
    } else {
        unknown("the entry was applied too long ago, or by another member")
    };
    peer::DigestResponse { result: Some(result) }
}

fn digested(Digest { entries, value }: Digest) -> peer::Digested {
    peer::Digested { digest: value, entries, scheme: DIGEST_SCHEME }
}

/// What the members said, all of them as of the same entry.
type Found = BTreeMap<u64, peer::Digested>;

/// How a digest is made, and of how many entries: where it began.
fn chain(said: &peer::Digested) -> (u32, u64) {
    (said.scheme, said.entries)
}

/// H5: of those that began where most of the voters' did.
fn verdict(voters: &BTreeSet<u64>, found: &Found) -> Verdict {
    let mut began: BTreeMap<_, usize> = BTreeMap::new();
    for voter in voters {
        if let Some(said) = found.get(voter) {
            *began.entry(chain(said)).or_default() += 1;
        }
    }
    let Some((most, _)) = began.into_iter().find(|(_, count)| *count > voters.len() / 2) else {
        return Verdict::Unclear;
    };
    let same = found.iter().filter(|(_, said)| chain(said) == most);
    judge::judge(voters, &same.map(|(id, said)| (*id, said.digest)).collect())
}

/// H6: made in the same way, and not of equally many entries.
fn began_apart(found: &Found) -> bool {
    let chains: BTreeSet<_> = found.values().map(chain).collect();
    let schemes: BTreeSet<_> = chains.iter().map(|(scheme, _)| scheme).collect();
    chains.len() > schemes.len()
}

/// Which of those who answered differ from a majority of them.
pub(crate) fn differ(answers: &BTreeMap<u64, peer::DigestResponse>) -> Vec<u64> {
    let said = |answer: &peer::DigestResponse| match answer.result {
        Some(Answer::Digested(digested)) => Some(digested),
        Some(Answer::Unknown(_)) | None => None,
    };
    let found = answers.iter().filter_map(|(id, answer)| Some((*id, said(answer)?))).collect();
    match verdict(&answers.keys().copied().collect(), &found) {
        Verdict::Differ(differ, _) => differ.into_iter().collect(),
        Verdict::Agreed(_) | Verdict::Split | Verdict::Unclear => Vec::new(),
    }
}

struct Round {
    applied_index: u64,
    verdict: Verdict,
    began_apart: bool,
    members: BTreeSet<u64>,
}

/// Asks everybody once, as of the last entry that was applied here.
async fn round(services: &Services) -> Round {
    let own = services.headers.member_id();
    let (applied_index, mine) = services.digests.last();
    let stored = services.raft.metrics().borrow_watched().membership_config.clone();
    let voters: BTreeSet<u64> = stored.membership().voter_ids().collect();
    let members: BTreeSet<u64> = stored.membership().nodes().map(|(id, _)| *id).collect();
    let request = peer::DigestRequest { cluster_id: services.headers.cluster_id(), applied_index };
    let ask = |id: u64| async move {
        let mut client = services.members.client(id)?;
        match timeout(limits::DIGEST_TIMEOUT, client.digest(request)).await {
            Ok(Ok(answer)) => match answer.into_inner().result {
                Some(Answer::Digested(said)) => Some((id, said)),
                Some(Answer::Unknown(_)) | None => None,
            },
            Ok(Err(_)) | Err(_) => None,
        }
    };
    let theirs = join_all(members.iter().copied().filter(|id| *id != own).map(ask)).await;
    let mut found: Found = theirs.into_iter().flatten().collect();
    found.insert(own, digested(mine));
    services.metrics.digests_compared.inc();
    let (verdict, began_apart) = (verdict(&voters, &found), began_apart(&found));
    Round { applied_index, verdict, began_apart, members }
}

/// H8: who is known to differ from the majority now.
pub(super) async fn differing(services: &Services) -> BTreeSet<u64> {
    match round(services).await.verdict {
        Verdict::Differ(differ, _) => differ,
        Verdict::Agreed(_) | Verdict::Split | Verdict::Unclear => BTreeSet::new(),
    }
}

/// Compares, and does what follows. Answers up to which entry all members agree, if they do.
async fn check(services: &Services) -> Option<u64> {
    let Round { applied_index, verdict, began_apart, members } = round(services).await;
    let agreed = matches!(&verdict, Verdict::Agreed(agree) if members.is_subset(agree));
    let differ = matches!(verdict, Verdict::Differ(..) | Verdict::Split);
    judge::act(services, verdict, async { Some(round(services).await.verdict) }).await;
    // Not before a difference that is known has been dealt with: this would hide it.
    if began_apart && !differ {
        tracing::info!("the members' digests began at different entries, and begin anew");
        judge::propose(services, Op::DigestRestart(DigestRestart {})).await;
    }
    agreed.then_some(applied_index)
}

/// The leader's comparisons.
pub(crate) async fn run(services: Services) {
    let mut agreed = None;
    loop {
        sleep(limits::DIGESTS_EVERY).await;
        if *services.leader.borrow() != Some(services.headers.member_id()) {
            agreed = None;
        } else if agreed != Some(services.digests.last().0) {
            agreed = check(&services).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(entries: u64, digest: u64) -> peer::Digested {
        peer::Digested { digest, entries, scheme: DIGEST_SCHEME }
    }

    fn found(list: &[peer::Digested]) -> Found {
        (1..).zip(list.iter().copied()).collect()
    }

    #[test]
    fn only_digests_that_began_together_are_compared() {
        let voters: BTreeSet<u64> = (1..=3).collect();
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let judged = |list: &[peer::Digested]| {
            let found = found(list);
            (verdict(&voters, &found), began_apart(&found))
        };
        let agreed = |ids: &[u64]| Verdict::Agreed(set(ids));
        assert_eq!(judged(&[said(9, 7), said(9, 7), said(9, 7)]), (agreed(&[1, 2, 3]), false));
        let differ = Verdict::Differ(set(&[3]), set(&[1, 2]));
        assert_eq!(judged(&[said(9, 7), said(9, 7), said(9, 8)]), (differ, false));
        assert_eq!(judged(&[said(9, 7), said(9, 8), said(9, 6)]), (Verdict::Split, false));
        assert_eq!(judged(&[said(9, 7), said(9, 8)]), (Verdict::Unclear, false));
        // One that began later is not blamed, and none of three that began apart.
        assert_eq!(judged(&[said(9, 7), said(9, 7), said(4, 8)]), (agreed(&[1, 2]), true));
        assert_eq!(judged(&[said(9, 7), said(9, 6), said(4, 7)]), (Verdict::Unclear, true));
        assert_eq!(judged(&[said(9, 7), said(3, 7), said(4, 7)]), (Verdict::Unclear, true));
        // Nor one of another version, for which beginning anew is no help.
        let newer = peer::Digested { scheme: DIGEST_SCHEME + 1, ..said(9, 8) };
        assert_eq!(judged(&[said(9, 7), said(9, 7), newer]), (agreed(&[1, 2]), false));
        // A learner may differ, and does not vote.
        let learner = Verdict::Differ(set(&[4]), set(&[1, 2, 3]));
        let four = [said(9, 7), said(9, 7), said(9, 7), said(9, 8)];
        assert_eq!(judged(&four), (learner, false));
    }
}
