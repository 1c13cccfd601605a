//! What the cluster has to say about a write: change first, then check.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | What changes an object runs before its strategy and its rules, what only checks it after. |
//! | A2 | Plugins run in upstream's order, each on what those before it made of the object. |
//! | A3 | A dry run leaves nothing behind. |
//!
//! So far: NamespaceLifecycle, ServiceAccount (the name; no token volume yet), Priority,
//! DefaultTolerationSeconds, StorageObjectInUseProtection, MutatingAdmissionPolicy (the last that
//! changes), ValidatingAdmissionPolicy.

mod namespace_lifecycle;
mod notes;
mod pods;
pub(crate) mod policy;
mod storage_protection;

use api_machinery::{Object, ResourceInfo, Status};
use parking_lot::Mutex;

use crate::authn::User;
use crate::state::Server;

pub(crate) use notes::Notes;

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// A write, as admission sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) server: &'a Server,
    /// Who asks.
    pub(crate) user: &'a User,
    pub(crate) kind: &'static ResourceInfo,
    pub(crate) operation: Operation,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Empty for kinds without one.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What is there now; nothing for a new object.
    pub(crate) old: Option<&'a Object>,
    /// What who asks is to be told, whether the write succeeds or not; see [`Attributes::warn`].
    pub(crate) warnings: Option<&'a Mutex<Vec<String>>>,
    pub(crate) dry_run: bool,
    /// Options and what the audit log is to say, if somebody asks.
    pub(crate) notes: Option<&'a Notes>,
}

impl Attributes<'_> {
    /// Tells who asks; what was said already is not said again.
    pub(crate) fn warn(&self, text: &str) {
        let Some(warnings) = self.warnings else { return };
        let mut warnings = warnings.lock();
        if !text.is_empty() && !warnings.iter().any(|one| one == text) {
            warnings.push(text.to_owned());
        }
    }

    /// Whether it is about this kind itself, not one of its subresources.
    fn is_of(&self, group: &str, kind: &str) -> bool {
        self.kind.group == group && self.kind.kind == kind && self.subresource.is_empty()
    }
}

/// Changes an object that is to be created or updated, and refuses what can be refused already.
pub(crate) async fn mutate(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    built_in(asked, object).await?;
    let mut round = policy::Round::default();
    if policy::mutate(asked, object, &mut round).await? {
        // What a policy changed the others see, once.
        built_in(asked, object).await?;
        policy::mutate(asked, object, round.second()).await?;
    }
    Ok(())
}

async fn built_in(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let Attributes { server, kind, .. } = *asked;
    if asked.operation == Operation::Create {
        namespace_lifecycle::create(server, kind, object).await?;
        if asked.is_of("", "Pod") {
            pods::service_account(server, kind, object).await?;
            pods::priority(kind, object)?;
            pods::tolerations(object);
        }
        storage_protection::create(kind, object);
    }
    Ok(())
}

/// Checks a write whose object is final; there is none when it is a deletion.
pub(crate) async fn validate(
    asked: &Attributes<'_>,
    object: Option<&Object>,
) -> Result<(), Status> {
    if asked.operation == Operation::Delete {
        namespace_lifecycle::delete(asked.kind, asked.name)?;
    }
    policy::validate(asked, object).await
}
