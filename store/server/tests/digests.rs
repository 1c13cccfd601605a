//! Members that carry out something differently, where no key shows it: found within seconds, and mended.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Cluster, eventually, get, put};
use prost::Message;
use proto::authpb::User;
use proto::authpb::UserAddOptions;
use proto::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthStatusRequest, AuthUserAddRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, CompactionRequest, DeleteRangeRequest, HashKvRequest,
    LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MoveLeaderRequest, PutRequest,
    auth_client::AuthClient,
};
use proto::orlop::store::v1::StateRecord;
use rocksdb::{DB, Options};
use tonic::transport::Channel;

/// Hashes of the keys are not compared, unless a member is fenced.
const QUIET: [&str; 2] = ["--corrupt-check-time=0", "--compact-hash-check-time=0"];

/// What is stored beside the keys, of a member that is stopped.
fn meta<T>(folder: &Path, change: impl FnOnce(&DB, &rocksdb::ColumnFamily) -> T) -> T {
    let state = folder.join("state");
    let current = std::fs::read_to_string(state.join("CURRENT")).unwrap();
    let path = state.join(current.trim());
    let db = DB::open_cf(&Options::default(), &path, ["default", "live", "rev", "meta"]).unwrap();
    let family = db.cf_handle("meta").unwrap();
    let done = change(&db, family);
    db.flush_cf(family).unwrap();
    // It would tell that the files are not those that the member closed.
    let _is_gone = std::fs::remove_file(path.join("SEAL"));
    done
}

/// The number after a metric's name.
fn metric(cluster: &Cluster, number: usize, name: &str) -> u64 {
    let metrics = cluster.http(number, "/metrics");
    let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
}

async fn hash(cluster: &Cluster, number: usize) -> u32 {
    let request = HashKvRequest::default();
    cluster.maintenance(number).hash_kv(request).await.unwrap().into_inner().hash
}

fn users(cluster: &Cluster, number: usize) -> AuthClient<Channel> {
    AuthClient::new(cluster.channel(number))
}

/// Three members with some data; who leads, and who will be wrong.
async fn begin() -> (Cluster, usize, usize) {
    let cluster = Cluster::start(3, &QUIET).await;
    put(&mut cluster.kv(0), "before", "is there").await;
    let leader = cluster.leader().await;
    (cluster, leader, (leader + 1) % 3)
}

/// Stops a member that has applied all there is, changes what it stores beside the keys, and starts it.
async fn spoil(
    cluster: &mut Cluster,
    bad: usize,
    change: impl FnOnce(&DB, &rocksdb::ColumnFamily),
) {
    assert_eq!(get(&mut cluster.kv(bad), "before", false).await.as_deref(), Some("is there"));
    cluster.stop_member(bad).await;
    meta(&cluster.folder(bad), change);
    cluster.start_member(bad).await;
    assert_eq!(get(&mut cluster.kv(bad), "before", false).await.as_deref(), Some("is there"));
    let leader = cluster.leader().await;
    assert_eq!(hash(cluster, bad).await, hash(cluster, leader).await, "no key shows it");
}

/// Waits until the difference was found and is no more, while the others go on.
async fn found_and_mended(cluster: &Cluster, leader: usize, bad: usize) {
    let other = 3 - leader - bad;
    let began = Instant::now();
    eventually("difference", || async {
        put(&mut cluster.kv(other), "meanwhile", "written").await;
        (metric(cluster, leader, "orlop_store_data_differences_total") == 1).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "found after {:?}", began.elapsed());
    let has_no_alarm = async || {
        let alarms = cluster.maintenance(bad).alarm(AlarmRequest::default()).await;
        alarms.is_ok_and(|alarms| alarms.into_inner().alarms.is_empty())
    };
    // It hears of it a moment after the leader has found out, and until then it serves as before.
    eventually("fence", || async { (!has_no_alarm().await).then_some(()) }).await;
    eventually("lifted fence", || async {
        let none = has_no_alarm().await;
        let serves = cluster.http(bad, "/readyz").starts_with("HTTP/1.1 200");
        (none && serves).then_some(())
    })
    .await;
    for (key, value) in [("before", "is there"), ("meanwhile", "written")] {
        assert_eq!(get(&mut cluster.kv(bad), key, false).await.as_deref(), Some(value));
    }
    // It goes on like the others: later comparisons find nothing new.
    let compared = || metric(cluster, leader, "orlop_store_digest_comparisons_total");
    let before = compared();
    eventually("another comparison", || async {
        put(&mut cluster.kv(bad), "afterwards", "written").await;
        (compared() > before).then_some(())
    })
    .await;
    assert_eq!(metric(cluster, leader, "orlop_store_data_differences_total"), 1);
    assert_eq!(hash(cluster, bad).await, hash(cluster, leader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_a_lease_is_found_although_it_has_every_key() {
    const ID: i64 = 7;
    let (mut cluster, leader, bad) = begin().await;
    let grant = |ttl| LeaseGrantRequest { id: ID, ttl };
    cluster.lease(0).lease_grant(grant(600)).await.unwrap();
    let leased = PutRequest { key: "leased".into(), lease: ID, ..PutRequest::default() };
    cluster.kv(0).put(leased).await.unwrap();
    spoil(&mut cluster, bad, |db, meta| {
        let key = [&b"lease/"[..], &ID.to_be_bytes()].concat();
        assert!(db.get_cf(meta, &key).unwrap().is_some());
        db.delete_cf(meta, key).unwrap();
    })
    .await;
    // Refused, but not there: it has a lease of its own now, and no key is attached to it.
    let refused = cluster.lease(leader).lease_grant(grant(900)).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: lease already exists");
    found_and_mended(&cluster, leader, bad).await;

    // It has the lease that everybody has.
    let target_id = cluster.members[bad].as_ref().unwrap().id();
    cluster.maintenance(leader).move_leader(MoveLeaderRequest { target_id }).await.unwrap();
    let request = LeaseTimeToLiveRequest { id: ID, keys: true };
    let lease = cluster.lease(bad).lease_time_to_live(request).await.unwrap().into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (600, vec!["leased".into()]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_forgot_what_a_user_may_is_found() {
    let (mut cluster, leader, bad) = begin().await;
    let (name, role) = ("alice".to_owned(), "writer".to_owned());
    let options = Some(UserAddOptions { no_password: true });
    let user = AuthUserAddRequest { name: name.clone(), options, ..Default::default() };
    let grant = || AuthUserGrantRoleRequest { user: name.clone(), role: role.clone() };
    let mut auth = users(&cluster, leader);
    auth.role_add(AuthRoleAddRequest { name: role.clone() }).await.unwrap();
    auth.user_add(user).await.unwrap();
    auth.user_grant_role(grant()).await.unwrap();
    spoil(&mut cluster, bad, |db, meta| {
        let stored = db.get_cf(meta, "user/alice").unwrap().unwrap();
        let (version, record) = stored.split_at(1);
        let mut record = User::decode(record).unwrap();
        assert_eq!(record.roles, [&role[..]]);
        record.roles.clear();
        db.put_cf(meta, "user/alice", [version, &record.encode_to_vec()].concat()).unwrap();
    })
    .await;
    // Nothing to do for the others: only there it changes a user.
    auth.user_grant_role(grant()).await.unwrap();
    found_and_mended(&cluster, leader, bad).await;

    let mut theirs = users(&cluster, bad);
    let alice = theirs.user_get(AuthUserGetRequest { name: name.clone() }).await.unwrap();
    assert_eq!(alice.into_inner().roles, [&role[..]]);
    let revision = |status: proto::etcdserverpb::AuthStatusResponse| status.auth_revision;
    let here = theirs.auth_status(AuthStatusRequest {}).await.unwrap().into_inner();
    let there = auth.auth_status(AuthStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(revision(here), revision(there));
    cluster.stop().await;
}

/// Writes through all members in turn: keys come, go and are compacted, leases end with their keys.
async fn churn(cluster: &Cluster, round: usize, without: Option<usize>) {
    let number = (0..3).map(|add| (round + add) % 3).find(|one| Some(*one) != without).unwrap();
    let (mut kv, mut leases) = (cluster.kv(number), cluster.lease(number));
    let id = i64::try_from(round).unwrap() + 1;
    leases.lease_grant(LeaseGrantRequest { id, ttl: 600 }).await.unwrap();
    let leased = PutRequest { key: "leased".into(), lease: id, ..PutRequest::default() };
    kv.put(leased).await.unwrap();
    let revision = put(&mut kv, &format!("key {}", round % 5), "written").await;
    let (key, range_end) = (format!("key {}", round % 3).into(), "key 3".into());
    let delete = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
    kv.delete_range(delete).await.unwrap();
    leases.lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
    if round.is_multiple_of(4) {
        kv.compact(CompactionRequest { revision, physical: false }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_blamed_while_members_compact_and_restart() {
    let (mut cluster, leader, restarted) = begin().await;
    let comparisons =
        |cluster: &Cluster| metric(cluster, leader, "orlop_store_digest_comparisons_total");
    let mut round = 0;
    for until in 1..=3 {
        cluster.stop_member(restarted).await;
        for _ in 0..20 {
            churn(&cluster, round, Some(restarted)).await;
            round += 1;
        }
        cluster.start_member(restarted).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        while comparisons(&cluster) < until {
            assert!(Instant::now() < deadline, "no comparison in time");
            churn(&cluster, round, None).await;
            round += 1;
        }
    }
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(metric(&cluster, leader, "orlop_store_data_differences_total"), 0);
    cluster.stop().await;
    let began: Vec<u64> = (0..3).map(|number| began_at(&cluster.folder(number))).collect();
    assert_eq!(began, [began[0]; 3]);
}

/// How many entries a stopped member had applied when its digest began.
fn began_at(folder: &Path) -> u64 {
    meta(folder, |db, meta| {
        let applied = db.get_cf(meta, "applied").unwrap().unwrap();
        let index = u64::from_be_bytes(applied[16..].try_into().unwrap());
        let state = db.get_cf(meta, "state").unwrap().unwrap();
        // The first one has the index zero.
        index + 1 - StateRecord::decode(&state[1..]).unwrap().digested
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_were_upgraded_one_after_the_other_begin_anew_together() {
    let (mut cluster, leader, bad) = begin().await;
    // As a version left it that did not know of digests.
    spoil(&mut cluster, bad, |db, meta| {
        let stored = db.get_cf(meta, "state").unwrap().unwrap();
        let (version, record) = stored.split_at(1);
        let record = StateRecord::decode(record).unwrap();
        assert_ne!((record.digest, record.digested), (0, 0));
        let record = StateRecord { digest: 0, digested: 0, digest_scheme: 0, ..record };
        db.put_cf(meta, "state", [version, &record.encode_to_vec()].concat()).unwrap();
    })
    .await;
    // The first one finds that they began apart, the next one that they did not.
    let compared = || metric(&cluster, leader, "orlop_store_digest_comparisons_total");
    let before = compared();
    eventually("two comparisons", || async {
        put(&mut cluster.kv(bad), "afterwards", "written").await;
        (compared() >= before + 2).then_some(())
    })
    .await;
    assert_eq!(metric(&cluster, leader, "orlop_store_data_differences_total"), 0);
    cluster.stop().await;
    let began: Vec<u64> = (0..3).map(|number| began_at(&cluster.folder(number))).collect();
    assert!(began[0] > 0, "they began anew");
    assert_eq!(began, [began[0]; 3]);
}
