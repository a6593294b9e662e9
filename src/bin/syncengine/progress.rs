//! Progress on stderr: a bar on a terminal, otherwise a line now and then.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use syncengine::clock::{Clock, SystemClock};
use syncengine::{Event, Sides};

use crate::options::{Common, ShowProgress};
use crate::output;
use crate::render::words;

/// How long plain lines lie apart. Ours: a log of a night's run stays readable.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(120);
const BAR: &str = "{spinner} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}  {msg}";

/// Shows how far a run has come.
#[derive(Debug)]
pub(crate) struct Progress {
    kind: Kind,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Kind {
    Off,
    Bar(ProgressBar),
    Lines { eager: bool },
}

#[derive(Debug, Default)]
struct Seen {
    listed: Sides<u64>,
    ahead: Option<Ahead>,
    files: u64,
    bytes: u64,
    began: Duration,
    last_line: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Ahead {
    files: u64,
    bytes: u64,
}

impl Progress {
    /// Returns the progress that the options ask for.
    pub(crate) fn new(common: &Common) -> Self {
        let eager = common.progress == ShowProgress::Always;
        let kind = if common.quiet || common.progress == ShowProgress::Never {
            Kind::Off
        } else if std::io::stderr().is_terminal() {
            Kind::Bar(ProgressBar::new_spinner())
        } else {
            Kind::Lines { eager }
        };
        let now = SystemClock.monotonic();
        Self { kind, seen: Mutex::new(Seen { began: now, last_line: now, ..Seen::default() }) }
    }

    /// Takes one event into account.
    pub(crate) fn observe(&self, event: &Event) {
        if matches!(self.kind, Kind::Off) {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = matches!(event, Event::Planned { .. });
        seen.take(event);
        match &self.kind {
            Kind::Off => {}
            Kind::Bar(bar) => seen.show(bar, begins),
            Kind::Lines { eager } => {
                let now = SystemClock.monotonic();
                if now.saturating_sub(seen.last_line) >= BETWEEN_LINES || (*eager && begins) {
                    seen.last_line = now;
                    output::to_stderr(&format!("{}\n", seen.line(now)));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

impl Seen {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Listed { side, files } => *self.listed.get_mut(*side) = *files,
            Event::Planned { files, bytes, .. } => self.ahead = Some(Ahead { files: *files, bytes: *bytes }),
            Event::Moved { bytes } => self.bytes += bytes,
            Event::Done(line) => self.files += line.effects.uploaded.0 + line.effects.downloaded.0,
            _ => {}
        }
    }

    fn show(&self, bar: &ProgressBar, begins: bool) {
        match self.ahead {
            None => bar.set_message(self.listing()),
            Some(ahead) => {
                if begins && ahead.bytes > 0 {
                    bar.set_length(ahead.bytes);
                    bar.set_style(
                        ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()),
                    );
                    bar.reset_eta();
                }
                bar.set_position(self.bytes);
                bar.set_message(self.copied(ahead));
            }
        }
        bar.enable_steady_tick(TICK);
    }

    fn listing(&self) -> String {
        let Sides { source, destination } = self.listed;
        format!(
            "listing: {} at the source, {} at the destination",
            words::files(source),
            words::files(destination)
        )
    }

    fn copied(&self, ahead: Ahead) -> String {
        format!("{} of {}", words::count(self.files), words::files(ahead.files))
    }

    fn line(&self, now: Duration) -> String {
        let Some(ahead) = self.ahead else { return self.listing() };
        let seconds = now.saturating_sub(self.began).as_secs().max(1);
        let rate = self.bytes / seconds;
        let eta = match ahead.bytes.saturating_sub(self.bytes).checked_div(rate) {
            Some(left) => format!(", {} left", words::duration(Duration::from_secs(left))),
            None => String::new(),
        };
        format!(
            "copied {}, {} of {}, {}/s{eta}",
            self.copied(ahead),
            words::size(self.bytes),
            words::size(ahead.bytes),
            words::size(rate),
        )
    }
}
