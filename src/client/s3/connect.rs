//! From [`StoreOptions`] to a connection: endpoint, credentials, TLS and timeouts.
//!
//! What the options leave out the SDK finds where the AWS tools do. Its retries are off: each request here
//! is tried again by our own loop, because only that knows whether a condition was met by our own first try.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_types::service_config::ServiceConfigKey;

use super::limits::Limits;
use super::requests::RequestLog;
use crate::error::{Error, ErrorKind, Result};
use crate::key::escape;
use crate::location::StoreOptions;

/// How long the chain of credential sources may take, so that none found is told soon.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(4);

/// The region that stores of other makers expect in signatures, as MinIO and Ceph do.
const CUSTOM_REGION: &str = "us-east-1";

/// A certificate bundle is not longer.
const MAX_BUNDLE_BYTES: u64 = 16 * 1024 * 1024;

/// A connection to a store.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) sdk: aws_sdk_s3::Client,
    /// The address, if it is not that of AWS. Identifies the store.
    pub(super) endpoint: Option<String>,
    pub(super) limits: Limits,
}

/// Connects to the store that `options` and the surroundings name.
pub(super) async fn connect(options: &StoreOptions, log: RequestLog, limits: Limits) -> Result<Connection> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(options)?);
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &options.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    let found = loader.load().await;
    let endpoint = options.endpoint_url.clone().or_else(|| service_endpoint(&found));
    if let Some(endpoint) = &endpoint {
        check_endpoint(endpoint, options.allow_http)?;
    }
    let provider = found.credentials_provider().ok_or_else(|| no_credentials("none were found".into()))?;
    check_credentials(&provider).await?;
    let mut builder = aws_sdk_s3::config::Builder::from(&found);
    if let Some(endpoint) = &endpoint {
        builder = builder.endpoint_url(endpoint).force_path_style(true);
    }
    if found.region().is_none() {
        if endpoint.is_none() {
            return Err(Error::new(ErrorKind::Invalid, "no region is set")
                .with_hint("name it with --region or AWS_REGION; --endpoint-url if the store is not AWS"));
        }
        builder = builder.region(Region::new(CUSTOM_REGION));
    }
    Ok(Connection { sdk: client(builder, log, &limits), endpoint, limits })
}

/// Connects to a server inside this process, without looking at any configuration.
pub(super) fn connect_embedded(
    endpoint: &str,
    keys: (&str, &str),
    log: RequestLog,
    limits: Limits,
) -> Connection {
    let builder = aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new(CUSTOM_REGION))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            keys.0, keys.1, None, None, "embedded",
        )))
        .endpoint_url(endpoint)
        .force_path_style(true);
    Connection { sdk: client(builder, log, &limits), endpoint: Some(endpoint.to_owned()), limits }
}

fn client(builder: aws_sdk_s3::config::Builder, log: RequestLog, limits: &Limits) -> aws_sdk_s3::Client {
    let builder = builder
        .retry_config(RetryConfig::disabled())
        .timeout_config(limits.timeouts())
        // Ours asks for more than one byte a second.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Signed chunks with a trailer are refused by Ceph and others; we send a checksum header of our own.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(limits.clone())
        .interceptor(log);
    let builder = match AppName::new(concat!("syncengine-", env!("CARGO_PKG_VERSION"))) {
        Ok(name) => builder.app_name(name),
        Err(_) => builder,
    };
    aws_sdk_s3::Client::from_conf(builder.build())
}

/// Returns the endpoint that variables and profiles name for S3.
fn service_endpoint(found: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let own = found.service_config().and_then(|config| config.load_config(key));
    own.or_else(|| found.endpoint_url().map(str::to_owned))
}

async fn check_credentials(provider: &SharedCredentialsProvider) -> Result<()> {
    match tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(no_credentials(error.to_string())),
        Err(_) => Err(no_credentials("no source of them answered in time".into())),
    }
}

fn no_credentials(cause: String) -> Error {
    Error::new(ErrorKind::Unavailable, "find credentials for the store")
        .with_source(cause)
        .with_hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile")
}

/// Refuses an address that cannot be one, carries a secret, or would send data in the clear.
pub(super) fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<()> {
    let invalid = |what: &str, hint: &str| {
        // What stands before an `@` can be a password.
        let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
        let message = format!("the endpoint `{}` {what}", escape(shown.as_bytes()));
        Err(Error::new(ErrorKind::Invalid, message).with_hint(hint))
    };
    let hint = "write it like https://host or https://host:port";
    let (encrypted, rest) = match endpoint.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return invalid("has neither http:// nor https://", hint),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return invalid("has a user name in it", "give credentials through a profile or AWS_* variables");
    }
    if authority.contains(['/', '?', '#']) || authority.is_empty() {
        return invalid("is more than a host and a port", hint);
    }
    let Some(host) = host(authority) else { return invalid("has no usable host or port", hint) };
    if !encrypted && !allow_http && !is_loopback(host) {
        return invalid(
            "would send everything unencrypted",
            "use https://, or say --allow-http if the network is yours",
        );
    }
    Ok(())
}

/// Returns the host of `host` or `host:port`, if both are possible.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port_is_fine = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let odd = |c: char| c.is_whitespace() || c.is_control();
    (port_is_fine && !host.is_empty() && !host.contains(odd)).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn http_client(options: &StoreOptions) -> Result<SharedHttpClient> {
    let mut trusted = TrustStore::default();
    if let Some(path) = &options.ca_bundle {
        trusted = trusted.with_pem_certificate(certificates(path)?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| {
        Error::new(ErrorKind::Invalid, "set up encryption")
            .with_source(error)
            .with_hint("check the certificates of --ca-bundle")
    })?;
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    Ok(builder.tls_context(context).build_https())
}

fn certificates(path: &Path) -> Result<Vec<u8>> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let invalid = |what: &str| {
        Error::new(ErrorKind::Invalid, format!("the certificate bundle `{shown}` {what}"))
            .with_hint("--ca-bundle takes one file of certificates in PEM form")
    };
    let size = std::fs::metadata(path).map_err(|error| invalid("cannot be read").with_source(error))?.len();
    if size > MAX_BUNDLE_BYTES {
        return Err(invalid("is too long"));
    }
    let bytes = std::fs::read(path).map_err(|error| invalid("cannot be read").with_source(error))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if !bytes.windows(marker.len()).any(|window| window == marker) {
        return Err(invalid("has no certificate in it"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b44_endpoints_are_hosts_and_secrets_are_not_shown() {
        for (endpoint, allow_http, fine) in [
            ("https://s3.example.org", false, true),
            ("https://s3.example.org/", false, true),
            ("https://s3.example.org:9000", false, true),
            ("https://[2001:db8::1]:9000", false, true),
            ("http://127.0.0.1:9000", false, true),
            ("http://[::1]:9000", false, true),
            ("http://localhost:9000", false, true),
            ("http://s3.example.org", false, false),
            ("http://s3.example.org", true, true),
            ("http://localhost.example.org", false, false),
            ("s3.example.org", false, false),
            ("ftp://s3.example.org", false, false),
            ("https://user:canary@s3.example.org", false, false),
            ("https://s3.example.org/path", false, false),
            ("https://s3.example.org?x=canary", false, false),
            ("https://s3.example.org:0", false, false),
            ("https://s3.example.org:99999", false, false),
            ("https://s3.example.org:", false, false),
            ("https://", false, false),
            ("https://a b", false, false),
        ] {
            let result = check_endpoint(endpoint, allow_http);
            assert_eq!(result.is_ok(), fine, "{endpoint}");
            if let Err(error) = result {
                assert!(!error.chain().contains("user:canary") && error.hint().is_some(), "{endpoint}");
            }
        }
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.pem");
        assert!(certificates(&path).unwrap_err().chain().contains("cannot be read"));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(certificates(&path).unwrap_err().chain().contains("has no certificate"));
    }
}
