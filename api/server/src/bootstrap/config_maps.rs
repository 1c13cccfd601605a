//! ConfigMap `extension-apiserver-authentication` in `kube-system`: the authorities whose client
//! certificates the servers of this cluster believe, and the headers of proxies that they heed, for
//! other servers that shall do the same.
//!
//! Upstream's other one, which says since when uses of tokens in Secrets are noted, is not written:
//! nobody notes them here.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::{Object, ResourceInfo, Status, kinds};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Config;
use crate::handlers::Subresource;
use crate::registry::{self, By, Retry};
use crate::state::Server;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const CLIENT_CA: &str = "client-ca-file";
const PROXY_CA: &str = "requestheader-client-ca-file";
/// Upstream's.
const INTERVAL: Duration = Duration::from_mins(1);
/// A certificate that has just ended is kept, for clocks differ.
const EXPIRY_SLACK_S: i64 = 300;
/// Characters in a line of PEM.
const LINE: usize = 64;

/// Runs until the server stops.
pub(super) async fn run(server: &Server) {
    loop {
        match reconcile(server).await {
            Ok(()) => server.first_rounds.authorities.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(
                %error,
                "the authorities of clients are not published, will try again"
            ),
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn reconcile(server: &Server) -> Result<(), Status> {
    if server.config.client_ca.is_none() && server.config.front_proxy.is_none() {
        return Ok(());
    }
    let kind = kinds::find("", "v1", "configmaps").ok_or_else(Status::no_such_path)?;
    let now = clock::now().as_second();
    let found = server.storage.get(kind, NAMESPACE, NAME).await?.map(|found| found.object);
    let Some(changed) = wanted(&server.config, found.as_ref().unwrap_or(&Object::default()), now)
    else {
        return Ok(());
    };
    if found.is_none() {
        return create(server, kind, &changed).await;
    }
    let request = registry::Update {
        kind,
        namespace: NAMESPACE,
        name: NAME,
        subresource: Subresource::None,
        by: By::the_server(),
        retry: Retry::Always,
    };
    let change = |current: &Object| {
        let mut next = current.clone();
        for (key, text) in wanted(&server.config, current, now).unwrap_or_default() {
            next.set(&["data", key], text.into());
        }
        Ok(next)
    };
    registry::update(server, &request, change).await.map(|_| ())
}

async fn create(
    server: &Server,
    kind: &'static ResourceInfo,
    data: &BTreeMap<&str, String>,
) -> Result<(), Status> {
    let tree = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": NAMESPACE, "name": NAME}, "data": data});
    let object = Object::from_value(tree).ok_or_else(|| Status::internal("not an object"))?;
    let request = registry::Create { kind, by: By::the_server() };
    match registry::create(server, &request, object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        // Another server was faster; the next round looks at what it wrote.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What is to be written besides what is there: this server's authorities and headers with those of
/// others. `None` when they are there; `now` is in seconds.
fn wanted(config: &Config, held: &Object, now: i64) -> Option<BTreeMap<&'static str, String>> {
    let held = |key: &str| held.text(&["data", key]);
    let mut data = BTreeMap::new();
    if let Some(own) = &config.client_ca {
        data.insert(CLIENT_CA, bundle([held(CLIENT_CA).as_bytes(), own], now));
    }
    if let Some(own) = &config.front_proxy {
        data.insert(PROXY_CA, bundle([held(PROXY_CA).as_bytes(), &own.ca], now));
        let lists = [
            ("requestheader-username-headers", &own.users),
            ("requestheader-group-headers", &own.groups),
            ("requestheader-extra-headers-prefix", &own.extra_prefixes),
            ("requestheader-allowed-names", &own.allowed_names),
            // Upstream's newest: only who uses it says so.
            ("requestheader-uid-headers", &own.uids),
        ];
        for (key, own) in lists {
            let both = union(held(key), own);
            if both != "[]" || key != "requestheader-uid-headers" {
                data.insert(key, both);
            }
        }
    }
    data.retain(|key, text| !text.is_empty() && text.as_str() != held(key));
    (!data.is_empty()).then_some(data)
}

/// A JSON list of what is held, and what is ours besides. What cannot be read is not kept.
fn union(held: &str, own: &[String]) -> String {
    let mut both: Vec<String> = serde_json::from_str(held).unwrap_or_default();
    for one in own {
        if !both.contains(one) {
            both.push(one.clone());
        }
    }
    json!(both).to_string()
}

/// The certificates of several bundles, each once, without those that have ended. `now` is in
/// seconds.
fn bundle<'a>(bundles: impl IntoIterator<Item = &'a [u8]>, now: i64) -> String {
    let mut met = HashSet::new();
    let mut out = String::new();
    let certificates = bundles.into_iter().flat_map(CertificateDer::pem_slice_iter);
    for certificate in certificates.filter_map(Result::ok) {
        let Ok((_, read)) = X509Certificate::from_der(&certificate) else { continue };
        if read.validity().not_after.timestamp() <= now - EXPIRY_SLACK_S {
            continue;
        }
        let text = STANDARD.encode(&certificate);
        if !met.insert(text.clone()) {
            continue;
        }
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(LINE) {
            out.extend(line.iter().map(|letter| char::from(*letter)));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_in_the_bundle_once_until_it_has_ended() {
        let made = |year: i32| {
            let mut params = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let (old, one, two) = (made(2020), made(2090), made(2091));
        let unix = |text: &str| text.replace("\r\n", "\n");
        let now = jiff::Timestamp::now().as_second();
        let held = format!("a remark\n{one}{old}");
        let own = format!("{one}{two}");
        let both = bundle([held.as_bytes(), own.as_bytes()], now);
        assert_eq!(both, unix(&format!("{one}{two}")));
        assert_eq!(bundle([both.as_bytes(), own.as_bytes()], now), both);
        assert_eq!(bundle([old.as_bytes(), b"-----BEGIN CERTIFICATE-----\n"], now), "");
    }
}
