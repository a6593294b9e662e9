//! The options of `serve`: its keys and its port.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use syncengine::embedded::DEFAULT_KEY;
use syncengine::key::escape;
use syncengine::{Error, Result};

use super::invalid;
use crate::args::ServeArgs;

/// The variable of the environment that holds the secret key.
const SECRET_KEY: &str = "SYNCENGINE_SECRET_KEY";

/// Longer than any secret that somebody means.
const MAX_SECRET_BYTES: u64 = 4096;

/// The keys of a server.
pub(crate) struct Keys {
    pub(crate) access: String,
    pub(crate) secret: String,
    /// Whether the user chose the secret, which is then not shown.
    pub(crate) chosen: bool,
    /// What the user should know about how it is kept.
    pub(crate) warning: Option<String>,
}

/// Returns the keys that clients must use.
pub(crate) fn keys(args: &ServeArgs) -> Result<Keys> {
    let (secret, warning) = match &args.secret_key_file {
        Some(path) => secret_of_file(Path::new(path)).map(|(secret, warning)| (Some(secret), warning))?,
        None => (environment_text(SECRET_KEY)?, None),
    };
    let access = args.access_key.clone().unwrap_or_else(|| DEFAULT_KEY.into());
    if access.is_empty() || secret.as_ref().is_some_and(String::is_empty) {
        return Err(invalid("a key is empty", "leave it out for the default, `embedded`"));
    }
    // Half of a key, or two of them, is a mistake that would only show as refused requests.
    if [Some(&access), secret.as_ref()].into_iter().flatten().any(|key| key.contains(char::is_control)) {
        return Err(invalid(
            "a key has a line end or another control character in it",
            "a key is one line of text",
        ));
    }
    let chosen = secret.is_some();
    Ok(Keys { access, secret: secret.unwrap_or_else(|| DEFAULT_KEY.into()), chosen, warning })
}

#[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
fn environment_text(name: &str) -> Result<Option<String>> {
    let value = std::env::var_os(name).map(OsString::into_string).transpose();
    value.map_err(|_| invalid(format!("`{name}` is not text"), "use letters and digits"))
}

fn secret_of_file(path: &Path) -> Result<(String, Option<String>)> {
    super::check_tilde("--secret-key-file", path.as_os_str())?;
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let doing = || format!("read the secret key from `{shown}`");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| Error::io(doing(), error))?;
    let mode = file.metadata().map_err(|error| Error::io(doing(), error))?.mode();
    let warning = (mode & 0o077 != 0).then(|| {
        format!("warning: others than its owner may read or write the secret key in `{shown}` (chmod 600)\n")
    });
    file.take(MAX_SECRET_BYTES).read_to_string(&mut text).map_err(|error| Error::io(doing(), error))?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), warning))
}

/// Returns the port that `--port` names; 0 is any.
pub(crate) fn port(given: Option<&str>) -> Result<u16> {
    given.map_or(Ok(0), |text| {
        text.parse().map_err(|_| {
            let message = format!("`{}` is not a port", escape(text.as_bytes()));
            invalid(message, "give a number from 0 to 65535; 0 is any free port")
        })
    })
}
