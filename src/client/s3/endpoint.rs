//! Which store is behind an endpoint: however it is written, it is the same one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::location::{canonical_endpoint, host_and_port};

/// How long a name may take to be resolved. Ours: names of this machine are found at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns an endpoint in the form in which it is compared: as [`canonical_endpoint`], and with the address in the place of
/// a name that stands for this machine alone.
pub(super) async fn canonical(endpoint: &str) -> String {
    let endpoint = canonical_endpoint(endpoint);
    let Some((scheme, rest)) = endpoint.split_once("://") else { return endpoint };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority);
    let Some(address) = loopback(host).await else { return endpoint };
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}")
}

/// Returns the address of a name that stands for this machine alone. One that cannot be resolved is taken as it is written:
/// then there is no store to sync with.
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
            ("http://localhost.:9000", "http://127.0.0.1:9000"),
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
