//! Changes of users and roles. K2: each is checked whole before the first thing is changed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proto::authpb::{Role, User};
use proto::etcdserverpb::{
    AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
};
use proto::orlop::store::v1::auth_change::Change;
use store_planted::{self as planted, Bug};

use super::{Account, Auth, ROOT};
use crate::error::Refusal;
use crate::{codec, keys};

/// A pair to store, or a key to delete.
type Write = (Vec<u8>, Option<Vec<u8>>);

/// The hash as it is stored. It travels as text.
fn hash(text: &str) -> Result<Bytes, Refusal> {
    STANDARD.decode(text).map(Bytes::from).map_err(|_| Refusal::NoPasswordUser)
}

/// etcd's rule: one key, or an end that lies behind it, or the zero byte for no end.
fn is_valid_range(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}

impl Auth {
    /// Carries out a change, and answers what must be written.
    pub(crate) fn change(&mut self, change: Change) -> Result<Vec<Write>, Refusal> {
        match change {
            Change::Enable(_) => self.enable(),
            Change::Disable(_) => Ok(self.disable()),
            Change::Authenticate(request) => self.authenticate(&request.name).map(|()| Vec::new()),
            Change::UserAdd(request) => self.user_add(request),
            Change::UserDelete(request) => self.user_delete(&request.name),
            Change::UserChangePassword(request) => self.user_change_password(&request),
            Change::UserGrantRole(request) => self.user_grant_role(request),
            Change::UserRevokeRole(request) => self.user_revoke_role(&request),
            Change::RoleAdd(request) => self.role_add(&request.name),
            Change::RoleDelete(request) => self.role_delete(&request.role),
            Change::RoleGrantPermission(request) => self.role_grant_permission(request),
            Change::RoleRevokePermission(request) => self.role_revoke_permission(&request),
        }
    }

    /// Whether a user whose password is right may have a token.
    pub(crate) fn authenticate(&self, name: &str) -> Result<(), Refusal> {
        if !self.enabled {
            return Err(Refusal::AuthNotEnabled);
        }
        let user = self.user(name).ok_or(Refusal::AuthFailed)?;
        if has_no_password(user) { Err(Refusal::AuthFailed) } else { Ok(()) }
    }

    fn enable(&mut self) -> Result<Vec<Write>, Refusal> {
        if self.enabled {
            return Ok(Vec::new());
        }
        // U2.
        let root = self.users.get(ROOT).ok_or(Refusal::RootUserNotFound)?;
        if !root.is_root {
            return Err(Refusal::RootRoleNotGranted);
        }
        self.enabled = true;
        Ok(vec![(keys::AUTH.to_vec(), Some(codec::encode(&self.record())))])
    }

    fn disable(&mut self) -> Vec<Write> {
        if !self.enabled {
            return Vec::new();
        }
        self.enabled = false;
        self.commit(Vec::new())
    }

    /// U1.
    fn commit(&mut self, mut writes: Vec<Write>) -> Vec<Write> {
        self.revision += 1;
        writes.push((keys::AUTH.to_vec(), Some(codec::encode(&self.record()))));
        writes
    }

    fn put_user(&mut self, name: &str, user: User) -> Write {
        let write = (keys::user(name), Some(codec::encode(&user)));
        self.users.insert(name.into(), Arc::new(Account::new(user, &self.roles)));
        write
    }

    fn put_role(&mut self, name: &str, role: Role) -> Write {
        let write = (keys::role(name), Some(codec::encode(&role)));
        self.roles.insert(name.into(), Arc::new(role));
        if planted::is(Bug::AuthStale) {
            return write;
        }
        for account in self.users.values_mut() {
            if account.record.roles.iter().any(|role| role == name) {
                *account = Arc::new(Account::new(account.record.clone(), &self.roles));
            }
        }
        write
    }

    fn user_add(&mut self, request: AuthUserAddRequest) -> Result<Vec<Write>, Refusal> {
        if request.name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        if self.users.contains_key(request.name.as_str()) {
            return Err(Refusal::UserExists);
        }
        let options = request.options.unwrap_or_default();
        let password =
            if options.no_password { Bytes::new() } else { hash(&request.hashed_password)? };
        let name = Bytes::copy_from_slice(request.name.as_bytes());
        let user = User { name, password, roles: Vec::new(), options: Some(options) };
        let write = self.put_user(&request.name, user);
        Ok(self.commit(vec![write]))
    }

    fn user_delete(&mut self, name: &str) -> Result<Vec<Write>, Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        Ok(self.commit(vec![(keys::user(name), None)]))
    }

    fn user_change_password(
        &mut self,
        request: &AuthUserChangePasswordRequest,
    ) -> Result<Vec<Write>, Refusal> {
        let user = self.user(&request.name).ok_or(Refusal::UserNotFound)?;
        let password =
            if has_no_password(user) { Bytes::new() } else { hash(&request.hashed_password)? };
        let user = User { password, ..user.clone() };
        let write = self.put_user(&request.name, user);
        Ok(self.commit(vec![write]))
    }

    fn user_grant_role(
        &mut self,
        request: AuthUserGrantRoleRequest,
    ) -> Result<Vec<Write>, Refusal> {
        let mut user = self.user(&request.user).ok_or(Refusal::UserNotFound)?.clone();
        // The role `root` need not exist to be given.
        if request.role != ROOT && !self.roles.contains_key(request.role.as_str()) {
            return Err(Refusal::RoleNotFound);
        }
        if user.roles.contains(&request.role) {
            return Ok(Vec::new());
        }
        user.roles.push(request.role);
        user.roles.sort();
        let write = self.put_user(&request.user, user);
        Ok(self.commit(vec![write]))
    }

    fn user_revoke_role(
        &mut self,
        request: &AuthUserRevokeRoleRequest,
    ) -> Result<Vec<Write>, Refusal> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        let mut user = self.user(&request.name).ok_or(Refusal::UserNotFound)?.clone();
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(Refusal::RoleNotGranted);
        }
        let write = self.put_user(&request.name, user);
        Ok(self.commit(vec![write]))
    }

    fn role_add(&mut self, name: &str) -> Result<Vec<Write>, Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Refusal::RoleExists);
        }
        let role = Role { name: Bytes::copy_from_slice(name.as_bytes()), ..Role::default() };
        let write = self.put_role(name, role);
        Ok(self.commit(vec![write]))
    }

    fn role_delete(&mut self, name: &str) -> Result<Vec<Write>, Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        let mut writes = vec![(keys::role(name), None)];
        let holders: Vec<User> = self
            .users()
            .filter(|user| user.roles.iter().any(|role| role == name))
            .cloned()
            .collect();
        for mut user in holders {
            user.roles.retain(|role| role != name);
            let holder = String::from_utf8_lossy(&user.name).into_owned();
            writes.push(self.put_user(&holder, user));
        }
        Ok(self.commit(writes))
    }

    fn role_grant_permission(
        &mut self,
        request: AuthRoleGrantPermissionRequest,
    ) -> Result<Vec<Write>, Refusal> {
        let permission = request.perm.ok_or(Refusal::PermissionNotGiven)?;
        if !is_valid_range(&permission.key, &permission.range_end) {
            return Err(Refusal::InvalidAuthManagement);
        }
        let mut role = self.role(&request.name).ok_or(Refusal::RoleNotFound)?.clone();
        // etcd looks at the first permission of the key only, and keeps the old one of another
        // beside the new one: who may write goes on writing when only reading is granted.
        let same = role
            .key_permission
            .iter_mut()
            .find(|other| other.key == permission.key && other.range_end == permission.range_end);
        match same {
            Some(same) => same.perm_type = permission.perm_type,
            None => {
                role.key_permission.push(permission);
                role.key_permission.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        let write = self.put_role(&request.name, role);
        Ok(self.commit(vec![write]))
    }

    fn role_revoke_permission(
        &mut self,
        request: &AuthRoleRevokePermissionRequest,
    ) -> Result<Vec<Write>, Refusal> {
        let mut role = self.role(&request.role).ok_or(Refusal::RoleNotFound)?.clone();
        let before = role.key_permission.len();
        role.key_permission.retain(|permission| {
            permission.key != request.key || permission.range_end != request.range_end
        });
        if role.key_permission.len() == before {
            return Err(Refusal::PermissionNotGranted);
        }
        let write = self.put_role(&request.role, role);
        Ok(self.commit(vec![write]))
    }
}

fn has_no_password(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}
