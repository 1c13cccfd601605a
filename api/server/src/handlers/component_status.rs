//! ComponentStatuses: asked for when somebody asks, kept nowhere.
//!
//! Upstream looks for the scheduler and the controller manager beside itself; we do at the address
//! that this server has, where a host of ours has them.

use api_machinery::selector::{Fields, Labels};
use api_machinery::status::Grouped;
use api_machinery::table::{self, IncludeObject};
use api_machinery::{Object, Status, View};
use futures::future::join3;
use http::Response;
use serde_json::{Value, json};

use super::Context;
use crate::body::Body;
use crate::encoding::{self, Transform};
use crate::limits::COMPONENT_CHECK_TIMEOUT;
use crate::state::Server;

const SCHEDULER_PORT: u16 = 10259;
const CONTROLLER_MANAGER_PORT: u16 = 10257;
const NAMES: [&str; 3] = ["scheduler", "controller-manager", "etcd-0"];

/// GET of one.
pub(crate) async fn get_component(context: &Context) -> Result<Response<Body>, Status> {
    let name = context.info.name.as_str();
    if !NAMES.contains(&name) {
        // Upstream calls the resource so here.
        return Err(Status::not_found(&Grouped::new("", "componentstatus"), name));
    }
    let mut tree = component(&context.server, name).await;
    tree["apiVersion"] = "v1".into();
    tree["kind"] = context.kind.kind.into();
    let found = Object::from_value(tree).ok_or_else(|| Status::internal("not an object"))?;
    context.reply(200, &found)
}

/// GET of all.
pub(crate) async fn list_components(context: &Context) -> Result<Response<Body>, Status> {
    let labels = Labels::parse(context.query.get("labelSelector").unwrap_or_default())?;
    let asked = context.query.get("fieldSelector").unwrap_or_default();
    let fields = Fields::parse(asked, &[], |field| context.kind.unknown_field(field))?;
    let [scheduler, manager, store] = NAMES.map(|name| component(&context.server, name));
    let (scheduler, manager, store) = join3(scheduler, manager, store).await;
    let items: Vec<Value> = [scheduler, manager, store]
        .into_iter()
        .filter(|item| labels.matches(|_| None) && fields.matches(|field| named(item, field)))
        .collect();
    let info = context.kind;
    context.accepted.check_partial(info, true)?;
    let tree = match context.accepted.transform {
        Transform::None => json!({"kind": info.list_kind(), "apiVersion": "v1", "metadata": {},
            "items": items}),
        Transform::Partial => {
            let partial = |item: &Value| {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"]})
            };
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {}, "items": items.iter().map(partial).collect::<Vec<_>>()})
        }
        Transform::Table(include) => table(context, &items, include)?,
    };
    encoding::value(200, &tree, &context.accepted)
}

fn named<'a>(item: &'a Value, field: &str) -> Option<&'a str> {
    item["metadata"]["name"].as_str().filter(|_| field == "metadata.name")
}

fn table(context: &Context, items: &[Value], include: IncludeObject) -> Result<Value, Status> {
    let mut out = Vec::new();
    table::write_start(context.kind, &json!({}), true, &mut out);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let text = item.to_string();
        let row = View::new(text.as_bytes());
        table::write_row(context.kind, row, include, clock::now(), &mut out);
    }
    out.extend_from_slice(table::TABLE_END);
    serde_json::from_slice(&out).map_err(|error| Status::internal(&error.to_string()))
}

async fn component(server: &Server, name: &str) -> Value {
    let checked = match name {
        "scheduler" => by_port(server, SCHEDULER_PORT).await,
        "controller-manager" => by_port(server, CONTROLLER_MANAGER_PORT).await,
        _ => server.storage.revision().await.map_err(|status| status.message),
    };
    let (status, message) = match checked {
        Ok(_) => ("True", "ok".to_owned()),
        Err(why) => ("False", why),
    };
    let condition = json!({"type": "Healthy", "status": status, "message": message});
    json!({"metadata": {"name": name}, "conditions": [condition]})
}

/// Asks a process of this host how it is. The revision is nobody's.
async fn by_port(server: &Server, port: u16) -> Result<u64, String> {
    let host = server.config.advertise.to_string();
    let asked = server.kubelets.get(&host, port, "/healthz");
    match tokio::time::timeout(COMPONENT_CHECK_TIMEOUT, asked).await {
        Ok(Ok(_)) => Ok(0),
        Ok(Err(status)) => Err(as_go_says(&status.message)),
        Err(_) => Err(format!("Get \"https://{host}:{port}/healthz\": context deadline exceeded")),
    }
}

fn as_go_says(message: &str) -> String {
    let message = message.strip_prefix("Internal error occurred: ").unwrap_or(message);
    message.replace("Connection refused (os error 111)", "connect: connection refused")
}
