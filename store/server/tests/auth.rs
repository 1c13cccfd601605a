//! Users, roles and tokens as clients see them, on three members.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod session;

use std::time::Duration;

use common::{Cluster, eventually};
use proto::etcdserverpb::{
    AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleListRequest,
    AuthStatusRequest, AuthUserDeleteRequest, AuthUserListRequest, AuthenticateRequest,
    CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest, DowngradeRequest,
    HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberListRequest, MemberRemoveRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, RequestOp, SnapshotRequest, StatusRequest,
    TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse, compare::CompareTarget,
    request_op, watch_request::RequestUnion,
};
use session::{Session, code, enable, login};
use tonic::{Code, Status, Streaming};

/// Elections as rare as by default: no request here is tried again after one.
const QUICK: [&str; 1] = ["--bcrypt-cost=4"];

const DENIED: &str = "etcdserver: permission denied";
const NOBODY: &str = "etcdserver: user name is empty";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";
const OLD_RIGHTS: &str = "etcdserver: revision of auth store is old";

fn put(key: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: "1".into(), ..PutRequest::default() }
}

fn range(key: &str, range_end: &str) -> RangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_on_every_member_until_its_user_changes() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    enable(&cluster).await;
    for number in 0..3 {
        // Made by one member, used on another at once.
        let token = login(&cluster, number, "alice", "pw").await.unwrap();
        for other in 0..3 {
            let mut alice = Session::with(&cluster, other, &token);
            alice.kv.put(put("a")).await.unwrap();
            alice.kv.range(range("a", "")).await.unwrap();
            alice.kv.range(RangeRequest { serializable: true, ..range("a", "") }).await.unwrap();
        }
        let mut bearer = Session::bearer(&cluster, number, &token);
        bearer.kv.put(put("a")).await.unwrap();
    }
    for (name, password, message) in [
        ("alice", "other", "etcdserver: authentication failed, invalid user ID or password"),
        ("nobody", "pw", "etcdserver: authentication failed, invalid user ID or password"),
        ("carol", "", "auth: authentication failed, password was given for no password user"),
    ] {
        let error = login(&cluster, 0, name, password).await.unwrap_err();
        assert_eq!(error.message(), message, "{name}");
    }
    for made_up in ["x", "abcdefghijklmnop.1", "abcdefghijklmnop.999999999", "a.b.c", ""] {
        let mut session = Session::with(&cluster, 0, made_up);
        let error = session.kv.put(put("a")).await.unwrap_err();
        assert_eq!(code(&error), (Code::Unauthenticated, BAD_TOKEN), "{made_up:?}");
    }

    let token = login(&cluster, 0, "alice", "pw").await.unwrap();
    let mut root = Session::root(&cluster, 1).await;
    root.change_password("alice", "new").await.unwrap();
    for number in 0..3 {
        eventually("the end of the token", || {
            let mut alice = Session::with(&cluster, number, &token);
            async move { alice.kv.put(put("a")).await.is_err().then_some(()) }
        })
        .await;
    }
    login(&cluster, 2, "alice", "pw").await.unwrap_err();
    let token = login(&cluster, 2, "alice", "new").await.unwrap();
    root.auth.user_delete(AuthUserDeleteRequest { name: "alice".into() }).await.unwrap();
    eventually("the end of the token", || {
        let mut alice = Session::with(&cluster, 2, &token);
        async move {
            let error = alice.kv.put(put("a")).await.unwrap_err();
            // As long as the member itself has not heard of it: it asked for what is refused where it
            // is applied. etcd's clients log in again after both.
            let is_behind = code(&error) == (Code::InvalidArgument, OLD_RIGHTS);
            (code(&error) == (Code::Unauthenticated, BAD_TOKEN)).then_some(()).or_else(|| {
                assert!(is_behind, "{error:?}");
                None
            })
        }
    })
    .await;

    // Off again: nobody is asked any more, and a token is not looked at.
    root.auth.auth_disable(AuthDisableRequest {}).await.unwrap();
    Session::nobody(&cluster, 1).kv.put(put("z")).await.unwrap();
    Session::with(&cluster, 1, "x").kv.put(put("z")).await.unwrap();
    let request = AuthenticateRequest { name: "root".into(), password: "pw".into() };
    let error = Session::nobody(&cluster, 1).auth.authenticate(request).await.unwrap_err();
    let message = "etcdserver: authentication is not enabled";
    assert_eq!(code(&error), (Code::FailedPrecondition, message));
    cluster.stop().await;
}

fn txn(compare: &str, then: request_op::Request) -> TxnRequest {
    let compare = Compare {
        key: compare.to_owned().into(),
        target: CompareTarget::Version.into(),
        ..Compare::default()
    };
    let op = RequestOp { request: Some(then) };
    TxnRequest { compare: vec![compare], success: vec![op], failure: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_and_written_by_those_who_may() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    enable(&cluster).await;
    let mut root = Session::root(&cluster, 0).await;
    let mut alice = Session::user(&cluster, 0, "alice", "pw").await;
    let mut nobody = Session::nobody(&cluster, 0);
    root.kv.put(put("z")).await.unwrap();

    let denied = |outcome: Result<(), Status>, what: &str| {
        let error = outcome.expect_err(what);
        assert_eq!(code(&error), (Code::PermissionDenied, DENIED), "{what}");
    };
    alice.kv.put(put("a")).await.unwrap();
    denied(alice.kv.put(put("z")).await.map(drop), "put");
    // `c` may be read, and is not written.
    denied(alice.kv.put(put("c")).await.map(drop), "put");
    alice.kv.range(range("a", "d")).await.unwrap();
    denied(alice.kv.range(range("a", "e")).await.map(drop), "range");
    denied(alice.kv.range(range("a", "\0")).await.map(drop), "range");
    let local = RangeRequest { serializable: true, ..range("z", "") };
    denied(alice.kv.range(local).await.map(drop), "serializable range");
    let delete = DeleteRangeRequest { key: "z".into(), ..DeleteRangeRequest::default() };
    denied(alice.kv.delete_range(delete.clone()).await.map(drop), "delete");
    let get = |key: &str| request_op::Request::RequestRange(range(key, ""));
    alice.kv.txn(txn("a", get("a"))).await.unwrap();
    denied(alice.kv.txn(txn("a", get("z"))).await.map(drop), "txn that reads");
    denied(alice.kv.txn(txn("z", get("a"))).await.map(drop), "txn that compares");
    let reads = TxnRequest { compare: Vec::new(), ..txn("", get("z")) };
    denied(alice.kv.txn(reads).await.map(drop), "txn that only reads");
    let nested = request_op::Request::RequestTxn(txn("z", get("a")));
    denied(alice.kv.txn(txn("a", nested)).await.map(drop), "nested txn");
    let compact = CompactionRequest { revision: 2, physical: false };
    denied(alice.kv.compact(compact).await.map(drop), "compact");

    let error = nobody.kv.put(put("a")).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    let error = nobody.kv.range(range("a", "")).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    let error = nobody.kv.delete_range(delete.clone()).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    let error = nobody.kv.compact(compact).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));

    assert_eq!(root.kv.range(range("a", "\0")).await.unwrap().into_inner().count, 2);
    root.kv.delete_range(delete).await.unwrap();
    root.kv.compact(compact).await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_root_may_is_refused_to_others_and_what_users_may_to_nobody() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    enable(&cluster).await;
    let mut alice = Session::user(&cluster, 0, "alice", "pw").await;
    let mut nobody = Session::nobody(&cluster, 0);
    for (session, wanted) in [
        (&mut alice, (Code::PermissionDenied, DENIED)),
        (&mut nobody, (Code::InvalidArgument, NOBODY)),
    ] {
        let alarm = AlarmRequest { action: 1, member_id: 0, alarm: 1 };
        let outcomes: Vec<(&str, Result<(), Status>)> = vec![
            ("alarm", session.maintenance.alarm(alarm).await.map(drop)),
            ("defrag", session.maintenance.defragment(DefragmentRequest {}).await.map(drop)),
            ("hash", session.maintenance.hash_kv(HashKvRequest::default()).await.map(drop)),
            ("snapshot", session.maintenance.snapshot(SnapshotRequest {}).await.map(drop)),
            ("move", session.maintenance.move_leader(MoveLeaderRequest::default()).await.map(drop)),
            (
                "downgrade",
                session.maintenance.downgrade(DowngradeRequest::default()).await.map(drop),
            ),
            (
                "member",
                session.cluster.member_remove(MemberRemoveRequest { id: 1 }).await.map(drop),
            ),
            ("status", session.auth.auth_status(AuthStatusRequest {}).await.map(drop)),
            (
                "role",
                session.auth.role_add(AuthRoleAddRequest { name: "x".into() }).await.map(drop),
            ),
            ("users", session.auth.user_list(AuthUserListRequest {}).await.map(drop)),
            ("roles", session.auth.role_list(AuthRoleListRequest {}).await.map(drop)),
            ("password", session.change_password("root", "mine").await),
        ];
        for (what, outcome) in outcomes {
            assert_eq!(code(&outcome.expect_err(what)), wanted, "{what}");
        }
    }
    let error = nobody.maintenance.status(StatusRequest {}).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    let error = nobody.cluster.member_list(MemberListRequest::default()).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    let error = nobody.maintenance.alarm(AlarmRequest::default()).await.unwrap_err();
    assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
    alice.maintenance.status(StatusRequest {}).await.unwrap();
    alice.cluster.member_list(MemberListRequest::default()).await.unwrap();
    alice.maintenance.alarm(AlarmRequest::default()).await.unwrap();

    // Everybody may look at itself, and at its roles.
    let user = |name: &str| proto::etcdserverpb::AuthUserGetRequest { name: name.to_owned() };
    let role = |role: &str| proto::etcdserverpb::AuthRoleGetRequest { role: role.to_owned() };
    assert_eq!(alice.auth.user_get(user("alice")).await.unwrap().into_inner().roles, ["some"]);
    assert_eq!(alice.auth.role_get(role("some")).await.unwrap().into_inner().perm.len(), 2);
    let error = alice.auth.user_get(user("root")).await.unwrap_err();
    assert_eq!(code(&error), (Code::PermissionDenied, DENIED));
    let error = alice.auth.role_get(role("root")).await.unwrap_err();
    assert_eq!(code(&error), (Code::PermissionDenied, DENIED));
    // Health is for load balancers, which have no users.
    assert!(cluster.http(0, "/health").contains("{\"health\":\"true\""));
    cluster.stop().await;
}

async fn create(session: &mut Session, create: WatchCreateRequest) -> Streaming<WatchResponse> {
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests =
        tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    session.watch.watch(requests).await.unwrap().into_inner()
}

async fn frame(frames: &mut Streaming<WatchResponse>) -> WatchResponse {
    let frame = tokio::time::timeout(Duration::from_secs(5), frames.message());
    frame.await.unwrap().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_refused_in_the_form_that_clients_read() {
    let mut cluster = Cluster::start(1, &QUICK).await;
    enable(&cluster).await;
    let watch = |key: &str, range_end: &str| WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        watch_id: 7,
        ..WatchCreateRequest::default()
    };
    let mut alice = Session::user(&cluster, 0, "alice", "pw").await;
    let mut another = Session::user(&cluster, 0, "alice", "pw").await;
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    let empty = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    let bad = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    let mut nobody = Session::nobody(&cluster, 0);
    let mut wrong = Session::with(&cluster, 0, "abcdefghijklmnop.1");
    for (session, key, range_end, reason) in [
        (&mut alice, "z", "", denied),
        // One key may be watched; that does not mean all that come after it.
        (&mut another, "a", "\0", denied),
        (&mut nobody, "a", "", empty),
        (&mut wrong, "a", "", bad),
    ] {
        let mut frames = create(session, watch(key, range_end)).await;
        let refused = frame(&mut frames).await;
        assert!(refused.created && refused.canceled && refused.watch_id == -1, "{refused:?}");
        assert_eq!(refused.cancel_reason, reason);
        assert!(refused.header.unwrap().revision > 0);
    }
    let mut frames = create(&mut alice, watch("a", "d")).await;
    let created = frame(&mut frames).await;
    assert!(created.created && !created.canceled && created.watch_id == 7);
    alice.kv.put(put("a")).await.unwrap();
    assert_eq!(frame(&mut frames).await.events.len(), 1);
    cluster.stop().await;
}

async fn keep_alive(session: &mut Session, id: i64) -> Result<i64, Status> {
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::iter([LeaseKeepAliveRequest { id }]),
        tokio_stream::pending(),
    );
    let mut answers = session.lease.lease_keep_alive(requests).await?.into_inner();
    Ok(answers.message().await?.unwrap().ttl)
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_belong_to_those_who_may_touch_their_keys() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    enable(&cluster).await;
    let leader = cluster.leader().await;
    for number in [leader, (leader + 1) % 3] {
        let mut root = Session::root(&cluster, number).await;
        let mut alice = Session::user(&cluster, number, "alice", "pw").await;
        let mut nobody = Session::nobody(&cluster, number);
        let grant = LeaseGrantRequest { ttl: 60, id: 0 };
        let error = nobody.lease.lease_grant(grant).await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
        let theirs = root.lease.lease_grant(grant).await.unwrap().into_inner().id;
        let own = alice.lease.lease_grant(grant).await.unwrap().into_inner().id;
        root.kv.put(PutRequest { lease: theirs, ..put("z") }).await.unwrap();
        alice.kv.put(PutRequest { lease: own, ..put("a") }).await.unwrap();

        let denied = (Code::PermissionDenied, DENIED);
        let error = keep_alive(&mut nobody, own).await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
        assert_eq!(code(&keep_alive(&mut alice, theirs).await.unwrap_err()), denied);
        assert_eq!(keep_alive(&mut alice, own).await.unwrap(), 60);
        assert_eq!(keep_alive(&mut root, own).await.unwrap(), 60);
        let join = PutRequest { lease: theirs, ..put("a") };
        assert_eq!(code(&alice.kv.put(join).await.unwrap_err()), denied);
        let left = |id, keys| LeaseTimeToLiveRequest { id, keys };
        let error = nobody.lease.lease_time_to_live(left(own, false)).await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
        let error = alice.lease.lease_time_to_live(left(theirs, true)).await.unwrap_err();
        assert_eq!(code(&error), denied);
        alice.lease.lease_time_to_live(left(theirs, false)).await.unwrap();
        let own_left = alice.lease.lease_time_to_live(left(own, true)).await.unwrap();
        assert_eq!(own_left.into_inner().keys, ["a"]);
        let error = alice.lease.lease_leases(LeaseLeasesRequest {}).await.unwrap_err();
        assert_eq!(code(&error), denied);
        assert_eq!(
            root.lease.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner().leases.len(),
            2
        );
        let error = alice.lease.lease_revoke(LeaseRevokeRequest { id: theirs }).await.unwrap_err();
        assert_eq!(code(&error), denied);
        alice.lease.lease_revoke(LeaseRevokeRequest { id: own }).await.unwrap();
        root.lease.lease_revoke(LeaseRevokeRequest { id: theirs }).await.unwrap();
    }

    // One that runs out is revoked by the member itself.
    let mut root = Session::root(&cluster, leader).await;
    let short = LeaseGrantRequest { ttl: 1, id: 0 };
    let short = root.lease.lease_grant(short).await.unwrap().into_inner().id;
    root.kv.put(PutRequest { lease: short, ..put("z") }).await.unwrap();
    eventually("expiry", || {
        let mut kv = root.kv.clone();
        async move {
            let found = kv.range(range("z", "")).await.unwrap().into_inner();
            (found.count == 0).then_some(())
        }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_roles_come_with_a_snapshot() {
    let flags = [QUICK[0], "--snapshot-count=20"];
    let mut cluster = Cluster::start(3, &flags).await;
    let leader = cluster.leader().await;
    let lagging = (leader + 1) % 3;
    cluster.stop_member(lagging).await;
    enable(&cluster).await;
    let root = Session::root(&cluster, leader).await;
    // Five times the count is kept; these are more entries, so the log will be gone.
    for number in 0..160 {
        eventually("a put", || {
            let mut kv = root.kv.clone();
            let put = PutRequest { value: "x".repeat(100).into(), ..put(&format!("a{number}")) };
            async move { kv.put(put).await.ok() }
        })
        .await;
    }
    // Whoever leads next must not have it either.
    for number in [leader, (leader + 2) % 3] {
        cluster.log_gone(number, 40).await;
    }
    cluster.start_member(lagging).await;
    let local = RangeRequest { serializable: true, ..range("a", "") };
    eventually("auth on the member that was away", || {
        let mut nobody = Session::nobody(&cluster, lagging);
        let local = local.clone();
        async move {
            let error = nobody.kv.range(local).await.err()?;
            (code(&error) == (Code::InvalidArgument, NOBODY)).then_some(())
        }
    })
    .await;
    cluster.snapshot_came(lagging).await;
    Session::user(&cluster, lagging, "alice", "pw").await.kv.put(put("a")).await.unwrap();

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_roles_survive_a_restart_and_tokens_do_not() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    enable(&cluster).await;
    let token = login(&cluster, 0, "alice", "pw").await.unwrap();
    let revision = Session::root(&cluster, 0).await.revision().await;
    cluster.stop().await;
    for number in 0..3 {
        cluster.start_member(number).await;
    }
    for number in 0..3 {
        assert_eq!(Session::root(&cluster, number).await.revision().await, revision);
        // What is remembered in memory only is gone, and not made again by replaying the log.
        let error = Session::with(&cluster, number, &token).kv.put(put("a")).await.unwrap_err();
        assert_eq!(code(&error), (Code::Unauthenticated, BAD_TOKEN));
    }
    cluster.stop().await;
}

/// A member that has not yet heard of a change must not let through what the change forbids.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_gone_on_every_member_at_once() {
    let mut cluster = Cluster::start(3, &QUICK).await;
    enable(&cluster).await;
    let mut root = Session::root(&cluster, 0).await;
    let mut alices = Vec::new();
    for number in 0..3 {
        alices.push(Session::user(&cluster, number, "alice", "pw").await);
    }
    let refused = |error: Status| {
        let message = error.message().to_owned();
        let old = "etcdserver: revision of auth store is old";
        assert!([DENIED, old].contains(&message.as_str()), "{error}");
    };
    for round in 0..8 {
        root.revoke_role("alice", "some").await;
        let (first, second) = (1 + round % 2, 2 - round % 2);
        refused(alices[first].kv.put(put("a")).await.expect_err("a put after the end"));
        refused(alices[second].kv.range(range("a", "")).await.expect_err("a range"));
        root.grant_role("alice", "some").await;
        // It may be told to ask again, and is let in before long.
        eventually("a put", || {
            let mut kv = alices[second].kv.clone();
            async move { kv.put(put("a")).await.map_err(refused).ok() }
        })
        .await;
    }
    for _ in 0..5 {
        root.auth.auth_disable(AuthDisableRequest {}).await.unwrap();
        let mut anybody = Session::nobody(&cluster, 0);
        anybody.auth.auth_enable(AuthEnableRequest {}).await.unwrap();
        for number in [1, 2, 0] {
            let mut nobody = Session::nobody(&cluster, number);
            let error = nobody.kv.put(put("a")).await.expect_err("a put of nobody");
            assert_eq!(code(&error), (Code::InvalidArgument, NOBODY));
        }
        root = Session::root(&cluster, 0).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_is_as_old_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "not to be guessed").unwrap();
    let token = format!("--auth-token=jwt,sign-method=HS256,priv-key={},ttl=5m", secret.display());
    let mut cluster = Cluster::start(3, &[QUICK[0], &token]).await;
    enable(&cluster).await;
    let token = login(&cluster, 0, "alice", "pw").await.unwrap();
    let root_token = login(&cluster, 1, "root", "pw").await.unwrap();
    for number in 0..3 {
        Session::with(&cluster, number, &token).kv.put(put("a")).await.unwrap();
    }
    // As etcd: what root does needs no new token after each change, what concerns keys does.
    let mut root = Session::with(&cluster, 2, &root_token);
    root.auth.role_add(AuthRoleAddRequest { name: "one".into() }).await.unwrap();
    root.auth.role_add(AuthRoleAddRequest { name: "two".into() }).await.unwrap();
    let old = (Code::InvalidArgument, "etcdserver: revision of auth store is old");
    let mut alice = Session::with(&cluster, 2, &token);
    assert_eq!(code(&alice.kv.put(put("a")).await.unwrap_err()), old);
    assert_eq!(code(&alice.kv.range(range("a", "")).await.unwrap_err()), old);
    assert_eq!(code(&root.kv.range(range("a", "")).await.unwrap_err()), old);
    let token = login(&cluster, 2, "alice", "pw").await.unwrap();
    // Nobody has to remember it: it is good after a restart.
    cluster.stop_member(0).await;
    cluster.start_member(0).await;
    Session::with(&cluster, 0, &token).kv.put(put("a")).await.unwrap();
    cluster.stop().await;
}
