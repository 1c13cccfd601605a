//! Subresources of pods that change them: binding to a node, eviction.

use api_machinery::decode::Expected;
use api_machinery::{Object, Status, strategy, time};
use http::Response;
use serde_json::json;

use super::delete::read_options;
use super::{Context, Subresource};
use crate::body::Body;
use crate::encoding;
use crate::registry::{self, DeleteOptions, Fields, Retry};

/// `POST pods/NAME/binding`, `POST bindings`: a pod gets its node, once.
pub(crate) async fn binding(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let dry_run = context.dry_run()?;
    let mut binding = context.decode(body, Expected { api_version: "v1", kind: "Binding" })?;
    context.fit_to_url(&mut binding)?;
    let (name, node) = (binding.name().to_owned(), binding.text(&["target", "name"]).to_owned());
    let kind = binding.text(&["target", "kind"]);
    if !kind.is_empty() && kind != "Node" {
        return Err(Status::unprocessable(&format!(
            "Binding \"{name}\" is invalid: target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"\""
        )));
    }
    if node.is_empty() {
        return Err(Status::unprocessable(&format!(
            "Binding \"{name}\" is invalid: target.name: Required value"
        )));
    }
    let resource = context.kind.group_resource();
    let now = time::seconds(jiff::Timestamp::now());
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &name,
        subresource: Subresource::None,
        by: context.by(Fields::OWN, dry_run),
        retry: Retry::Always,
    };
    let uid = binding.uid().to_owned();
    let annotations = binding.annotations();
    let change = |current: &Object| {
        if !uid.is_empty() && uid != current.uid() {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                current.uid()
            );
            return Err(Status::conflict(&resource, &name, &why));
        }
        let mut pod = current.clone();
        strategy::bind(&mut pod, &node, &now)
            .map_err(|why| Status::conflict(&resource_binding(), &name, &why))?;
        for (key, value) in &annotations {
            pod.set(&["metadata", "annotations", key], value.clone().into());
        }
        Ok(pod)
    };
    registry::write_as_is(&context.server, &request, change)
        .await?
        .ok_or_else(|| Status::not_found(&resource, &name))?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    encoding::value(201, &success, &context.accepted)
}

fn resource_binding() -> api_machinery::status::Grouped {
    api_machinery::status::Grouped::new("", "pods/binding")
}

/// `POST pods/NAME/eviction`: a deletion. There are no PodDisruptionBudgets yet that could forbid it.
pub(crate) async fn eviction(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let mut eviction =
        context.decode(body, Expected { api_version: "policy/v1", kind: "Eviction" })?;
    context.fit_to_url(&mut eviction)?;
    let mut options = DeleteOptions::default();
    if let Some(given) = eviction.at(&["deleteOptions"]).cloned().and_then(Object::from_value) {
        read_options(&given, &mut options)?;
    }
    options.dry_run |= context.dry_run()?;
    let at = (context.namespace(), context.info.name.as_str());
    let by = context.by(Fields::OWN, options.dry_run);
    registry::delete(&context.server, context.kind, at, &options, by).await?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    encoding::value(201, &success, &context.accepted)
}
