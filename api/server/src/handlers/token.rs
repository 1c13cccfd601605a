//! POST serviceaccounts/NAME/token: a token for a service account, bound to what it names.

use api_machinery::apply::{self, Target, Writer};
use api_machinery::decode::Expected;
use api_machinery::field::{Error, Path};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, kinds, time};
use http::Response;
use serde_json::{Value, json};

use super::Context;
use super::pods::attributes;
use crate::admission;
use crate::authn::{Audiences, Bound, Claims, Reference};
use crate::body::Body;
use crate::encoding;
use crate::limits::{
    TOKEN_EXTENDED_S, TOKEN_SECONDS_DEFAULT, TOKEN_SECONDS_MAX, TOKEN_SECONDS_MIN,
    TOKEN_WARN_ONLY_S,
};

const KIND: Expected<'static> =
    Expected { api_version: "authentication.k8s.io/v1", kind: "TokenRequest" };
const GROUP: &str = "authentication.k8s.io";

pub(crate) async fn token(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let server = &context.server;
    let tokens = &server.authenticator.service_accounts;
    if !tokens.can_sign() {
        return Err(Status::not_implemented(
            "this server gives out no tokens: start it with --service-account-signing-key-file and --service-account-issuer",
        ));
    }
    let dry_run = context.dry_run()?;
    let mut request = context.decode(body, KIND)?;
    let manager = context.manager()?;
    if request.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64).is_none() {
        request.set(&["spec", "expirationSeconds"], TOKEN_SECONDS_DEFAULT.into());
    }
    let now = clock::now();
    let writer = Writer { manager: &manager, now: &time::seconds(now), force: false };
    let target = Target::body(KIND.api_version, KIND.kind, "token");
    request = apply::update(&target, None, request, writer);
    let (namespace, name) = (context.namespace(), context.info.name.as_str());
    let asked = attributes(context, "token", name, dry_run);
    admission::mutate(&asked, &mut request).await?;
    matches_url(&request, namespace, name)?;
    let account = server.storage.get(context.kind, namespace, name).await?;
    let account = account.ok_or_else(|| context.not_found())?.object;
    if !request.uid().is_empty() && request.uid() != account.uid() {
        let why = format!(
            "the UID in the token request ({}) does not match the UID of the service account ({})",
            request.uid(),
            account.uid()
        );
        return Err(Status::conflict(&Grouped::new(GROUP, KIND.kind), name, &why));
    }
    complete(&mut request, &account, &tokens.audiences);
    let seconds = checked_seconds(&request)?;
    admission::validate(&asked, Some(&request)).await?;
    let mut bound = bound_to(context, &request).await?;
    bound.namespace = namespace.to_owned();
    bound.serviceaccount = reference(&account);

    let now_s = now.as_second();
    let audiences: Vec<String> = texts(request.at(&["spec", "audiences"]));
    // Pods of old read their token once: those that ask for an hour are warned after it, and
    // believed for a year.
    let is_ours = audiences.iter().all(|one| tokens.audiences.contains(one));
    let mut lifetime_s = seconds;
    if bound.pod.is_some() && seconds == TOKEN_WARN_ONLY_S && is_ours {
        bound.warnafter = Some(now_s + seconds);
        lifetime_s = TOKEN_EXTENDED_S;
    }
    let claims = Claims {
        aud: Audiences(audiences),
        exp: Some(now_s + lifetime_s),
        iat: Some(now_s),
        jti: uuid::Uuid::new_v4().to_string(),
        bound,
        nbf: Some(now_s),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        ..Claims::default()
    };
    // Also for a dry run, as upstream: nothing is kept anyway.
    let signed = tokens.sign(claims).map_err(|why| {
        tracing::error!(why, "a token could not be signed");
        Status::internal(&format!("failed to generate token: {why}"))
    })?;
    request.set_creation_timestamp(&time::seconds(now));
    let end = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
    let status = json!({"token": signed, "expirationTimestamp": time::seconds(end)});
    request.set(&["status"], status);
    encoding::value(201, &request.into_value(), &context.accepted)
}

fn invalid(name: &str, error: Error) -> Status {
    Status::invalid(&Grouped::new(GROUP, KIND.kind), name, &[error])
}

fn matches_url(request: &Object, namespace: &str, name: &str) -> Result<(), Status> {
    let metadata = Path::new("metadata");
    if !request.name().is_empty() && request.name() != name {
        let why = "must match the service account name if specified";
        return Err(invalid(name, Error::invalid(&metadata.child("name"), request.name(), why)));
    }
    if !request.namespace().is_empty() && request.namespace() != namespace {
        let why = "must match the service account namespace if specified";
        let error = Error::invalid(&metadata.child("namespace"), request.namespace(), why);
        return Err(invalid(name, error));
    }
    Ok(())
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fills in what the request leaves out.
fn complete(request: &mut Object, account: &Object, audiences: &[String]) {
    if texts(request.at(&["spec", "audiences"])).is_empty() {
        request.set(&["spec", "audiences"], json!(audiences));
    }
    request.set_name(account.name());
    request.set_namespace(account.namespace());
    request.set_uid(account.uid());
}

fn checked_seconds(request: &Object) -> Result<i64, Status> {
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = request.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let why = match seconds {
        seconds if seconds < TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
        seconds if seconds > TOKEN_SECONDS_MAX => {
            "may not specify a duration larger than 2^32 seconds"
        }
        seconds => return Ok(seconds),
    };
    Err(invalid("", Error::invalid(&path, seconds, why)))
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}

/// What the token is bound to besides its account; it must exist, and be the one that is meant.
async fn bound_to(context: &Context, request: &Object) -> Result<Bound, Status> {
    let mut bound = Bound::default();
    let path = ["spec", "boundObjectRef"];
    if request.at(&path).is_none_or(Value::is_null) {
        return Ok(bound);
    }
    let text = |key: &str| request.text(&["spec", "boundObjectRef", key]);
    let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let (group, version) = kinds::split_api_version(api_version);
    let plural = match (group, kind) {
        ("", "Pod") => "pods",
        ("", "Node") => "nodes",
        ("", "Secret") => "secrets",
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let object = find(context, plural, name).await?;
    let Some(object) = object else {
        return Err(Status::not_found(&Grouped::new("", plural), name));
    };
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&Grouped::new("", kind), name, &why));
    }
    let slot = match kind {
        "Node" => &mut bound.node,
        "Secret" => &mut bound.secret,
        _ => {
            let account = &context.info.name;
            if object.text(&["spec", "serviceAccountName"]) != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = object.text(&["spec", "nodeName"]);
            if !node.is_empty() {
                // A node that is gone is named all the same.
                let found = find(context, "nodes", node).await?;
                let missing = || Reference { name: node.to_owned(), uid: String::new() };
                bound.node = Some(found.map_or_else(missing, |node| reference(&node)));
            }
            &mut bound.pod
        }
    };
    *slot = Some(reference(&object));
    Ok(bound)
}

async fn find(context: &Context, plural: &str, name: &str) -> Result<Option<Object>, Status> {
    let info = kinds::find("", "v1", plural).ok_or_else(Status::no_such_path)?;
    let namespace = if info.namespaced { context.namespace() } else { "" };
    let found = context.server.storage.get(info, namespace, name).await?;
    Ok(found.map(|found| found.object))
}
