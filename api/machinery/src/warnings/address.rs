//! Addresses that could be written otherwise. The messages do not say where they are.

use std::net::{IpAddr, Ipv4Addr};

/// What is said of an address: `IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format
/// ("2001:db8::1")`, or of one with leading zeros; `None` of a good one, and of what is none.
pub(super) fn ip(text: &str) -> Option<String> {
    let (address, is_standard) = parse(text)?;
    if !is_standard {
        let better = address.to_canonical();
        return Some(format!("non-standard IP address {text:?} is invalid: use \"{better}\""));
    }
    if address.is_ipv4() || address.to_string() == text {
        return None;
    }
    Some(format!("IPv6 address {text:?} should be in RFC 5952 canonical format (\"{address}\")"))
}

/// The same of a range, of which two things may be wrong.
pub(super) fn cidr(text: &str) -> Vec<String> {
    let Some((written, digits)) = text.split_once('/') else { return Vec::new() };
    let Some((address, is_standard)) = parse(written) else { return Vec::new() };
    let Some(bits) = prefix_length(digits, address) else { return Vec::new() };
    let first = first_of(address, bits);
    let better = canonical_range(first, bits);
    let mut told = Vec::new();
    if first != address {
        let (single, most) = (address.to_canonical(), bits_of(address));
        told.push(format!(
            "CIDR value {text:?} is ambiguous in this context (should be \"{better}\" or \"{single}/{most}\"?)"
        ));
    }
    if !is_standard || digits.len() > 1 && digits.starts_with('0') {
        told.push(format!("non-standard CIDR value {text:?} is invalid: use \"{better}\""));
    }
    let short = format!("{address}/{bits}");
    if told.is_empty() && address.is_ipv6() && short != text {
        told.push(format!(
            "IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{short}\")"
        ));
    }
    told
}

/// An address, and whether everybody reads it alike: no leading zeros, no IPv4 within IPv6.
fn parse(text: &str) -> Option<(IpAddr, bool)> {
    match text.parse() {
        Ok(IpAddr::V6(v6)) => Some((IpAddr::V6(v6), v6.to_ipv4_mapped().is_none())),
        Ok(v4) => Some((v4, true)),
        Err(_) => Some((with_leading_zeros(text)?.into(), false)),
    }
}

fn with_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let mut bytes = [0_u8; 4];
    if parts.len() != bytes.len() {
        return None;
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = number(part)?;
    }
    Some(bytes.into())
}

fn number(digits: &str) -> Option<u8> {
    // Rust's numbers may have a sign.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn prefix_length(digits: &str, address: IpAddr) -> Option<u8> {
    number(digits).filter(|bits| *bits <= bits_of(address))
}

/// The address without the bits beyond the prefix.
fn first_of(address: IpAddr, bits: u8) -> IpAddr {
    let beyond = u32::from(bits_of(address) - bits);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// A range of IPv4 addresses within IPv6 is one of IPv4.
fn canonical_range(first: IpAddr, bits: u8) -> String {
    match first {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            format!("{}/{}", first.to_canonical(), bits.saturating_sub(96))
        }
        _ => format!("{first}/{bits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_its_one_good_form() {
        let canonical = |text, good| {
            format!("IPv6 address \"{text}\" should be in RFC 5952 canonical format (\"{good}\")")
        };
        let odd =
            |text, good| format!("non-standard IP address \"{text}\" is invalid: use \"{good}\"");
        for (text, wanted) in [
            ("", None),
            ("None", None),
            ("1.2.3", None),
            ("1.2.3.+4", None),
            ("fe80::1%eth0", None),
            ("1.2.3.4", None),
            ("2001:db8::1", None),
            ("::", None),
            ("2001:DB8::1", Some(canonical("2001:DB8::1", "2001:db8::1"))),
            ("2001:db8:0:0:1:0:0:1", Some(canonical("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"))),
            ("2001:db8::2:0:3:4:5:6", None),
            ("1::3:4:5:6:7:8", Some(canonical("1::3:4:5:6:7:8", "1:0:3:4:5:6:7:8"))),
            // Only an address that is mapped shows the IPv4 in it.
            ("::1.2.3.4", Some(canonical("::1.2.3.4", "::102:304"))),
            ("64:ff9b::1.2.3.4", Some(canonical("64:ff9b::1.2.3.4", "64:ff9b::102:304"))),
            ("::ffff:1.2.3.4", Some(odd("::ffff:1.2.3.4", "1.2.3.4"))),
            ("::FFFF:102:304", Some(odd("::FFFF:102:304", "1.2.3.4"))),
            ("010.002.3.4", Some(odd("010.002.3.4", "10.2.3.4"))),
        ] {
            assert_eq!(ip(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_range_is_told_all_that_is_odd_about_it() {
        let ambiguous = |text, range, single| {
            format!(
                "CIDR value \"{text}\" is ambiguous in this context (should be \"{range}\" or \"{single}\"?)"
            )
        };
        let odd =
            |text, good| format!("non-standard CIDR value \"{text}\" is invalid: use \"{good}\"");
        for (text, wanted) in [
            ("10.0.0.0", vec![]),
            ("10.0.0.0/33", vec![]),
            ("10.0.0.0/", vec![]),
            ("10.0.0.0/8", vec![]),
            ("0.0.0.0/0", vec![]),
            ("::/0", vec![]),
            ("2001:db8::/32", vec![]),
            (
                "2001:DB8::/32",
                vec![
                    "IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")".to_owned(),
                ],
            ),
            ("10.1.0.0/8", vec![ambiguous("10.1.0.0/8", "10.0.0.0/8", "10.1.0.0/32")]),
            ("2001:DB8::1/32", vec![ambiguous("2001:DB8::1/32", "2001:db8::/32", "2001:db8::1/128")]),
            ("10.0.0.0/08", vec![odd("10.0.0.0/08", "10.0.0.0/8")]),
            ("010.0.0.0/8", vec![odd("010.0.0.0/8", "10.0.0.0/8")]),
            ("::ffff:1.2.3.0/120", vec![odd("::ffff:1.2.3.0/120", "1.2.3.0/24")]),
            (
                "::ffff:1.2.3.4/64",
                vec![
                    ambiguous("::ffff:1.2.3.4/64", "::/64", "1.2.3.4/128"),
                    odd("::ffff:1.2.3.4/64", "::/64"),
                ],
            ),
        ] {
            assert_eq!(cidr(text), wanted, "{text}");
        }
    }
}
