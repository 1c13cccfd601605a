//! A leader whose process is gone is replaced at once, not when its lease ends.
//!
//! A follower keeps a call to its leader open that has no answer. A process that dies takes its
//! connections with it, and its machine then refuses new ones. That says more than silence does, and
//! sooner; a leader that is slow, cut off or stopped (SIGSTOP) is left to raft's own timeouts. Being
//! wrong unseats nobody alone: whoever asks for votes first asks whether it would get them, and members
//! that still hear the leader say no. What is lost is this member's own lease of that leader, for as
//! long as it leads: it would no longer say no to others who ask.

use std::io;

use openraft::{
    ServerState, async_runtime::WatchReceiver as _, metrics::RaftServerMetrics,
    raft::TransferLeaderRequest,
};
use proto::orlop::peer::v1::AttendRequest;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Uri;

use super::{
    Network, Node,
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
    /// How many of the other voters ask for votes before this one.
    rank: u32,
}

impl Reign {
    /// None without a leader, or on a learner: it has no vote, so it can do nothing about a leader's end, and
    /// once asked again and again, as fast as it could, whether the leader was still gone.
    fn of(now: &RaftServerMetrics<TypeConfig>) -> Option<Self> {
        let leader = now.current_leader.filter(|leader| *leader != now.id)?;
        let membership = now.membership_config.membership();
        let urls = membership.get_node(&leader)?.urls.clone();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let rank = rank(&voters, leader, now.id)?;
        Some(Self { leader, vote: now.vote, urls, rank })
    }
}

/// The place of `own` among the voters that `leader` leaves behind. They begin one after the other, so
/// that the votes are not split.
fn rank(voters: &[u64], leader: u64, own: u64) -> Option<u32> {
    let left = |voter: &&u64| **voter != leader;
    let before = voters.iter().filter(left).filter(|voter| **voter < own).count();
    voters.contains(&own).then(|| u32::try_from(before).unwrap_or(u32::MAX))
}

/// Whether nobody listens where the leader did.
fn is_gone(connected: &io::Result<()>) -> bool {
    connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Follows whoever leads.
pub(crate) async fn run(raft: Node, network: Network) {
    let mut changes = raft.server_metrics();
    loop {
        let reign = Reign::of(&changes.borrow_watched());
        let Some(reign) = reign else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut others = changes.clone();
        let ended = async {
            while Reign::of(&others.borrow_watched()).as_ref() == Some(&reign) {
                if others.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::select! {
            // Raft has ended, and nothing will change any more.
            goes_on = ended => if !goes_on { return },
            () = attend(&network, &reign) => {
                step_in(&raft, &reign).await;
                // Whatever came of it: a leader that is gone is not asked for without a pause.
                sleep(limits::STEP_IN_AGAIN).await;
            }
        }
    }
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

/// Sees to it that there is a leader again.
async fn step_in(raft: &Node, reign: &Reign) {
    tracing::warn!(leader = reign.leader, "the leader's process is gone");
    let still = || {
        let now = raft.server_metrics().borrow_watched().clone();
        now.vote == reign.vote && now.state == ServerState::Follower
    };
    // The lease protects a leader that may be there. openraft gives it up for a leader that hands over
    // to somebody, which this one never will do: "to itself" starts no election.
    let release = TransferLeaderRequest::new(reign.vote, reign.leader, None);
    if raft.handle_transfer_leader(release).await.is_err() {
        return;
    }
    sleep(limits::STEP_IN_STAGGER * reign.rank).await;
    // The others may learn of it a moment later. Once somebody asks for votes, raft's own timers do.
    let deadline = Instant::now() + limits::STEP_IN_FOR;
    while still() && Instant::now() < deadline {
        if raft.trigger().elect(true).await.is_err() {
            return;
        }
        sleep(limits::STEP_IN_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_voters_that_are_left_begin_one_after_the_other() {
        let ranks = |leader| [1, 2, 3].map(|own| rank(&[1, 2, 3], leader, own));
        assert_eq!(ranks(1)[1..], [Some(0), Some(1)]);
        assert_eq!([ranks(2)[0], ranks(2)[2]], [Some(0), Some(1)]);
        assert_eq!(ranks(3)[..2], [Some(0), Some(1)]);
        assert_eq!(rank(&[1, 2, 3], 2, 4), None, "a learner has no vote");
    }

    #[tokio::test]
    async fn only_a_machine_that_says_that_nobody_listens_means_that_a_process_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        assert!(!is_gone(&connect(&url).await), "it listens, whatever it says");
        drop(listener);
        assert!(is_gone(&connect(&url).await));
        let late = timeout(std::time::Duration::ZERO, std::future::pending::<()>()).await;
        assert!(!is_gone(&late.map_err(io::Error::from)), "silence is no answer");
        assert!(!is_gone(&connect("no url").await));
    }
}
