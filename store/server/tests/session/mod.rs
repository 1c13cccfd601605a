//! A client of one member, with all services and somebody's token.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]

use proto::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{
        AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthStatusRequest,
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserGrantRoleRequest,
        AuthUserRevokeRoleRequest, AuthenticateRequest, RangeRequest, auth_client::AuthClient,
        cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, watch_client::WatchClient,
    },
};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::{InterceptedService, Interceptor},
    transport::{Channel, Endpoint},
};

use crate::common::Cluster;

/// Adds a token to every request.
#[derive(Clone)]
pub(crate) struct Token(Option<(&'static str, MetadataValue<Ascii>)>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((key, value)) = &self.0 {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    }
}

type Line = InterceptedService<Channel, Token>;

pub(crate) struct Session {
    pub(crate) kv: KvClient<Line>,
    pub(crate) watch: WatchClient<Line>,
    pub(crate) lease: LeaseClient<Line>,
    pub(crate) cluster: ClusterClient<Line>,
    pub(crate) maintenance: MaintenanceClient<Line>,
    pub(crate) auth: AuthClient<Line>,
}

/// What clients tell errors apart by.
pub(crate) fn code(error: &Status) -> (Code, &str) {
    (error.code(), error.message())
}

impl Session {
    pub(crate) fn over(channel: &Channel, token: Option<(&'static str, String)>) -> Self {
        let token = Token(token.map(|(key, value)| (key, value.parse().unwrap())));
        let line = || InterceptedService::new(channel.clone(), token.clone());
        Self {
            kv: KvClient::new(line()),
            watch: WatchClient::new(line()),
            lease: LeaseClient::new(line()),
            cluster: ClusterClient::new(line()),
            maintenance: MaintenanceClient::new(line()),
            auth: AuthClient::new(line()),
        }
    }

    fn at(cluster: &Cluster, number: usize, token: Option<(&'static str, String)>) -> Self {
        let urls = cluster.endpoints();
        let url = urls.split(',').nth(number).unwrap().to_owned();
        Self::over(&Endpoint::from_shared(url).unwrap().connect_lazy(), token)
    }

    pub(crate) fn nobody(cluster: &Cluster, number: usize) -> Self {
        Self::at(cluster, number, None)
    }

    pub(crate) fn with(cluster: &Cluster, number: usize, token: &str) -> Self {
        Self::at(cluster, number, Some(("token", token.to_owned())))
    }

    /// As HTTP clients send it.
    pub(crate) fn bearer(cluster: &Cluster, number: usize, token: &str) -> Self {
        Self::at(cluster, number, Some(("authorization", format!("Bearer {token}"))))
    }

    pub(crate) async fn user(cluster: &Cluster, number: usize, name: &str, password: &str) -> Self {
        let token = login(cluster, number, name, password).await.unwrap();
        Self::with(cluster, number, &token)
    }

    pub(crate) async fn root(cluster: &Cluster, number: usize) -> Self {
        Self::user(cluster, number, "root", "pw").await
    }

    pub(crate) async fn change_password(&mut self, name: &str, to: &str) -> Result<(), Status> {
        let request = AuthUserChangePasswordRequest {
            name: name.to_owned(),
            password: to.to_owned(),
            ..AuthUserChangePasswordRequest::default()
        };
        self.auth.user_change_password(request).await.map(drop)
    }

    pub(crate) async fn add_user(&mut self, name: &str, password: &str) {
        let request = AuthUserAddRequest {
            name: name.to_owned(),
            password: password.to_owned(),
            options: Some(UserAddOptions { no_password: password.is_empty() }),
            ..AuthUserAddRequest::default()
        };
        self.auth.user_add(request).await.unwrap();
    }

    pub(crate) async fn grant_role(&mut self, user: &str, role: &str) {
        let request = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        self.auth.user_grant_role(request).await.unwrap();
    }

    pub(crate) async fn revoke_role(&mut self, name: &str, role: &str) {
        let request = AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() };
        self.auth.user_revoke_role(request).await.unwrap();
    }

    pub(crate) async fn add_role(&mut self, name: &str, permissions: &[(i32, &str, &str)]) {
        let name = name.to_owned();
        self.auth.role_add(AuthRoleAddRequest { name: name.clone() }).await.unwrap();
        for (perm_type, key, range_end) in permissions {
            let (key, range_end) = ((*key).to_owned().into(), (*range_end).to_owned().into());
            let perm = Some(Permission { perm_type: *perm_type, key, range_end });
            let request = AuthRoleGrantPermissionRequest { name: name.clone(), perm };
            self.auth.role_grant_permission(request).await.unwrap();
        }
    }

    /// The auth revision.
    pub(crate) async fn revision(&mut self) -> u64 {
        let status = self.auth.auth_status(AuthStatusRequest {}).await.unwrap();
        status.into_inner().auth_revision
    }
}

/// A token for a password.
pub(crate) async fn login(
    cluster: &Cluster,
    number: usize,
    name: &str,
    password: &str,
) -> Result<String, Status> {
    let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    let answer = Session::nobody(cluster, number).auth.authenticate(request).await?;
    Ok(answer.into_inner().token)
}

/// `root`; `alice`, who reads `a` to `d` and writes `a` to `c`; `carol` without a password.
pub(crate) async fn users(nobody: &mut Session) {
    nobody.add_user("root", "pw").await;
    nobody.grant_role("root", "root").await;
    nobody.add_role("root", &[]).await;
    nobody.add_role("some", &[(2, "a", "c"), (0, "c", "d")]).await;
    nobody.add_user("alice", "pw").await;
    nobody.grant_role("alice", "some").await;
    nobody.add_user("carol", "").await;
    nobody.auth.auth_enable(AuthEnableRequest {}).await.unwrap();
}

/// Turns auth on, with the users of [`users`].
pub(crate) async fn enable(cluster: &Cluster) {
    let leader = cluster.leader().await;
    users(&mut Session::nobody(cluster, leader)).await;
    // A member that has not heard of it yet asks for nobody's name, as an etcd. A current read is
    // refused there as well, once it has caught up.
    let started = (0..cluster.members.len())
        .filter(|number| cluster.members.get(*number).is_some_and(Option::is_some));
    for number in started {
        let all = RangeRequest { key: "any".into(), ..RangeRequest::default() };
        Session::nobody(cluster, number).kv.range(all).await.unwrap_err();
    }
}
