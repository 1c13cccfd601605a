//! The subresource `scale`: replicas of a workload as an autoscaling/v1 Scale.

use api_machinery::apply::{self, Target, Writer, scale};
use api_machinery::decode::{self, Expected};
use api_machinery::patch::PatchType;
use api_machinery::selector::{Labels, Operator};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, kinds, time, validate};
use http::Response;
use serde_json::{Value, json};

use super::patch::{Patch, applier};
use super::{Context, Subresource};
use crate::body::Body;
use crate::custom::Shape;
use crate::encoding;
use crate::registry::{self, Fields, Retry};

const REPLICAS: [&str; 2] = ["spec", "replicas"];
const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];
const SCALE: Expected<'static> = Expected { api_version: "autoscaling/v1", kind: "Scale" };

/// Replicas that nobody has asked for, as a patch finds them.
const UNSET: i64 = -2_147_483_648;

/// The Scale of a workload.
pub(crate) fn scale_of(workload: &Object) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = workload.at(&["metadata", field]) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    let replicas = workload.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let count = workload.at(&["status", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": count});
    if let Some(selector) = workload.at(&["spec", "selector"]) {
        // A replication controller selects by equal labels only, written without a word for it.
        let selector = match workload.kind() {
            "ReplicationController" => &json!({"matchLabels": selector}),
            _ => selector,
        };
        let text = selector_text(&Labels::from_object(selector));
        if !text.is_empty() {
            status["selector"] = text.into();
        }
    }
    json!({
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    })
}

/// A selector as query parameters write it, sorted by key.
fn selector_text(labels: &Labels) -> String {
    let mut terms: Vec<(&str, String)> = labels
        .0
        .iter()
        .map(|one| {
            let key = &one.key;
            let text = match &one.operator {
                Operator::Exists => key.clone(),
                Operator::DoesNotExist => format!("!{key}"),
                Operator::In(values) if values.len() == 1 => format!("{key}={}", values[0]),
                Operator::In(values) => format!("{key} in ({})", values.join(",")),
                Operator::NotIn(values) => format!("{key} notin ({})", values.join(",")),
                Operator::GreaterThan(than) => format!("{key}>{than}"),
                Operator::LessThan(than) => format!("{key}<{than}"),
            };
            (key.as_str(), text)
        })
        .collect();
    terms.sort();
    terms.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// The Scale of a workload of any kind.
fn scale_in(context: &Context, workload: &Object) -> Result<Value, Status> {
    match &context.shape.custom {
        Some(served) => served.version.scale_of(workload).map_err(|why| Status::unexplained(&why)),
        None => Ok(scale_of(workload)),
    }
}

/// Where the workload has its replicas.
fn replicas_path(context: &Context) -> Vec<&str> {
    let custom = context.shape.custom.as_ref();
    let path = custom.and_then(|served| Some(served.version.scale.as_ref()?.replicas()));
    path.unwrap_or_else(|| REPLICAS.to_vec())
}

/// Where a custom object should say how many replicas it wants, and does not.
fn missing_replicas(context: &Context, workload: &Object) -> Option<String> {
    let version = &context.shape.custom.as_ref()?.version;
    let path = version.scale.as_ref()?.replicas();
    (!version.has_replicas(workload)).then(|| format!(".{}", path.join(".")))
}

fn reply(context: &Context, scale: Value) -> Result<Response<Body>, Status> {
    let scale = Object::from_value(scale).unwrap_or_default();
    encoding::object(200, &Shape::built_in(&kinds::SCALE_KIND), &scale, &context.accepted)
}

pub(crate) async fn get_scale(context: &Context) -> Result<Response<Body>, Status> {
    let (storage, name) = (&context.server.storage, &context.info.name);
    let found = context.shape.get(storage, context.namespace(), name).await?;
    let found = found.ok_or_else(|| context.not_found())?;
    if let Some(path) = missing_replicas(context, &found.object) {
        let why = format!("the spec replicas field {path:?} does not exist");
        return Err(Status::internal(&why));
    }
    reply(context, scale_in(context, &found.object)?)
}

pub(crate) async fn update_scale(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let mut scale = context.decode(body, SCALE)?;
    context.fit_to_url(&mut scale)?;
    let retry = if scale.resource_version().is_empty() { Retry::Always } else { Retry::Never };
    let manager = context.manager()?;
    write(context, (retry, Fields::Of(&manager)), |_| Ok(scale.clone())).await
}

pub(crate) async fn patch_scale(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    if PatchType::of_content_type(context.content_type()) == Some(PatchType::Apply) {
        return apply_scale(context, body).await;
    }
    let patch = Patch::of(context, body)?;
    let manager = context.manager()?;
    let validation = context.field_validation()?;
    let type_id = kinds::type_of(SCALE.api_version, SCALE.kind)
        .ok_or_else(|| Status::internal("no schema for Scale"))?;
    write(context, (Retry::Always, Fields::Of(&manager)), |workload: &Object| {
        let mut base = scale_in(context, workload)?;
        let missing = missing_replicas(context, workload);
        if missing.is_some() {
            base["spec"]["replicas"] = UNSET.into();
        }
        let patched = patch.apply(Some(type_id), base)?;
        let wanted = patch.fit(patched, SCALE, validation)?.object;
        match missing {
            Some(path) if wanted.at(&["spec", "replicas"]) == Some(&UNSET.into()) => {
                let why = format!("the spec replicas field {path:?} cannot be empty");
                Err(Status::bad_request(why))
            }
            _ => Ok(wanted),
        }
    })
    .await
}

/// Server-side apply of a Scale: who owns its replicas owns those of the workload.
async fn apply_scale(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let manager = applier(context)?;
    let config = decode::apply_patch(body, context.field_validation()?)?;
    context.warn(config.warnings);
    let now = time::seconds(clock::now());
    let writer = Writer { manager: &manager, now: &now, force: context.query.flag("force") };
    let target = Target::scale();
    let replicas = replicas_path(context);
    write(context, (Retry::Always, Fields::Applied), |workload: &Object| {
        let held = workload.at(&MANAGED_FIELDS);
        let entries = scale::to_scale(held, &replicas).map_err(|why| Status::unexplained(&why))?;
        let mut live = Object::from_value(scale_in(context, workload)?).unwrap_or_default();
        if !entries.is_empty() {
            live.set(&MANAGED_FIELDS, entries.into());
        }
        let mut wanted = apply::apply(&target, Some(&live), &config.object, writer)?;
        if let Some(refusal) = &config.refusal {
            return Err(refusal.clone());
        }
        context.fit_to_url(&mut wanted)?;
        Ok(wanted)
    })
    .await
}

async fn write(
    context: &Context,
    (retry, fields): (Retry, Fields<'_>),
    scale: impl Fn(&Object) -> Result<Object, Status>,
) -> Result<Response<Body>, Status> {
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &context.info.name,
        subresource: Subresource::Scale,
        by: context.by(fields, context.dry_run()?),
        retry,
    };
    let change = |workload: &Object| {
        let wanted = scale(workload)?;
        let replicas = wanted.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
        // What a custom kind wants of its replicas is checked with the object.
        let custom = context.shape.custom.as_ref();
        let errors = match custom {
            Some(_) => Vec::new(),
            None => validate::scale(context.kind, &wanted),
        };
        if !errors.is_empty() {
            let kind = Grouped::new("autoscaling", "Scale");
            return Err(Status::invalid(&kind, &context.info.name, &errors));
        }
        let mut next = workload.clone();
        let path = replicas_path(context);
        next.set(&path, replicas.into());
        if fields == Fields::Applied {
            let [held, applied] = [workload, &wanted].map(|object| object.at(&MANAGED_FIELDS));
            let api_version = context.kind.api_version();
            let entries = scale::to_parent(held, applied, &api_version, &path)
                .map_err(|why| Status::unexplained(&why))?;
            next.set(&MANAGED_FIELDS, entries.into());
        }
        match wanted.resource_version() {
            "" => {}
            version => next.set(&["metadata", "resourceVersion"], version.into()),
        }
        Ok(next)
    };
    let updated = registry::update(&context.server, &request, change).await?;
    let updated = updated.ok_or_else(|| context.not_found())?;
    reply(context, scale_in(context, &updated)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_controller_shows_what_it_selects() {
        let tree = json!({"kind": "ReplicationController", "metadata": {"name": "r"},
            "spec": {"replicas": 2, "selector": {"b": "c", "a": "b"}}});
        let scale = scale_of(&Object::from_value(tree).unwrap());
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "a=b,b=c"}));
    }
}
