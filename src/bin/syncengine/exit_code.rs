//! What the process tells its caller by its exit code.

use syncengine::{ErrorKind, Outcome, Report};

/// The exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Everything is in agreement, or a plan was made; `check`: equal; `status`: nothing pending.
    Done = 0,
    /// Some path failed or could not be judged; `check`: the sides differ; `status`: something is pending.
    Incomplete = 1,
    /// The command line, the configuration, or a root or bucket that is missing.
    Invalid = 2,
    /// A guard, a lock or `apply` refused, and nothing was changed; or conflicts wait for the user.
    Refused = 3,
    /// A side could not be reached, authenticated at or listed, or the state could not be written.
    Unreachable = 4,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl ExitCode {
    /// Returns the code for an error that ended a command; `signal` is the code of the signal received.
    pub(crate) fn of_error(kind: ErrorKind, signal: Option<Self>) -> Self {
        match kind {
            ErrorKind::Cancelled => signal.unwrap_or(Self::Interrupted),
            ErrorKind::Invalid | ErrorKind::NotFound => Self::Invalid,
            ErrorKind::Locked => Self::Refused,
            _ => Self::Unreachable,
        }
    }

    /// Returns the code for the end of a run.
    pub(crate) fn of_report(report: &Report, error: Option<ErrorKind>, signal: Option<Self>) -> Self {
        match report.outcome {
            Outcome::Cancelled => signal.unwrap_or(Self::Interrupted),
            Outcome::Failed => Self::of_error(error.unwrap_or(ErrorKind::Internal), signal),
            Outcome::Refused => Self::Refused,
            Outcome::Partial if report.counts.failed > 0 => Self::Incomplete,
            Outcome::Partial => Self::Refused,
            Outcome::Synced | Outcome::Planned => Self::Done,
        }
    }

    /// Returns the code to end with if the result could be written, or not: what nobody was told is no success.
    pub(crate) fn with_output(self, written: bool) -> Self {
        if self == Self::Done && !written { Self::Incomplete } else { self }
    }

    /// Returns the outcome that programs are told of an error with this code.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Interrupted | Self::Terminated => Outcome::Cancelled,
            Self::Refused => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncengine::SyncMode;

    #[test]
    fn the_codes_are_the_documented_table() {
        let mut report = Report::new("a".into(), "b".into(), SyncMode::TwoWay, false);
        let of = |report: &Report| ExitCode::of_report(report, None, Some(ExitCode::Terminated));
        assert_eq!(of(&report), ExitCode::Done);
        report.outcome = Outcome::Partial;
        assert_eq!(of(&report), ExitCode::Refused);
        report.counts.failed = 1;
        assert_eq!(of(&report), ExitCode::Incomplete);
        report.outcome = Outcome::Cancelled;
        assert_eq!(of(&report), ExitCode::Terminated);
        report.outcome = Outcome::Failed;
        for (kind, code) in [
            (ErrorKind::Invalid, ExitCode::Invalid),
            (ErrorKind::NotFound, ExitCode::Invalid),
            (ErrorKind::Unavailable, ExitCode::Unreachable),
            (ErrorKind::PermissionDenied, ExitCode::Unreachable),
            (ErrorKind::Unsupported, ExitCode::Unreachable),
            (ErrorKind::NoSpace, ExitCode::Unreachable),
        ] {
            assert_eq!(ExitCode::of_report(&report, Some(kind), None), code);
        }
    }
}
