//! ServiceAccount: a pod runs as an account that exists, has its pull secrets, and reads its token
//! at the place where clients look for it.
//!
//! The pod of a node's own file (a mirror pod) has no account and may not refer to secrets.

mod secrets;
mod token;

use std::time::Duration;

use api_machinery::{Object, Status};
use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::limits::{DEFAULT_ACCOUNT_TRIES_MAX, DEFAULT_ACCOUNT_WAIT};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// A service account that says so lets its pods refer to the secrets of its list only.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// Made for every namespace a moment after it.
const DEFAULT: &str = "default";
const ACCOUNT: &[&str] = &["spec", "serviceAccountName"];

pub(super) async fn mutate(asked: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !asked.is_of("", "Pod") || asked.operation != Operation::Create {
        return Ok(());
    }
    if pod.at(&["metadata", "annotations", MIRROR]).is_some() {
        return validate(asked, pod).await;
    }
    if pod.text(ACCOUNT).is_empty() {
        pod.set(ACCOUNT, DEFAULT.into());
    }
    let name = pod.text(ACCOUNT).to_owned();
    pod.set(&["spec", "serviceAccount"], name.as_str().into());
    let account = account(asked, pod, &name).await?;
    if mounts_token(&account, pod) {
        token::mount(pod);
    }
    if is_empty_list(pod.at(&["spec", "imagePullSecrets"])) {
        let secrets = account.at(&["imagePullSecrets"]);
        if let Some(secrets) = secrets.filter(|list| !is_empty_list(Some(list))) {
            pod.set(&["spec", "imagePullSecrets"], secrets.clone());
        }
    }
    check(asked, pod, &account)
}

pub(super) async fn validate(asked: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let is_pod = asked.kind.group.is_empty() && asked.kind.kind == "Pod";
    let is_asked = match (asked.operation, asked.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, subresource) => subresource == "ephemeralcontainers",
        (Operation::Create | Operation::Delete, _) => false,
    };
    if !is_pod || !is_asked {
        return Ok(());
    }
    let is_create = asked.operation == Operation::Create;
    if is_create && pod.at(&["metadata", "annotations", MIRROR]).is_some() {
        return secrets::mirror(pod).map_err(|why| asked.forbidden(pod, why));
    }
    let name = pod.text(ACCOUNT);
    if name.is_empty() {
        let (namespace, pod_name) = (asked.namespace, pod.name());
        let why = format!("no service account specified for pod {namespace}/{pod_name}");
        return Err(asked.forbidden(pod, &why));
    }
    let account = account(asked, pod, name).await?;
    check(asked, pod, &account)
}

/// What an account that is strict about its secrets allows.
fn check(asked: &Attributes<'_>, pod: &Object, account: &Object) -> Result<(), Status> {
    let enforce = account.text(&["metadata", "annotations", ENFORCE]);
    if !matches!(enforce, "1" | "t" | "T" | "TRUE" | "true" | "True") {
        return Ok(());
    }
    if asked.operation == Operation::Create {
        return secrets::of_pod(pod, account).map_err(|why| asked.forbidden(pod, &why));
    }
    // Upstream forgets to say that this is forbidden.
    secrets::of_ephemeral(pod, account).map_err(|why| Status::unexplained(&why))
}

/// The account, which must exist. That of a new namespace may be on its way.
async fn account(asked: &Attributes<'_>, pod: &Object, name: &str) -> Result<Object, Status> {
    let of = ("", "serviceaccounts");
    let at = (asked.namespace, name);
    let tries = if name == DEFAULT { DEFAULT_ACCOUNT_TRIES_MAX } else { 1 };
    for attempt in 0..tries {
        if attempt > 0 {
            tokio::time::sleep(wait()).await;
        }
        if let Some(account) = lookup::find(asked.server, of, at).await? {
            return Ok(account);
        }
    }
    let why = format!(
        "error looking up service account {}/{name}: serviceaccount {name:?} not found",
        asked.namespace
    );
    Err(asked.forbidden(pod, &why))
}

/// Servers that all wait for the same account do not ask in step.
fn wait() -> Duration {
    DEFAULT_ACCOUNT_WAIT.mul_f64(rand::random_range(1.0..2.0))
}

/// The pod decides before its account; without a word from either, it is mounted.
fn mounts_token(account: &Object, pod: &Object) -> bool {
    let own = pod.at(&["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
    let accounts = account.at(&["automountServiceAccountToken"]).and_then(Value::as_bool);
    own.or(accounts).unwrap_or(true)
}

fn is_empty_list(list: Option<&Value>) -> bool {
    list.and_then(Value::as_array).is_none_or(Vec::is_empty)
}
