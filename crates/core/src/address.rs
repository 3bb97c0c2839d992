//! Where Levqor may call: the policy for callbacks and outgoing requests, judged without looking up a name.
//!
//! A URL is judged when it comes in; what its name resolves to is judged again when it is dialled, by the same
//! [`OutboundPolicy::permits_ip`]. Only the second is the guard; the first is the early and friendly answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

/// IPv4 networks that are no public destination, with what they are (IANA special-purpose registry).
const NOT_PUBLIC_V4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a shared carrier address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    // Azure answers its virtual machines here, from what looks like a public network.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud metadata address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmarking address"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// IPv6 networks that are no public destination. Those inside 2000::/3 come first, because all else in it is public; the
/// others give a better word than "not a public address".
const NOT_PUBLIC_V6: [(Ipv6Addr, u32, &str); 11] = [
    // Teredo, ORCHID, benchmarking and other protocols.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a reserved address"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "a documentation address"),
    // 6to4 carries any IPv4 address, private ones too.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 address"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "a documentation address"),
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32, "an IPv4 address in IPv6"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private address"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "a private address"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address"),
];

/// Whether the whole internet can be meant by this address.
pub fn is_public(ip: IpAddr) -> bool {
    why_not_public(ip).is_none()
}

fn why_not_public(ip: IpAddr) -> Option<&'static str> {
    match without_wrapping(ip) {
        IpAddr::V4(ip) => {
            let inside = |network: Ipv4Addr, prefix| (ip.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0;
            NOT_PUBLIC_V4
                .into_iter()
                .find(|(network, prefix, _)| inside(*network, *prefix))
                .map(|(_, _, what)| what)
        }
        IpAddr::V6(ip) => {
            let inside =
                |network: Ipv6Addr, prefix| (ip.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0;
            let named = NOT_PUBLIC_V6.into_iter().find(|(network, prefix, _)| inside(*network, *prefix));
            match named {
                Some((_, _, what)) => Some(what),
                // Only 2000::/3 is handed out as global unicast.
                None => (ip.segments()[0] >> 13 != 1).then_some("not a public address"),
            }
        }
    }
}

/// IPv4-mapped and IPv4-compatible addresses mean the IPv4 address in them.
fn without_wrapping(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if v6.to_bits() > 1 => v6.to_ipv4().map_or(ip, IpAddr::V4),
        other => other,
    }
}

/// Which addresses may be called: the public ones, and the networks that the operator lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    allow: Vec<IpNet>,
}

/// An entry of the list is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is not a network; allowed is a comma-separated list such as 127.0.0.1, 10.0.0.0/8, fd00::/8"
)]
pub struct BadNetwork {
    pub entry: String,
}

impl OutboundPolicy {
    pub fn new(allow: Vec<IpNet>) -> Self {
        OutboundPolicy { allow }
    }

    /// Reads the value of `OUTBOUND_ALLOW`: addresses and networks, parted by commas.
    pub fn parse(list: &str) -> Result<Self, BadNetwork> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(parse_network).collect::<Result<_, _>>().map(OutboundPolicy::new)
    }

    /// The same with these networks as well.
    pub fn and(&self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        OutboundPolicy { allow: self.allow.iter().copied().chain(networks).collect() }
    }

    pub fn permits_ip(&self, ip: IpAddr) -> bool {
        let meant = without_wrapping(ip);
        is_public(ip) || self.allow.iter().any(|network| network.contains(&meant))
    }

    fn permits_loopback(&self) -> bool {
        self.permits_ip(Ipv4Addr::LOCALHOST.into()) || self.permits_ip(Ipv6Addr::LOCALHOST.into())
    }
}

/// Reads one network, or an address as a network of one; IPv4 in IPv6 means the IPv4 network.
pub fn parse_network(entry: &str) -> Result<IpNet, BadNetwork> {
    let network = match entry.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(without_wrapping(ip))),
        Err(_) => entry.parse::<IpNet>().ok().map(|network| match network {
            // Addresses are compared unwrapped, so networks must be too.
            IpNet::V6(v6) if v6.prefix_len() >= 96 => {
                let inner = v6.network().to_ipv4_mapped();
                inner.and_then(|ip| Ipv4Net::new(ip, v6.prefix_len() - 96).ok()).map_or(network, IpNet::V4)
            }
            other => other,
        }),
    };
    network.ok_or_else(|| BadNetwork { entry: entry.to_owned() })
}

/// A URL that may be called, as far as the URL alone can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub url: Url,
    /// `host:port`, the port always written out: the unit of limits per receiver.
    pub host_port: String,
}

/// Why a URL is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("{host} is {what}; only public addresses are called, unless OUTBOUND_ALLOW lists their network")]
    Refused { host: String, what: &'static str },
}

/// Judges a URL by its text. Names are not looked up; addresses in any spelling count as the address they mean.
pub fn judge_url(text: &str, policy: &OutboundPolicy) -> Result<Target, UrlProblem> {
    let target = parse_target(text)?;
    let refused = |host: String, what| Err(UrlProblem::Refused { host, what });
    let ip = match target.url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        Some(Host::Domain(name)) => {
            return match why_not_public_name(name.trim_end_matches('.'), policy) {
                Some(what) => refused(name.to_owned(), what),
                None => Ok(target),
            };
        }
        None => return Err(UrlProblem::Malformed("has no host")),
    };
    match why_not_public(ip) {
        Some(what) if !policy.permits_ip(ip) => refused(ip.to_string(), what),
        _ => Ok(target),
    }
}

/// The `host:port` of a URL that was judged before, as [`Target::host_port`] has it.
pub fn host_port(url: &str) -> Option<String> {
    parse_target(url).ok().map(|target| target.host_port)
}

/// Reads the URL strictly. The URL library follows browsers, which forgive what a person would not mean: blanks and line
/// breaks, backslashes, three slashes, upper case.
fn parse_target(text: &str) -> Result<Target, UrlProblem> {
    let rest =
        text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(UrlProblem::Scheme)?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(UrlProblem::Malformed("must not hold blanks, control characters or backslashes"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(UrlProblem::Malformed("has no host"));
    }
    if authority.contains('@') {
        return Err(UrlProblem::Malformed("must not hold a user name or password"));
    }
    let url = Url::parse(text).map_err(|_| UrlProblem::Malformed("is not a valid URL"))?;
    let port = url.port_or_known_default().filter(|port| *port != 0);
    let port = port.ok_or(UrlProblem::Malformed("must not name port 0"))?;
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    // No name service can know these, whatever the library lets pass.
    let is_literal = host.starts_with('[');
    if host.len() > 253 || !is_literal && host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(UrlProblem::Malformed("has no valid host"));
    }
    let host_port = format!("{host}:{port}");
    Ok(Target { url, host_port })
}

/// Names that are never public: the machine itself, and those that only a local resolver knows.
fn why_not_public_name(name: &str, policy: &OutboundPolicy) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or_default();
    if matches!(last, "localhost" | "localdomain") {
        return (!policy.permits_loopback()).then_some("this machine");
    }
    let local = !name.contains('.') || matches!(last, "local" | "internal") || name.ends_with(".home.arpa");
    // With a list at all, the addresses behind such a name decide when it is dialled.
    (local && policy.allow.is_empty()).then_some("a name of a local network")
}

#[cfg(test)]
mod tests;
