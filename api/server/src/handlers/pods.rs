//! Binding pods to nodes.

use api_machinery::decode::Expected;
use api_machinery::{Object, Status, strategy, time};
use http::Response;
use serde_json::json;

use super::{Context, Subresource};
use crate::admission::{self, Attributes, Operation};
use crate::body::Body;
use crate::encoding;
use crate::registry::{self, Fields, Retry};

/// What admission is asked when something is made below a pod.
pub(super) fn attributes<'a>(
    context: &'a Context,
    subresource: &'a str,
    name: &'a str,
    dry_run: bool,
) -> Attributes<'a> {
    Attributes {
        server: &context.server,
        user: &context.user,
        kind: context.kind,
        operation: Operation::Create,
        subresource,
        namespace: context.namespace(),
        name,
        old: None,
        warnings: Some(&context.warnings),
        dry_run,
        notes: Some(&context.notes),
    }
}

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
    let asked = attributes(context, "binding", &name, dry_run);
    admission::mutate(&asked, &mut binding).await?;
    admission::validate(&asked, Some(&binding)).await?;
    let resource = context.kind.group_resource();
    let now = time::seconds(clock::now());
    let request = registry::Update {
        kind: context.kind,
        namespace: context.namespace(),
        name: &name,
        subresource: Subresource::None,
        by: context.by(Fields::OWN, dry_run),
        retry: Retry::Always,
    };
    let uid = binding.uid().to_owned();
    let (annotations, labels) = (binding.annotations(), binding.labels());
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
        for (field, added) in [("annotations", &annotations), ("labels", &labels)] {
            for (key, value) in added {
                pod.set(&["metadata", field, key], value.clone().into());
            }
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
