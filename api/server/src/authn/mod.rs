//! Who a request comes from: client certificate, static bearer token, or nobody.

use std::collections::HashMap;

use http::HeaderMap;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::TokenUser;

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Name, for example `system:node:n1`.
    pub name: String,
    /// Id, may be empty.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` among them.
    pub groups: Vec<String>,
}

impl User {
    fn authenticated(name: String, uid: String, mut groups: Vec<String>) -> Self {
        let all = "system:authenticated";
        if !groups.iter().any(|group| group == all) {
            groups.push(all.to_owned());
        }
        Self { name, uid, groups }
    }

    fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".to_owned()],
        }
    }
}

/// The ways that are switched on, tried in the order of the fields.
#[derive(Debug)]
pub(crate) struct Authenticator {
    pub(crate) tokens: HashMap<String, TokenUser>,
    pub(crate) anonymous: bool,
}

impl Authenticator {
    /// The user of a request, or `None` when its credentials are wrong or missing: 401.
    ///
    /// `certificate_user` is what [`certificate_user`] made of the connection's client certificate.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        certificate_user: Option<&User>,
    ) -> Option<User> {
        if let Some(user) = certificate_user {
            return Some(user.clone());
        }
        let Some(authorization) = headers.get(http::header::AUTHORIZATION) else {
            return self.anonymous.then(User::anonymous);
        };
        let (scheme, token) = authorization.to_str().ok()?.trim().split_once(' ')?;
        // Wrong credentials are refused, never demoted to anonymous.
        let user = scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| self.tokens.get(token.trim()))
            .flatten()?;
        Some(User::authenticated(user.name.clone(), user.uid.clone(), user.groups.clone()))
    }
}

/// The user of a verified client certificate: CN is the name, every O a group.
pub(crate) fn certificate_user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    Some(User::authenticated(name, String::new(), groups))
}
