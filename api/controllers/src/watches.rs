//! The watches of what storage is made of, and of Jobs.

use std::sync::Arc;

use api_client::{Informer, key_of};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use kube::{Api, runtime::watcher::Config};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    protection::{CLAIM, CLASS, VOLUME, classes, is_candidate},
    run::{Queues, watch},
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
    let q = Arc::clone(queues);
    claims.on_change(move |before: Option<&Arc<PersistentVolumeClaim>>, after| {
        if let Some(claim) = after.filter(|claim| is_candidate(&claim.metadata, CLAIM)) {
            q.claims.add(claim.metadata.namespace.clone().unwrap_or_default());
        }
        classes::released(&q.volume_classes, classes::of_claim, before, after);
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
