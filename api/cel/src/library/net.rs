//! IP addresses and ranges of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::value::{Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
string_to_ip: ip(string) -> net.IP
ip_family: [net.IP] family() -> int
ip_is_canonical: ip.isCanonical(string) -> bool
ip_is_unspecified: [net.IP] isUnspecified() -> bool
ip_is_loopback: [net.IP] isLoopback() -> bool
ip_is_link_local_multicast: [net.IP] isLinkLocalMulticast() -> bool
ip_is_link_local_unicast: [net.IP] isLinkLocalUnicast() -> bool
ip_is_global_unicast: [net.IP] isGlobalUnicast() -> bool
is_ip: isIP(string) -> bool
ip_to_string: string(net.IP) -> string
string_to_cidr: cidr(string) -> net.CIDR
cidr_contains_ip_string: [net.CIDR] containsIP(string) -> bool
cidr_contains_ip_ip: [net.CIDR] containsIP(net.IP) -> bool
cidr_contains_cidr_string: [net.CIDR] containsCIDR(string) -> bool
cidr_contains_cidr: [net.CIDR] containsCIDR(net.CIDR) -> bool
cidr_ip: [net.CIDR] ip() -> net.IP
cidr_prefix_length: [net.CIDR] prefixLength() -> int
cidr_masked: [net.CIDR] masked() -> net.CIDR
is_cidr: isCIDR(string) -> bool
cidr_to_string: string(net.CIDR) -> string
";

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') && text.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: \
             ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = |why: &str| {
        Err(format!(
            "network address parse error during conversion from string: \
             network address parse error during conversion from string: \
             netip.ParsePrefix({text:?}): {why}"
        ))
    };
    let Some((address, bits)) = text.rsplit_once('/') else { return wrong("no '/'") };
    let Ok(ip) = address.parse::<IpAddr>() else { return wrong("unable to parse IP") };
    if matches!(ip, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    let plain = bits == "0" || bits.starts_with(|c: char| ('1'..='9').contains(&c));
    let most = if ip.is_ipv4() { 32 } else { 128 };
    match bits.parse::<u8>() {
        Ok(count) if plain && count <= most => Ok((ip, count)),
        Ok(_) if plain => wrong("prefix length out of range"),
        _ => wrong(&format!("bad bits after slash: {bits:?}")),
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(four) & mask))
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(six) & mask))
        }
    }
}

fn contains((net, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    net.is_ipv4() == ip.is_ipv4() && masked(net, bits) == masked(ip, bits)
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => six.octets()[0] == 0xff && six.octets()[1] & 0xf == 2,
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    !(ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || is_link_local_unicast(ip)
        || ip == IpAddr::V4(Ipv4Addr::BROADCAST))
}

fn of_ip<'a>(function: &str, ip: IpAddr) -> Outcome<'a> {
    Ok(Value::Bool(match function {
        "family" => return Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "string" => return Ok(Value::string(ip.to_string())),
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalMulticast" => is_link_local_multicast(ip),
        "isLinkLocalUnicast" => is_link_local_unicast(ip),
        "isGlobalUnicast" => is_global_unicast(ip),
        _ => return no_such_overload(),
    }))
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("ip", [Value::String(text)]) => parse_ip(text).map_or_else(fail, |ip| Ok(Value::Ip(ip))),
        ("isIP", [Value::String(text)]) => Ok(Value::Bool(parse_ip(text).is_ok())),
        ("ip.isCanonical", [Value::String(text)]) => {
            parse_ip(text).map_or_else(fail, |ip| Ok(Value::Bool(ip.to_string() == **text)))
        }
        ("cidr", [Value::String(text)]) => {
            parse_cidr(text).map_or_else(fail, |(ip, bits)| Ok(Value::Cidr(ip, bits)))
        }
        ("isCIDR", [Value::String(text)]) => Ok(Value::Bool(parse_cidr(text).is_ok())),
        (_, [Value::Ip(ip)]) => of_ip(function, *ip),
        ("ip", [Value::Cidr(ip, _)]) => Ok(Value::Ip(*ip)),
        ("prefixLength", [Value::Cidr(_, bits)]) => Ok(Value::Int((*bits).into())),
        ("masked", [Value::Cidr(ip, bits)]) => Ok(Value::Cidr(masked(*ip, *bits), *bits)),
        ("string", [one @ Value::Cidr(..)]) => Ok(Value::string(one.to_string())),
        ("containsIP", [Value::Cidr(net, bits), other]) => match other {
            Value::Ip(ip) => Ok(Value::Bool(contains((*net, *bits), *ip))),
            Value::String(text) => {
                parse_ip(text).map_or_else(fail, |ip| Ok(Value::Bool(contains((*net, *bits), ip))))
            }
            _ => no_such_overload(),
        },
        ("containsCIDR", [Value::Cidr(net, bits), other]) => {
            let other = match other {
                Value::Cidr(ip, count) => Ok((*ip, *count)),
                Value::String(text) => parse_cidr(text),
                _ => return no_such_overload(),
            };
            other.map_or_else(fail, |(ip, count)| {
                Ok(Value::Bool(*bits <= count && contains((*net, *bits), ip)))
            })
        }
        _ => no_such_overload(),
    }
}
