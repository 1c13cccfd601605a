//! Random changes of users and roles, and requests of all of them, on a real etcd and on us: the
//! same answers, word for word. `ORLOP_SEED` chooses another run.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod common;
mod real_etcd;
mod session;

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use common::Cluster;
use proto::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
        AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleListRequest,
        AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
        AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest,
        AuthenticateRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
        PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest, request_op::Request,
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use real_etcd::Etcd;
use session::{Session, users};
use tonic::{Response, Status, transport::Channel, transport::Endpoint};

const STEPS: usize = 1500;
const USERS: [&str; 4] = ["root", "alice", "carol", "dave"];
const ROLES: [&str; 3] = ["some", "other", "more"];
const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// Each key begins one range only, and none of those that all begin with: etcd changes the first
/// range of a key only, and keeps a second permission beside the old one of another.
const RANGES: [(&str, &str); 5] = [("b", "d"), ("d", ""), ("e", "\0"), ("f", "g"), ("\0", "b")];

#[derive(Debug, Clone)]
enum Step {
    Enable,
    Disable,
    Login(AuthenticateRequest),
    UserAdd(AuthUserAddRequest),
    UserDelete(AuthUserDeleteRequest),
    UserChangePassword(AuthUserChangePasswordRequest),
    UserGrantRole(AuthUserGrantRoleRequest),
    UserRevokeRole(AuthUserRevokeRoleRequest),
    RoleAdd(AuthRoleAddRequest),
    RoleDelete(AuthRoleDeleteRequest),
    RoleGrant(AuthRoleGrantPermissionRequest),
    RoleRevoke(AuthRoleRevokePermissionRequest),
    UserGet(AuthUserGetRequest),
    RoleGet(AuthRoleGetRequest),
    UserList,
    RoleList,
    Status,
    Put(PutRequest),
    Range(RangeRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
}

struct Dice(StdRng);

impl Dice {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.0).unwrap()
    }

    fn user(&mut self) -> String {
        self.one(&USERS).to_owned()
    }

    fn role(&mut self) -> String {
        self.one(&ROLES).to_owned()
    }

    /// Mostly the one that all begin with.
    fn password(&mut self) -> String {
        self.one(&["pw", "pw", "pw", "new"]).to_owned()
    }

    fn range(&mut self) -> RangeRequest {
        let key = self.one(&KEYS);
        let end = self.one(&["", "", "c", "d", "f", "z", "\0"]);
        // Whether a range without keys is permitted depends on how etcd's tree happens to lie.
        let end = if end == "\0" || key < end { end } else { "" };
        let serializable = self.0.random_ratio(1, 4);
        let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
        RangeRequest { key, range_end, serializable, ..RangeRequest::default() }
    }

    fn put(&mut self) -> PutRequest {
        PutRequest {
            key: self.one(&KEYS).to_owned().into(),
            value: "v".into(),
            prev_kv: self.0.random_ratio(1, 3),
            lease: if self.0.random_ratio(1, 3) { self.0.random_range(1..4) } else { 0 },
            ..PutRequest::default()
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let RangeRequest { key, range_end, .. } = self.range();
        DeleteRangeRequest { key, range_end, prev_kv: self.0.random_ratio(1, 3) }
    }

    /// Without what this etcd does not look at in a transaction, and later ones do: previous values
    /// and leases of puts, and nested transactions.
    fn txn(&mut self) -> TxnRequest {
        let compare = |dice: &mut Self| Compare {
            key: dice.one(&KEYS).to_owned().into(),
            ..Compare::default()
        };
        let op = |dice: &mut Self| {
            let request = match dice.0.random_range(0..5) {
                0..3 => Request::RequestRange(dice.range()),
                3 => Request::RequestPut(PutRequest { lease: 0, prev_kv: false, ..dice.put() }),
                _ => Request::RequestDeleteRange(dice.delete()),
            };
            RequestOp { request: Some(request) }
        };
        TxnRequest {
            compare: (0..self.0.random_range(0..2)).map(|_| compare(self)).collect(),
            success: (0..self.0.random_range(0..3)).map(|_| op(self)).collect(),
            failure: (0..self.0.random_range(0..2)).map(|_| op(self)).collect(),
        }
    }

    fn step(&mut self) -> Step {
        match self.0.random_range(0..100) {
            0..4 => Step::Enable,
            4 => Step::Disable,
            5..22 => {
                Step::Login(AuthenticateRequest { name: self.user(), password: self.password() })
            }
            22..27 => {
                let (name, password) = (self.user(), self.password());
                // Without root's password nobody could go on.
                let no_password = name != "root" && self.0.random_ratio(1, 8);
                Step::UserAdd(AuthUserAddRequest {
                    name,
                    password,
                    options: Some(UserAddOptions { no_password }),
                    ..AuthUserAddRequest::default()
                })
            }
            27 => Step::UserDelete(AuthUserDeleteRequest { name: self.user() }),
            28 => Step::UserChangePassword(AuthUserChangePasswordRequest {
                name: self.user(),
                password: self.password(),
                ..AuthUserChangePasswordRequest::default()
            }),
            29..36 => {
                let root = self.0.random_ratio(1, 6);
                let role = if root { "root".to_owned() } else { self.role() };
                let user = if root { "root".to_owned() } else { self.user() };
                Step::UserGrantRole(AuthUserGrantRoleRequest { user, role })
            }
            36 | 37 => {
                let (name, role) = (self.user(), self.role());
                Step::UserRevokeRole(AuthUserRevokeRoleRequest { name, role })
            }
            38..42 => Step::RoleAdd(AuthRoleAddRequest { name: self.role() }),
            42 => Step::RoleDelete(AuthRoleDeleteRequest { role: self.role() }),
            43..52 => {
                let (key, end) = RANGES[self.0.random_range(0..RANGES.len())];
                let perm_type = self.0.random_range(0..3);
                let (key, range_end) = (key.into(), end.into());
                let perm = Some(Permission { perm_type, key, range_end });
                Step::RoleGrant(AuthRoleGrantPermissionRequest { name: self.role(), perm })
            }
            52 | 53 => {
                let (key, end) = RANGES[self.0.random_range(0..RANGES.len())];
                let (role, key, range_end) = (self.role(), key.into(), end.into());
                Step::RoleRevoke(AuthRoleRevokePermissionRequest { role, key, range_end })
            }
            54 | 55 => Step::UserGet(AuthUserGetRequest { name: self.user() }),
            56 | 57 => Step::RoleGet(AuthRoleGetRequest { role: self.role() }),
            58 => Step::UserList,
            59 => Step::RoleList,
            60 => Step::Status,
            61..73 => Step::Put(self.put()),
            73..83 => Step::Range(self.range()),
            83..88 => Step::Delete(self.delete()),
            88..96 => Step::Txn(self.txn()),
            96 | 97 => {
                Step::LeaseGrant(LeaseGrantRequest { id: self.0.random_range(1..4), ttl: 600 })
            }
            _ => Step::LeaseRevoke(LeaseRevokeRequest { id: self.0.random_range(1..4) }),
        }
    }

    /// Who asks: root for most changes, anybody for the rest, nobody now and then.
    fn caller(&mut self, step: &Step) -> Option<&'static str> {
        let by_anybody = matches!(
            step,
            Step::Put(_)
                | Step::Range(_)
                | Step::Delete(_)
                | Step::Txn(_)
                | Step::UserGet(_)
                | Step::RoleGet(_)
                | Step::LeaseRevoke(_)
        );
        if self.0.random_ratio(1, 12) {
            return None;
        }
        let root = !by_anybody && !self.0.random_ratio(1, 8);
        Some(if root { "root" } else { USERS.choose(&mut self.0).unwrap() })
    }
}

/// One of the two, with the tokens that it gave out.
struct Side {
    channel: Channel,
    tokens: BTreeMap<String, String>,
}

/// An answer without what differs between clusters, or the error.
fn shown<T: Debug>(
    answer: Result<Response<T>, Status>,
    header: impl FnOnce(&mut T) -> &mut Option<ResponseHeader>,
) -> String {
    match answer.map(Response::into_inner) {
        Ok(mut answer) => {
            let revision = header(&mut answer).take().map_or(0, |header| header.revision);
            format!("at {revision}: {answer:?}")
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

impl Side {
    fn new(url: &str) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
        Self { channel, tokens: BTreeMap::new() }
    }

    async fn run(&mut self, caller: Option<&str>, step: Step) -> String {
        let token = caller.and_then(|name| self.tokens.get(name)).cloned();
        // Later versions of etcd ask who wants a lease, this one does not.
        if token.is_none() && matches!(step, Step::LeaseGrant(_) | Step::LeaseRevoke(_)) {
            return "left out".to_owned();
        }
        let mut by = Session::over(&self.channel, token.map(|token| ("token", token)));
        match step {
            Step::Enable => {
                shown(by.auth.auth_enable(AuthEnableRequest {}).await, |a| &mut a.header)
            }
            Step::Disable => {
                let answer = by.auth.auth_disable(AuthDisableRequest {}).await;
                if answer.is_ok() {
                    // This etcd refuses old tokens where none is needed, later ones do not look.
                    self.tokens.clear();
                }
                shown(answer, |a| &mut a.header)
            }
            Step::Login(request) => {
                let name = request.name.clone();
                let answer = Session::over(&self.channel, None).auth.authenticate(request).await;
                match answer {
                    Ok(answer) => {
                        self.tokens.insert(name, answer.into_inner().token);
                        "a token".to_owned()
                    }
                    Err(status) => format!("{:?}: {}", status.code(), status.message()),
                }
            }
            Step::UserAdd(r) => shown(by.auth.user_add(r).await, |a| &mut a.header),
            Step::UserDelete(r) => shown(by.auth.user_delete(r).await, |a| &mut a.header),
            Step::UserChangePassword(r) => {
                shown(by.auth.user_change_password(r).await, |a| &mut a.header)
            }
            Step::UserGrantRole(r) => shown(by.auth.user_grant_role(r).await, |a| &mut a.header),
            Step::UserRevokeRole(r) => shown(by.auth.user_revoke_role(r).await, |a| &mut a.header),
            Step::RoleAdd(r) => shown(by.auth.role_add(r).await, |a| &mut a.header),
            Step::RoleDelete(r) => shown(by.auth.role_delete(r).await, |a| &mut a.header),
            Step::RoleGrant(r) => shown(by.auth.role_grant_permission(r).await, |a| &mut a.header),
            Step::RoleRevoke(r) => {
                shown(by.auth.role_revoke_permission(r).await, |a| &mut a.header)
            }
            Step::UserGet(r) => shown(by.auth.user_get(r).await, |a| &mut a.header),
            Step::RoleGet(r) => shown(by.auth.role_get(r).await, |a| &mut a.header),
            Step::UserList => {
                shown(by.auth.user_list(AuthUserListRequest {}).await, |a| &mut a.header)
            }
            Step::RoleList => {
                shown(by.auth.role_list(AuthRoleListRequest {}).await, |a| &mut a.header)
            }
            Step::Status => {
                shown(by.auth.auth_status(AuthStatusRequest {}).await, |a| &mut a.header)
            }
            Step::Put(r) => shown(by.kv.put(r).await, |a| &mut a.header),
            Step::Range(r) => shown(by.kv.range(r).await, |a| &mut a.header),
            Step::Delete(r) => shown(by.kv.delete_range(r).await, |a| &mut a.header),
            Step::Txn(r) => shown(by.kv.txn(r).await, |a| &mut a.header),
            Step::LeaseGrant(r) => shown(by.lease.lease_grant(r).await, |a| &mut a.header),
            Step::LeaseRevoke(r) => shown(by.lease.lease_revoke(r).await, |a| &mut a.header),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_users_get_the_same_answers_from_a_real_etcd() {
    let Some(program) = testbed::program("etcd") else { return };
    let seed = std::env::var("ORLOP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    let mut cluster = Cluster::start(1, &["--bcrypt-cost=4"]).await;
    cluster.leader().await;
    let etcd = Etcd::start(&program, &[]);
    let mut theirs = Side::new(&etcd.client_url);
    let mut ours = Side::new(&cluster.endpoints());
    common::eventually("an etcd", || {
        let mut session = Session::over(&theirs.channel, None);
        async move {
            session.kv.range(RangeRequest { key: "a".into(), ..RangeRequest::default() }).await.ok()
        }
    })
    .await;
    for side in [&theirs, &ours] {
        users(&mut Session::over(&side.channel, None)).await;
    }

    let mut dice = Dice(StdRng::seed_from_u64(seed));
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..STEPS {
        let step = dice.step();
        let caller = dice.caller(&step);
        let both =
            futures::future::join(theirs.run(caller, step.clone()), ours.run(caller, step.clone()));
        let (wanted, got) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert_eq!(got, wanted, "seed {seed}, step {number}, by {caller:?}: {step:?}");
        let kind = if wanted.starts_with("at ") { "an answer".to_owned() } else { wanted };
        *told.entry(kind).or_default() += 1;
    }
    // A run in which next to nothing was permitted, or refused, would show little.
    let count = |kind: &str| told.get(kind).copied().unwrap_or(0);
    let refused = count("PermissionDenied: etcdserver: permission denied");
    assert!(count("an answer") > STEPS / 20 && refused > STEPS / 100, "seed {seed}: {told:#?}");
    cluster.stop().await;
}
