//! The watches of what storage is made of, of Jobs, of quotas, and of ranges of addresses.

use std::sync::Arc;

use api_client::{Informer, key_of};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Service},
    storage::v1::VolumeAttributesClass,
};
use kube::{Api, runtime::watcher::Config};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    protection::{CLAIM, CLASS, VOLUME, classes, is_candidate},
    resource_quota,
    run::{Queues, watch},
    service_cidrs,
    world::World,
};

/// Claims, volumes, and the classes of their attributes.
pub(crate) fn storage(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Arc<Queues>,
    term: &CancellationToken,
) {
    let (client, world) = (context.client.clone(), &context.world);

    let mut claims = Informer::new(Arc::clone(&world.claims));
    let (q, w) = (Arc::clone(queues), world.clone());
    claims.on_change(move |before: Option<&Arc<PersistentVolumeClaim>>, after| {
        if let Some(claim) = after.filter(|claim| is_candidate(&claim.metadata, CLAIM)) {
            q.claims.add(claim.metadata.namespace.clone().unwrap_or_default());
        }
        classes::released(&q.volume_classes, classes::of_claim, before, after);
        if resource_quota::differs(resource_quota::of_claim, before, after) {
            price_changed(&q, &w, "persistentvolumeclaims", before.or(after));
        }
    });
    watch(loops, claims, Api::all(client.clone()), Config::default(), term);

    let mut volumes = Informer::new(Arc::clone(&world.volumes));
    let q = Arc::clone(queues);
    volumes.on_change(move |before: Option<&Arc<PersistentVolume>>, after| {
        if let Some(volume) = after.filter(|volume| is_candidate(&volume.metadata, VOLUME)) {
            q.volumes.add(key_of(volume.as_ref()));
        }
        classes::released(&q.volume_classes, classes::of_volume, before, after);
    });
    watch(loops, volumes, Api::all(client.clone()), Config::default(), term);

    let mut classes = Informer::new(Arc::clone(&world.volume_classes));
    let q = Arc::clone(queues);
    classes.on_change(move |_, after: Option<&Arc<VolumeAttributesClass>>| {
        if let Some(class) = after.filter(|class| is_candidate(&class.metadata, CLASS)) {
            q.volume_classes.add(key_of(class.as_ref()));
        }
    });
    watch(loops, classes, Api::all(client), Config::default(), term);
}

/// Jobs.
pub(crate) fn jobs(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Arc<Queues>,
    term: &CancellationToken,
) {
    let mut jobs = Informer::new(Arc::clone(&context.world.jobs));
    let q = Arc::clone(queues);
    jobs.on_change(move |_, after: Option<&Arc<Job>>| {
        if let Some(job) = after {
            q.jobs.add(key_of(job.as_ref()));
        }
    });
    watch(loops, jobs, Api::all(context.client.clone()), Config::default(), term);
}

/// Quotas, and the services that they count.
pub(crate) fn quotas(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Arc<Queues>,
    term: &CancellationToken,
) {
    let (client, world) = (context.client.clone(), &context.world);

    let mut quotas = Informer::new(Arc::clone(&world.quotas));
    let q = Arc::clone(queues);
    quotas.on_change(move |before, after| q.quotas.quota_changed(before, after));
    watch(loops, quotas, Api::all(client.clone()), Config::default(), term);

    let mut services = Informer::new(Arc::clone(&world.services));
    let (q, w) = (Arc::clone(queues), world.clone());
    services.on_change(move |before: Option<&Arc<Service>>, after| {
        if resource_quota::differs(resource_quota::of_service, before, after) {
            price_changed(&q, &w, "services", before.or(after));
        }
    });
    loops.spawn(services.run_lenient(client, term.clone()));
}

/// Ranges of Service addresses, and the addresses.
pub(crate) fn addresses(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Arc<Queues>,
    term: &CancellationToken,
) {
    let (client, world) = (context.client.clone(), &context.world);

    let mut ranges = Informer::new(Arc::clone(&world.service_cidrs));
    let (q, w) = (Arc::clone(queues), world.clone());
    ranges.on_change(move |before, after| {
        service_cidrs::range_changed(&q.service_cidrs, &w, before, after);
    });
    loops.spawn(ranges.run_lenient(client.clone(), term.clone()));

    let mut addresses = Informer::new(Arc::clone(&world.ip_addresses));
    let (q, w) = (Arc::clone(queues), world.clone());
    addresses.on_change(move |before, after| {
        service_cidrs::address_changed(&q.service_cidrs, &w, before, after);
    });
    watch(loops, addresses, Api::all(client), Config::default(), term);
}

/// Tells the quotas of the object's namespace.
pub(crate) fn price_changed<K: kube::Resource>(
    queues: &Queues,
    world: &World,
    resource: &str,
    object: Option<&Arc<K>>,
) {
    if let Some(namespace) = object.and_then(|object| object.meta().namespace.as_deref()) {
        queues.quotas.heard(world, "", resource, namespace);
    }
}
