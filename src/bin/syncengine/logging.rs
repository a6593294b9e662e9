//! What the library logs, on stderr, if `-v` asks for it.

use tracing_subscriber::EnvFilter;

/// Shows the messages of this project from the level that `verbosity` means; other crates stay silent.
pub(crate) fn start(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::new(format!("syncengine={level}"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody else's subscriber is no reason not to sync.
    log.try_init().unwrap_or_default();
}
