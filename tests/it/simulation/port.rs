//! The way from a client into the world: every call can fail, every step lets others come in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use syncengine::client::Body;
use syncengine::clock::{Clock, Entropy};
use syncengine::entry::Entry;
use syncengine::{Error, ErrorKind, Event, Key, Observer, Result, Timestamp};

use super::place::hash;
use super::world::{Inner, Trouble, Universe};

/// In how large pieces a body comes.
const CHUNK_BYTES: usize = 16;

/// What becomes of a call that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// It is done, but nobody says so.
    AnswerLost,
}

/// One machine's access to one place.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) world: Arc<Universe>,
    pub(crate) machine: usize,
    pub(crate) place: usize,
}

pub(crate) fn changed(key: &Key, what: &str) -> Error {
    Error::new(ErrorKind::Changed, format!("`{key}` {what}"))
}

pub(crate) fn lost(key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no answer came for `{key}`"))
}

impl Port {
    pub(crate) fn now(&self) -> Timestamp {
        self.world.inner().now(self.machine)
    }

    /// A step inside a call.
    pub(crate) async fn tick(&self, verb: &'static str, name: &str) {
        self.world.tick(self.machine, self.place, verb, name).await;
    }

    /// The beginning of a call, or a step of it that can fail.
    pub(crate) async fn call(&self, verb: &'static str, name: &str) -> Result<Fate> {
        self.tick(verb, name).await;
        let fate = self.world.inner().fate(self.machine, verb, name);
        match fate {
            Ok(Some(fate)) => Ok(fate),
            // Without the hook that prints.
            Ok(None) => std::panic::resume_unwind(Box::new("a simulated panic")),
            Err(error) => Err(error),
        }
    }

    /// Returns the bytes of `entry`, which are `content`, in pieces.
    pub(crate) fn body(&self, entry: &Entry, content: &Bytes, is_folder: bool, has_proof: bool) -> Body {
        let reading = Reading {
            port: self.clone(),
            entry: entry.clone(),
            content: content.clone(),
            at: 0,
            is_folder,
            has_proof,
        };
        let chunks = stream::unfold(Some(reading), |reading| async move {
            let reading = reading?;
            match reading.next().await {
                Ok((chunk, rest)) => Some((Ok(chunk), rest)),
                Err(error) => Some((Err(error), None)),
            }
        });
        let chunks = chunks.filter(|chunk| {
            let is_empty = matches!(chunk, Ok(bytes) if bytes.is_empty());
            std::future::ready(!is_empty)
        });
        let proof = has_proof.then(|| hash(content));
        Body {
            size: content.len() as u64,
            modified: entry.modified,
            mode: None,
            folder_modes: Vec::new(),
            proof,
            chunks: chunks.boxed(),
        }
    }
}

/// A version that is being read.
struct Reading {
    port: Port,
    entry: Entry,
    content: Bytes,
    at: usize,
    is_folder: bool,
    has_proof: bool,
}

impl Reading {
    async fn next(mut self) -> Result<(Bytes, Option<Self>)> {
        let name = self.entry.key.as_str().to_owned();
        self.port.call("chunk", &name).await?;
        let end = self.content.len().min(self.at + CHUNK_BYTES);
        let mut chunk = self.content.slice(self.at..end);
        self.at = end;
        let mut world = self.port.world.inner();
        let flips = world.weather.flips;
        if self.has_proof && !chunk.is_empty() && world.falls(flips) {
            world.note("flipped bits");
            let mut flipped = chunk.to_vec();
            flipped[0] ^= 1;
            chunk = flipped.into();
        }
        if end < self.content.len() {
            drop(world);
            return Ok((chunk, Some(self)));
        }
        // A folder's file is looked at once more after its last byte; a store sends one version in any case.
        if self.is_folder && world.places[self.port.place].expect(&self.entry).is_none() {
            return Err(changed(&self.entry.key, "was changed while it was read"));
        }
        Ok((chunk, None))
    }
}

impl Inner {
    /// Draws what goes wrong with a call.
    pub(crate) fn trouble(&mut self, machine: usize, faults: usize) -> Option<Trouble> {
        let here = &self.machines[machine];
        if let Some((_, trouble)) = here.fails_at.filter(|(call, _)| *call == here.calls) {
            return Some(trouble);
        }
        let panics = self.weather.panics;
        if self.falls(panics) {
            return Some(Trouble::Panic);
        }
        self.falls(faults).then(|| match self.chance.below(9) {
            0..=3 => Trouble::Passes,
            4 => Trouble::Refused,
            5 => Trouble::System,
            _ => Trouble::AnswerLost,
        })
    }

    /// Draws what becomes of a call: its fate, an error, or a panic (`None`).
    fn fate(&mut self, machine: usize, verb: &'static str, name: &str) -> Result<Option<Fate>> {
        let faults = self.weather.faults;
        let Some(trouble) = self.trouble(machine, faults) else { return Ok(Some(Fate::Answered)) };
        self.tell(|| format!("{verb} {name}: {trouble:?}"));
        let (kind, what) = match trouble {
            Trouble::Passes => (ErrorKind::Unavailable, "faults that pass"),
            Trouble::Refused => (ErrorKind::PermissionDenied, "refusals"),
            Trouble::System => (ErrorKind::Internal, "errors of the system"),
            Trouble::AnswerLost => {
                self.note("lost answers");
                return Ok(Some(Fate::AnswerLost));
            }
            Trouble::Panic => {
                self.note("panics");
                self.machines[machine].run.panicked = true;
                return Ok(None);
            }
        };
        self.note(what);
        Err(Error::new(kind, format!("{verb} `{name}`: a simulated fault")))
    }
}

/// The clock of a machine, its randomness, and who hears of its failures.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) world: Arc<Universe>,
    pub(crate) machine: usize,
}

impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.world.inner().now(self.machine)
    }

    fn monotonic(&self) -> Duration {
        self.world.inner().monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let world = Arc::clone(&self.world);
        async move {
            tokio::time::sleep(duration).await;
            world.inner().pass(duration);
        }
        .boxed()
    }
}

impl Entropy for Ports {
    fn next_u64(&self) -> u64 {
        self.world.random(self.machine)
    }
}

impl Observer for Ports {
    fn observe(&self, event: &Event) {
        let mut world = self.world.inner();
        if let Event::Failed(failure) = event {
            let run = &mut world.machines[self.machine].run;
            run.failed |= matches!(&*failure.action, "list" | "read");
            run.failed_names.insert(failure.path.clone());
            world.tell(|| format!("failed: {} {}: {}", failure.action, failure.path, failure.error));
        }
        if let Event::Done(line) = event {
            if line.conflict {
                world.note("conflicts");
            }
            if line.action == syncengine::code::ActionCode::Conflict {
                world.machines[self.machine].left_to_user.insert(line.path.to_string());
            }
            world.tell(|| format!("done: {} {} ({})", line.action, line.path, line.reason));
        }
    }
}
