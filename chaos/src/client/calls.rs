//! Calls that are not about keys: leases, locks and users.

use proto::authpb::Permission;
use proto::authpb::permission::Type;
use proto::etcdserverpb as pb;
use proto::v3lockpb;
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::message::{nothing, one};
use super::{MemberClient, ROOT};
use crate::history::{AdminCall, LeaseCall, LockCall, Reply, StepReply};

impl MemberClient {
    pub(super) async fn lease_call(&mut self, call: LeaseCall) -> Result<Reply, Status> {
        match call {
            LeaseCall::Grant { lease, ttl_s } => {
                let request = pb::LeaseGrantRequest { id: lease, ttl: ttl_s };
                let request = self.tokens.sign(ROOT, request);
                let answer = self.lease.lease_grant(request).await?.into_inner();
                if !answer.error.is_empty() {
                    return Err(Status::internal(answer.error));
                }
                let (ttl_s, granted_s) = (answer.ttl, answer.ttl);
                one(answer.header, StepReply::Lease { ttl_s, granted_s })
            }
            LeaseCall::Revoke { lease } => {
                let request = self.tokens.sign(ROOT, pb::LeaseRevokeRequest { id: lease });
                nothing(self.lease.lease_revoke(request).await?.into_inner().header)
            }
            LeaseCall::KeepAlive { lease } => self.keep_alive(lease).await,
            LeaseCall::TimeToLive { lease } => {
                let request = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
                let request = self.tokens.sign(ROOT, request);
                let answer = self.lease.lease_time_to_live(request).await?.into_inner();
                let (ttl_s, granted_s) = (answer.ttl, answer.granted_ttl);
                one(answer.header, StepReply::Lease { ttl_s, granted_s })
            }
        }
    }

    /// Renews once, on a stream of its own: the answer belongs to this request and to no other.
    async fn keep_alive(&mut self, lease: i64) -> Result<Reply, Status> {
        let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id: lease });
        let request = self.tokens.sign(ROOT, requests);
        let mut answers = self.lease.lease_keep_alive(request).await?.into_inner();
        let answer = answers.next().await;
        let answer =
            answer.ok_or_else(|| Status::unknown("the stream ended without an answer"))??;
        one(answer.header, StepReply::Lease { ttl_s: answer.ttl, granted_s: answer.ttl })
    }

    pub(super) async fn lock_call(&mut self, call: &LockCall) -> Result<Reply, Status> {
        match call {
            LockCall::Lock { name, lease } => {
                let name = name.clone().into_bytes().into();
                let request = self.tokens.sign(ROOT, v3lockpb::LockRequest { name, lease: *lease });
                let answer = self.lock.lock(request).await?.into_inner();
                let key = String::from_utf8_lossy(&answer.key).into_owned();
                one(answer.header, StepReply::Locked { key })
            }
            LockCall::Unlock { key } => {
                let key = key.clone().into_bytes().into();
                let request = self.tokens.sign(ROOT, v3lockpb::UnlockRequest { key });
                nothing(self.lock.unlock(request).await?.into_inner().header)
            }
        }
    }

    pub(super) async fn admin_call(&mut self, call: &AdminCall) -> Result<Reply, Status> {
        match call {
            AdminCall::AddUser { user } => {
                let (name, password) = (user.clone(), user.clone());
                let request = pb::AuthUserAddRequest { name, password, ..Default::default() };
                let request = self.tokens.sign(ROOT, request);
                nothing(self.auth.user_add(request).await?.into_inner().header)
            }
            AdminCall::AddRole { role } => {
                let request = self.tokens.sign(ROOT, pb::AuthRoleAddRequest { name: role.clone() });
                nothing(self.auth.role_add(request).await?.into_inner().header)
            }
            AdminCall::GrantRole { user, role } => {
                let (user, role) = (user.clone(), role.clone());
                let request = self.tokens.sign(ROOT, pb::AuthUserGrantRoleRequest { user, role });
                nothing(self.auth.user_grant_role(request).await?.into_inner().header)
            }
            AdminCall::RevokeRole { user, role } => {
                let (name, role) = (user.clone(), role.clone());
                let request = self.tokens.sign(ROOT, pb::AuthUserRevokeRoleRequest { name, role });
                nothing(self.auth.user_revoke_role(request).await?.into_inner().header)
            }
            AdminCall::Permit { role, prefix, write } => {
                let request = self.tokens.sign(ROOT, permission(role, prefix, *write));
                nothing(self.auth.role_grant_permission(request).await?.into_inner().header)
            }
            AdminCall::Forbid { role, prefix } => {
                let range = super::message::list(prefix);
                let request = pb::AuthRoleRevokePermissionRequest {
                    role: role.clone(),
                    key: range.key,
                    range_end: range.range_end,
                };
                let request = self.tokens.sign(ROOT, request);
                nothing(self.auth.role_revoke_permission(request).await?.into_inner().header)
            }
            AdminCall::Enable => {
                let request = self.tokens.sign(ROOT, pb::AuthEnableRequest {});
                nothing(self.auth.auth_enable(request).await?.into_inner().header)
            }
            AdminCall::Disable => {
                let request = self.tokens.sign(ROOT, pb::AuthDisableRequest {});
                nothing(self.auth.auth_disable(request).await?.into_inner().header)
            }
            AdminCall::Status => {
                let request = self.tokens.sign(ROOT, pb::AuthStatusRequest {});
                let answer = self.auth.auth_status(request).await?.into_inner();
                let (enabled, revision) = (answer.enabled, answer.auth_revision);
                one(answer.header, StepReply::Users { enabled, revision })
            }
        }
    }
}

fn permission(role: &str, prefix: &str, write: bool) -> pb::AuthRoleGrantPermissionRequest {
    let range = super::message::list(prefix);
    let kind = if write { Type::Readwrite } else { Type::Read };
    let perm = Permission { perm_type: kind.into(), key: range.key, range_end: range.range_end };
    pb::AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: Some(perm) }
}
