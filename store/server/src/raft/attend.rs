//! A leader whose process is gone is replaced at once, not when its lease ends.
//!
//! A follower keeps a call to its leader open that has no answer. A process that dies takes its
//! connections with it, and its machine then refuses new ones. That says more than silence does, and
//! sooner; a leader that is slow, cut off or stopped (SIGSTOP) is left to raft's own timeouts. Being
//! wrong unseats nobody alone: whoever asks for votes first asks whether it would get them, and members
//! that still hear the leader say no. What is lost is this member's own lease of that leader, for as
//! long as it leads: it would no longer say no to others who ask.

use std::{future::pending, io, time::Duration};

use openraft::{
    async_runtime::WatchReceiver as _, metrics::RaftServerMetrics, raft::TransferLeaderRequest,
};
use proto::orlop::peer::v1::AttendRequest;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Uri;

use super::{
    Candidacy, Network, Node,
    network::address,
    types::{TypeConfig, Vote},
};
use crate::{limits, net};

/// A leader, in the eyes of one of its followers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reign {
    leader: u64,
    vote: Vote,
    urls: Vec<String>,
}

/// Who leads, in the eyes of one voter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Somebody else.
    Other(Reign),
    /// Nobody, since somebody asked for this vote.
    Nobody(Vote),
    /// It leads itself, or has no vote, so it can do nothing about a leader's end. (A learner once asked
    /// again and again, as fast as it could, whether its leader was still gone.)
    NotItsCare,
}

impl Seen {
    fn of(now: &RaftServerMetrics<TypeConfig>) -> Self {
        let membership = now.membership_config.membership();
        if now.current_leader == Some(now.id) || !membership.voter_ids().any(|id| id == now.id) {
            return Self::NotItsCare;
        }
        let Some(leader) = now.current_leader else { return Self::Nobody(now.vote) };
        let Some(node) = membership.get_node(&leader) else { return Self::NotItsCare };
        Self::Other(Reign { leader, vote: now.vote, urls: node.urls.clone() })
    }
}

/// The time after a leader's end, or this member's own start. Elections fail: two voters ask at once, and
/// the one that wins is unseated by the other. Raft's own timers would let a whole lease pass before the
/// next; so voters that are in unrest ask again, ever more rarely, until somebody leads.
#[derive(Debug)]
struct Unrest {
    ends: Instant,
    asked: u32,
    /// Which reign's end was logged.
    told: Option<Vote>,
}

impl Unrest {
    fn new() -> Self {
        Self { ends: Instant::now() + limits::STEP_IN_FOR, asked: 0, told: None }
    }

    /// Begins when a leader is gone. False if that is known already.
    fn begin(&mut self, reign: &Reign) -> bool {
        let is_new = self.told.as_ref() != Some(&reign.vote);
        if is_new {
            *self = Self { told: Some(reign.vote), ..Self::new() };
        }
        is_new
    }

    /// How long to wait before asking for votes the next time, when somebody may be given some at this very
    /// moment. None: it is raft's own timers' turn. The only voter waits for nobody.
    fn pause(&self, rank: Rank) -> Option<Duration> {
        let first = rank.of == 1 && self.asked == 0;
        let pause = if first { Duration::ZERO } else { pause(self.asked + 1, rank.own) };
        (Instant::now() < self.ends).then_some(pause)
    }
}

/// Twice as long each time, for an election whose votes take long to be stored ends as well; and different
/// ones for different voters.
fn pause(asked: u32, rank: u32) -> Duration {
    let longer = limits::STEP_IN_AGAIN.saturating_mul(2_u32.saturating_pow(asked));
    longer.min(limits::STEP_IN_AT_LEAST_EVERY).saturating_mul(rank.saturating_add(1))
}

/// A voter's place among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    /// From 0 on.
    own: u32,
    /// How many voters there are, with a leader that is gone.
    of: usize,
}

/// This voter's rank among those that `leader` leaves behind.
fn own_rank(raft: &Node, leader: Option<u64>) -> Rank {
    let now = raft.server_metrics();
    let now = now.borrow_watched();
    let voters: Vec<u64> = now.membership_config.membership().voter_ids().collect();
    Rank { own: rank(&voters, leader, now.id), of: voters.len() }
}

/// The place of `own` among the voters that `leader` leaves behind. They begin one after the other, so
/// that the votes are not split.
fn rank(voters: &[u64], leader: Option<u64>, own: u64) -> u32 {
    let before = voters.iter().filter(|voter| **voter < own && Some(**voter) != leader);
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// Whether nobody listens where the leader did.
fn is_gone(connected: &io::Result<()>) -> bool {
    connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Follows whoever leads.
pub(crate) async fn run(raft: Node, network: Network, candidacy: Candidacy) {
    let mut changes = raft.server_metrics();
    let mut unrest = Unrest::new();
    loop {
        let seen = Seen::of(&changes.borrow_watched());
        let changed = async {
            while Seen::of(&changes.borrow_watched()) == seen {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::select! {
            // Raft has ended, and nothing will change any more.
            goes_on = changed => if !goes_on { return },
            goes_on = act(&raft, &network, &candidacy, &seen, &mut unrest) => if !goes_on { return },
        }
    }
}

/// What is to be done as long as nothing changes. False: raft has ended.
async fn act(
    raft: &Node,
    network: &Network,
    candidacy: &Candidacy,
    seen: &Seen,
    unrest: &mut Unrest,
) -> bool {
    match seen {
        Seen::Other(reign) => {
            attend(network, reign).await;
            // Before its own turn, so that it says yes to who comes first. Again each time: what the leader sent
            // before it died may have been taken after it.
            if !release(raft, reign).await {
                return false;
            }
            if unrest.begin(reign) {
                tracing::warn!(leader = reign.leader, "the leader's process is gone");
                sleep(limits::STEP_IN_STAGGER * own_rank(raft, Some(reign.leader)).own).await;
            }
        }
        Seen::Nobody(_) => {
            let Some(pause) = unrest.pause(own_rank(raft, None)) else { return pending().await };
            sleep(pause).await;
        }
        Seen::NotItsCare => return pending().await,
    }
    // Whether it would get the votes; only if it would does it ask for them.
    if candidacy.is_open() && raft.trigger().elect(true).await.is_err() {
        return false;
    }
    unrest.asked += 1;
    // Whatever comes of it: a leader that is gone is not asked for without a pause.
    sleep(pause(unrest.asked, 0)).await;
    true
}

/// Returns when the leader's process is gone.
async fn attend(network: &Network, reign: &Reign) {
    loop {
        until_it_ends(network, reign).await;
        // A process that dies closes one socket after the other: its listener may be the last.
        let mut pause = limits::ATTEND_LOOK_AGAIN;
        while pause < limits::ATTEND_AGAIN {
            if nobody_listens(reign).await {
                return;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }
}

/// At none of the leader's addresses.
async fn nobody_listens(reign: &Reign) -> bool {
    for url in &reign.urls {
        if !is_gone(&connect(url).await) {
            return false;
        }
    }
    !reign.urls.is_empty()
}

async fn connect(url: &str) -> io::Result<()> {
    let url: Uri = url.parse().map_err(io::Error::other)?;
    timeout(limits::PEER_CONNECT_TIMEOUT, net::connect(address(&url))).await?.map(drop)
}

/// Keeps a call to the leader open for as long as that can be done.
async fn until_it_ends(network: &Network, reign: &Reign) {
    let request = AttendRequest { cluster_id: network.cluster_id() };
    let Some(Ok(mut client)) = reign.urls.first().map(|url| network.channel(url)) else { return };
    if let Ok(Ok(silence)) = timeout(limits::ATTEND_TIMEOUT, client.attend(request)).await {
        let mut silence = silence.into_inner();
        while let Ok(Some(_)) = silence.message().await {}
    }
}

/// Gives up the lease of a leader that may be there: openraft does that for a leader that hands over to
/// somebody, which this one never will do; "to itself" starts no election.
async fn release(raft: &Node, reign: &Reign) -> bool {
    let release = TransferLeaderRequest::new(reign.vote, reign.leader, None);
    raft.handle_transfer_leader(release).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_voters_that_are_left_begin_one_after_the_other() {
        let ranks = |leader| [1, 2, 3].map(|own| rank(&[1, 2, 3], leader, own));
        assert_eq!(ranks(Some(1))[1..], [0, 1]);
        assert_eq!([ranks(Some(2))[0], ranks(Some(2))[2]], [0, 1]);
        assert_eq!(ranks(Some(3))[..2], [0, 1]);
        assert_eq!(ranks(None), [0, 1, 2]);
    }

    #[test]
    fn voters_in_unrest_ask_ever_more_rarely_and_not_in_step() {
        assert_eq!(pause(0, 0), limits::STEP_IN_AGAIN);
        assert_eq!(pause(3, 1), limits::STEP_IN_AGAIN * 16);
        assert_eq!(pause(u32::MAX, 0), limits::STEP_IN_AT_LEAST_EVERY);
        let mut unrest = Unrest::new();
        let first = Some(limits::STEP_IN_AGAIN * 2);
        let (of_three, alone) = (Rank { own: 0, of: 3 }, Rank { own: 0, of: 1 });
        assert_eq!(unrest.pause(of_three), first, "a member that starts has heard nobody");
        assert_eq!(unrest.pause(alone), Some(Duration::ZERO), "there is nobody to wait for");
        unrest.ends = Instant::now();
        assert_eq!(unrest.pause(of_three), None, "raft's own timers go on");
        let reign = Reign { leader: 1, vote: Vote::new(3, 1), urls: Vec::new() };
        unrest.asked = 4;
        assert!(unrest.begin(&reign), "its end is news");
        assert_eq!(unrest.pause(of_three), first);
        unrest.asked = 3;
        assert!(!unrest.begin(&reign), "it is dead already");
        assert_eq!(unrest.pause(of_three), Some(limits::STEP_IN_AGAIN * 16));
        assert_eq!(unrest.pause(alone), unrest.pause(of_three), "not as fast as it can");
    }

    #[tokio::test]
    async fn only_a_machine_that_says_that_nobody_listens_means_that_a_process_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        assert!(!is_gone(&connect(&url).await), "it listens, whatever it says");
        drop(listener);
        assert!(is_gone(&connect(&url).await));
        let late = timeout(Duration::ZERO, pending::<()>()).await;
        assert!(!is_gone(&late.map_err(io::Error::from)), "silence is no answer");
        assert!(!is_gone(&connect("no url").await));
    }
}
