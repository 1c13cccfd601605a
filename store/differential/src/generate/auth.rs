//! Users, roles and permissions, and requests of users that may or may not.

use prost::Message;
use proto::authpb;
use proto::etcdserverpb as pb;
use rand::Rng as _;

use super::Generator;
use crate::step::Step;

const USERS: [&str; 4] = ["root", "u1", "u2", "nobody"];
const ROLES: [&str; 4] = ["root", "r1", "r2", "nothing"];

/// The password of root never changes, so that the store can be made empty again.
fn password(user: &str) -> String {
    if user == "root" { "root".to_owned() } else { "p".to_owned() }
}

impl Generator {
    /// Steps that give every script of this kind users to begin with.
    pub(super) fn prepare_auth(&mut self) {
        let role =
            |name: &str| call("Auth/RoleAdd", &pb::AuthRoleAddRequest { name: name.to_owned() });
        let user = |name: &str| {
            let request = pb::AuthUserAddRequest {
                name: name.to_owned(),
                password: password(name),
                ..pb::AuthUserAddRequest::default()
            };
            call("Auth/UserAdd", &request)
        };
        let grant = |user: &str, role: &str| {
            let (user, role) = (user.to_owned(), role.to_owned());
            call("Auth/UserGrantRole", &pb::AuthUserGrantRoleRequest { user, role })
        };
        self.waiting.extend([
            role("root"),
            user("root"),
            grant("root", "root"),
            role("r1"),
            user("u1"),
            grant("u1", "r1"),
        ]);
        for _ in 0..3 {
            let grant = self.grant_permission("r1");
            self.waiting.extend(revocation(&grant));
            self.waiting.push_back(grant);
        }
        let enable = call("Auth/AuthEnable", &pb::AuthEnableRequest {});
        self.waiting.push_back(enable);
        for user in ["root", "u1"] {
            self.waiting.push_back(authenticate(user, &password(user)));
        }
    }

    /// The step as some user asks for it, or as nobody.
    pub(super) fn as_somebody(&mut self, step: Step) -> Step {
        let user = match self.rng.random_range(0..20) {
            0 => None,
            1..7 => Some("root"),
            7..16 => Some("u1"),
            16..19 => Some("u2"),
            _ => Some("nobody"),
        };
        step.sent_by(user)
    }

    pub(super) fn auth(&mut self) -> Step {
        let user = USERS[self.rng.random_range(0..USERS.len())];
        let role = ROLES[self.rng.random_range(0..ROLES.len())];
        let step = match self.rng.random_range(0..40) {
            0..3 => self.add_user(user),
            // Rarely root: without it there is nobody who may change anything.
            3 if user != "root" || self.chance(10) => {
                call("Auth/UserDelete", &pb::AuthUserDeleteRequest { name: user.to_owned() })
            }
            4..6 if user != "root" => {
                let request = pb::AuthUserChangePasswordRequest {
                    name: user.to_owned(),
                    password: password(user),
                    ..pb::AuthUserChangePasswordRequest::default()
                };
                call("Auth/UserChangePassword", &request)
            }
            6..9 => {
                let (user, role) = (user.to_owned(), role.to_owned());
                call("Auth/UserGrantRole", &pb::AuthUserGrantRoleRequest { user, role })
            }
            9 => {
                let (name, role) = (user.to_owned(), role.to_owned());
                call("Auth/UserRevokeRole", &pb::AuthUserRevokeRoleRequest { name, role })
            }
            10..13 => call("Auth/UserGet", &pb::AuthUserGetRequest { name: user.to_owned() }),
            13 => call("Auth/UserList", &pb::AuthUserListRequest {}),
            14..16 => {
                let name = if self.chance(5) { "" } else { role };
                call("Auth/RoleAdd", &pb::AuthRoleAddRequest { name: name.to_owned() })
            }
            16 => call("Auth/RoleDelete", &pb::AuthRoleDeleteRequest { role: role.to_owned() }),
            17..20 => call("Auth/RoleGet", &pb::AuthRoleGetRequest { role: role.to_owned() }),
            20 => call("Auth/RoleList", &pb::AuthRoleListRequest {}),
            21..26 => self.grant_permission(role),
            26..28 => {
                let key = self.key();
                let request = pb::AuthRoleRevokePermissionRequest {
                    role: role.to_owned(),
                    range_end: self.range_end(&key),
                    key,
                };
                call("Auth/RoleRevokePermission", &request)
            }
            28..30 => call("Auth/AuthEnable", &pb::AuthEnableRequest {}),
            30 => call("Auth/AuthDisable", &pb::AuthDisableRequest {}),
            31..33 => call("Auth/AuthStatus", &pb::AuthStatusRequest {}),
            33 => return authenticate(user, "wrong"),
            _ => return authenticate(user, &password(user)),
        };
        let step =
            if self.chance(75) { step.sent_by(Some("root")) } else { self.as_somebody(step) };
        match revocation(&step) {
            Some(revocation) => {
                self.waiting.push_front(step);
                revocation
            }
            None => step,
        }
    }

    fn add_user(&mut self, user: &str) -> Step {
        let name = if self.chance(5) { "" } else { user };
        let no_password = user != "root" && self.chance(15);
        let request = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: if no_password { String::new() } else { password(user) },
            options: Some(authpb::UserAddOptions { no_password }),
            ..pb::AuthUserAddRequest::default()
        };
        call("Auth/UserAdd", &request)
    }

    fn grant_permission(&mut self, role: &str) -> Step {
        let key = self.key();
        let range_end = self.range_end(&key);
        let perm_type = self.rng.random_range(0..3);
        let perm = authpb::Permission { perm_type, range_end, key };
        let perm = if self.chance(3) { None } else { Some(perm) };
        let request = pb::AuthRoleGrantPermissionRequest { name: role.to_owned(), perm };
        call("Auth/RoleGrantPermission", &request)
    }
}

/// What comes before a permission, by the same user. etcd changes only the first permission of those
/// that begin with a key, and keeps the old one beside a new one of the others: who may write goes
/// on writing when only reading is granted. Here the new one takes the old one's place.
fn revocation(step: &Step) -> Option<Step> {
    let grant: pb::AuthRoleGrantPermissionRequest = step.request("Auth/RoleGrantPermission")?;
    let perm = grant.perm?;
    let request = pb::AuthRoleRevokePermissionRequest {
        role: grant.name,
        key: perm.key,
        range_end: perm.range_end,
    };
    let Step::Call { user, .. } = step else { return None };
    Some(call("Auth/RoleRevokePermission", &request).sent_by(user.as_deref()))
}

fn call(name: &str, request: &impl Message) -> Step {
    Step::call(name, request)
}

fn authenticate(user: &str, password: &str) -> Step {
    let (name, password) = (user.to_owned(), password.to_owned());
    call("Auth/Authenticate", &pb::AuthenticateRequest { name, password })
}
