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
use syncengine::{Key, MemoryClient, Timestamp};

use super::http::{Answer, Asked};
use super::store::{Lie, Store};
use crate::support::Random;

/// The names that users give.
const NAMES: [&str; 5] = ["a", "b", "d/x", "d/y", "e"];

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
    written: BTreeSet<Bytes>,
    /// Those that no user has replaced or deleted.
    owed: BTreeSet<Bytes>,
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
    pub(super) lied: u64,
    pub(super) touched: u64,
    serial: u64,
    begun: tokio::time::Instant,
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
    pub(super) fn new(seed: u64, is_told: bool) -> Self {
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
            lied: 0,
            touched: 0,
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
                Some(answer) => Ok(answered(answer)),
                None if world.inner().is_dead => std::future::pending().await,
                None => Err(ConnectorError::io("the connection was lost".into())),
            }
        })
    }
}

fn answered(answer: Answer) -> HttpResponse {
    let mut response = HttpResponse::new(answer.status.try_into().unwrap(), SdkBody::from(answer.body));
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
    }

    pub(super) fn falls(&mut self, thousandths: usize) -> bool {
        thousandths > 0 && self.chance.below(1000) < thousandths
    }

    pub(super) fn now(&self) -> i64 {
        1_700_000_000 + i64::try_from(self.begun.elapsed().as_secs()).unwrap()
    }

    /// Answers a request; `None` if no answer comes.
    fn serve(&mut self, asked: &Asked) -> Option<Answer> {
        let weather = self.weather;
        self.requests += 1;
        if self.is_dead || self.dies_at.is_some_and(|at| self.requests >= at) {
            self.is_dead = true;
            return None;
        }
        if self.falls(weather.users) {
            self.act();
            // Where a store looks at no condition the moment between a look and the write is open, and told of.
            if !self.store.has_conditions && asked.is_effect() {
                let there = self.store.objects.get(&asked.key).map(|object| object.bytes.clone());
                if let Some(content) = there {
                    self.owed.remove(&content);
                }
                self.note("deeds that nothing guards");
            }
        }
        let is_effect = asked.is_effect();
        let name = asked.operation();
        if self.falls(weather.trouble) {
            self.note("refusals that pass");
            self.tell(|| format!("  {name} {}: 503", asked.key));
            return Some(Answer { status: 503, ..Answer::default() });
        }
        let lie = self.lie(asked);
        if self.store.earlier.is_none() && self.falls(weather.stale) {
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
        if self.falls(weather.lost) {
            self.note("lost answers");
            self.tell(|| "  ... and nobody hears of it".into());
            return None;
        }
        Some(answer)
    }

    fn lie(&mut self, asked: &Asked) -> Option<Lie> {
        let kinds: &[Lie] = match asked.operation() {
            // Where ETags are made of nothing nobody can tell other bytes from those that were sent.
            "PutObject" | "UploadPart" | "CopyObject" if !self.store.is_opaque => {
                &[Lie::Nothing, Lie::Other, Lie::Stump]
            }
            "PutObject" | "CopyObject" | "CompleteMultipartUpload" | "DeleteObject" | "DeleteObjects" => {
                &[Lie::Nothing]
            }
            _ => return None,
        };
        // What is ours and not kept for the user says nothing of his files.
        let is_ours =
            asked.key.starts_with("p/.syncengine/") && !asked.key.starts_with("p/.syncengine/trash/");
        if is_ours || !self.falls(self.weather.lies) {
            return None;
        }
        let lie = *self.chance.pick(kinds);
        self.lied += 1;
        self.note(match (asked.operation(), lie) {
            ("PutObject", Lie::Nothing) => "PUTs that did nothing",
            ("PutObject", Lie::Other) => "PUTs of other bytes",
            ("PutObject", Lie::Stump) => "PUTs cut short",
            ("CopyObject", Lie::Nothing) => "copies that were not made",
            ("CopyObject", Lie::Other) => "copies of other bytes",
            ("CopyObject", Lie::Stump) => "copies cut short",
            ("UploadPart", _) => "parts that are not what was sent",
            ("CompleteMultipartUpload", _) => "uploads that were not completed",
            _ => "deletions that did nothing",
        });
        Some(lie)
    }

    /// A user of either side does something.
    pub(super) fn act(&mut self) {
        let in_store = self.chance.below(2) == 0;
        let name = *self.chance.pick(&NAMES);
        let old = if in_store {
            self.store.objects.get(&format!("p/{name}")).map(|object| object.bytes.clone())
        } else {
            self.folder.get(&Key::parse(name).unwrap())
        };
        let new = match self.chance.below(5) {
            0 if old.is_some() => None,
            _ => Some(self.content()),
        };
        if old.is_none() && new.is_none() {
            return;
        }
        self.touched += 1;
        self.note(if in_store { "deeds in the store" } else { "deeds in the folder" });
        let side = if in_store { "store" } else { "folder" };
        self.tell(|| {
            format!(
                "user of the {side}: {name} = {:?}",
                new.as_ref().map(|new| String::from_utf8_lossy(new).into_owned())
            )
        });
        if let Some(old) = &old {
            self.owed.remove(old);
        }
        self.set(in_store, name, new.clone());
        self.wishes.entry(name.to_owned()).or_default().push(new);
    }

    /// A user of the folder writes a file.
    pub(super) fn write(&mut self, name: &str) {
        let content = self.content();
        self.set(false, name, Some(content));
    }

    fn content(&mut self) -> Bytes {
        self.serial += 1;
        let size = *self.chance.pick(&[10, 10, 100]);
        let content = Bytes::from(format!("v{:04}{}", self.serial, "x".repeat(size)));
        self.written.insert(content.clone());
        self.owed.insert(content.clone());
        content
    }

    fn set(&mut self, in_store: bool, name: &str, content: Option<Bytes>) {
        let now = self.now();
        match (in_store, content) {
            (true, Some(content)) => {
                let time = vec![("x-amz-meta-mtime".to_owned(), now.to_string())];
                drop(self.store.put(&format!("p/{name}"), content, now, time));
            }
            (true, None) => drop(self.store.objects.remove(&format!("p/{name}"))),
            (false, Some(content)) => {
                self.folder.put(Key::parse(name).unwrap(), content, Timestamp::new(now, 0));
            }
            (false, None) => drop(self.folder.remove_now(&Key::parse(name).unwrap())),
        }
    }

    /// A user writes a file anew: what failed until it changes is tried again.
    pub(super) fn edit(&mut self, name: &str) {
        if let Some(old) = self.folder.get(&Key::parse(name).unwrap()) {
            self.owed.remove(&old);
            let new = self.content();
            self.set(false, name, Some(new.clone()));
            self.wishes.entry(name.to_owned()).or_default().push(Some(new));
        }
    }

    /// A user settles conflicts: what the folder has is to be.
    pub(super) fn settle(&mut self) {
        let (here, there) = (self.folder.tree(), self.files());
        let names: BTreeSet<String> = here.keys().chain(there.keys()).cloned().collect();
        for name in names.into_iter().filter(|name| here.get(name) != there.get(name)) {
            if let Some(old) = there.get(&name) {
                self.owed.remove(old);
            }
            self.wishes.remove(&name);
            self.set(true, &name, here.get(&name).cloned());
        }
    }

    /// Returns the live files of the store.
    pub(super) fn files(&self) -> BTreeMap<String, Bytes> {
        let below =
            self.store.objects.iter().filter_map(|(key, object)| Some((key.strip_prefix("p/")?, object)));
        let live = below.filter(|(name, _)| !name.starts_with(".syncengine/"));
        live.map(|(name, object)| (name.to_owned(), object.bytes.clone())).collect()
    }

    /// Checks what a user would check: nothing of his is gone, and nothing is there that nobody wrote.
    pub(super) fn judge(&mut self) {
        let mut there: BTreeSet<Bytes> =
            self.store.objects.values().map(|object| object.bytes.clone()).collect();
        let tree = self.folder.tree();
        there.extend(tree.values().cloned());
        there.extend(self.folder.trash().into_iter().map(|(_, bytes)| bytes));
        let lost: Vec<Bytes> = self.owed.difference(&there).cloned().collect();
        for content in lost {
            self.owed.remove(&content);
            self.broken
                .push(format!("{:?} is neither live nor in a trash", String::from_utf8_lossy(&content)));
        }
        // Under a name that no user gave a store may have left the stump of a copy that it said it deleted.
        for (name, content) in tree.iter().filter(|(name, _)| NAMES.contains(&name.as_str())) {
            if !self.written.contains(content) {
                self.broken.push(format!(
                    "{name} in the folder is {:?}, which nobody wrote",
                    String::from_utf8_lossy(content)
                ));
            }
        }
    }

    /// Checks what is left when all is calm.
    pub(super) fn judge_peace(&mut self) {
        let (here, there) = (self.folder.tree(), self.files());
        if here != there {
            self.broken.push(format!("a run said that all is synced, and {here:?} is not {there:?}"));
        }
        for (name, wishes) in std::mem::take(&mut self.wishes) {
            // Of several wishes any may win; of one it must.
            if let [Some(wish)] = wishes.as_slice()
                && here.get(&name) != Some(wish)
            {
                let found = here.get(&name).map(|found| String::from_utf8_lossy(found).into_owned());
                let wish = String::from_utf8_lossy(wish).into_owned();
                self.broken.push(format!("{name} is {found:?}, and its user last wrote {wish:?}"));
            }
        }
    }
}
