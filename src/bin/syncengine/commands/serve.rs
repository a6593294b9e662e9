//! `serve`: the embedded server alone, until a signal ends it.

use serde::Serialize;
use syncengine::Result;
use syncengine::embedded::{EmbeddedOptions, EmbeddedServer};
use syncengine::key::escape;
use syncengine::report::SCHEMA;

use super::{Finished, Session};
use crate::args::ServeArgs;
use crate::exit_code::ExitCode;
use crate::options::keys::{Keys, keys, port};
use crate::options::{Format, embedded_dir};
use crate::output;

/// What clients need to know, on one line of JSON. A secret that the user chose is null.
#[derive(Serialize)]
struct Serving<'a> {
    schema: u32,
    endpoint: &'a str,
    access_key: &'a str,
    secret_key: Option<&'a str>,
    dir: String,
}

/// `syncengine serve`.
pub(super) async fn serve(session: &Session, args: &ServeArgs) -> Result<Finished> {
    let keys = keys(args)?;
    output::to_stderr(keys.warning.as_deref().unwrap_or_default());
    let options = EmbeddedOptions {
        port: port(args.port.as_deref())?,
        access_key: keys.access.clone(),
        secret_key: keys.secret.clone(),
        ..EmbeddedOptions::new(embedded_dir(args.embedded_dir.as_deref())?)
    };
    let server = EmbeddedServer::start(options).await?;
    output::to_stdout(&announcement(session.common.format, &server, &keys));
    session.controller.cancelled().await;
    server.stop().await?;
    let code = session.received.code().unwrap_or(ExitCode::Interrupted);
    Ok(Finished { code, text: String::new(), messages: String::new(), document: String::new() })
}

/// Returns what is printed at once.
fn announcement(format: Format, server: &EmbeddedServer, keys: &Keys) -> String {
    let (endpoint, access_key) = (server.endpoint(), keys.access.as_str());
    let secret_key = (!keys.chosen).then_some(keys.secret.as_str());
    let dir = server.dir().to_string_lossy().into_owned();
    if format == Format::Human {
        let (secret, dir) = (secret_key.unwrap_or("(as given)"), escape(dir.as_bytes()));
        return format!(
            "endpoint    {endpoint}\naccess key  {access_key}\nsecret key  {secret}\nfolder      {dir}\n"
        );
    }
    let document = Serving { schema: SCHEMA, endpoint: &endpoint, access_key, secret_key, dir };
    // A document of strings and a number: there is nothing that could fail.
    serde_json::to_string(&document).unwrap_or_default() + "\n"
}
