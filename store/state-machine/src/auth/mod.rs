//! Users, roles and what they may touch: replicated, all in memory, and replaced as a whole.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | The auth revision rises by one with every change of a user or a role. |
//! | U2 | While auth is enabled there is a user `root`, and it has the role `root`. |
//! | U3 | A caller known from before the last change is refused, not judged by what it was. |
//! | U4 | Who sees the data of a revision sees the users and roles of then, or newer ones. |

mod change;
mod check;
mod ranges;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use proto::authpb::{Role, User, permission::Type};
use proto::orlop::store::v1::AuthRecord;

use self::ranges::Ranges;
use crate::error::Fault;
use crate::{codec, keys, limits};

pub use self::check::Access;

/// The name of the user and of the role that may do everything, as in etcd.
pub(crate) const ROOT: &str = "root";

/// The auth revision of a new store, as in etcd.
const FIRST_REVISION: u64 = 1;

/// Users, roles, and whether they count. Values: a reader keeps the one it began with.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    users: BTreeMap<Arc<str>, Arc<Account>>,
    roles: BTreeMap<Arc<str>, Arc<Role>>,
}

/// A user with what its roles add up to.
#[derive(Debug, PartialEq)]
struct Account {
    record: User,
    is_root: bool,
    read: Ranges,
    write: Ranges,
}

impl Account {
    fn new(record: User, roles: &BTreeMap<Arc<str>, Arc<Role>>) -> Self {
        let granted = || {
            let names = record.roles.iter().filter_map(|name| roles.get(name.as_str()));
            names.flat_map(|role| &role.key_permission)
        };
        let of = |wanted: Type| {
            let counts = move |kind: i32| kind == wanted as i32 || kind == Type::Readwrite as i32;
            granted().filter(move |permission| counts(permission.perm_type))
        };
        let (read, write) = (Ranges::new(of(Type::Read)), Ranges::new(of(Type::Write)));
        let is_root = record.roles.iter().any(|role| role == ROOT);
        Self { record, is_root, read, write }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: FIRST_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// Whether users and roles count.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// How often users and roles have changed, counted from 1.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A user, with its hashed password.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|account| &account.record)
    }

    /// All users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(|account| &account.record)
    }

    /// A role as it was made. `root` may have no permissions here, and may do everything.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(AsRef::as_ref)
    }

    /// All roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(AsRef::as_ref)
    }

    /// Whether there is such a user, and it has the role.
    #[must_use]
    pub fn has_role(&self, user: &str, role: &str) -> bool {
        self.user(user).is_some_and(|user| user.roles.iter().any(|name| name == role))
    }

    fn record(&self) -> AuthRecord {
        AuthRecord { enabled: self.enabled, revision: self.revision }
    }
}

/// What was read of users and roles so far; they come in any order.
#[derive(Default)]
pub(crate) struct Loader {
    auth: Auth,
    users: Vec<User>,
}

impl Loader {
    /// Takes a stored pair, if it is one of ours.
    pub(crate) fn take(&mut self, key: &[u8], stored: &[u8]) -> Result<(), Fault> {
        if key == keys::AUTH {
            let record: AuthRecord = codec::decode(stored)?;
            check_record(&record)?;
            self.auth.enabled = record.enabled;
            self.auth.revision = record.revision;
        } else if key.starts_with(keys::USER_PREFIX) {
            self.users.push(codec::decode(stored)?);
        } else if key.starts_with(keys::ROLE_PREFIX) {
            let role: Role = codec::decode(stored)?;
            self.auth.roles.insert(name(&role.name)?, Arc::new(role));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Auth, Fault> {
        for user in self.users {
            let name = name(&user.name)?;
            self.auth.users.insert(name, Arc::new(Account::new(user, &self.auth.roles)));
        }
        Ok(self.auth)
    }
}

/// A count of changes that this version can go on from.
pub(crate) fn check_record(record: &AuthRecord) -> Result<(), Fault> {
    if record.revision > limits::REVISION_MAX.unsigned_abs() {
        return Err(Fault::damaged(format!("auth revision {}", record.revision)));
    }
    Ok(())
}

fn name(bytes: &[u8]) -> Result<Arc<str>, Fault> {
    let text = str::from_utf8(bytes).map_err(|_| Fault::damaged("name of a user or role"))?;
    Ok(text.into())
}

/// The users and roles that readers see. Asking whether they count costs one atomic load.
#[derive(Default)]
pub(crate) struct Published {
    enabled: AtomicBool,
    current: RwLock<Arc<Auth>>,
}

impl Published {
    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self) -> Arc<Auth> {
        Arc::clone(&self.current.read())
    }

    /// U4: called before the data of the same run can be seen.
    pub(crate) fn set(&self, auth: &Arc<Auth>) {
        let mut current = self.current.write();
        if !Arc::ptr_eq(&current, auth) {
            *current = Arc::clone(auth);
            self.enabled.store(auth.enabled, Ordering::Release);
        }
    }
}
