//! Proxies between a client and this server: whose word on the client is taken, and what is known of the client then.

use crate::files::Peer;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are.
    pub networks: Vec<IpNet>,
    /// The header in which they say who has logged in there.
    pub auth_header: Option<HeaderName>,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client; nothing where the request came over no connection.
    pub address: Option<IpAddr>,
    /// Whether the client's own connection is encrypted.
    pub https: bool,
    /// Who has logged in at the proxy.
    pub user: Option<String>,
    /// Whether the request went through a proxy that is not believed, so that `address` is the proxy's.
    pub hidden: bool,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `::ffff:10.0.0.1` is `10.0.0.1`.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

impl Proxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// What is known of the client of a request.
    pub fn origin(&self, extensions: &Extensions, headers: &HeaderMap) -> Origin {
        let peer = extensions.get::<Peer>().map(|peer| plain(peer.0.ip()));
        if !peer.is_some_and(|peer| self.trusts(peer)) {
            let hidden = ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
                .iter()
                .any(|name| headers.contains_key(*name));
            return Origin {
                address: peer,
                https: false,
                user: None,
                hidden,
            };
        }
        // From the nearest on: the first that is no trusted proxy is the client, and what stands before it is its own
        // invention.
        let mut address = peer;
        let listed = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let listed: Vec<&str> = listed.flat_map(|value| value.split(',')).collect();
        for hop in listed.into_iter().rev() {
            let Ok(hop) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            address = Some(plain(hop));
            if !self.trusts(plain(hop)) {
                break;
            }
        }
        let user = self.auth_header.as_ref().and_then(|name| {
            let mut values = headers.get_all(name).iter();
            // Two of them: the proxy has not dropped the client's.
            let only = values.next().filter(|_| values.next().is_none())?;
            let user = only.to_str().ok()?.trim();
            (!user.is_empty() && user.len() <= 255).then(|| user.to_owned())
        });
        Origin {
            address,
            https: text(headers, "x-forwarded-proto")
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            user,
            hidden: false,
        }
    }
}

/// Whether an address is of this machine or of a network that nobody reaches from outside.
pub fn is_private(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, headers: &[(&str, &str)]) -> Origin {
        let proxies = Proxies {
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
            auth_header: Some(HeaderName::from_static("remote-user")),
        };
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().expect("an address")));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        proxies.origin(&extensions, &map)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let headers = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("remote-user", "ann"),
        ];
        let found = origin("203.0.113.9:1", &headers);
        assert_eq!(found.address, "203.0.113.9".parse().ok());
        assert!(!found.https && found.user.is_none() && found.hidden);
        let found = origin("[::ffff:10.1.2.3]:1", &headers);
        assert_eq!(found.address, "192.0.2.1".parse().ok());
        assert!(found.https && found.user.as_deref() == Some("ann") && !found.hidden);
    }

    #[test]
    fn what_a_client_says_before_its_own_address_is_its_invention() {
        let found = origin(
            "10.0.0.1:1",
            &[("x-forwarded-for", "127.0.0.1, 192.0.2.7, 10.0.0.2")],
        );
        assert_eq!(found.address, "192.0.2.7".parse().ok());
        let found = origin("10.0.0.1:1", &[("x-forwarded-for", "junk")]);
        assert_eq!(found.address, "10.0.0.1".parse().ok());
    }

    #[test]
    fn a_user_that_is_named_twice_is_nobody() {
        let twice = [("remote-user", "ann"), ("remote-user", "root")];
        assert_eq!(origin("10.0.0.1:1", &twice).user, None);
        assert_eq!(origin("10.0.0.1:1", &[("remote-user", " ")]).user, None);
    }
}
