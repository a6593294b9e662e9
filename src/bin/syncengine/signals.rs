//! SIGINT and SIGTERM: the first ends the run in good order, the second ends the process. SIGXFSZ does
//! nothing, so that a file beyond the limit of file sizes is one that fails, not the end of the process.

use std::sync::{Arc, OnceLock};

use syncengine::SyncController;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit_code::ExitCode;

/// The signal that asked this process to end, as its exit code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received(Arc<OnceLock<ExitCode>>);

impl Received {
    /// Returns the exit code of the first signal, if one came.
    pub(crate) fn code(&self) -> Option<ExitCode> {
        self.0.get().copied()
    }
}

/// Listens for the signals.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    _file_size: Signal,
}

impl Signals {
    /// Begins to listen; from here on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        // With a handler in place the write that exceeds the limit ends with an error of its own.
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(file_size)?,
        })
    }

    /// Cancels what `controller` controls on the first signal and exits on the second.
    pub(crate) async fn watch(mut self, controller: SyncController, received: Received) {
        loop {
            // Both are cancel safe: a signal that is not taken now is seen by the next call.
            let code = tokio::select! {
                _ = self.interrupt.recv() => ExitCode::Interrupted,
                _ = self.terminate.recv() => ExitCode::Terminated,
            };
            if received.0.set(code).is_err() {
                std::process::exit(i32::from(code as u8));
            }
            controller.cancel();
        }
    }
}
