//! Which store is behind an endpoint: however it is written, it is the same one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How long a name may take to be resolved. Ours: names of this machine are found at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns an endpoint in the form in which it is compared: scheme and host in small letters, without the port that the
/// scheme has anyway, and for a name of this machine the address it stands for.
pub(super) async fn canonical(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let Some((scheme, rest)) = endpoint.split_once("://") else { return endpoint.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority);
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let default = if scheme == "https" { "443" } else { "80" };
    let port = port.filter(|port| !port.is_empty() && *port != default);
    let host = match loopback(&host).await {
        Some(address) => address.to_string(),
        None => host,
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}")
}

/// Splits `host:port`; an IPv6 address is in brackets.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Returns the address of a name that stands for this machine alone. One that cannot be resolved is taken as it is written.
async fn loopback(host: &str) -> Option<IpAddr> {
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await;
    let addresses: Vec<IpAddr> = found.ok()?.ok()?.map(|address| address.ip()).collect();
    let first = *addresses.first()?;
    let is_here = addresses.iter().all(IpAddr::is_loopback);
    let usual = IpAddr::V4(Ipv4Addr::LOCALHOST);
    is_here.then(|| if addresses.contains(&usual) { usual } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_the_same_however_it_is_written() {
        for (endpoint, expected) in [
            ("http://localhost:9000", "http://127.0.0.1:9000"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            ("HTTP://LocalHost:9000", "http://127.0.0.1:9000"),
            ("http://localhost", "http://127.0.0.1"),
            ("http://localhost:80", "http://127.0.0.1"),
            ("http://127.0.0.2:9000", "http://127.0.0.2:9000"),
            ("https://localhost:80", "https://127.0.0.1:80"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]"),
            ("https://192.0.2.1:443/path/", "https://192.0.2.1/path"),
            ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
            ("https://Store.invalid:443", "https://store.invalid"),
        ] {
            assert_eq!(canonical(endpoint).await, expected, "{endpoint}");
        }
    }
}
