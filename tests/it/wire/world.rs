//! A folder and a store, the users of both, and what they are owed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use syncengine::MemoryClient;

use super::http::{Answer, Asked};
use super::store::{Lie, Store};
use super::users::Deed;
use crate::support::Random;

/// The names that users give.
pub(super) const NAMES: [&str; 5] = ["a", "b", "d/x", "d/y", "e"];

/// A look is followed at once by the write it is for: by two requests, in the time of the model.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// How likely things are, in thousandths of requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) lies: usize,
    pub(super) users: usize,
    pub(super) lost: usize,
    pub(super) trouble: usize,
    pub(super) stale: usize,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) folder: Arc<MemoryClient>,
    pub(super) chance: Random,
    pub(super) weather: Weather,
    /// Every content a user ever wrote.
    pub(super) written: BTreeSet<Bytes>,
    /// Those that no user has replaced or deleted.
    pub(super) owed: BTreeSet<Bytes>,
    /// What a user did last under each name, by side; a run that ended well with both sides equal forgets it.
    pub(super) wishes: BTreeMap<String, Vec<Option<Bytes>>>,
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) broken: Vec<String>,
    pub(super) log: Option<Vec<String>>,
    /// Requests so far, and at which one the machine dies.
    pub(super) requests: u64,
    pub(super) dies_at: Option<u64>,
    pub(super) is_dead: bool,
    /// Requests that changed objects, lies and deeds of users in this run.
    pub(super) effects: u64,
    /// What the store has said yes to, and does when so many requests have come.
    late: Vec<(u64, Asked)>,
    /// Which objects the store always has trouble with.
    pub(super) refuses: fn(&str) -> bool,
    /// What the store said it deleted, and did not.
    pub(super) kept: BTreeSet<String>,
    /// When the machine looked at an object last, unless it has tried to change it since.
    looks: BTreeMap<String, tokio::time::Instant>,
    /// What users did in the store that the machine has not looked at.
    pub(super) unseen: BTreeMap<String, Deed>,
    pub(super) weighing: Weighing,
    /// Whether the user has chosen to compare by time where no hash is known.
    pub(super) compares_by_time: bool,
    /// The names under which both sides had the same after a run, and which nobody has deleted since.
    pub(super) met: BTreeSet<String>,
    pub(super) serial: u64,
    begun: tokio::time::Instant,
}

/// Which of the events of a life is held against a life without it. After it all is calm in both.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weighing {
    /// How many events there were.
    pub(super) events: u64,
    /// The number of the event, and whether it happens.
    pub(super) at: Option<(u64, bool)>,
    /// Whether it has come.
    pub(super) has_come: bool,
    /// What it was.
    pub(super) kind: Option<&'static str>,
}

/// The world of a life. Cheap to clone.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Inner>>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(seed: u64, is_told: bool, weighing: Weighing) -> Self {
        let mut chance = Random::new(seed ^ 0x3172_e000);
        let (is_opaque, has_conditions) = (chance.below(6) == 0, chance.below(5) > 0);
        Self(Arc::new(Mutex::new(Inner {
            store: Store::new(is_opaque, has_conditions),
            folder: Arc::new(MemoryClient::new("memory:folder")),
            chance,
            weather: Weather::default(),
            written: BTreeSet::new(),
            owed: BTreeSet::new(),
            wishes: BTreeMap::new(),
            kinds: BTreeMap::new(),
            broken: Vec::new(),
            log: is_told.then(Vec::new),
            requests: 0,
            dies_at: None,
            is_dead: false,
            effects: 0,
            late: Vec::new(),
            refuses: |_| false,
            kept: BTreeSet::new(),
            looks: BTreeMap::new(),
            unseen: BTreeMap::new(),
            weighing,
            compares_by_time: false,
            met: BTreeSet::new(),
            serial: 0,
            begun: tokio::time::Instant::now(),
        })))
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl HttpConnector for World {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let headers =
            request.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let body = std::mem::replace(request.body_mut(), SdkBody::taken());
        let (method, uri, world) = (request.method().to_owned(), request.uri().to_owned(), self.clone());
        HttpConnectorFuture::new(async move {
            let body = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
            let asked = Asked::new(&method, &uri, headers, body);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let served = world.inner().serve(&asked);
            match served {
                Some(answer) => Ok(answered(answer, world.inner().date())),
                None if world.inner().is_dead => std::future::pending().await,
                None => Err(ConnectorError::io("the connection was lost".into())),
            }
        })
    }
}

fn answered(answer: Answer, date: String) -> HttpResponse {
    let mut response = HttpResponse::new(answer.status.try_into().unwrap(), SdkBody::from(answer.body));
    response.headers_mut().insert("date", date);
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

impl Inner {
    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(what());
        }
    }

    pub(super) fn note(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
        if self.weighing.has_come {
            self.weighing.kind.get_or_insert(kind);
        }
    }

    fn falls(&mut self, thousandths: usize) -> bool {
        thousandths > 0 && self.chance.below(1000) < thousandths
    }

    /// Draws whether something befalls the machine now.
    fn befalls(&mut self, thousandths: usize) -> bool {
        if !self.falls(thousandths) {
            return false;
        }
        self.weighing.events += 1;
        match self.weighing.at {
            Some((event, happens)) if event == self.weighing.events => {
                self.weighing.has_come = true;
                (self.weather, self.dies_at) = (Weather::default(), None);
                happens
            }
            _ => true,
        }
    }

    /// Returns the time as answers tell it.
    fn date(&self) -> String {
        aws_smithy_types::DateTime::from_secs(self.now())
            .fmt(aws_smithy_types::date_time::Format::HttpDate)
            .unwrap()
    }

    pub(super) fn now(&self) -> i64 {
        1_700_000_000 + i64::try_from(self.begun.elapsed().as_secs()).unwrap()
    }

    /// Answers a request; `None` if no answer comes.
    fn serve(&mut self, asked: &Asked) -> Option<Answer> {
        self.requests += 1;
        if self.is_dead || self.dies_at.is_some_and(|at| self.requests >= at) {
            self.is_dead = true;
            return None;
        }
        self.do_late(self.requests);
        if self.befalls(self.weather.users) {
            let is_open = asked.is_effect() && !self.store.has_conditions;
            let at = (is_open || self.chance.below(2) == 0).then_some(asked.key.as_str());
            self.act(at);
        }
        let is_effect = asked.is_effect();
        let name = asked.operation();
        let is_refused = asked.is_effect() && asked.names().iter().any(|name| (self.refuses)(name));
        if is_refused || self.befalls(self.weather.trouble) {
            self.note("refusals that pass");
            self.looks.retain(|key, _| !(is_effect && asked.is_about(key)));
            self.tell(|| format!("  {name} {}: 503", asked.key));
            self.meanwhile(asked);
            return Some(Answer { status: 503, ..Answer::default() });
        }
        self.look(asked);
        let lie = self.lie(asked);
        if self.store.earlier.is_none() && self.befalls(self.weather.stale) {
            self.note("stale listings");
            self.store.earlier = Some(self.store.objects.clone());
        } else if self.store.earlier.is_some() && self.falls(300) {
            self.store.earlier = None;
        }
        let now = self.now();
        let answer = self.store.answer(asked, now, lie);
        if is_effect && answer.status < 300 {
            self.effects += 1;
        }
        self.tell(|| {
            let lie = lie.map_or(String::new(), |lie| format!(" LIE {lie:?}"));
            format!("  {name} {}: {}{lie} {}", asked.key, answer.status, String::from_utf8_lossy(&asked.body))
        });
        if self.befalls(self.weather.lost) {
            self.note("lost answers");
            self.tell(|| "  ... and nobody hears of it".into());
            self.meanwhile(asked);
            return None;
        }
        Some(answer)
    }

    /// While the machine waits to try again users do what they do, where it is at work above all.
    fn meanwhile(&mut self, asked: &Asked) {
        if self.befalls(8 * self.weather.users) {
            self.note("deeds while the machine waits");
            self.act(Some(&asked.key));
        }
    }

    /// Does what was said to be done, as far as it is time.
    pub(super) fn do_late(&mut self, until: u64) {
        let (now, later): (Vec<_>, _) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= until);
        self.late = later;
        let time = self.now();
        for (_, asked) in now {
            let answer = self.store.answer(&asked, time, None);
            self.tell(|| format!("  late {} {}: {}", asked.operation(), asked.key, answer.status));
        }
    }

    /// Where a store looks at no condition, what a user does between a look and the write that follows at once nothing can guard,
    /// and users are told of it. Any later write must come after another look.
    fn look(&mut self, asked: &Asked) {
        let now = tokio::time::Instant::now();
        if matches!(asked.operation(), "HeadObject" | "GetObject") {
            self.unseen.remove(&asked.key);
            self.looks.insert(asked.key.clone(), now);
        }
        if self.store.has_conditions || !asked.is_effect() {
            return;
        }
        let about: Vec<String> = self.unseen.keys().filter(|key| asked.is_about(key)).cloned().collect();
        for key in about {
            let deed = self.unseen.remove(&key);
            let has_looked = self.looks.get(&key).is_some_and(|at| now - *at <= LOOK);
            if let Some(deed) = deed.filter(|_| has_looked) {
                self.forgive(&deed);
                self.note("deeds that nothing guards");
            }
        }
        self.looks.retain(|key, _| !asked.is_about(key));
    }

    fn lie(&mut self, asked: &Asked) -> Option<Lie> {
        let kinds = lies(asked.operation(), &self.store);
        if kinds.is_empty() || !self.befalls(self.weather.lies) {
            return None;
        }
        let lie = *self.chance.pick(&kinds);
        self.note(called(asked.operation(), lie));
        if asked.operation().starts_with("Delete") && lie == Lie::Nothing {
            self.kept.extend(asked.names());
        }
        if matches!(lie, Lie::Late | Lie::Twice) {
            let later = 1 + u64::try_from(self.chance.below(10)).unwrap();
            self.late.push((self.requests + later, asked.clone()));
        }
        Some(lie)
    }
}

/// Returns how a store can lie about a request, as far as anybody can tell: not of bytes where ETags are made of nothing, and not
/// of when where it looks at no condition.
fn lies(operation: &str, store: &Store) -> Vec<Lie> {
    let (bytes, times) = (!store.is_opaque, store.has_conditions);
    let bytes = [Lie::Other, Lie::Stump].into_iter().filter(|_| bytes);
    let times = [Lie::Late, Lie::Twice].into_iter().filter(|_| times);
    match operation {
        "PutObject" | "CopyObject" => [Lie::Nothing].into_iter().chain(bytes).chain(times).collect(),
        "UploadPart" => [Lie::Nothing].into_iter().chain(bytes).collect(),
        "GetObject" => bytes.collect(),
        "CompleteMultipartUpload" => vec![Lie::Nothing],
        "DeleteObject" | "DeleteObjects" => [Lie::Nothing].into_iter().chain(times).collect(),
        _ => Vec::new(),
    }
}

fn called(operation: &str, lie: Lie) -> &'static str {
    match (operation, lie) {
        ("PutObject", Lie::Nothing) => "PUTs that did nothing",
        ("PutObject", Lie::Other) => "PUTs of other bytes",
        ("PutObject", Lie::Stump) => "PUTs cut short",
        ("PutObject", Lie::Late) => "PUTs that came late",
        ("PutObject", Lie::Twice) => "PUTs that came twice",
        ("CopyObject", Lie::Nothing) => "copies that were not made",
        ("CopyObject", Lie::Other) => "copies of other bytes",
        ("CopyObject", Lie::Stump) => "copies cut short",
        ("CopyObject", Lie::Late) => "copies that came late",
        ("CopyObject", Lie::Twice) => "copies that came twice",
        ("UploadPart", _) => "parts that are not what was sent",
        ("CompleteMultipartUpload", _) => "uploads that were not completed",
        ("GetObject", Lie::Stump) => "GETs cut short",
        ("GetObject", _) => "GETs of other bytes",
        (_, Lie::Late) => "deletions that came late",
        (_, Lie::Twice) => "deletions that came twice",
        _ => "deletions that did nothing",
    }
}
