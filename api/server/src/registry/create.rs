//! Creating an object.

use api_machinery::apply::{self, Writer};
use api_machinery::limits::GENERATED_NAME_BASE_MAX;
use api_machinery::status::Grouped;
use api_machinery::strategy::Creation;
use api_machinery::{Object, ResourceInfo, Status, convert, defaults, strategy, time, warnings};
use rand::Rng;

use super::{By, Fields};
use crate::admission::{self, Operation};
use crate::cluster_ip;
use crate::custom::{self, Shape};
use crate::limits::GENERATE_NAME_TRIES_MAX;
use crate::state::Server;
use crate::storage::Outcome;

/// Letters of generated names: without vowels and look-alikes.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LETTERS: usize = 5;

/// A new object's kind, and how it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Create<'a> {
    pub(crate) kind: &'static ResourceInfo,
    pub(crate) by: By<'a>,
}

/// Creates an object; gives it in the version that is kept. Upstream makes a name when all else is
/// decided but the checks.
pub(crate) async fn create(
    server: &Server,
    request: &Create<'_>,
    mut object: Object,
) -> Result<Object, Status> {
    let info = request.kind.kept();
    let shape = Shape::of(server, request.kind)?;
    let now = time::seconds(clock::now());
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    let asked = admission::Attributes {
        server,
        user: request.by.user,
        kind: info,
        operation: Operation::Create,
        subresource: "",
        namespace: &namespace,
        name: &name,
        old: None,
        warnings: request.by.warnings,
        dry_run: request.by.dry_run,
        notes: request.by.notes,
    };
    let shares_labels = info.kind == "Job" && object.labels().is_empty();
    if info.kind == "LimitRange" && object.name().is_empty() && object.generate_name().is_empty() {
        object.set_name(&uuid::Uuid::new_v4().to_string());
    }
    begin(&asked, (request, &shape), &mut object, &now).await?;
    let generates = object.name().is_empty() && !object.generate_name().is_empty();
    let tries = if generates { GENERATE_NAME_TRIES_MAX } else { 1 };
    let mut last = None;
    for _ in 0..tries {
        let next = if generates {
            let mut next = object.clone();
            next.set_name(&generated_name(object.generate_name()));
            next
        } else {
            // There is one try, and none after it.
            std::mem::take(&mut object)
        };
        let name = next.name().to_owned();
        let asked = admission::Attributes { name: &name, ..asked };
        match create_named(&asked, &shape, (next, shares_labels), &now).await {
            Err(status) if generates && status.reason == "AlreadyExists" => last = Some(status),
            outcome => return outcome,
        }
    }
    let name = last.and_then(|status| status.details).map(|details| details.name);
    Err(Status::generate_name_conflict(&request.kind.group_resource(), &name.unwrap_or_default()))
}

/// A name that begins with `base` and that most probably nothing has yet.
pub(crate) fn generated_name(base: &str) -> String {
    let mut rng = rand::rng();
    let mut name: String = base.chars().take(GENERATED_NAME_BASE_MAX).collect();
    for _ in 0..SUFFIX_LETTERS {
        name.push(char::from(LETTERS[rng.random_range(0..LETTERS.len())]));
    }
    name
}

/// What comes before the name is known: defaults, ownership, admission's changes.
async fn begin(
    asked: &admission::Attributes<'_>,
    (request, shape): (&Create<'_>, &Shape),
    object: &mut Object,
    now: &str,
) -> Result<(), Status> {
    defaults::apply(request.kind, object);
    custom::check_definition(request.kind, object)?;
    *object = convert::to(asked.kind, std::mem::take(object));
    if let Fields::Of(manager) = request.by.fields {
        // Nobody owns what is the server's to say, nor a way of writing that is never stored.
        object.set_deletion(None);
        if request.kind.kind == "Secret" {
            strategy::fold_string_data(object);
        }
        let writer = Writer { manager, now, force: false };
        *object = super::owned(&shape.target(""), None, std::mem::take(object), writer);
    }
    defaults::apply(asked.kind, object);
    shape.check_new(asked.name)?;
    admission::mutate(asked, object).await
}

async fn create_named(
    asked: &admission::Attributes<'_>,
    shape: &Shape,
    (mut object, shares_labels): (Object, bool),
    now: &str,
) -> Result<Object, Status> {
    let (server, info) = (asked.server, asked.kind);
    let uid = uuid::Uuid::new_v4().to_string();
    shape.prepare_for_create(&mut object, Creation { uid: &uid, now });
    match info.kind {
        "Service" => cluster_ip::settle(server, (&mut object, None), asked.dry_run)?,
        "Job" if shares_labels => strategy::share_labels(&mut object),
        "Pod" => {
            for warning in strategy::profiles_from_annotations(&mut object) {
                asked.warn(&warning);
            }
        }
        _ => {}
    }
    let mut errors = shape.check_create(&object);
    for warning in shape.run_rules(&object, None, &mut errors) {
        asked.warn(&warning);
    }
    errors.extend(apply::validate(&object));
    if !errors.is_empty() {
        return Err(Status::invalid(&shape.told_kind(&object), object.name(), &errors));
    }
    for warning in warnings::create(info, &object) {
        asked.warn(&warning);
    }
    admission::validate(asked, Some(&object)).await?;
    let resource = shape.info.group_resource();
    if asked.dry_run {
        let found = server.storage.get(info, object.namespace(), object.name()).await?;
        if found.is_some() {
            return Err(exists(server, (info, &resource), &object).await);
        }
        if info.kind == "Service" {
            cluster_ip::allocate(server, (&mut object, None), true).await?;
        }
        return Ok(object);
    }
    // Upstream's store says so, when all else is right; what is no number counts as nothing.
    if object.resource_version().parse::<u64>().is_ok_and(|version| version > 0) {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Status::unexplained(why));
    }
    if info.kind != "Service" {
        return match shape.put(&server.storage, &mut object, 0, asked.notes).await? {
            Outcome::Done(_) => Ok(object),
            Outcome::Conflict(_) => Err(exists(server, (info, &resource), &object).await),
        };
    }
    create_service(server, info, object).await
}

/// A 409; upstream adds that the other one is on its way out.
async fn exists(
    server: &Server,
    (info, resource): (&'static ResourceInfo, &Grouped),
    object: &Object,
) -> Status {
    let mut status = Status::already_exists(resource, object.name());
    let found = server.storage.get(info, object.namespace(), object.name()).await;
    if let Ok(Some(found)) = found
        && found.object.deletion_timestamp().is_some()
    {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// A Service takes addresses first, and gives them back when it cannot be created.
async fn create_service(
    server: &Server,
    info: &'static ResourceInfo,
    mut service: Object,
) -> Result<Object, Status> {
    // Otherwise `kubectl create` of a Service that exists would complain about its address.
    if server.storage.get(info, service.namespace(), service.name()).await?.is_some() {
        return Err(exists(server, (info, &info.group_resource()), &service).await);
    }
    let ports = server.config.node_ports;
    cluster_ip::allocate(server, (&mut service, None), false).await?;
    match server.storage.put(info, &mut service, 0).await {
        Ok(Outcome::Done(_)) => Ok(service),
        Ok(Outcome::Conflict(_)) => {
            // Another server made it, with the same address.
            if !cluster_ip::is_kubernetes(&service) {
                cluster_ip::release_all(&server.storage, &service, ports).await;
            }
            Err(Status::already_exists(&info.group_resource(), service.name()))
        }
        // The write may have happened: the address stays taken rather than being given out twice.
        Err(status) => Err(status),
    }
}
