//! Members come and go while clients write: nothing that was acknowledged is lost.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod real_etcd;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::Duration;

use common::{Cluster, eventually, get, put};
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    PutRequest, cluster_client::ClusterClient,
};
use tonic::{Code, transport::Channel};

const QUICK: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=300"];

async fn list(cluster: &Cluster, through: usize) -> Vec<Member> {
    let request = MemberListRequest { linearizable: true };
    cluster.cluster(through).member_list(request).await.unwrap().into_inner().members
}

async fn add(cluster: &Cluster, through: usize, url: &str, is_learner: bool) -> u64 {
    let request = MemberAddRequest { peer_urls: vec![url.to_owned()], is_learner };
    let added = cluster.cluster(through).member_add(request).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert!(member.name.is_empty(), "an added member has not started yet");
    assert!(added.members.iter().any(|other| other.id == member.id));
    member.id
}

async fn remove(cluster: &Cluster, through: usize, id: u64) {
    cluster.cluster(through).member_remove(MemberRemoveRequest { id }).await.unwrap();
}

/// Writes counting keys through one member until told to stop; remembers what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(cluster: &Cluster, through: usize) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut kv = cluster.kv(through);
        let (stopped, count) = (stop.clone(), acknowledged.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let key = format!("load/{number:06}").into();
                let request = PutRequest { key, value: "x".into(), ..PutRequest::default() };
                if kv.put(request).await.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, acknowledged, task }
    }

    async fn finish(self, cluster: &Cluster, through: usize) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let count = self.acknowledged.load(Ordering::Relaxed);
        assert!(count > 0, "nothing was written meanwhile");
        for number in 0..count {
            let found = get(&mut cluster.kv(through), &format!("load/{number:06}"), false).await;
            assert_eq!(found.as_deref(), Some("x"), "write {number} of {count} is lost");
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_become_five_and_three_again_under_load() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    cluster.leader().await;
    let writer = Writer::start(&cluster, 0);
    for _ in 0..2 {
        let (number, url) = cluster.prepare();
        let id = add(&cluster, 1, &url, false).await;
        cluster.join(number).await.unwrap();
        // It has a name when it has started, and serves current reads when it has caught up.
        eventually("the new member's name", || async {
            let members = list(&cluster, 0).await;
            members.iter().any(|m| m.id == id && m.name == format!("m{number}")).then_some(())
        })
        .await;
        put(&mut cluster.kv(number), "through", &format!("member {number}")).await;
    }
    assert_eq!(list(&cluster, 4).await.len(), 5);
    eventually("five voters", || async { (cluster.voters(0) == 5).then_some(()) }).await;

    // Two of five may be lost.
    for number in [3, 4] {
        cluster.stop_member(number).await;
    }
    put(&mut cluster.kv(0), "with three of five", "yes").await;
    for number in [3, 4] {
        cluster.start_member(number).await;
    }

    // The first two leave, the leader among them or not, and learn that they may stop.
    let leader = cluster.leader().await;
    let leaving = [leader, (leader + 1) % 5];
    let writer_at = 0;
    for number in leaving {
        let through = (0..5).find(|n| !leaving.contains(n)).unwrap();
        let id = cluster.members[number].as_ref().unwrap().id();
        remove(&cluster, through, id).await;
        let gone = cluster.members[number].as_ref().unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), gone.removed()).await;
        assert!(told.is_ok(), "member {number} was not told that it was removed");
        if number != writer_at {
            cluster.stop_member(number).await;
        }
    }
    let stays = (0..5).find(|n| !leaving.contains(n)).unwrap();
    assert_eq!(list(&cluster, stays).await.len(), 3);
    writer.finish(&cluster, stays).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_serves_no_clients_until_it_is_promoted() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    put(&mut cluster.kv(0), "key", "value").await;
    let (number, url) = cluster.prepare();
    let id = add(&cluster, 0, &url, true).await;

    // Not started: it has nothing of the log.
    let early = cluster.cluster(0).member_promote(MemberPromoteRequest { id }).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    let words = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(early.message(), words);
    let second =
        MemberAddRequest { peer_urls: vec!["http://127.0.0.1:1".into()], is_learner: true };
    let second = cluster.cluster(0).member_add(second).await.unwrap_err();
    assert_eq!(second.message(), "etcdserver: too many learner members in cluster");

    cluster.join(number).await.unwrap();
    let mut learner = cluster.kv(number);
    eventually("the learner's copy", || async {
        let mut kv = learner.clone();
        (get(&mut kv, "key", true).await.as_deref() == Some("value")).then_some(())
    })
    .await;
    let refused = learner.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: rpc not supported for learner");
    // Telling its name makes no voter of it: it once did, if the learner was slow to hear of itself.
    let told = eventually("the learner's name", || async {
        list(&cluster, 0)
            .await
            .into_iter()
            .find(|member| member.id == id && !member.name.is_empty())
    })
    .await;
    assert!(told.is_learner, "{told:?}");

    eventually("the promotion", || async {
        let promoted = cluster.cluster(0).member_promote(MemberPromoteRequest { id }).await;
        promoted.ok()
    })
    .await;
    eventually("a voter that serves", || async {
        let mut kv = learner.clone();
        kv.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await.ok()
    })
    .await;
    let again = cluster.cluster(0).member_promote(MemberPromoteRequest { id }).await.unwrap_err();
    assert_eq!(again.message(), "etcdserver: can only promote a learner member");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced_and_never_let_in_again() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    let leader = cluster.leader().await;
    let dead = (leader + 1) % 3;
    let id = cluster.members[dead].as_ref().unwrap().id();
    cluster.stop_member(dead).await;

    remove(&cluster, leader, id).await;
    let (number, url) = cluster.prepare();
    add(&cluster, leader, &url, false).await;
    cluster.join(number).await.unwrap();
    eventually("three voters", || async { (cluster.voters(leader) == 3).then_some(()) }).await;

    // The removed one comes back with its data: it is told, and does no harm.
    cluster.start_member(dead).await;
    let back = cluster.members[dead].as_ref().unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), back.removed()).await;
    assert!(told.is_ok(), "the removed member was not told");
    cluster.stop_member(dead).await;
    put(&mut cluster.kv(number), "after", "1").await;
    cluster.stop().await;
}

/// One of the first members that was never started, or died before it could say its name, was once
/// "not found".
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_started_can_be_removed() {
    let mut cluster = Cluster::start_some(3, 2, &QUICK).await;
    let leader = cluster.leader().await;
    let nameless = |member: &Member| member.name.is_empty();
    let listed = eventually("the names of the two that run", || async {
        let listed = list(&cluster, leader).await;
        (listed.iter().filter(|member| nameless(member)).count() == 1).then_some(listed)
    })
    .await;
    let id = listed.iter().find(|member| nameless(member)).unwrap().id;
    remove(&cluster, leader, id).await;
    assert_eq!(list(&cluster, leader).await.len(), 2);
    let again = MemberRemoveRequest { id };
    let again = cluster.cluster(leader).member_remove(again).await.unwrap_err();
    assert_eq!(again.message(), "etcdserver: member not found");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_who_was_not_added() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    put(&mut cluster.kv(0), "key", "value").await;
    let (number, _) = cluster.prepare();
    let refused = cluster.join(number).await.unwrap_err();
    let text = format!("{refused:#}");
    assert!(text.contains("no member of the cluster has the peer URLs"), "{text}");
    cluster.stop().await;
}

type Refusal = Option<(Code, String)>;

/// One change after the other, each on a member alone with what was added before; its refusals.
async fn changes(mut cluster: ClusterClient<Channel>) -> Vec<Refusal> {
    let told = |status: tonic::Status| (status.code(), status.message().to_owned());
    let mut answers = Vec::new();
    let mut learner = 0;
    // Nobody listens there, and nobody is meant to: a port that no process may have.
    for (host, is_learner) in [(1, true), (2, true), (1, false), (3, false), (4, false), (5, true)]
    {
        // Ids are made of the URLs and the second: the same URLs again may be the same id, which is
        // refused in other words.
        let hosts = if answers.len() == 3 { vec![host, 9] } else { vec![host] };
        let peer_urls =
            hosts.iter().map(|host| format!("http://127.0.0.{}:1", host + 200)).collect();
        // etcd drops a change for which the one before is still on its way, and never answers. A read
        // through the log comes after it; while there is a quorum, that is before the second voter.
        if answers.len() < 5 {
            cluster.member_list(MemberListRequest { linearizable: true }).await.unwrap();
        }
        let added = cluster.member_add(MemberAddRequest { peer_urls, is_learner }).await;
        match added {
            Ok(added) => {
                if let Some(member) = added.into_inner().member.filter(|member| member.is_learner) {
                    learner = member.id;
                }
                answers.push(None);
            }
            Err(status) => answers.push(Some(told(status))),
        }
        if answers.len() == 2 {
            let promoted = cluster.member_promote(MemberPromoteRequest { id: learner }).await;
            answers.push(promoted.err().map(told));
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_risk_the_quorum_are_refused_in_etcds_words_unless_that_is_turned_off() {
    let mut ours = Cluster::start(1, &QUICK).await;
    ours.leader().await;
    eventually("the member's own name", || async {
        list(&ours, 0).await.iter().all(|member| !member.name.is_empty()).then_some(())
    })
    .await;
    let refused = |code, message: &str| Some((code, format!("etcdserver: {message}")));
    let few = "re-configuration failed due to not enough started members";
    let answers = changes(ours.cluster(0)).await;
    let expected = [
        None,
        refused(Code::FailedPrecondition, "too many learner members in cluster"),
        refused(
            Code::FailedPrecondition,
            "can only promote a learner member which is in sync with leader",
        ),
        refused(Code::FailedPrecondition, "Peer URLs already exists"),
        None,
        refused(Code::Unknown, few),
        refused(Code::Unavailable, "unhealthy cluster"),
    ];
    assert_eq!(answers, expected);
    ours.stop().await;

    if let Some(program) = testbed::program("etcd") {
        let etcd = real_etcd::Etcd::start(&program, &[]);
        let channel = tonic::transport::Endpoint::from_shared(etcd.client_url.clone()).unwrap();
        let client = eventually("etcd and its name", || async {
            let mut client = ClusterClient::new(channel.connect().await.ok()?);
            let request = MemberListRequest { linearizable: true };
            let members = client.member_list(request).await.ok()?.into_inner().members;
            members.iter().all(|member| !member.name.is_empty()).then_some(client)
        })
        .await;
        assert_eq!(changes(client).await, expected, "etcd says something else");
    }

    let lax = [QUICK[0], QUICK[1], "--strict-reconfig-check=false", "--max-learners=2"];
    let mut ours = Cluster::start(1, &lax).await;
    ours.leader().await;
    let answers = changes(ours.cluster(0)).await;
    let learners = refused(Code::FailedPrecondition, "too many learner members in cluster");
    assert_eq!(answers[1], None, "two learners may be added");
    assert_eq!(answers[5..], [None, learners], "nothing is asked of those who never started");
    ours.stop().await;
}

/// As etcd. It would vote under its old id again, for somebody who lacks what it acknowledged: with one more
/// member away that was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_lost_its_data_does_not_found_again() {
    let mut cluster = Cluster::start(3, &[]).await;
    put(&mut cluster.kv(0), "a", "1").await;
    let named = async || {
        let all = list(&cluster, 0).await;
        all.iter().all(|member| !member.name.is_empty()).then_some(())
    };
    eventually("all have said their names", named).await;
    cluster.stop_member(2).await;
    std::fs::remove_dir_all(cluster.folder(2)).unwrap();
    let refused = format!("{:#}", cluster.try_start_member(2).await.unwrap_err());
    assert!(refused.contains("has already been bootstrapped"), "{refused}");
    assert!(!cluster.folder(2).join("member.json").exists());

    let lost = list(&cluster, 0).await.into_iter().find(|member| member.name == "m2").unwrap();
    remove(&cluster, 0, lost.id).await;
    add(&cluster, 0, &lost.peer_urls[0], false).await;
    cluster.join(2).await.unwrap();
    assert_eq!(get(&mut cluster.kv(2), "a", false).await, Some("1".to_owned()));
    cluster.stop().await;
}
