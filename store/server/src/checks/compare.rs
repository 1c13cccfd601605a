//! The members' data, compared: the leader asks all of them for the hash of their history up to its own
//! revision, and has those fenced that differ from a majority.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H1 | Hashes are compared of the same revision, after the same entry, with the same compaction. |
//! | H2 | A member is fenced only if more than half of the voters have one hash, and it has another. |
//! | H3 | And only if a second comparison, of a later revision, says the same. |
//! | H4 | A fence is lifted when the member has replaced its state, and agrees. |

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use proto::orlop::{
    peer::v1::{self as peer, hash_kv_response::Result as Answer},
    store::v1::{Fence, command::Op},
};
use store_state_machine::{ReadError, Refusal, View};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tonic::Status;

use super::{
    digest,
    judge::{self, Verdict, judge, propose},
};
use crate::{
    config::Config,
    error::{Error, read_failed},
    exec, limits,
    raft::Network,
    rpc::Services,
};

static HASHING: Semaphore = Semaphore::const_new(limits::HASHES_IN_FLIGHT_MAX);

fn unknown(why: impl Into<String>) -> Answer {
    Answer::Unknown(peer::Unknown { why: why.into() })
}

/// What this member answers to whoever compares.
pub(crate) async fn answer(
    services: &Services,
    request: &peer::HashKvRequest,
) -> Result<peer::HashKvResponse, Status> {
    let _place = HASHING.try_acquire().map_err(|_| Error::TooManyRequests)?;
    let view = services.state.view();
    let asked = Instant::now();
    while applied_index(&view) < request.applied_index {
        if asked.elapsed() > limits::HASH_APPLY_TIMEOUT {
            let result = Some(unknown("the entry was not applied in time"));
            return Ok(peer::HashKvResponse { result, rebuilt: false });
        }
        sleep(Duration::from_millis(5)).await;
    }
    let rebuilt = services.fence.rebuilt();
    let result = hash(view, request.revision).await?;
    Ok(peer::HashKvResponse { result: Some(result), rebuilt })
}

async fn hash(view: View, revision: i64) -> Result<Answer, Status> {
    let (applied, current_revision, _) = view.position();
    let applied_index = applied.map_or(0, |bytes| index_of(&bytes));
    let hashed = exec::blocking(move || view.hash_kv(revision)).await;
    match hashed.map_err(|error| Status::internal(error.to_string()))? {
        Ok(hash) => Ok(Answer::Hashed(peer::Hashed {
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            applied_index,
            current_revision,
        })),
        Err(ReadError::Refused(Refusal::FutureRevision)) => {
            Ok(Answer::Short(peer::Short { current_revision }))
        }
        Err(ReadError::Refused(refusal)) => Ok(unknown(refusal.to_string())),
        Err(failed) => Err(read_failed(failed)),
    }
}

/// The last entry that was applied.
pub(crate) fn applied_index(view: &View) -> u64 {
    view.applied().map_or(0, |bytes| index_of(&bytes))
}

fn index_of(applied: &[u8]) -> u64 {
    crate::raft::seed::term_and_index(applied).map_or(0, |(_, index)| index)
}

/// What a member's history is, as far as it can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Data {
    Hash(u32),
    /// It ends at another revision, though the same entries were applied.
    Revision(i64),
}

/// What was asked of everybody.
#[derive(Debug, Clone, Copy)]
struct Question {
    applied_index: u64,
    revision: i64,
    compact_revision: i64,
}

impl Question {
    /// H1: none if the answer is about something else.
    fn data(self, answer: &Answer) -> Option<Data> {
        match answer {
            Answer::Hashed(hashed)
                if hashed.applied_index == self.applied_index
                    && hashed.current_revision != self.revision =>
            {
                Some(Data::Revision(hashed.current_revision))
            }
            Answer::Hashed(hashed) => (hashed.compact_revision == self.compact_revision)
                .then_some(Data::Hash(hashed.hash)),
            Answer::Short(short) => Some(Data::Revision(short.current_revision)),
            Answer::Unknown(_) => None,
        }
    }
}

/// Which of those who answered a question about this position differ from a majority of them.
pub(crate) fn differ(
    (applied_index, revision, compact_revision): (u64, i64, i64),
    answers: &BTreeMap<u64, peer::HashKvResponse>,
) -> Vec<u64> {
    let question = Question { applied_index, revision, compact_revision };
    let data = |answer: &peer::HashKvResponse| question.data(answer.result.as_ref()?);
    let found = answers.iter().filter_map(|(id, answer)| Some((*id, data(answer)?))).collect();
    match judge(&answers.keys().copied().collect(), &found) {
        Verdict::Differ(differ, _) => differ.into_iter().collect(),
        Verdict::Agreed(_) | Verdict::Split | Verdict::Unclear => Vec::new(),
    }
}

struct Round {
    verdict: Verdict,
    rebuilt: BTreeSet<u64>,
}

/// Asks everybody once; none if this member cannot ask.
async fn round(services: &Services) -> Option<Round> {
    let own = services.headers.member_id();
    services.reader.linearizable().await.ok()?;
    let view = services.state.view();
    let (applied, revision, compacted) = view.position();
    let applied_index = applied.map_or(0, |bytes| index_of(&bytes));
    let compact_revision = if compacted == 0 { -1 } else { compacted };
    let question = Question { applied_index, revision, compact_revision };
    let stored = services.raft.metrics().borrow_watched().membership_config.clone();
    let membership = stored.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let request =
        peer::HashKvRequest { cluster_id: services.headers.cluster_id(), applied_index, revision };
    let others = membership.nodes().map(|(id, _)| *id).filter(|id| *id != own);
    let ask = |id: u64| async move {
        let mut client = services.members.client(id)?;
        let asked = timeout(limits::HASH_TIMEOUT, client.hash_kv(request));
        match asked.await {
            Ok(Ok(answer)) => Some((id, answer.into_inner())),
            Ok(Err(_)) | Err(_) => None,
        }
    };
    let (mine, theirs) = tokio::join!(hash(view, revision), join_all(others.map(ask)));
    let mut found = BTreeMap::new();
    let mut rebuilt = BTreeSet::new();
    // This member went on meanwhile, and knows its revision at the entry: it is what was asked.
    if let Ok(Answer::Hashed(mine)) = mine
        && mine.compact_revision == compact_revision
    {
        found.insert(own, Data::Hash(mine.hash));
    }
    for (id, answer) in theirs.into_iter().flatten() {
        if answer.rebuilt {
            rebuilt.insert(id);
        }
        if let Some(data) = answer.result.as_ref().and_then(|answer| question.data(answer)) {
            found.insert(id, data);
        }
    }
    services.metrics.compared.inc();
    Some(Round { verdict: judge(&voters, &found), rebuilt })
}

/// Compares, and does what follows. False if nothing could be said.
async fn check(services: &Services) -> bool {
    let Some(Round { verdict, rebuilt }) = round(services).await else { return false };
    if let Verdict::Agreed(agree) | Verdict::Differ(_, agree) = &verdict {
        lift(services, agree, &rebuilt).await;
    }
    // H3: once more, of what is the newest now.
    let again = async { round(services).await.map(|round| round.verdict) };
    judge::act(services, verdict, again).await
}

/// H4.
async fn lift(services: &Services, agree: &BTreeSet<u64>, rebuilt: &BTreeSet<u64>) {
    let good = |id: &u64| agree.contains(id) && rebuilt.contains(id);
    let mut good: Vec<u64> = services.state.view().fenced().into_iter().filter(good).collect();
    if good.is_empty() {
        return;
    }
    let differ = digest::differing(services).await;
    good.retain(|id| !differ.contains(id));
    for member_id in good {
        tracing::info!(
            member = member_id,
            "its data were replaced, and agree: the fence is lifted"
        );
        propose(services, Op::Fence(Fence { member_id, lifted: true })).await;
    }
}

/// The leader's comparisons: from time to time, after compactions, and while a member is fenced.
pub(crate) async fn run(services: Services) {
    let (every, after_compaction) =
        (services.config.corrupt_check_every, services.config.compact_check_after);
    let mut last = Instant::now();
    let mut took = Duration::ZERO;
    let mut compacted = services.state.view().compact_revision();
    let mut fenced = Vec::new();
    let mut hurried = 0;
    let mut leader = services.leader.clone();
    let times = [every, after_compaction].into_iter().filter(|time| !time.is_zero());
    let look_every = times.fold(limits::COMPARE_LOOK_EVERY, Duration::min).max(limits::FENCE_TICK);
    loop {
        if *leader.borrow_and_update() != Some(services.headers.member_id()) {
            // The comparisons are the leader's: others need not look for any.
            if leader.changed().await.is_err() {
                return;
            }
            continue;
        }
        exec::rest(if fenced.is_empty() { look_every } else { limits::FENCE_TICK }).await;
        if *leader.borrow() != Some(services.headers.member_id()) {
            continue;
        }
        let (view, since) = (services.state.view(), last.elapsed());
        let now_compacted = view.compact_revision();
        let due = (!every.is_zero() && since >= every)
            || (!after_compaction.is_zero()
                && since >= after_compaction
                && now_compacted != compacted)
            || !view.fenced().is_empty();
        let now_fenced = view.fenced();
        if now_fenced != fenced {
            (fenced, hurried) = (now_fenced, 0);
        }
        // However large the data are, comparing them leaves most of the time to others. But a member
        // that was rebuilt waits for nothing else.
        let hurry = !fenced.is_empty() && hurried < limits::HURRIED_COMPARISONS_MAX;
        let share = if hurry { 2 } else { limits::HASH_SHARE };
        if !due || since < share * took {
            continue;
        }
        hurried += usize::from(hurry);
        let began = Instant::now();
        if check(&services).await {
            compacted = now_compacted;
        }
        (last, took) = (Instant::now(), began.elapsed());
    }
}

/// Before a member serves, if that was asked for: its data must not differ from what most of those say
/// that answer. One that never ran has none.
///
/// # Errors
/// If they differ.
pub(crate) async fn at_start(
    view: &View,
    network: &Network,
    config: &Config,
    own: u64,
) -> anyhow::Result<()> {
    let (applied, revision, compacted) = view.position();
    if !config.initial_corrupt_check || applied.is_none() {
        return Ok(());
    }
    let compact_revision = if compacted == 0 { -1 } else { compacted };
    let question = Question { applied_index: 0, revision, compact_revision };
    let mine = hash(view.clone(), revision).await.ok().and_then(|answer| question.data(&answer));
    let cluster_id = network.cluster_id();
    let request = peer::HashKvRequest { cluster_id, applied_index: 0, revision };
    let members = view.members();
    let others = members.iter().filter(|member| member.id != own);
    let ask = |member: &proto::etcdserverpb::Member| {
        let client = network.forward(member.id, &member.peer_urls);
        async move {
            let answer = timeout(config.request_timeout(), client.ok()?.hash_kv(request)).await;
            answer.ok()?.ok()?.into_inner().result
        }
    };
    let answers = join_all(others.map(ask)).await;
    let (mut agree, mut differ) = (0, 0);
    for answer in answers.into_iter().flatten() {
        match question.data(&answer) {
            Some(Data::Hash(hash)) if Some(Data::Hash(hash)) == mine => agree += 1,
            Some(Data::Hash(_)) => differ += 1,
            // It has not come that far: it says nothing about this member.
            Some(Data::Revision(_)) | None => {}
        }
    }
    if differ > agree {
        anyhow::bail!(
            "the data of {} differ from those of {differ} peers at revision {revision} \
             (--experimental-initial-corrupt-check); {}",
            config.data_dir.display(),
            super::ADVICE
        );
    }
    tracing::info!(revision, agree, differ, "compared the data with the peers'");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_about_the_same_are_compared() {
        let question = Question { applied_index: 9, revision: 5, compact_revision: 2 };
        let hashed = |compact_revision, applied_index, current_revision| {
            let hash = 7;
            Answer::Hashed(peer::Hashed { hash, compact_revision, applied_index, current_revision })
        };
        assert_eq!(question.data(&hashed(2, 9, 5)), Some(Data::Hash(7)));
        assert_eq!(question.data(&hashed(2, 12, 6)), Some(Data::Hash(7)));
        // It compacted meanwhile: its hash is another one by right.
        assert_eq!(question.data(&hashed(4, 12, 6)), None);
        // After the same entry there is one revision only.
        assert_eq!(question.data(&hashed(2, 9, 6)), Some(Data::Revision(6)));
        let short = Answer::Short(peer::Short { current_revision: 4 });
        assert_eq!(question.data(&short), Some(Data::Revision(4)));
        assert_eq!(question.data(&unknown("")), None);
    }
}
