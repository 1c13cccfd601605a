//! How the values of flags are written: durations as in Go, URLs, lists, `name=url` pairs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use crate::config::{ConfigError, ListenUrl};

pub(super) fn error(flag: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { flag, problem: problem.into() }
}

/// A list separated by commas, without what is empty.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

/// Splits `scheme://host:port` into its parts.
fn split_url(flag: &'static str, url: &str) -> Result<(bool, String), ConfigError> {
    let (secure, rest) = if let Some(rest) = url.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = url.strip_prefix("http://") {
        (false, rest)
    } else if url.starts_with("unix://") || url.starts_with("unixs://") {
        return Err(error(flag, format!("{url:?}: unix sockets are not supported")));
    } else {
        return Err(error(flag, format!("{url:?} does not start with http:// or https://")));
    };
    let host_port = rest.trim_end_matches('/');
    let has_port = host_port.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if host_port.contains('/') || !has_port {
        return Err(error(flag, format!("{url:?} is not of the form scheme://host:port")));
    }
    Ok((secure, host_port.to_owned()))
}

/// URLs separated by commas; at least one.
pub(crate) fn urls(flag: &'static str, text: &str) -> Result<Vec<String>, ConfigError> {
    let mut out = Vec::new();
    for url in list(text) {
        split_url(flag, &url)?;
        out.push(url.trim_end_matches('/').to_owned());
    }
    if out.is_empty() { Err(error(flag, "must not be empty")) } else { Ok(out) }
}

/// URLs to listen on.
pub(super) fn listen(flag: &'static str, text: &str) -> Result<Vec<ListenUrl>, ConfigError> {
    let mut out = Vec::new();
    for url in urls(flag, text)? {
        let (secure, host_port) = split_url(flag, &url)?;
        let host = host_port.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_matches(['[', ']']);
        if bare != "localhost" && bare.parse::<IpAddr>().is_err() {
            let problem = format!("expected IP in URL for binding ({url})");
            return Err(error(flag, problem));
        }
        let found: Vec<SocketAddr> = host_port
            .to_socket_addrs()
            .map_err(|why| error(flag, format!("{host_port:?} is no address: {why}")))?
            .collect();
        // `localhost` may be both ::1 and 127.0.0.1; one listener is enough, the older one.
        let address = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
        let address =
            address.ok_or_else(|| error(flag, format!("{host_port:?} has no address")))?;
        out.push(ListenUrl { address: *address, secure });
    }
    Ok(out)
}

/// Members as `name=url,name=url`: a name may come more than once.
pub(crate) fn cluster(text: &str) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    const FLAG: &str = "initial-cluster";
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in list(text) {
        let (name, url) = pair
            .split_once('=')
            .ok_or_else(|| error(FLAG, format!("{pair:?} is not of the form name=url")))?;
        split_url(FLAG, url)?;
        let url = url.trim_end_matches('/').to_owned();
        if members.values().flatten().any(|other| *other == url) {
            return Err(error(FLAG, format!("{url:?} is given twice")));
        }
        members.entry(name.to_owned()).or_default().push(url);
    }
    if members.is_empty() {
        return Err(error(FLAG, "must not be empty"));
    }
    Ok(members.into_iter().collect())
}

/// A duration as Go writes it: numbers with the units h, m, s, ms, us and ns.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    Some(total)
}

/// [`duration`] for clap.
pub(super) fn go_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "is not a duration, such as 5s or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("5000000000ns"), Some(Duration::from_secs(5)));
        assert_eq!(duration("5x"), None);
        assert_eq!(duration("5"), None);
        assert_eq!(duration(""), None);
    }
}
