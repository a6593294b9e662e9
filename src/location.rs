//! `Location`: where a tree is, as users write it: a folder, `s3://bucket/prefix` or `embedded://bucket/prefix`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, escape};

/// Where a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder, absolute or relative.
    Folder(String),
    /// A prefix of a bucket of an S3-compatible store.
    S3(Bucket),
    /// A prefix of a bucket of the server inside this process.
    Embedded(Bucket),
}

/// A bucket and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The name of the bucket.
    pub name: String,
    /// What the names of all its objects begin with: empty, or ending in a slash, so that `photos` never
    /// means `photos2` too.
    pub prefix: String,
}

/// How stores are reached: what the AWS tools call endpoint, region and profile. What is left out comes from
/// where those tools take it: `AWS_*` variables and the shared configuration files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreOptions {
    /// The address of the store, such as `https://minio.example.org:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The region; `us-east-1` if nothing names one and an endpoint is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The profile in the shared configuration files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A file of certificates (PEM) to trust besides those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<PathBuf>,
    /// Whether to talk to other hosts than this one without encryption.
    pub allow_http: bool,
    /// Where the server behind `embedded://` keeps its objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded_dir: Option<PathBuf>,
}

impl StoreOptions {
    /// Returns whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Longest name of a bucket. S3 stops at 63 bytes; old buckets and other stores have longer ones.
const MAX_BUCKET_BYTES: usize = 255;

impl Location {
    /// Understands a location as a user writes it. Whatever has no `scheme://` is a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is empty, of an unknown kind, or names an impossible bucket or prefix.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |what: String, hint: &str| Err(Error::new(ErrorKind::Invalid, what).with_hint(hint));
        if text.is_empty() {
            return invalid(
                "the location is empty".into(),
                "name a folder, such as ./documents, or s3://bucket/prefix",
            );
        }
        let shown = escape(text.as_bytes());
        if text.starts_with('~') && (text.len() == 1 || text.contains('/')) {
            let what = format!(
                "`{shown}`: `~` stands for a home directory only where a shell reads it, and here it came as it is"
            );
            let home = text.split_once('/').map_or("", |(_, rest)| rest);
            let meant = if text.len() == 1 || text.starts_with("~/") {
                format!("$HOME/{home}")
            } else {
                "the whole path".into()
            };
            return invalid(
                what,
                &format!("write {}, or ./{shown} for a folder of that name", meant.trim_end_matches('/')),
            );
        }
        match text.split_once("://") {
            None => match mistyped(text) {
                Some(meant) => invalid(
                    format!("`{shown}` is no location: `//` is missing"),
                    &format!("write {meant}, or ./{shown} for a folder of that name"),
                ),
                None if is_of_another_machine(text) => invalid(
                    format!("`{shown}` is no location: folders of other machines are not reached by ssh"),
                    &format!("mount it and name the folder, or write ./{shown} for a folder of that name"),
                ),
                None => Ok(Self::Folder(text.into())),
            },
            Some((scheme @ ("S3" | "Embedded" | "EMBEDDED"), rest)) => {
                let (scheme, rest) = (scheme.to_lowercase(), escape(rest.as_bytes()));
                invalid(format!("`{shown}` is of an unknown kind"), &format!("write {scheme}://{rest}"))
            }
            Some(("s3", rest)) => Ok(Self::S3(Bucket::parse(text, rest)?)),
            Some(("embedded", rest)) => Ok(Self::Embedded(Bucket::parse(text, rest)?)),
            // A path such as `./a://b` has its slash before the colon.
            Some((scheme, _)) if scheme.contains('/') => Ok(Self::Folder(text.into())),
            Some((scheme, _)) => invalid(
                format!(
                    "`{}` is of an unknown kind, `{}://`",
                    escape(text.as_bytes()),
                    escape(scheme.as_bytes())
                ),
                "use a path, s3://bucket/prefix or embedded://bucket/prefix; write ./name for a folder with such a name",
            ),
        }
    }
}

/// Returns the identity of a tree as a user writes its location, as far as it can be written: where an endpoint or a
/// profile reaches a store, the identity alone says which one.
pub fn shown(identity: &str) -> String {
    match identity.strip_prefix("embedded:").and_then(|rest| rest.rsplit_once("//")) {
        Some((_, at)) => format!("embedded://{at}"),
        None => identity.to_owned(),
    }
}

/// Returns an endpoint in the form in which it is compared, as far as nobody has to be asked: scheme and host in small
/// letters, without the port that the scheme has anyway, and the address for `localhost`.
pub fn canonical_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let Some((scheme, rest)) = endpoint.split_once("://") else { return endpoint.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority);
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.trim_end_matches('.').to_ascii_lowercase());
    let host = if host == "localhost" { "127.0.0.1" } else { host.as_str() };
    let default = if scheme == "https" { "443" } else { "80" };
    let port = port.filter(|port| !port.is_empty() && *port != default);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}")
}

/// Splits `host:port`; an IPv6 address is in brackets.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Returns an identity as this release writes it: earlier ones wrote endpoints as they were given.
pub(crate) fn canonical_identity(identity: &str) -> String {
    identity
        .strip_prefix("s3+")
        .map_or_else(|| identity.to_owned(), |url| format!("s3+{}", canonical_endpoint(url)))
}

/// Returns a location as a shell takes it.
pub(crate) fn quoted(location: &str) -> String {
    let shown = escape(location.as_bytes());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-~+,@%".contains(&byte);
    if shown.bytes().all(is_plain) { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
}

/// Returns whether scp and rsync would take it for a folder of another machine.
fn is_of_another_machine(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    first.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains(':'))
}

/// Returns what was meant by a location of a store that lacks its slashes.
fn mistyped(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let is_store = matches!(scheme.as_str(), "s3" | "embedded");
    is_store.then(|| format!("{scheme}://{}", escape(rest.trim_start_matches('/').as_bytes())))
}

impl Bucket {
    /// Returns what tells this prefix in the server inside this process from all others: the folder (canonical)
    /// in which the server keeps its objects, never its port.
    pub fn embedded_identity(&self, dir: &Path) -> String {
        format!("embedded:{}//{self}", dir.display())
    }

    fn parse(whole: &str, text: &str) -> Result<Self> {
        let invalid = |why: &str, hint: &str| {
            let message = format!("`{}` cannot be a location: {why}", escape(whole.as_bytes()));
            Err(Error::new(ErrorKind::Invalid, message).with_hint(hint))
        };
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let hint = "write s3://bucket or s3://bucket/prefix";
        if name.is_empty() {
            return invalid("the name of the bucket is missing", hint);
        }
        if name.starts_with("arn:") {
            return invalid("ARNs are not understood", "name the bucket or the alias of the access point");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let ends = [name.as_bytes().first(), name.as_bytes().last()];
        let ends_well = ends.into_iter().flatten().all(u8::is_ascii_alphanumeric);
        if !ends_well || !(3..=MAX_BUCKET_BYTES).contains(&name.len()) || !name.bytes().all(allowed) {
            return invalid(
                &format!("`{}` is no name of a bucket", escape(name.as_bytes())),
                "a bucket has at least 3 letters, digits, dots or hyphens in its name",
            );
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix.is_empty() {
            return Ok(Self { name: name.into(), prefix: String::new() });
        }
        match Key::parse(prefix) {
            Err(error) => invalid(&format!("in its prefix, {error}"), hint),
            Ok(key) if key.is_reserved() => {
                invalid("its prefix has a reserved segment", "names beginning `.syncengine` are ours")
            }
            Ok(_) => Ok(Self { name: name.into(), prefix: format!("{prefix}/") }),
        }
    }
}

impl fmt::Display for Bucket {
    /// Shows `bucket` or `bucket/prefix`, as it stands behind `s3://`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.strip_suffix('/') {
            None => f.write_str(&self.name),
            Some(prefix) => write!(f, "{}/{prefix}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b43_locations_are_understood_or_refused() {
        for (text, expected) in [
            ("s3://vault", "s3 vault ''"),
            ("s3://vault/", "s3 vault ''"),
            ("s3://vault/a/b", "s3 vault 'a/b/'"),
            ("s3://vault/a/b/", "s3 vault 'a/b/'"),
            ("s3://My.old_bucket/ä ö", "s3 My.old_bucket 'ä ö/'"),
            ("embedded://vault/x", "embedded vault 'x/'"),
            ("/a/b", "folder /a/b"),
            ("a b", "folder a b"),
            ("./s3://x", "folder ./s3://x"),
            ("C:x", "folder C:x"),
            ("./~", "folder ./~"),
            ("./~/a", "folder ./~/a"),
            ("~a", "folder ~a"),
            ("./s3:vault/x", "folder ./s3:vault/x"),
            ("./me@host:x", "folder ./me@host:x"),
            ("a/me@host:x", "folder a/me@host:x"),
            ("me@host", "folder me@host"),
            ("12:30", "folder 12:30"),
            ("me@host:x", "invalid"),
            ("", "invalid"),
            ("~", "invalid"),
            ("~/docs", "invalid"),
            ("~user/docs", "invalid"),
            ("s3:vault/x", "invalid"),
            ("s3:/vault/x", "invalid"),
            ("S3:vault", "invalid"),
            ("embedded:vault", "invalid"),
            ("S3://vault", "invalid"),
            ("http://host/vault", "invalid"),
            ("s3://", "invalid"),
            ("s3:///a", "invalid"),
            ("s3://ab", "invalid"),
            ("s3://-abc", "invalid"),
            ("s3://a b c", "invalid"),
            ("s3://arn:aws:s3:::vault", "invalid"),
            ("s3://vault//a", "invalid"),
            ("s3://vault/a//b", "invalid"),
            ("s3://vault/a//", "invalid"),
            ("s3://vault/..", "invalid"),
            ("s3://vault/a/../b", "invalid"),
            ("s3://vault/./b", "invalid"),
            ("s3://vault/.syncengine", "invalid"),
            ("s3://vault/a/.syncengine-x", "invalid"),
        ] {
            let shown = match Location::parse(text) {
                Ok(Location::Folder(path)) => format!("folder {path}"),
                Ok(Location::S3(at)) => format!("s3 {} '{}'", at.name, at.prefix),
                Ok(Location::Embedded(at)) => format!("embedded {} '{}'", at.name, at.prefix),
                Err(error) => {
                    assert!(error.kind() == ErrorKind::Invalid && error.hint().is_some(), "{text}");
                    "invalid".into()
                }
            };
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn a_location_that_was_mistyped_is_refused_with_what_was_meant() {
        for (text, meant) in [
            ("~/docs", "write $HOME/docs, or ./~/docs"),
            ("~", "write $HOME, or ./~"),
            ("~user/docs", "write the whole path"),
            ("s3:vault/x", "write s3://vault/x, or ./s3:vault/x"),
            ("S3:/vault/x", "write s3://vault/x"),
            ("embedded:vault", "write embedded://vault"),
            ("S3://vault/x", "write s3://vault/x"),
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.starts_with(meant)), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_location_is_quoted_where_a_shell_wants_it() {
        for (location, expected) in
            [("/a/b", "/a/b"), ("s3://vault/x", "s3://vault/x"), ("a b", "'a b'"), ("it's", "'it'\\''s'")]
        {
            assert_eq!(quoted(location), expected);
        }
    }

    #[test]
    fn an_identity_is_shown_as_its_location_is_written() {
        for (identity, expected) in [
            ("/a/b", "/a/b"),
            ("embedded:/d//vault/x", "embedded://vault/x"),
            ("s3://vault", "s3://vault"),
            ("s3+http://127.0.0.1:9000/vault", "s3+http://127.0.0.1:9000/vault"),
        ] {
            assert_eq!(shown(identity), expected);
        }
    }

    #[test]
    fn a_bucket_is_shown_as_it_is_written() {
        for text in ["vault", "vault/a", "vault/a/b"] {
            let Ok(Location::S3(at)) = Location::parse(&format!("s3://{text}")) else { panic!("{text}") };
            assert_eq!(at.to_string(), text);
        }
    }
}
