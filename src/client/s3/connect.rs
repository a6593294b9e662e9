//! From [`StoreOptions`] to a connection: endpoint, credentials, TLS and timeouts.
//!
//! What the options leave out the SDK finds where the AWS tools do. Its retries are off: each request here
//! is tried again by our own loop, because only that knows whether a condition was met by our own first try.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::profile::{self, ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_types::os_shim_internal::{Env, Fs};
use aws_types::service_config::ServiceConfigKey;

use super::fault::causes;
use super::limits::Limits;
use super::requests::RequestLog;
use crate::error::{Error, ErrorKind, Result};
use crate::key::escape;
use crate::location::StoreOptions;

/// How long the chain of credential sources may take, so that none found is told soon.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(4);

/// How long they may take where a program is asked for them, which may have to ask its user.
const PROCESS_TIMEOUT: Duration = Duration::from_mins(1);

/// How many profiles may refer to each other. Ours: more than anybody has.
const MOST_ROLES: usize = 10;

/// How many profiles are named to somebody who has mistyped one.
const SHOWN_PROFILES: usize = 10;

/// The variable that has an endpoint for all services; `_S3` behind it is for S3 alone.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL";

/// A variable that nobody sets, for what only the profile is to say.
const NO_VARIABLE: &str = "SYNCENGINE_NO_SUCH_VARIABLE";

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
    /// What was found out: where the store is, and whose credentials are used.
    pub(super) reached: StoreOptions,
}

/// Connects to the store that `options` and the surroundings name.
pub(super) async fn connect(options: &StoreOptions, log: RequestLog, limits: Limits) -> Result<Connection> {
    let http = http_client(options)?;
    let profiles = Profiles::load(options.profile.as_deref()).await?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    let own_region = options.region.clone().or_else(|| profiles.named("region"));
    if let Some(profile) = &options.profile {
        let mut source = ProviderConfig::without_region().with_http_client(http);
        if let Some(region) = &own_region {
            source = source.with_region(Some(Region::new(region.clone())));
        }
        // Whoever names a profile means its account, whatever keys lie around.
        let keys = ProfileFileCredentialsProvider::builder().configure(&source).profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(keys);
    }
    if let Some(region) = &own_region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &options.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    let found = loader.load().await;
    let of_profile = || options.profile.as_ref().and_then(|_| profile_endpoint(&found));
    let endpoint = options
        .endpoint_url
        .clone()
        .or_else(of_profile)
        .or_else(|| service_endpoint(&found, ENDPOINT_VARIABLE));
    if let Some(endpoint) = &endpoint {
        check_endpoint(endpoint, options.allow_http)?;
    }
    let provider = found.credentials_provider().ok_or_else(|| no_credentials(options, "none were found"))?;
    let patience = profiles.patience();
    let first = first_credentials(options, &provider, patience).await?;
    let keys = Kept { source: provider, first: Mutex::new(Some(first)) };
    let mut builder = aws_sdk_s3::config::Builder::from(&found)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .identity_cache(IdentityCache::lazy().load_timeout(patience).build());
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
    let region = found.region().map_or(CUSTOM_REGION, AsRef::as_ref).to_owned();
    let profile = options.profile.clone().or_else(|| profiles.in_force());
    let reached =
        StoreOptions { endpoint_url: endpoint.clone(), region: Some(region), profile, ..options.clone() };
    Ok(Connection { sdk: client(builder, log, &limits), endpoint, limits, reached })
}

/// Checks what can be checked of `options` without asking anybody.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a profile that does not exist.
pub(super) async fn check(options: &StoreOptions) -> Result<()> {
    match Profiles::load(options.profile.as_deref()).await {
        Err(error) if options.profile.is_some() => Err(error),
        Ok(Profiles { name: None, all }) => {
            // `AWS_PROFILE` names one too.
            let chosen = all.selected_profile();
            let is_there = chosen == "default" || all.get_profile(chosen).is_some();
            if is_there { Ok(()) } else { Err(unknown_profile(chosen, &all)) }
        }
        _ => Ok(()),
    }
}

/// The shared configuration files of the AWS tools.
#[derive(Debug)]
struct Profiles {
    /// The profile that the user has named.
    name: Option<String>,
    all: ProfileSet,
}

impl Profiles {
    /// Reads the files; the profile `name` must be in them.
    async fn load(name: Option<&str>) -> Result<Self> {
        let chosen = name.map(|name| Cow::Owned(name.to_owned()));
        let loaded = profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), chosen).await;
        let all = loaded.map_err(|error| {
            Error::new(ErrorKind::Invalid, "read the configuration files of the AWS tools")
                .with_source(causes(&error))
                .with_hint(
                    "mend the file, or name another one with AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE",
                )
        })?;
        match name {
            Some(name) if all.get_profile(name).is_none() => Err(unknown_profile(name, &all)),
            _ => Ok(Self { name: name.map(str::to_owned), all }),
        }
    }

    /// Returns what the named profile says of `property`.
    fn named(&self, property: &str) -> Option<String> {
        self.all.get_profile(self.name.as_deref()?)?.get(property).map(str::to_owned)
    }

    /// Returns how long credentials may take: longer if a program is asked for them or somebody has to log in.
    fn patience(&self) -> Duration {
        const SLOW: [&str; 4] = ["credential_process", "sso_session", "sso_start_url", "login_session"];
        let mut name = self.all.selected_profile().to_owned();
        // A role takes its first keys from another profile, which may do so too.
        for _ in 0..MOST_ROLES {
            let Some(profile) = self.all.get_profile(&name) else { break };
            if SLOW.iter().any(|property| profile.get(property).is_some()) {
                return PROCESS_TIMEOUT;
            }
            match profile.get("source_profile") {
                Some(next) if next != name => name = next.to_owned(),
                _ => break,
            }
        }
        CREDENTIALS_TIMEOUT
    }

    /// Returns the profile that the surroundings name, unless they have keys of their own.
    fn in_force(&self) -> Option<String> {
        let has_keys = Env::real().get("AWS_ACCESS_KEY_ID").is_ok_and(|key| !key.is_empty());
        let selected = self.all.selected_profile();
        (!has_keys && selected != "default" && self.all.get_profile(selected).is_some())
            .then(|| selected.to_owned())
    }
}

fn unknown_profile(name: &str, all: &ProfileSet) -> Error {
    let mut known: Vec<String> =
        all.profiles().map(|name| format!("`{}`", escape(name.as_bytes()))).collect();
    known.sort();
    let hint = if known.is_empty() {
        "no profile was found; AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say where they are".to_owned()
    } else {
        let more = known.len().saturating_sub(SHOWN_PROFILES);
        known.truncate(SHOWN_PROFILES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("check the spelling; there are {}{more}", known.join(", "))
    };
    let message = format!("the profile `{}` does not exist", escape(name.as_bytes()));
    Error::new(ErrorKind::Invalid, message).with_hint(hint)
}

/// Credentials of which the first were fetched already: who gives them may have asked somebody for a code.
#[derive(Debug)]
struct Kept {
    source: SharedCredentialsProvider,
    first: Mutex<Option<Credentials>>,
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(first) => future::ProvideCredentials::ready(Ok(first)),
            None => self.source.provide_credentials(),
        }
    }
}

/// Connects to a server inside this process, without looking at any configuration.
pub(super) fn connect_embedded(
    endpoint: &str,
    keys: (&str, &str),
    log: RequestLog,
    limits: Limits,
) -> Connection {
    let http = aws_smithy_http_client::Builder::new().build_http();
    connect_to(http, endpoint, keys, log, limits)
}

/// Connects to whatever answers requests that are given to `http`.
pub(super) fn connect_over(http: SharedHttpClient, log: RequestLog) -> Connection {
    connect_to(http, "http://store.invalid", ("none", "none"), log, Limits::default())
}

fn connect_to(
    http: SharedHttpClient,
    endpoint: &str,
    keys: (&str, &str),
    log: RequestLog,
    limits: Limits,
) -> Connection {
    let builder = aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(CUSTOM_REGION))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            keys.0, keys.1, None, None, "embedded",
        )))
        .endpoint_url(endpoint)
        .force_path_style(true);
    let endpoint = Some(endpoint.to_owned());
    Connection { sdk: client(builder, log, &limits), endpoint, limits, reached: StoreOptions::default() }
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

/// Returns the endpoint that the variables of this name and the profile have for S3.
fn service_endpoint(found: &SdkConfig, variable: &'static str) -> Option<String> {
    let own = configured_endpoint(found, variable);
    own.or_else(|| found.endpoint_url().map(str::to_owned))
}

/// Returns the endpoint that the profile alone has for S3.
fn profile_endpoint(found: &SdkConfig) -> Option<String> {
    configured_endpoint(found, NO_VARIABLE)
}

fn configured_endpoint(found: &SdkConfig, variable: &'static str) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id("S3").env(variable).profile("endpoint_url").build().ok()?;
    found.service_config()?.load_config(key)
}

async fn first_credentials(
    options: &StoreOptions,
    provider: &SharedCredentialsProvider,
    patience: Duration,
) -> Result<Credentials> {
    match tokio::time::timeout(patience, provider.provide_credentials()).await {
        Ok(Ok(credentials)) => Ok(credentials),
        Ok(Err(error)) => Err(no_credentials(options, &causes(&error))),
        Err(_) => {
            let waited = format!("no source of them answered within {} s", patience.as_secs());
            Err(no_credentials(options, &waited))
        }
    }
}

fn no_credentials(options: &StoreOptions, cause: &str) -> Error {
    let cause = escape(cause.trim_end().as_bytes());
    let (doing, hint) = match &options.profile {
        Some(profile) => {
            let profile = escape(profile.as_bytes());
            (
                format!("get credentials from the profile `{profile}`"),
                format!(
                    "look at what the profile `{profile}` says; nothing else is asked where a profile is named"
                ),
            )
        }
        None => (
            "find credentials for the store".into(),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile".into(),
        ),
    };
    Error::new(ErrorKind::Unavailable, doing).with_source(cause).with_hint(hint)
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
