//! Which addresses an HTTP source may be at.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// None of a name's addresses may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the address is private or reserved")]
pub(super) struct AddressRefused;

/// Resolves names and leaves out the addresses that are not allowed. What it returns is what is connected to, so a name
/// that resolves differently the next time gains nothing.
pub(super) struct Guard {
    pub(super) allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|a| allowed(a.ip(), allow_private)).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address may be connected to. Multicast, broadcast and unspecified ones never may; with
/// `allow_private` every other may, else only what is routed on the public internet (IANA special-purpose registries).
pub fn allowed(address: IpAddr, allow_private: bool) -> bool {
    match address {
        IpAddr::V4(v4) => allowed_v4(v4, allow_private),
        IpAddr::V6(v6) => allowed_v6(v6, allow_private),
    }
}

fn allowed_v4(a: Ipv4Addr, allow_private: bool) -> bool {
    if a.is_multicast() || a.is_broadcast() || a.is_unspecified() {
        return false;
    }
    let [first, second, third, _] = a.octets();
    let special = a.is_private()
        || a.is_loopback()
        || a.is_link_local()
        || a.is_documentation()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (18..20).contains(&second));
    allow_private || !special
}

fn allowed_v6(a: Ipv6Addr, allow_private: bool) -> bool {
    if a.is_multicast() || a.is_unspecified() {
        return false;
    }
    if let Some(v4) = embedded(a) {
        return allowed_v4(v4, allow_private);
    }
    // 2000::/3 is what is given out; the rest is loopback, link-local, unique local, or nobody's.
    let [first, second, ..] = a.segments();
    let special = first & 0xe000 != 0x2000
        || (first == 0x2001 && second < 0x0200)
        || (first == 0x2001 && second == 0x0db8)
        || (first == 0x3fff && second < 0x1000);
    allow_private || !special
}

/// The IPv4 address that a packet to `a` ends at: mapped, compatible, NAT64 and 6to4 forms.
fn embedded(a: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match a.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // ::1 is IPv6's own loopback.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) != (0, 1) => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(allowed(ip(text), false), "{text}");
        }
    }

    #[test]
    fn private_and_reserved_addresses_are_not() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.1.2.3",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "240.0.0.1",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(!allowed(ip(text), false), "{text}");
            assert!(allowed(ip(text), true), "{text}");
        }
    }

    #[test]
    fn multicast_and_unspecified_addresses_never_are() {
        for text in [
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "ff02::1",
            "::ffff:224.0.0.1",
            "::ffff:0.0.0.0",
        ] {
            assert!(!allowed(ip(text), false), "{text}");
            assert!(!allowed(ip(text), true), "{text}");
        }
    }
}
