//! etcd's Auth service. Changes go through the log; the rest is read from what was applied.

use proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
        AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
        AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
        AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
        AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest,
        AuthenticateResponse, ResponseHeader, auth_server::Auth,
    },
    orlop::store::v1::{
        AuthChange, AuthChanged, Authenticate, Caller, auth_change::Change, command::Op,
    },
};
use store_state_machine::{Refusal, Reply};
use tonic::{Request, Response, Status};

use super::Services;
use crate::{
    auth::{self, Pass, Sender},
    error::Error,
    limits,
};

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl Services {
    /// Proposes a change.
    async fn change_auth(
        &self,
        caller: Option<Caller>,
        change: Change,
    ) -> Result<AuthChanged, Status> {
        let op = Op::Auth(AuthChange { change: Some(change) });
        match self.proposer.propose(caller, op).await? {
            Reply::Auth(mut changed) => {
                self.headers.complete(&mut changed.header);
                Ok(changed)
            }
            _ => Err(Status::internal("the outcome does not belong to the request")),
        }
    }

    /// For a request that only changes something: its header is the answer.
    async fn change_by<T>(
        &self,
        request: Request<T>,
        change: impl FnOnce(T) -> Change,
    ) -> Result<Option<ResponseHeader>, Status> {
        self.check_leader(&request)?;
        let (sender, message) = auth::split(request);
        let caller = self.gate.caller(&sender).await?;
        Ok(self.change_auth(caller, change(message)).await?.header)
    }

    /// Waits until this member knows of all changes so far.
    async fn current_pass(&self, sender: &Sender) -> Result<Pass, Error> {
        self.reader.linearizable().await?;
        self.gate.pass(sender).await
    }

    fn header_now(&self) -> Option<ResponseHeader> {
        Some(self.headers.at(self.state.view().revision()))
    }

    /// Makes the hash of a new password. Only for who may change it: hashing takes long.
    async fn hash(&self, sender: &Sender, password: &mut String) -> Result<String, Error> {
        self.current_pass(sender).await?.root()?;
        self.gate.passwords.hash(std::mem::take(password)).await
    }
}

#[tonic::async_trait]
impl Auth for Services {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let header = self.change_by(request, Change::Enable).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let header = self.change_by(request, Change::Disable).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, _) = auth::split(request);
        self.current_pass(&sender).await?.root()?;
        let auth = self.state.view().auth();
        Ok(Response::new(AuthStatusResponse {
            header: self.header_now(),
            enabled: auth.enabled(),
            auth_revision: auth.revision(),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.check_leader(&request)?;
        let AuthenticateRequest { name, password } = request.into_inner();
        self.reader.linearizable().await?;
        for _ in 0..limits::AUTHENTICATE_TRIES_MAX {
            let users = self.state.view().auth();
            if !users.enabled() {
                return Err(Error::from(Refusal::AuthNotEnabled).into());
            }
            let user = users.user(&name).ok_or(Error::Refused(Refusal::AuthFailed))?;
            if user.options.is_some_and(|options| options.no_password) {
                return Err(Error::from(Refusal::NoPasswordUser).into());
            }
            let right = self.gate.passwords.is_right(&name, password.clone(), &user.password);
            if !right.await? {
                tracing::info!(user = name, "a wrong password");
                return Err(Error::from(Refusal::AuthFailed).into());
            }
            let change = Authenticate { name: name.clone(), token_prefix: auth::prefix() };
            let changed = self.change_auth(None, Change::Authenticate(change)).await?;
            // What was checked must be what counts where the token was made.
            if changed.auth_revision == users.revision() {
                let header = changed.header;
                let token = self.gate.tokens.issue(&name, changed)?;
                return Ok(Response::new(AuthenticateResponse { header, token }));
            }
        }
        Err(Error::from(Refusal::AuthOldRevision).into())
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, mut message) = auth::split(request);
        if !message.options.is_some_and(|options| options.no_password) {
            message.hashed_password = self.hash(&sender, &mut message.password).await?;
        }
        // The log never has a password that can be read.
        message.password.clear();
        let caller = self.gate.caller(&sender).await?;
        let header = self.change_auth(caller, Change::UserAdd(message)).await?.header;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, message) = auth::split(request);
        let pass = self.current_pass(&sender).await?;
        // Everybody may look at itself.
        if pass.name() != message.name {
            pass.root()?;
        }
        let auth = pass.users(&self.state);
        let user = auth.user(&message.name).ok_or(Error::Refused(Refusal::UserNotFound))?;
        let header = self.header_now();
        Ok(Response::new(AuthUserGetResponse { header, roles: user.roles.clone() }))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, _) = auth::split(request);
        self.current_pass(&sender).await?.root()?;
        let users = self.state.view().auth().users().map(|user| text(&user.name)).collect();
        Ok(Response::new(AuthUserListResponse { header: self.header_now(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let header = self.change_by(request, Change::UserDelete).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, mut message) = auth::split(request);
        if !message.password.is_empty() {
            message.hashed_password = self.hash(&sender, &mut message.password).await?;
        }
        let caller = self.gate.caller(&sender).await?;
        let header = self.change_auth(caller, Change::UserChangePassword(message)).await?.header;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let header = self.change_by(request, Change::UserGrantRole).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let header = self.change_by(request, Change::UserRevokeRole).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let header = self.change_by(request, Change::RoleAdd).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, message) = auth::split(request);
        let pass = self.current_pass(&sender).await?;
        // Everybody may look at what it was given.
        let auth = pass.users(&self.state);
        if !auth.has_role(pass.name(), &message.role) {
            pass.root()?;
        }
        let role = auth.role(&message.role).ok_or(Error::Refused(Refusal::RoleNotFound))?;
        let perm = if message.role == "root" {
            // Not stored, but true.
            vec![Permission {
                perm_type: Type::Readwrite.into(),
                key: b"".as_slice().into(),
                range_end: b"\0".as_slice().into(),
            }]
        } else {
            role.key_permission.clone()
        };
        Ok(Response::new(AuthRoleGetResponse { header: self.header_now(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, _) = auth::split(request);
        self.current_pass(&sender).await?.root()?;
        let roles = self.state.view().auth().roles().map(|role| text(&role.name)).collect();
        Ok(Response::new(AuthRoleListResponse { header: self.header_now(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let header = self.change_by(request, Change::RoleDelete).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let header = self.change_by(request, Change::RoleGrantPermission).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let header = self.change_by(request, Change::RoleRevokePermission).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
