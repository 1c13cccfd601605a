//! DELETE of one object or of a collection.

use api_machinery::decode::{self, Expected, FieldValidation};
use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, View, status};
use http::Response;
use serde_json::Value;

use super::list::{filter, read};
use super::{Context, unsupported_dry_run};
use crate::body::Body;
use crate::encoding;
use crate::registry::{self, DeleteOptions, Deleted, Fields, PropagationPolicy};
use crate::request::Query;
use crate::watch_cache::Version;

/// Kinds whose immediate deletion answers with the object, as upstream's storages are set.
const RETURN_OBJECT: [&str; 4] = ["Namespace", "Pod", "Service", "ServiceAccount"];

/// The first version of jobs leaves its pods alone, which nobody expects.
const JOB_WITHOUT_POLICY: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Options from the body, else from the query: one of them is not looked at.
pub(super) fn options(context: &Context, body: &[u8]) -> Result<DeleteOptions, Status> {
    let told = if body.is_empty() {
        from_query(&context.query)?
    } else {
        let expected = Expected { api_version: "v1", kind: "DeleteOptions" };
        // Nobody asks how strictly options are to be read.
        let encoding = context.body_encoding()?;
        let read = decode::body(body, encoding, expected, FieldValidation::Ignore)?;
        from_body(&read.object)
    };
    let options = told.check()?;
    if context.kind.kind == "Job" && options.propagation.is_none() {
        context.warnings.lock().push(JOB_WITHOUT_POLICY.to_owned());
    }
    Ok(options)
}

/// Options as they were told, before they are checked.
#[derive(Debug, Default)]
pub(super) struct Told {
    grace_seconds: Option<i64>,
    propagation: Option<String>,
    orphan: Option<bool>,
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: Vec<Value>,
}

fn from_query(query: &Query) -> Result<Told, Status> {
    let text = |name: &str| query.non_empty(name).map(str::to_owned);
    let grace_seconds = query.non_empty("gracePeriodSeconds").map(|text| {
        text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })
    });
    let has_orphan = query.get("orphanDependents").is_some();
    Ok(Told {
        grace_seconds: grace_seconds.transpose()?,
        propagation: query.get("propagationPolicy").map(str::to_owned),
        orphan: has_orphan.then(|| query.flag("orphanDependents")),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        dry_run: query.all("dryRun").map(Value::from).collect(),
    })
}

/// Options of a decoded DeleteOptions.
pub(super) fn from_body(object: &Object) -> Told {
    let text = |path: &[&str]| object.at(path).and_then(Value::as_str).map(str::to_owned);
    let dry_run = object.at(&["dryRun"]).and_then(Value::as_array);
    Told {
        grace_seconds: object.at(&["gracePeriodSeconds"]).and_then(Value::as_i64),
        propagation: text(&["propagationPolicy"]),
        orphan: object.at(&["orphanDependents"]).and_then(Value::as_bool),
        uid: text(&["preconditions", "uid"]).filter(|text| !text.is_empty()),
        resource_version: text(&["preconditions", "resourceVersion"])
            .filter(|text| !text.is_empty()),
        dry_run: dry_run.cloned().unwrap_or_default(),
    }
}

impl Told {
    /// 422 about all that is wrong.
    pub(super) fn check(self) -> Result<DeleteOptions, Status> {
        let path = Path::new("propagationPolicy");
        let mut errors = Vec::new();
        let mut propagation = self.orphan.map(orphaning);
        if let Some(text) = self.propagation {
            if self.orphan.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(Error::invalid(&path, text.as_str(), why));
            }
            propagation = policy(&text);
            if propagation.is_none() {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(Error::not_supported(&path, text.as_str(), &supported));
            }
        }
        errors.extend(unsupported_dry_run(&self.dry_run));
        if !errors.is_empty() {
            return Err(Status::invalid(
                &Grouped::new("meta.k8s.io", "DeleteOptions"),
                "",
                &errors,
            ));
        }
        Ok(DeleteOptions {
            grace_seconds: self.grace_seconds,
            propagation,
            uid: self.uid,
            resource_version: self.resource_version,
            dry_run: !self.dry_run.is_empty(),
            of_collection: false,
        })
    }
}

fn orphaning(orphan: bool) -> PropagationPolicy {
    if orphan { PropagationPolicy::Orphan } else { PropagationPolicy::Background }
}

fn policy(text: &str) -> Option<PropagationPolicy> {
    match text {
        "Foreground" => Some(PropagationPolicy::Foreground),
        "Background" => Some(PropagationPolicy::Background),
        "Orphan" => Some(PropagationPolicy::Orphan),
        _ => None,
    }
}

pub(crate) async fn delete(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let options = options(context, body)?;
    let (namespace, name) = (context.namespace(), &context.info.name);
    let by = context.by(Fields::OWN, options.dry_run);
    let deleted =
        registry::delete(&context.server, context.kind, (namespace, name), &options, by).await?;
    let returns_object = RETURN_OBJECT.contains(&context.kind.kind);
    match deleted {
        Deleted::Marked(object) => context.reply_written(200, &object),
        Deleted::Gone(object) if returns_object => context.reply(200, &object),
        Deleted::GoneFromCache(version) if returns_object => as_it_was(context, &version),
        Deleted::Gone(object) => success(context, (object.name(), object.uid())),
        Deleted::GoneFromCache(version) => {
            success(context, (version.header.name(), version.header.uid()))
        }
    }
}

/// The object that is gone.
fn as_it_was(context: &Context, version: &Version) -> Result<Response<Body>, Status> {
    let json = version.json();
    let revision = View::new(&json).at(&["metadata", "resourceVersion"]).text().parse();
    if let Ok(revision) = revision {
        let stored = (&json[..], revision);
        let reply = encoding::as_stored(200, &context.shape, stored, &context.accepted);
        if let Some(reply) = reply {
            return Ok(reply);
        }
    }
    context.reply(200, &context.shape.object_of(version)?)
}

fn success(context: &Context, (name, uid): (&str, &str)) -> Result<Response<Body>, Status> {
    let tree = status::deleted(&context.kind.group_resource(), name, uid);
    encoding::value(200, &tree, &context.accepted)
}

/// Deletes what a list with the same selectors shows; answers with that list.
pub(crate) async fn delete_many(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let options = DeleteOptions { of_collection: true, ..options(context, body)? };
    let filter = filter(context)?;
    let (items, meta) = read(context, &filter).await?;
    let by = context.by(Fields::OWN, options.dry_run);
    for item in &items {
        let at = (item.header.namespace(), item.header.name());
        match registry::delete(&context.server, context.kind, at, &options, by).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    encoding::list(&context.shape, &meta, items, &context.accepted)
}
