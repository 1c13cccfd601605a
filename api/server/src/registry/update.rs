//! Updating an object: the optimistic loop around a pure change.

use api_machinery::apply::{self, Writer};
use api_machinery::{
    Object, ResourceInfo, Status, convert, defaults, strategy, time, validate, warnings,
};
use serde_json::Value;

use super::{By, Fields};
use crate::admission::{self, Attributes, Operation};
use crate::cluster_ip;
use crate::custom::{self, Shape};
use crate::handlers::Subresource;
use crate::limits::UPDATE_TRIES_MAX;
use crate::state::Server;
use crate::storage::{Outcome, Stored, Write};

/// What a conflict with another writer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The change is made again on the newer version.
    Always,
    /// The client named a version: it must look again.
    Never,
}

/// An update of one object.
#[derive(Debug)]
pub(crate) struct Update<'a> {
    pub(crate) kind: &'static ResourceInfo,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: Subresource,
    pub(crate) by: By<'a>,
    pub(crate) retry: Retry,
}

impl Update<'_> {
    fn conflict(&self) -> Status {
        Status::conflict(&self.kind.group_resource(), self.name, Status::MODIFIED)
    }
}

/// Changes an object; `None` when it does not exist. `change` may run more than once: it is given
/// the object in the version of the request, and gives it so; what comes back is in the kept one.
pub(crate) async fn update(
    server: &Server,
    request: &Update<'_>,
    change: impl Fn(&Object) -> Result<Object, Status>,
) -> Result<Option<Object>, Status> {
    attempts(server, request, change, true).await
}

/// Changes an object without the checks of [`update`]: for changes that the server makes itself.
pub(crate) async fn write_as_is(
    server: &Server,
    request: &Update<'_>,
    change: impl Fn(&Object) -> Result<Object, Status>,
) -> Result<Option<Object>, Status> {
    attempts(server, request, change, false).await
}

async fn attempts(
    server: &Server,
    request: &Update<'_>,
    change: impl Fn(&Object) -> Result<Object, Status>,
    is_checked: bool,
) -> Result<Option<Object>, Status> {
    let shape = Shape::of(server, request.kind)?;
    let fresh = || shape.get(&server.storage, request.namespace, request.name);
    let mut found = guess(server, request, &shape);
    let mut is_guess = found.is_some();
    if !is_guess {
        found = fresh().await?;
    }
    for _ in 0..UPDATE_TRIES_MAX {
        let Some(Stored { object: current, revision, is_stale }) = found else { return Ok(None) };
        let whether = (is_checked, revision);
        let outcome = candidate(server, (request, &shape), &change, &current, whether).await;
        let is_same = outcome.as_ref().is_ok_and(|next| *next == current);
        let is_written = |next: &Object| !is_same && !goes_with_this_update(request.kind, next);
        if is_guess && (request.by.dry_run || !outcome.as_ref().is_ok_and(is_written)) {
            found = fresh().await?;
            is_guess = false;
            continue;
        }
        let mut next = outcome?;
        if request.by.dry_run || (is_same && !is_stale) {
            if takes_addresses(request) && !is_same {
                cluster_ip::allocate(server, (&mut next, Some(&current)), true).await?;
            }
            return Ok(Some(next));
        }
        if goes_with_this_update(request.kind, &next) {
            let key = server.storage.key(request.kind, request.namespace, request.name);
            match server.storage.commit(&key, revision, Write::Delete).await? {
                Outcome::Done(revision) => {
                    if request.kind.kind == "Service" {
                        let ports = server.config.node_ports;
                        cluster_ip::release_all(&server.storage, &next, ports).await;
                    }
                    next.set_resource_version(revision);
                    return Ok(Some(next));
                }
                Outcome::Conflict(newer) => found = again((request, &shape), newer.as_ref())?,
            }
            continue;
        }
        match put(server, (request, &shape), (&mut next, &current), revision).await? {
            Outcome::Done(_) => return Ok(Some(next)),
            // As if it had been read just now.
            Outcome::Conflict(newer) if is_guess => {
                found = newer.map(|raw| shape.stored(&raw)).transpose()?;
            }
            Outcome::Conflict(newer) => found = again((request, &shape), newer.as_ref())?,
        }
        is_guess = false;
    }
    Err(request.conflict())
}

/// What the cache has of an object that is to be changed.
fn guess(server: &Server, request: &Update<'_>, shape: &Shape) -> Option<Stored> {
    // Other changes take something, quota or addresses, before the store says whether they happen.
    let takes_nothing = match request.subresource {
        Subresource::Status => true,
        Subresource::None => !matches!(request.kind.kind, "Service" | "PersistentVolumeClaim"),
        Subresource::Finalize
        | Subresource::Approval
        | Subresource::Scale
        | Subresource::EphemeralContainers
        | Subresource::Resize => false,
    };
    if !takes_nothing {
        return None;
    }
    let key = server.storage.key(request.kind, request.namespace, request.name);
    super::cached(server, shape, &key)
}

/// The next version of an object, checked if that is asked for.
async fn candidate(
    server: &Server,
    (request, shape): (&Update<'_>, &Shape),
    change: &impl Fn(&Object) -> Result<Object, Status>,
    current: &Object,
    (is_checked, revision): (bool, u64),
) -> Result<Object, Status> {
    let mut next = match request.kind.kept_as {
        None => change(current)?,
        Some(_) => change(&convert::to(request.kind, current.clone()))?,
    };
    if is_checked {
        next = checked(server, (request, shape), next, current).await?;
    }
    next.set_resource_version(revision);
    Ok(next)
}

/// Writes the next version; a Service takes what it needs first, and gives back what it has no more.
async fn put(
    server: &Server,
    (request, shape): (&Update<'_>, &Shape),
    (next, current): (&mut Object, &Object),
    revision: u64,
) -> Result<Outcome, Status> {
    let storage = &server.storage;
    if !takes_addresses(request) {
        return shape.put(storage, next, revision, request.by.notes).await;
    }
    let ports = server.config.node_ports;
    let taken = cluster_ip::allocate(server, (&mut *next, Some(current)), false).await?;
    // The write may have happened when it fails otherwise: what it took stays taken then.
    let outcome = storage.put(request.kind, next, revision).await?;
    match &outcome {
        Outcome::Done(_) => cluster_ip::release_dropped(storage, ports, (next, current)).await,
        Outcome::Conflict(_) => cluster_ip::give_back(storage, ports, &taken).await,
    }
    Ok(outcome)
}

/// Whether a change may need addresses or ports: only of a Service itself.
fn takes_addresses(request: &Update<'_>) -> bool {
    request.kind.kind == "Service" && request.subresource == Subresource::None
}

fn again(
    (request, shape): (&Update<'_>, &Shape),
    newer: Option<&crate::storage::RawValue>,
) -> Result<Option<Stored>, Status> {
    match request.retry {
        Retry::Always => newer.map(|raw| shape.stored(raw)).transpose(),
        Retry::Never => Err(request.conflict()),
    }
}

/// An update that takes away the last finalizer of an object that is going makes it go.
fn goes_with_this_update(info: &ResourceInfo, next: &Object) -> bool {
    let keeps_namespace = info.kind == "Namespace"
        && next
            .at(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
    next.deletion_timestamp().is_some()
        && next.deletion_grace_period_seconds().unwrap_or(0) == 0
        && next.finalizers().is_empty()
        && !keeps_namespace
}

/// R1, R2, R3 and R5 for one candidate.
async fn checked(
    server: &Server,
    (request, shape): (&Update<'_>, &Shape),
    mut next: Object,
    current: &Object,
) -> Result<Object, Status> {
    let asked = Attributes {
        server,
        user: request.by.user,
        kind: request.kind.kept(),
        operation: Operation::Update,
        subresource: request.subresource.name(),
        namespace: request.namespace,
        name: request.name,
        old: Some(current),
        warnings: request.by.warnings,
        dry_run: request.by.dry_run,
        notes: request.by.notes,
    };
    begin((request, shape), &mut next, current)?;
    admission::mutate(&asked, &mut next).await?;
    end(server, (request, shape), &mut next, current)?;
    admission::validate(&asked, Some(&next)).await?;
    apply::keep_times(&mut next, current);
    Ok(next)
}

/// What comes before admission: preconditions, defaults, ownership.
fn begin(
    (request, shape): (&Update<'_>, &Shape),
    next: &mut Object,
    current: &Object,
) -> Result<(), Status> {
    let info = request.kind;
    let version = next.resource_version();
    if version.is_empty() || version == "0" {
        if !info.unconditional_update {
            let error = api_machinery::field::Error::invalid(
                &api_machinery::field::Path::new("metadata.resourceVersion"),
                0,
                "must be specified for an update",
            );
            return Err(Status::invalid(&info.group_resource(), request.name, &[error]));
        }
    } else if version != current.resource_version() {
        return Err(request.conflict());
    }
    defaults::apply(info, next);
    custom::check_definition(info, next)?;
    *next = convert::to(info.kept(), std::mem::take(next));
    let now = time::seconds(clock::now());
    if let Fields::Of(manager) = request.by.fields {
        if info.kind == "Secret" {
            strategy::fold_string_data(next);
        }
        let writer = Writer { manager, now: &now, force: false };
        let target = shape.target(request.subresource.name());
        *next = super::owned(&target, Some(current), std::mem::take(next), writer);
    }
    if info.kept_as.is_some() {
        defaults::apply(info.kept(), next);
    }
    Ok(())
}

/// What comes after: the kind's strategy and rules.
fn end(
    server: &Server,
    (request, shape): (&Update<'_>, &Shape),
    next: &mut Object,
    current: &Object,
) -> Result<(), Status> {
    let info = request.kind.kept();
    let now = time::seconds(clock::now());
    if takes_addresses(request) {
        cluster_ip::settle(server, (&mut *next, Some(current)), request.by.dry_run)?;
    }
    let mut errors = match request.subresource {
        Subresource::None | Subresource::Scale => {
            shape.prepare_for_update(next, current);
            shape.check_update(next, current)
        }
        Subresource::Status => {
            shape.prepare_for_status_update(next, current, &now);
            shape.check_status_update(next, current)
        }
        Subresource::Finalize => {
            strategy::prepare_for_finalize(next, current);
            shape.check_update(next, current)
        }
        Subresource::EphemeralContainers => {
            strategy::prepare_for_ephemeral_containers_update(next, current);
            validate::ephemeral_containers_update(next, current)
        }
        Subresource::Resize => {
            strategy::prepare_for_resize_update(next, current);
            validate::resize_update(next, current)
        }
        Subresource::Approval => {
            strategy::prepare_for_approval(next, current, &now);
            validate::approval_update(info, next, current)
        }
    };
    if matches!(request.subresource, Subresource::None | Subresource::Scale | Subresource::Status) {
        let warnings = shape.run_rules(next, Some(current), &mut errors);
        if let Some(told) = request.by.warnings {
            told.lock().extend(warnings);
        }
    }
    errors.extend(apply::validate(next));
    if errors.is_empty() {
        let warnings = match request.subresource {
            Subresource::None | Subresource::Scale => warnings::update(info, next, current),
            Subresource::Status => warnings::status_update(info, next),
            _ => Vec::new(),
        };
        if let Some(told) = request.by.warnings {
            told.lock().extend(warnings);
        }
        return Ok(());
    }
    Err(Status::invalid(&shape.told_kind(next), request.name, &errors))
}
