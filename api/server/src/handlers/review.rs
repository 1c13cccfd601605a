//! POST of a review: a question that is answered and not kept. Who am I, may I, may they.

use api_machinery::apply::{self, Target, Writer};
use api_machinery::field::{Error, Path};
use api_machinery::rbac::{Action, Rule};
use api_machinery::status::Grouped;
use api_machinery::{Object, Status, time};
use http::Response;
use serde_json::{Map, Value, json};

use super::{Context, review_selectors};
use crate::authn::User;
use crate::authz;
use crate::body::Body;
use crate::encoding::Transform;

pub(crate) async fn review(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    // A dry run is as good as any other: nothing is kept anyway.
    context.dry_run()?;
    if let Transform::Table(_) = context.accepted.transform {
        return Err(Status::not_acceptable(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ]));
    }
    let mut review = context.decode_own(body)?;
    let manager = context.manager()?;
    let status = match context.kind.kind {
        "SelfSubjectReview" => {
            let now = time::seconds(clock::now());
            review.0.remove("metadata");
            review.set_creation_timestamp(&now);
            json!({"userInfo": context.user.to_json()})
        }
        "TokenReview" => token(context, &review).await?,
        "SelfSubjectRulesReview" => rules(context, &mut review)?,
        _ => access(context, &review)?,
    };
    if context.kind.kind == "TokenReview" || context.kind.kind.ends_with("AccessReview") {
        let now = time::seconds(clock::now());
        let writer = Writer { manager: &manager, now: &now, force: false };
        review = apply::update(&Target::of(context.kind, ""), None, review, writer);
    }
    review.set(&["status"], status);
    context.reply(201, &review)
}

/// SelfSubjectAccessReview, SubjectAccessReview, LocalSubjectAccessReview.
fn access(context: &Context, review: &Object) -> Result<Value, Status> {
    let errors = check(context.kind.kind, review);
    if !errors.is_empty() {
        // Upstream has lost the kind by then.
        let kind = Grouped::new(context.kind.group, "");
        return Err(Status::invalid(&kind, "", &errors));
    }
    let user = if context.kind.kind == "SelfSubjectAccessReview" {
        context.user.clone()
    } else {
        user_of(review)
    };
    let is_resource = is_set(review, "resourceAttributes");
    let text = |key: &str| {
        let list = if is_resource { "resourceAttributes" } else { "nonResourceAttributes" };
        review.text(&["spec", list, key])
    };
    let (fields, trouble) = review_selectors::read(review);
    let action = Action {
        verb: text("verb"),
        is_resource,
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        fields: &fields,
        path: text("path"),
    };
    let verdict = authz::authorize(&context.server, &user, &action);
    let mut status = json!({"allowed": verdict.allowed});
    if !verdict.reason.is_empty() {
        status["reason"] = verdict.reason.into();
    }
    if !trouble.is_empty() {
        status["evaluationError"] = trouble.into();
    }
    Ok(status)
}

fn is_set(review: &Object, key: &str) -> bool {
    review.at(&["spec", key]).is_some_and(|value| !value.is_null())
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user whom a review asks about, exactly as it says.
fn user_of(review: &Object) -> User {
    let extra = review.at(&["spec", "extra"]).and_then(Value::as_object);
    let extra = extra.into_iter().flatten();
    User {
        name: review.text(&["spec", "user"]).to_owned(),
        uid: review.text(&["spec", "uid"]).to_owned(),
        groups: strings(review.at(&["spec", "groups"])),
        extra: extra.map(|(key, values)| (key.clone(), strings(Some(values)))).collect(),
    }
}

fn check(kind: &str, review: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    let spec = Path::new("spec");
    let (resource, other) =
        (is_set(review, "resourceAttributes"), is_set(review, "nonResourceAttributes"));
    // As upstream's own type has it, whose fields have no other names.
    let shown = |key: &str| {
        let text = |part: &str| review.text(&["spec", key, part]);
        json!({"Path": text("path"), "Verb": text("verb")})
    };
    if resource && other {
        let path = spec.child("nonResourceAttributes");
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(Error::invalid(&path, shown("nonResourceAttributes"), why));
    }
    if !resource && !other {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(&spec.child("resourceAttributes"), Value::Null, why));
    }
    let has_groups = !strings(review.at(&["spec", "groups"])).is_empty();
    if kind != "SelfSubjectAccessReview" && review.text(&["spec", "user"]).is_empty() && !has_groups
    {
        let why = "at least one of user or group must be specified";
        errors.push(Error::invalid(&spec.child("user"), "", why));
    }
    review_selectors::check(review, &mut errors);
    let is_local = kind == "LocalSubjectAccessReview";
    let mut metadata = review.at(&["metadata"]).and_then(Value::as_object).cloned();
    let kept = metadata.get_or_insert_with(Map::new);
    kept.remove("managedFields");
    if is_local {
        kept.remove("namespace");
    }
    kept.retain(|_, value| !value.is_null());
    if !kept.is_empty() {
        let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(Error::invalid(&Path::new("metadata"), Value::Object(kept.clone()), why));
    }
    if is_local && resource {
        let namespace = review.text(&["spec", "resourceAttributes", "namespace"]);
        if namespace != review.namespace() {
            let path = spec.child("resourceAttributes").child("namespace");
            errors.push(Error::invalid(&path, namespace, "must match metadata.namespace"));
        }
    }
    if is_local && other {
        let path = spec.child("nonResourceAttributes");
        let why = "disallowed on this kind of request";
        errors.push(Error::invalid(&path, shown("nonResourceAttributes"), why));
    }
    errors
}

fn rules(context: &Context, review: &mut Object) -> Result<Value, Status> {
    let namespace = review.text(&["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let authz::Rules { rules, incomplete, error } =
        authz::rules(&context.server, &context.user, &namespace);
    // A rule may be about both; each half is told by itself.
    let half = |rule: &Rule, is_url: bool| {
        let none = Vec::new;
        let half = match is_url {
            true => Rule { groups: none(), resources: none(), names: none(), ..rule.clone() },
            false => Rule { urls: none(), ..rule.clone() },
        };
        half.to_json()
    };
    let resources: Vec<Value> =
        rules.iter().filter(|rule| !rule.resources.is_empty()).map(|r| half(r, false)).collect();
    let urls: Vec<Value> =
        rules.iter().filter(|rule| !rule.urls.is_empty()).map(|r| half(r, true)).collect();
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": incomplete});
    if !error.is_empty() {
        status["evaluationError"] = error.into();
    }
    // Upstream answers with a new object: nothing of the question is in it.
    review.0.remove("metadata");
    review.set(&["metadata"], json!({}));
    review.set(&["spec"], json!({}));
    Ok(status)
}

async fn token(context: &Context, review: &Object) -> Result<Value, Status> {
    let token = review.text(&["spec", "token"]);
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let authenticator = &context.server.authenticator;
    let mut wanted = strings(review.at(&["spec", "audiences"]));
    if wanted.is_empty() {
        wanted.clone_from(&authenticator.service_accounts.audiences);
    }
    Ok(match authenticator.token(&context.server, token, &wanted).await {
        Ok(Some((user, audiences))) => {
            let mut status = json!({"authenticated": true, "user": user.to_json()});
            if !audiences.is_empty() {
                status["audiences"] = audiences.into();
            }
            status
        }
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(error) => json!({"user": {}, "error": format!("[invalid bearer token, {error}]")}),
    })
}
