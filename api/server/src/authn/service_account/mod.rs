//! Service accounts: who a token speaks for, and the tokens that this server gives out.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | A token is believed only while everything that it is bound to exists, with the same uid. |
//! | A2 | A token for another audience is nobody's here. |

mod keys;
mod token;

use std::collections::BTreeMap;

use api_machinery::{Object, kinds};
use serde_json::{Value, json};

use self::keys::{Signer, VerifyingKey};
use super::User;
use crate::config::ServiceAccountConfig;
use crate::state::Server;

pub(crate) use token::{Audiences, Bound, Claims, Reference};

const EXTRA: &str = "authentication.kubernetes.io";

/// Keys, issuers and audiences of tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    signer: Option<Signer>,
    keys: Vec<VerifyingKey>,
    /// The first one issues; all are believed.
    issuers: Vec<String>,
    /// Who this server is, for tokens.
    pub(crate) audiences: Vec<String>,
}

impl Tokens {
    /// Reads the keys; the error says what is wrong with which flag.
    pub(crate) fn new(config: &ServiceAccountConfig) -> Result<Self, String> {
        let mut keys = Vec::new();
        for pem in &config.keys {
            let read = VerifyingKey::read_all(pem);
            keys.extend(read.map_err(|why| format!("--service-account-key-file: {why}"))?);
        }
        let signer = config
            .signing_key
            .as_deref()
            .map(Signer::read)
            .transpose()
            .map_err(|why| format!("--service-account-signing-key-file: {why}"))?;
        // A server believes its own tokens.
        if let (Some(signer), true) = (&signer, keys.is_empty()) {
            keys.push(signer.public.clone());
        }
        let mut audiences = config.audiences.clone();
        if audiences.is_empty() {
            audiences.extend(config.issuers.first().cloned());
        }
        Ok(Self { signer, keys, issuers: config.issuers.clone(), audiences })
    }

    /// Whether tokens can be given out.
    pub(crate) fn can_sign(&self) -> bool {
        self.signer.is_some() && !self.issuers.is_empty()
    }

    /// Signs claims as the issuer.
    pub(crate) fn sign(&self, mut claims: Claims) -> Result<String, String> {
        let signer = self.signer.as_ref().ok_or("no signing key is configured")?;
        claims.iss = self.issuers.first().ok_or("no issuer is configured")?.clone();
        token::sign(signer, &claims)
    }

    /// Whether the token is of an issuer that is believed here, if it is genuine.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        !self.keys.is_empty() && token::claims_issuer(token, &self.issuers)
    }

    /// The user of a token, and which of the wanted audiences it is for. A1, A2.
    pub(crate) async fn user(
        &self,
        server: &Server,
        token: &str,
        wanted: &[String],
    ) -> Result<(User, Vec<String>), String> {
        let now_s = clock::now().as_second();
        let claims = token::verify(token, &self.keys, now_s)?;
        // Tokens of old without an audience are for this server.
        let meant = if claims.aud.0.is_empty() { &self.audiences } else { &claims.aud.0 };
        let audiences: Vec<String> =
            meant.iter().filter(|one| wanted.contains(one)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {meant:?} is invalid for the target audiences {wanted:?}"
            ));
        }
        still_there(server, &claims, now_s).await?;
        Ok((user_of(&claims), audiences))
    }

    /// `GET /.well-known/openid-configuration`; `None` when no tokens are given out.
    pub(crate) fn openid_configuration(&self, address: &str) -> Option<Value> {
        let issuer = self.issuers.first().filter(|_| !self.keys.is_empty())?;
        let mut algorithms: Vec<&str> = self.keys.iter().map(|key| key.algorithm.name()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Some(json!({
            "issuer": issuer,
            "jwks_uri": format!("https://{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }))
    }

    /// `GET /openid/v1/jwks`: the public keys.
    pub(crate) fn published_keys(&self) -> Option<Value> {
        let keys: Vec<&Value> = self.keys.iter().map(|key| &key.published).collect();
        (!keys.is_empty() && !self.issuers.is_empty()).then(|| json!({"keys": keys}))
    }
}

/// A1.
async fn still_there(server: &Server, claims: &Claims, now_s: i64) -> Result<(), String> {
    let Bound { namespace, serviceaccount: account, pod, secret, node, .. } = &claims.bound;
    let invalidated = || "service account token has been invalidated".to_owned();
    let found = find(server, "serviceaccounts", namespace, account).await?;
    let found = found.ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
    if found.uid() != account.uid {
        return Err(format!(
            "service account UID ({}) does not match claim ({})",
            found.uid(),
            account.uid
        ));
    }
    if is_gone(&found, now_s) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    // The node of a pod's token is a remark; a node alone is what the token is bound to.
    let node = node.as_ref().filter(|_| pod.is_none());
    for (plural, what, bound) in [
        ("secrets", "secret", secret.as_ref()),
        ("pods", "pod", pod.as_ref()),
        ("nodes", "node", node),
    ] {
        let Some(bound) = bound else { continue };
        let namespace = if plural == "nodes" { "" } else { namespace };
        let found = find(server, plural, namespace, bound).await?.ok_or_else(invalidated)?;
        if found.uid() != bound.uid {
            return Err(format!(
                "{what} UID ({}) does not match service account {what} ref claim ({})",
                found.uid(),
                bound.uid
            ));
        }
        if is_gone(&found, now_s) {
            return Err(invalidated());
        }
    }
    Ok(())
}

/// The cache first; what it does not know, or knows as another one, may be new.
async fn find(
    server: &Server,
    plural: &str,
    namespace: &str,
    wanted: &Reference,
) -> Result<Option<Object>, String> {
    let info = kinds::find("", "v1", plural).ok_or("the kind is not served")?;
    let key = server.storage.key(info, namespace, &wanted.name);
    if let Some(version) = server.caches.of(info).get(&key)
        && version.header.uid() == wanted.uid
    {
        return version.object().map(Some).map_err(|status| status.message);
    }
    let found = server.storage.get(info, namespace, &wanted.name).await;
    found.map(|found| found.map(|one| one.object)).map_err(|status| status.message)
}

fn is_gone(object: &Object, now_s: i64) -> bool {
    object
        .deletion_timestamp()
        .and_then(api_machinery::time::parse)
        .is_some_and(|time| time.as_second() < now_s - token::LEEWAY_S)
}

/// The user that genuine claims speak for.
fn user_of(claims: &Claims) -> User {
    let bound = &claims.bound;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("{EXTRA}/{key}"), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &bound.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    let (namespace, name) = (&bound.namespace, &bound.serviceaccount.name);
    let mut user = User::authenticated(
        format!("system:serviceaccount:{namespace}:{name}"),
        bound.serviceaccount.uid.clone(),
        groups(namespace),
    );
    user.extra = extra;
    user
}

/// The groups of every service account of a namespace.
pub(super) fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}
