//! Authenticating proxies: who shows a certificate of the proxies' authority says in headers whose
//! request it passes on (`X-Remote-User` and the like, as the flags name them).

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::HeaderMap;

use super::{User, extra_key};
use crate::config::ConfigError;
use crate::tls;

const CA: &str = "requestheader-client-ca-file";
const ALLOWED: &str = "requestheader-allowed-names";
const USERS: &str = "requestheader-username-headers";
const UIDS: &str = "requestheader-uid-headers";
const GROUPS: &str = "requestheader-group-headers";
const EXTRAS: &str = "requestheader-extra-headers-prefix";

/// Flags of authenticating proxies, with the names and meaning of kube-apiserver.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FrontProxyFlags {
    /// CA of proxies that say in headers who asks; without it such headers mean nothing.
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Names (CN) that a proxy's certificate may have; without it, any.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers that a proxy names the user in, usually X-Remote-User; the first with a value counts.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// Headers that a proxy names the user's id in, usually X-Remote-Uid.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers that a proxy names the user's groups in, usually X-Remote-Group.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// How headers begin that a proxy says more of the user in, usually X-Remote-Extra-.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

/// Which proxies are believed, and which of their headers say what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrontProxyConfig {
    /// CA of the proxies' certificates, PEM.
    pub ca: Vec<u8>,
    /// Common names that their certificates may have; empty for any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name: the first that has a value.
    pub users: Vec<String>,
    /// Headers with the user's id: the first that has a value.
    pub uids: Vec<String>,
    /// Headers with groups: all values of all of them.
    pub groups: Vec<String>,
    /// Beginnings of headers of everything else; the rest of the header's name is the key.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxyFlags {
    /// Checks the flags as upstream does, and reads the file. `client_ca` is the authority of
    /// clients that speak for themselves: who it vouches for must not speak for others by chance.
    pub(crate) fn into_config(
        self,
        client_ca: Option<&[u8]>,
    ) -> Result<Option<FrontProxyConfig>, ConfigError> {
        let lists = [
            (USERS, &self.requestheader_username_headers, "X-Remote-User"),
            (GROUPS, &self.requestheader_group_headers, "X-Remote-Group"),
            (EXTRAS, &self.requestheader_extra_headers_prefix, "X-Remote-Extra-"),
            (UIDS, &self.requestheader_uid_headers, "X-Remote-Uid"),
        ];
        let is_blank = |items: &[String]| items.iter().any(|item| item.trim().is_empty());
        for (flag, items) in lists
            .map(|(flag, items, _)| (flag, items))
            .into_iter()
            .chain([(ALLOWED, &self.requestheader_allowed_names)])
        {
            if is_blank(items) {
                return Err(invalid(flag, "one of its values is empty"));
            }
        }
        for (flag, items, usual) in lists {
            if items.is_empty() || items.iter().any(|item| item.eq_ignore_ascii_case(usual)) {
                continue;
            }
            let why = format!("{usual} is not among them: API aggregation will not work");
            if flag == UIDS {
                return Err(invalid(flag, &why));
            }
            tracing::warn!(flag, "{why}");
        }
        let Some(path) = self.requestheader_client_ca_file else { return Ok(None) };
        let ca =
            std::fs::read(&path).map_err(|source| ConfigError::File { flag: CA, path, source })?;
        if self.requestheader_allowed_names.is_empty()
            && client_ca.is_some_and(|clients| tls::have_one_in_common(clients, &ca))
        {
            let why = "it has a certificate of --client-ca-file; --requestheader-allowed-names must be given, or every client could say that it is somebody else";
            return Err(invalid(CA, why));
        }
        let trimmed =
            |items: Vec<String>| items.iter().map(|item| item.trim().to_owned()).collect();
        Ok(Some(FrontProxyConfig {
            ca,
            allowed_names: self.requestheader_allowed_names,
            users: trimmed(self.requestheader_username_headers),
            uids: trimmed(self.requestheader_uid_headers),
            groups: trimmed(self.requestheader_group_headers),
            extra_prefixes: trimmed(self.requestheader_extra_headers_prefix),
        }))
    }
}

fn invalid(flag: &'static str, why: &str) -> ConfigError {
    ConfigError::Invalid { flag, why: why.to_owned() }
}

impl FrontProxyConfig {
    /// Whether a proxy may have this name (`requestheader-allowed-names`).
    pub(super) fn allows(&self, common_name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|name| name == common_name)
    }

    /// Who a proxy says that the request is from; `None` when it names nobody.
    pub(super) fn user(&self, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.users)?;
        let groups = self.groups.iter().flat_map(|header| values(headers, header));
        let groups = groups.filter(|group| !group.is_empty()).collect();
        let uid = first(headers, &self.uids).unwrap_or_default();
        let mut user = User::authenticated(name, uid, groups);
        user.extra = self.extra(headers);
        Some(user)
    }

    /// By beginning first, so that the values of a key stand in the order of the flag.
    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for header in headers.keys() {
                let Some(key) = header.as_str().strip_prefix(&prefix) else { continue };
                extra.entry(extra_key(key)).or_default().extend(values(headers, header.as_str()));
            }
        }
        extra
    }
}

/// The first header with a value; of several values of a header the first counts.
fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    let mut found = names.iter().filter_map(|name| values(headers, name).next());
    found.find(|value| !value.is_empty())
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = String> + 'a {
    let values = headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn flags() -> FrontProxyFlags {
        FrontProxyFlags {
            requestheader_username_headers: list(&["X-Remote-User", "X-Other-User"]),
            requestheader_uid_headers: list(&["X-Remote-Uid"]),
            requestheader_group_headers: list(&["X-Remote-Group", "X-Team"]),
            requestheader_extra_headers_prefix: list(&["X-Remote-Extra-", "X-More-"]),
            ..FrontProxyFlags::default()
        }
    }

    fn config() -> FrontProxyConfig {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Some(file.path().to_owned());
        let flags = FrontProxyFlags { requestheader_client_ca_file: path, ..flags() };
        flags.into_config(None).unwrap().unwrap()
    }

    fn user(lines: &[(&str, &str)]) -> Option<User> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        config().user(&headers)
    }

    #[test]
    fn a_proxy_says_who_asks() {
        let user = user(&[
            ("x-remote-user", ""),
            ("x-other-user", "ann"),
            ("x-other-user", "bob"),
            ("x-remote-uid", "7"),
            ("x-team", "c"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-remote-group", "b"),
            ("x-more-scopes", "second"),
            ("x-remote-extra-scopes", "first"),
            ("x-remote-extra-example.com%2fteam", "blue"),
            ("x-remote-extra-50%", "whole"),
        ])
        .unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["a", "b", "c", "system:authenticated"]);
        let extra = [
            ("50%", list(&["whole"])),
            ("example.com/team", list(&["blue"])),
            ("scopes", list(&["first", "second"])),
        ];
        let extra = extra.map(|(key, values)| (key.to_owned(), values));
        assert_eq!(user.extra, BTreeMap::from(extra));
    }

    #[test]
    fn who_is_not_named_is_nobody() {
        assert_eq!(user(&[("x-remote-group", "system:masters")]), None);
        assert_eq!(user(&[("x-remote-user", "")]), None);
        let anonymous = user(&[("x-remote-user", "system:anonymous")]).unwrap();
        assert!(anonymous.groups.is_empty(), "nobody is not somebody by a proxy's word");
    }

    #[test]
    fn flags_that_would_let_in_the_wrong_ones_are_refused() {
        let why = |flags: FrontProxyFlags, clients: Option<&[u8]>| {
            flags.into_config(clients).unwrap_err().to_string()
        };
        let blank = FrontProxyFlags { requestheader_group_headers: list(&[" "]), ..flags() };
        assert_eq!(why(blank, None), "--requestheader-group-headers: one of its values is empty");
        let odd = FrontProxyFlags { requestheader_uid_headers: list(&["X-Id"]), ..flags() };
        assert!(
            why(odd, None).starts_with("--requestheader-uid-headers: X-Remote-Uid is not among")
        );
        let params = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &pem).unwrap();
        let path = Some(file.path().to_owned());
        let same = FrontProxyFlags { requestheader_client_ca_file: path, ..flags() };
        let said = why(same.clone(), Some(pem.as_bytes()));
        assert!(said.contains("--requestheader-allowed-names must be given"), "{said}");
        let named = FrontProxyFlags { requestheader_allowed_names: list(&["front"]), ..same };
        let config = named.into_config(Some(pem.as_bytes())).unwrap().unwrap();
        assert!(config.allows("front") && !config.allows("ann"));
        assert_eq!(flags().into_config(None).unwrap(), None, "no authority, no proxies");
    }
}
