//! Runs one command: reads the options, calls the library, prints what came out.

use std::ffi::OsString;
use std::sync::Arc;

use serde::Serialize;
use syncengine::report::ErrorLine;
use syncengine::{
    Error, Event, Observer, Outcome, Report, Result, SyncController, SyncEngine, SyncMode, SyncOptions,
};
use tokio::task::JoinSet;

use crate::args::{self, Command, StateCommand};
use crate::exit_code::ExitCode;
use crate::options::{self, Common, Format};
use crate::output;
use crate::progress::Progress;
use crate::render;
use crate::signals::{Received, Signals};
use crate::{logging, render::modes, umask};

mod apply;
mod inspect;
#[cfg(feature = "embedded")]
mod serve;
mod state;
mod sync;

/// Threads for blocking work, such as reading files. Ours: more only wait for the same disks.
const BLOCKING_THREADS: usize = 64;

/// How long work that does not heed a cancellation is waited for at the end.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// What a command is to leave behind.
struct Finished {
    code: ExitCode,
    /// For people, on stdout.
    text: String,
    /// For people, on stderr.
    messages: String,
    /// For programs, on stdout.
    document: String,
}

/// What every command has at hand.
struct Session {
    common: Common,
    controller: SyncController,
    received: Received,
    progress: Arc<Progress>,
}

/// Runs the command that these words ask for.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    umask::spare_the_owner();
    let cli = match args::parse(words) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, words),
    };
    let format = options::format_of_words(words);
    let common = match options::common(cli.common) {
        Ok(common) => common,
        Err(error) => return print(format, &failed(format, &cli.command, &error, None)),
    };
    logging::start(common.verbosity);
    let format = common.format;
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::io("start the threads of the program", error);
            return print(format, &failed(format, &cli.command, &error, None));
        }
    };
    let finished = runtime.block_on(watched(cli.command, common));
    let code = print(format, &finished);
    runtime.shutdown_timeout(LAST_WAIT);
    code
}

/// Runs the command while somebody listens for signals.
async fn watched(command: Command, common: Common) -> Finished {
    let session = Session {
        controller: SyncController::new(),
        received: Received::default(),
        progress: Arc::new(Progress::new(&common)),
        common,
    };
    let mut listening = JoinSet::new();
    match Signals::listen() {
        Ok(signals) => {
            listening.spawn(signals.watch(session.controller.clone(), session.received.clone()));
        }
        Err(error) => tracing::info!(%error, "signals end the process at once"),
    }
    let result = session.run(&command).await;
    session.progress.end();
    // Dropping the set ends the watch; a signal from here on finds nothing left to cancel.
    let code = session.received.code();
    result.unwrap_or_else(|error| failed(session.common.format, &command, &error, code))
}

impl Session {
    async fn run(&self, command: &Command) -> Result<Finished> {
        match command {
            Command::Sync(args) => Box::pin(sync::sync(self, args)).await,
            Command::Plan(args) => Box::pin(sync::plan(self, args)).await,
            Command::Apply(args) => Box::pin(apply::apply(self, args)).await,
            Command::Check(args) => Box::pin(inspect::check(self, args)).await,
            Command::Status(args) => Box::pin(inspect::status(self, args)).await,
            Command::State { command: StateCommand::Show(at) } => state::show(self, at).await,
            Command::State { command: StateCommand::Forget(at) } => state::forget(self, at).await,
            Command::State { command: StateCommand::Move(args) } => state::move_to(self, args).await,
            #[cfg(feature = "embedded")]
            Command::Serve(args) => Box::pin(serve::serve(self, args)).await,
            Command::Modes => {
                let modes = modes::document();
                Ok(self.finished(ExitCode::Done, modes::text(&modes), String::new(), &modes))
            }
        }
    }

    fn engine(&self) -> Result<SyncEngine> {
        Ok(SyncEngine::new(options::state_dir(&self.common)?))
    }

    /// Returns `options` with everything that connects a run to this process.
    fn connected(&self, options: SyncOptions) -> SyncOptions {
        let lines = self.common.format == Format::JsonLines;
        let observer = Arc::new(Watcher { lines, progress: Arc::clone(&self.progress) });
        options.observer(observer).controller(self.controller.clone())
    }

    fn finished<T: Serialize>(
        &self,
        code: ExitCode,
        text: String,
        messages: String,
        document: &T,
    ) -> Finished {
        Finished { code, text, messages, document: output::document(self.common.format, document) }
    }
}

/// Passes events on to stdout and to the progress.
#[derive(Debug)]
struct Watcher {
    lines: bool,
    progress: Arc<Progress>,
}

impl Observer for Watcher {
    fn observe(&self, event: &Event) {
        if self.lines {
            output::to_stdout(&output::event(event));
        }
        self.progress.observe(event);
    }
}

/// The document of a command other than a run that could not be done.
#[derive(Serialize)]
struct Failed {
    schema: u32,
    outcome: Outcome,
    error: ErrorLine,
}

/// Returns what a command leaves behind that ended with an error.
fn failed(format: Format, command: &Command, error: &Error, signal: Option<ExitCode>) -> Finished {
    let code = match command {
        // Nothing was asked of a pair that could be refused: the store is out of reach.
        #[cfg(feature = "embedded")]
        Command::Serve(_) if error.kind() == syncengine::ErrorKind::Locked => ExitCode::Unreachable,
        _ => ExitCode::of_error(error.kind(), signal),
    };
    let line = ErrorLine::of(error);
    let document = match command {
        Command::Sync(args) => {
            let at = &args.pair.locations;
            failed_run(format, (&at.source, &at.destination), args.dry_run, code, line)
        }
        Command::Plan(args) => {
            let at = &args.sync.pair.locations;
            failed_run(format, (&at.source, &at.destination), true, code, line)
        }
        Command::Apply(_) => failed_run(format, (&None, &None), false, code, line),
        _ => {
            let schema = syncengine::report::SCHEMA;
            output::document(format, &Failed { schema, outcome: code.outcome(), error: line })
        }
    };
    Finished { code, text: String::new(), messages: render::error(error), document }
}

/// Returns the report of a run that never began.
fn failed_run(
    format: Format,
    (source, destination): (&Option<String>, &Option<String>),
    dry_run: bool,
    code: ExitCode,
    error: ErrorLine,
) -> String {
    let name = |location: &Option<String>| location.clone().unwrap_or_default();
    let mut report = Report::new(name(source), name(destination), SyncMode::default(), dry_run);
    report.outcome = code.outcome();
    report.error = Some(error);
    report.peak_memory_bytes = output::peak_memory_bytes();
    output::document(format, &report)
}

/// Answers words that make no command, or that ask for help.
fn misunderstood(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let text = render::usage(error);
    if !error.use_stderr() {
        output::to_stdout(&text);
        return ExitCode::Done.with_output(!output::result_is_lost());
    }
    let format = options::format_of_words(words);
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let line = ErrorLine { message, hint: "`syncengine --help` lists what there is".into() };
    let document = failed_run(format, (&None, &None), false, ExitCode::Invalid, line);
    print(format, &Finished { code: ExitCode::Invalid, text: String::new(), messages: text, document })
}

fn print(format: Format, finished: &Finished) -> ExitCode {
    output::to_stderr(&finished.messages);
    output::to_stdout(if format == Format::Human { &finished.text } else { &finished.document });
    finished.code.with_output(!output::result_is_lost())
}
