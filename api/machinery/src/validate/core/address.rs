//! IP addresses and ranges, as strict as upstream is with new ones.

use std::net::IpAddr;

use crate::field::{Error, Path};
use crate::validate::names;

const RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address and lets leading zeros pass; an IPv4 address mapped into IPv6 is IPv4.
pub(in crate::validate) fn parse(text: &str) -> Option<IpAddr> {
    parse_as_written(text).map(|address| address.to_canonical())
}

fn parse_as_written(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let mut bytes = [0_u8; 4];
    if parts.len() != bytes.len() {
        return None;
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        if !part.bytes().all(|letter| letter.is_ascii_digit()) {
            return None;
        }
        *byte = part.parse().ok()?;
    }
    Some(bytes.into())
}

pub(in crate::validate) fn is_ipv6(text: &str) -> bool {
    parse(text).is_some_and(|address| address.is_ipv6())
}

/// An address that may be written in several ways; `kept` are those that were there before.
pub(in crate::validate) fn legacy(path: &Path, text: &str, kept: &[&str]) -> Option<Error> {
    if kept.contains(&text) {
        return None;
    }
    let problem = match (text.parse::<IpAddr>(), parse_as_written(text)) {
        (_, None) => names::IP_ADDRESS,
        (Err(_), Some(_)) => "must not have leading 0s",
        (Ok(IpAddr::V6(v6)), _) if v6.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        (Ok(_), Some(_)) => return None,
    };
    Some(Error::invalid(path, text, problem))
}

/// An address in its one canonical form.
pub(in crate::validate) fn canonical(path: &Path, text: &str) -> Option<Error> {
    let refused = legacy(path, text, &[]);
    if refused.is_some() {
        return refused;
    }
    let wanted = parse(text)?.to_string();
    let why = format!("must be in canonical form ({wanted:?})");
    (wanted != text).then(|| Error::invalid(path, text, why))
}

/// An address that others can reach.
pub(in crate::validate) fn reachable(text: &str, path: &Path, errors: &mut Vec<Error>) {
    let Some(address) = parse(text) else {
        errors.push(Error::invalid(path, text, "must be a valid IP address"));
        return;
    };
    let (is_link_local, is_link_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    for (is_wrong, why) in [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            is_link_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ] {
        if is_wrong {
            errors.push(Error::invalid(path, text, why));
        }
    }
}

/// A range of addresses: its first address and how many leading bits its members share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::validate) struct Range {
    first: IpAddr,
    pub(in crate::validate) bits: u8,
}

impl Range {
    /// Reads a range and lets leading zeros and bits beyond the prefix pass.
    pub(in crate::validate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address = parse_as_written(address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits.is_empty() || !bits.bytes().all(|letter| letter.is_ascii_digit()) {
            return None;
        }
        let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
        Some(Self { first: masked(address, bits), bits })
    }

    pub(in crate::validate) fn is_ipv6(self) -> bool {
        self.first.is_ipv6()
    }

    /// Whether another range is a part of this one, and not all of it.
    pub(in crate::validate) fn strictly_contains(self, other: Self) -> bool {
        self.is_ipv6() == other.is_ipv6()
            && self.bits < other.bits
            && masked(other.first, self.bits) == self.first
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// A range that may be written in several ways; `kept` are those that were there before.
pub(in crate::validate) fn legacy_range(path: &Path, text: &str, kept: &[&str]) -> Option<Error> {
    if kept.contains(&text) {
        return None;
    }
    let Some(range) = Range::parse(text) else {
        return Some(Error::invalid(path, text, RANGE));
    };
    let (address, bits) = text.split_once('/')?;
    let problem = match address.parse::<IpAddr>() {
        Err(_) => "must not have leading 0s in IP or prefix length",
        Ok(_) if bits.len() > 1 && bits.starts_with('0') => {
            "must not have leading 0s in IP or prefix length"
        }
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            "must not have an IPv4-mapped IPv6 address"
        }
        Ok(written) if written != range.first => "must not have bits set beyond the prefix length",
        Ok(_) => return None,
    };
    Some(Error::invalid(path, text, problem))
}

/// A range in its one canonical form.
pub(in crate::validate) fn canonical_range(path: &Path, text: &str) -> Option<Error> {
    let refused = legacy_range(path, text, &[]);
    if refused.is_some() {
        return refused;
    }
    let range = Range::parse(text)?;
    let wanted = format!("{}/{}", range.first, range.bits);
    let why = format!("must be in canonical form ({wanted:?})");
    (wanted != text).then(|| Error::invalid(path, text, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_spellings_of_addresses_are_refused_with_their_reason() {
        let path = Path::new("p");
        for (text, problem) in [
            ("10.0.0.1", ""),
            ("2001:DB8::1", ""),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("10.0.0", names::IP_ADDRESS),
        ] {
            let told = legacy(&path, text, &[]).map(|error| error.detail).unwrap_or_default();
            assert_eq!(told, problem, "{text}");
            assert_eq!(legacy(&path, text, &[text]), None);
        }
        for (text, problem) in [
            ("10.0.0.0/8", ""),
            ("0.0.0.0/0", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/33", RANGE),
            ("10.0.0.0", RANGE),
        ] {
            let told = legacy_range(&path, text, &[]).map(|error| error.detail).unwrap_or_default();
            assert_eq!(told, problem, "{text}");
        }
    }
}
