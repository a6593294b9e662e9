//! What a store can do: asked once, by requests that must not succeed, and remembered for 30 days.
//!
//! A store that ignores a condition answers such a request with success; one that knows it answers 412. Asked
//! just before the first conditional request of a run, under `.syncengine/probe/`, with objects of our own.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_smithy_types::DateTime;
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::capabilities::{Capabilities, Etags};
use super::fault::Fault;
use super::ledger::make_private;
use super::object::quoted;
use super::store::Store;
use crate::error::ErrorKind;
use crate::fingerprint::{ContentHash, ETag};

/// Where probes are made, below the prefix.
pub(super) const PROBE: &str = ".syncengine/probe/";

/// How long answers are believed, in seconds: servers are updated.
const REMEMBERED_SECONDS: i64 = 30 * 24 * 3600;

/// The form of the file.
const SCHEMA: u32 = 5;

/// How often a run asks, at most. Ours: each time takes as long as a store may be in trouble.
const ASKS: u32 = 3;

/// What a probe has in it.
const CONTENT: &[u8] = b"probe";

/// An ETag that no object has.
const WRONG: &str = "\"00000000000000000000000000000000\"";

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    schema: u32,
    asked_at: i64,
    /// None where nothing was asked, but something learnt all the same.
    capabilities: Option<Capabilities>,
    /// What ETags are made of, as what was read has shown.
    etags: Option<Etags>,
    /// Of which bucket that is.
    bucket: Identity,
}

/// What tells a bucket from another one of its name at the same address, as far as the store says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    /// When it was made, in seconds since 1970. Who may not list buckets is not told.
    made: Option<i64>,
    /// The id of its owner.
    owner: Option<String>,
    /// What the server calls itself.
    server: Option<String>,
}

/// Asks a store, or remembers what it answered.
#[derive(Debug)]
pub(super) struct Probe {
    /// Where answers are remembered.
    file: Option<PathBuf>,
    /// The prefix below which to ask.
    prefix: String,
    /// Whether another store can take the place of this one: none does of one within this process.
    is_remote: bool,
    /// What the store can do, once this run knows it.
    pub(super) answer: OnceCell<Capabilities>,
    /// How often this run was not told, and why.
    failed: Mutex<(u32, Fault)>,
}

impl Probe {
    pub(super) fn new(file: Option<PathBuf>, prefix: String, is_remote: bool) -> Self {
        Self { file, prefix, is_remote, answer: OnceCell::new(), failed: Mutex::default() }
    }

    /// Returns what the store can do, asking it if nobody has for a while. A run asks a few times at most: who waits for an answer
    /// for each file never ends.
    pub(super) async fn capabilities(&self, store: &Store) -> Result<Capabilities, Fault> {
        let asked = self.answer.get_or_try_init(|| async {
            let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let (times, fault) = failed().clone();
            if times >= ASKS {
                return Err(fault);
            }
            self.recall_or_ask(store).await.inspect_err(|fault| *failed() = (times + 1, fault.clone()))
        });
        asked.await.copied()
    }

    /// Returns what is known of what the store can do, without asking it.
    pub(super) fn known(&self, now: i64) -> Option<Capabilities> {
        self.answer.get().copied().or_else(|| self.recall(now)?.capabilities)
    }

    async fn recall_or_ask(&self, store: &Store) -> Result<Capabilities, Fault> {
        let now = store.ports.clock.now().seconds;
        let known = self.recall(now);
        if let Some((capabilities, bucket)) =
            known.and_then(|known| Some((known.capabilities?, known.bucket)))
        {
            if !self.is_remote || bucket.is_still(store).await {
                return Ok(capabilities);
            }
            tracing::info!("another bucket has the name of the one that was asked what it can do");
        }
        let key = format!("{}{PROBE}{:016x}", self.prefix, store.ports.entropy.next_u64());
        let number = store.note_wish(&key, None)?;
        let asked = Asking { store, key: &key }.ask().await;
        // Whatever was answered, nothing of it stays behind; if it does, a later run tries again.
        match tidy(store, &key).await {
            Ok(()) => store.ledger.ended(number),
            // Who may not delete would try in vain in every run.
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied => {
                tracing::info!(key, "the credentials may not delete, so that the objects of a probe stay");
                store.ledger.ended(number);
            }
            Err(fault) => tracing::debug!(?fault, "a probe stays behind"),
        }
        let capabilities = asked?;
        tracing::debug!(?capabilities, "the store was asked what it can do");
        if self.file.is_some() {
            let bucket = if self.is_remote { Identity::of(store).await } else { Identity::default() };
            self.remember(now, Some(capabilities), None, bucket);
        }
        Ok(capabilities)
    }

    /// Returns whether an object of this name is a probe.
    pub(super) fn is_at(&self, key: &str) -> bool {
        key.strip_prefix(&self.prefix).is_some_and(|name| name.starts_with(PROBE))
    }

    /// Returns what reading has shown of the ETags of a store that was not asked, if that is not long ago.
    pub(super) fn etags(&self, now: i64) -> Option<Etags> {
        self.recall(now)?.etags
    }

    /// Remembers what reading has shown of the ETags of a store that was not asked.
    pub(super) fn remember_etags(&self, now: i64, etags: Etags) {
        self.remember(now, None, Some(etags), Identity::default());
    }

    /// Forgets what the store answered: what it does now is something else. The next run asks again.
    pub(super) fn forget(&self) {
        if let Some(file) = &self.file
            && let Err(error) = std::fs::remove_file(file)
        {
            tracing::debug!(%error, "what the store could do stays remembered");
        }
    }

    fn recall(&self, now: i64) -> Option<Remembered> {
        let text = std::fs::read(self.file.as_ref()?).ok()?;
        let known: Remembered = serde_json::from_slice(&text).ok()?;
        let fresh = (0..REMEMBERED_SECONDS).contains(&now.saturating_sub(known.asked_at));
        (known.schema == SCHEMA && fresh).then_some(known)
    }

    /// Remembers the answers. If that fails they are asked for again, nothing else.
    fn remember(
        &self,
        asked_at: i64,
        capabilities: Option<Capabilities>,
        etags: Option<Etags>,
        bucket: Identity,
    ) {
        let Some(file) = &self.file else { return };
        let known = Remembered { schema: SCHEMA, asked_at, capabilities, etags, bucket };
        let Ok(text) = serde_json::to_vec(&known) else { return };
        let temporary = file.with_extension("new");
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&temporary)?.write_all(&text)
        };
        let folder = file.parent().map_or(Ok(()), make_private);
        let written = folder.and_then(|()| write()).and_then(|()| std::fs::rename(&temporary, file));
        if let Err(error) = written {
            tracing::debug!(%error, "what the store can do is not remembered");
        }
    }
}

impl Identity {
    /// Asks which bucket this is. A list of all buckets is the only answer that says when one was made.
    async fn of(store: &Store) -> Self {
        let name = store.bucket.as_str();
        let ask = || async { Ok(store.sdk().list_buckets().prefix(name).send().await?) };
        let answer = store.send_once(ask).await;
        let server = store.log.server();
        let Ok(answer) = answer else { return Self { server, ..Self::default() } };
        let bucket = answer.buckets().iter().find(|bucket| bucket.name() == Some(name));
        let made = bucket.and_then(|bucket| bucket.creation_date()).map(DateTime::secs);
        let owner = answer.owner().and_then(|owner| owner.id()).map(str::to_owned);
        Self { made, owner: owner.filter(|_| made.is_some()), server }
    }

    /// Returns whether nothing shows that the bucket is another one by now. Where the store said nothing it is not asked again.
    async fn is_still(&self, store: &Store) -> bool {
        if self.made.is_none() {
            return self.server.is_none()
                || store.log.server().is_none_or(|server| Some(server) == self.server);
        }
        let now = Self::of(store).await;
        // A right that was taken away, or a store that does not answer, shows nothing.
        let is_same = now.made.is_none() || (now.made == self.made && now.owner == self.owner);
        is_same && (now.server.is_none() || now.server == self.server)
    }
}

/// Deletes what the questions under `key` leave.
pub(super) async fn tidy(store: &Store, key: &str) -> Result<(), Fault> {
    for key in [key.to_owned(), copy_of(key), accented(key)] {
        let removed = store
            .send(|| async { Ok(store.sdk().delete_object().bucket(&store.bucket).key(&key).send().await?) });
        match removed.await {
            Err(fault) if !fault.is_missing() => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

fn copy_of(key: &str) -> String {
    format!("{key}-copy")
}

/// A name whose last letter has two forms.
fn accented(key: &str) -> String {
    format!("{key}-\u{e9}")
}

/// The questions, in an order in which each finds what it needs.
struct Asking<'a> {
    store: &'a Store,
    key: &'a str,
}

impl Asking<'_> {
    async fn ask(&self) -> Result<Capabilities, Fault> {
        let mut found = Capabilities::default();
        let etag = self.put(None, None).await?;
        let content: [u8; 16] = Md5::digest(CONTENT).into();
        // What came to be other bytes shows nothing of ETags.
        let is_md5 = etag == ContentHash { md5: content, parts: None }.etag();
        found.md5_etags = is_md5 || !self.has_content().await;
        found.enforces_crc32 = self.enforces_crc32().await?;
        found.put_if_none_match = refused(self.put(Some("*"), None).await)?;
        found.put_if_match = refused(self.put(None, Some(WRONG)).await)?;
        if found.put_if_match {
            // Ceph refuses the right ETag too, unless it comes without quotes.
            found.unquoted = refused(self.put(None, Some(&quoted(&etag))).await)?;
        }
        (found.complete_if_none_match, found.complete_if_match) = self.complete().await?;
        found.copy_source_if_match = refused(self.copy(Some(WRONG), None).await)?;
        self.copy(None, None).await?;
        found.copy_if_none_match = refused(self.copy(None, Some("*")).await)?;
        found.folds_names = self.folds_names().await?;
        found.delete_many_if_match = self.delete_many().await?;
        self.put(None, None).await?;
        found.delete_if_match = refused(unless_forbidden(self.delete().await))?;
        Ok(found)
    }

    async fn put(&self, if_none_match: Option<&str>, if_match: Option<&str>) -> Result<ETag, Fault> {
        let store = self.store;
        let answer = store
            .send(|| async {
                let request = store.sdk().put_object().bucket(&store.bucket).key(self.key);
                let request = request.body(ByteStream::from(Bytes::from_static(CONTENT)));
                let request = request
                    .set_if_none_match(if_none_match.map(str::to_owned))
                    .set_if_match(if_match.map(str::to_owned));
                Ok(request.customize().disable_payload_signing().send().await?)
            })
            .await?;
        Ok(ETag::new(answer.e_tag.as_deref().unwrap_or_default()))
    }

    /// Returns whether the object has the content that was sent, as far as anybody may read it.
    async fn has_content(&self) -> bool {
        let there = self.store.ours(self.key, 2 * CONTENT.len() as u64).await;
        there.ok().flatten().is_none_or(|there| there.as_bytes() == CONTENT)
    }

    /// Returns whether bytes are refused that come with the CRC-32 of others.
    async fn enforces_crc32(&self) -> Result<bool, Fault> {
        let store = self.store;
        let key = format!("{}-copy", self.key);
        let wrong = super::metadata::checksum(b"other bytes");
        // That the bytes do not fit is the answer here, and no reason to send them again.
        let put = store.send(|| async {
            let request = store.sdk().put_object().bucket(&store.bucket).key(&key);
            let request = request.body(ByteStream::from(Bytes::from_static(CONTENT))).checksum_crc32(&wrong);
            match request.customize().disable_payload_signing().send().await.map_err(Fault::from) {
                Ok(_) => Ok(false),
                Err(fault) if fault.status == 400 => Ok(true),
                Err(fault) => Err(fault),
            }
        });
        put.await
    }

    async fn copy(&self, source_if_match: Option<&str>, if_none_match: Option<&str>) -> Result<(), Fault> {
        let store = self.store;
        let source = super::source::source(&store.bucket, self.key);
        let target = copy_of(self.key);
        let copied = store.send(|| async {
            let request = store.sdk().copy_object().bucket(&store.bucket).key(&target).copy_source(&source);
            let request = request
                .set_copy_source_if_match(source_if_match.map(str::to_owned))
                .set_if_none_match(if_none_match.map(str::to_owned));
            Ok(request.send().await?)
        });
        copied.await.map(drop)
    }

    /// Returns whether an object is found under another spelling of its name.
    async fn folds_names(&self) -> Result<bool, Fault> {
        if self.shows("-COPY").await? {
            return Ok(true);
        }
        let accented = accented(self.key);
        match (Asking { key: &accented, ..*self }.put(None, None).await) {
            Ok(_) => self.shows("-e\u{301}").await,
            // A name that it refuses it does not fold.
            Err(fault) => unless_refused(fault),
        }
    }

    async fn shows(&self, ending: &str) -> Result<bool, Fault> {
        match self.store.head(&format!("{}{ending}", self.key)).await {
            Ok(found) => Ok(found.is_some()),
            // Who may not look at what is not there is told that it is forbidden.
            Err(fault) => unless_refused(fault),
        }
    }

    async fn delete(&self) -> Result<(), Fault> {
        let store = self.store;
        let deleted = store.send(|| async {
            let request = store.sdk().delete_object().bucket(&store.bucket).key(self.key);
            Ok(request.if_match(WRONG).send().await?)
        });
        deleted.await.map(drop)
    }

    async fn delete_many(&self) -> Result<bool, Fault> {
        let store = self.store;
        let deleted = store.send(|| async {
            let object = ObjectIdentifier::builder().key(self.key).e_tag(WRONG).build();
            let delete = Delete::builder().objects(object.map_err(super::unbuildable)?).build();
            let delete = delete.map_err(super::unbuildable)?;
            let request = store.sdk().delete_objects().bucket(&store.bucket).delete(delete);
            Ok(request.send().await?)
        });
        match deleted.await {
            Ok(answer) => {
                let told = answer.errors().iter().find(|error| error.key() == Some(self.key));
                told.map_or(Ok(false), |error| {
                    honoured(error.code().unwrap_or_default(), error.message().unwrap_or_default())
                })
            }
            Err(fault) => refused(unless_forbidden(Err(fault))),
        }
    }

    /// Asks for a multipart upload in place of an object that is there: as a new one, and as the next version of one
    /// that is not there.
    async fn complete(&self) -> Result<(bool, bool), Fault> {
        let store = self.store;
        let created = store
            .send(|| async {
                Ok(store.sdk().create_multipart_upload().bucket(&store.bucket).key(self.key).send().await?)
            })
            .await?;
        let id = created.upload_id.unwrap_or_default();
        let part = store
            .send(|| async {
                let request = store.sdk().upload_part().bucket(&store.bucket).key(self.key).upload_id(&id);
                let request = request.part_number(1).body(ByteStream::from(Bytes::from_static(CONTENT)));
                Ok(request.customize().disable_payload_signing().send().await?)
            })
            .await?;
        let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let completed = async |if_none_match: Option<&str>, if_match: Option<&str>| {
            let answer = store.send(|| async {
                let request = store.sdk().complete_multipart_upload().bucket(&store.bucket).key(self.key);
                let request = request.upload_id(&id).multipart_upload(parts.clone());
                let request = request.set_if_none_match(if_none_match.map(str::to_owned));
                Ok(request.set_if_match(if_match.map(str::to_owned)).send().await?)
            });
            match answer.await {
                // A store that ends an upload with the first refusal does not say what it does with the other one.
                Err(fault) if fault.code == "NoSuchUpload" => Ok(false),
                answer => refused(answer),
            }
        };
        if !completed(Some("*"), None).await? {
            return Ok((false, false));
        }
        let if_match = completed(None, Some(WRONG)).await?;
        if !if_match {
            return Ok((true, false));
        }
        store.abort(self.key, &id).await;
        Ok((true, true))
    }
}

/// Who may not delete needs no guard for it, and can still write.
fn unless_forbidden(answer: Result<(), Fault>) -> Result<(), Fault> {
    answer.or_else(|fault| if fault.kind() == ErrorKind::PermissionDenied { Ok(()) } else { Err(fault) })
}

/// Takes a refusal for a no; that the run was cancelled, say, is no answer.
fn unless_refused(fault: Fault) -> Result<bool, Fault> {
    match fault.kind() {
        ErrorKind::PermissionDenied | ErrorKind::Invalid | ErrorKind::Unsupported => Ok(false),
        _ => Err(fault),
    }
}

/// Returns whether what a store says of one key of many is that a condition does not hold. What it says because it
/// has trouble now is no answer; whatever else it says, it is not known to look at conditions.
fn honoured(code: &str, message: &str) -> Result<bool, Fault> {
    match code {
        "PreconditionFailed" => Ok(true),
        "InternalError" | "SlowDown" | "ServiceUnavailable" => Err(Fault::of_key(code, message)),
        _ => Ok(false),
    }
}

/// Returns whether a request whose condition does not hold was refused. A store that does not know the
/// condition may also say so.
fn refused<T>(answer: Result<T, Fault>) -> Result<bool, Fault> {
    match answer {
        Ok(_) => Ok(false),
        Err(fault) if fault.is_refused_condition() => Ok(true),
        Err(fault) if fault.is_unsupported() || fault.status == 400 => Ok(false),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::s3::tests::peer::{Peer, answer};
    use crate::client::s3::tests::{client, limits};

    /// A bucket as a store tells of it: when it was made and whose it is, if that may be asked, and what the server is called.
    type Told = (Option<(&'static str, &'static str)>, &'static str);

    fn store_of((bucket, server): Told) -> Peer {
        Peer::start(move |asked| {
            let head = format!("server: {server}\r\n");
            match (asked.operation(), bucket) {
                ("ListBuckets", Some((made, owner))) => answer(
                    200,
                    &head,
                    format!(
                        "<ListAllMyBucketsResult><Owner><ID>{owner}</ID></Owner><Buckets><Bucket><Name>vault</Name>\
                         <CreationDate>{made}T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"
                    ),
                ),
                _ => answer(403, &head, "<Error><Code>AccessDenied</Code></Error>"),
            }
        })
    }

    #[tokio::test]
    async fn a_bucket_in_the_place_of_another_one_is_asked_anew() {
        let made = |made, owner| Some((made, owner));
        for (then, now, is_asked) in [
            ((made("2026-01-01", "me"), "a"), (made("2026-01-01", "me"), "a"), false),
            ((made("2026-01-01", "me"), "a"), (made("2026-01-02", "me"), "a"), true),
            ((made("2026-01-01", "me"), "a"), (made("2026-01-01", "you"), "a"), true),
            ((made("2026-01-01", "me"), "a"), (made("2026-01-01", "me"), "b"), true),
            ((made("2026-01-01", "me"), "a"), (None, "a"), false),
            ((None, "a"), (None, "a"), false),
            ((None, "a"), (None, "b"), true),
            ((None, "a"), (made("2026-01-01", "me"), "a"), false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let probe = Probe::new(Some(dir.path().join("probe.json")), "p/".into(), true);
            let (first, second) = (store_of(then), store_of(now));
            let (before, after) = (client(&first, limits()), client(&second, limits()));
            let time = after.store.ports.clock.now().seconds;
            probe.remember(time, Some(Capabilities::default()), None, Identity::of(&before.store).await);
            // Any answer tells what the server calls itself.
            drop(after.store.head("p/f").await);
            let known = probe.capabilities(&after.store).await;
            assert_eq!(second.operations().contains(&"PutObject"), is_asked, "{then:?} {now:?}");
            assert_eq!(known.is_err(), is_asked, "this store refuses to be asked");
            let lists = second.operations().iter().filter(|asked| **asked == "ListBuckets").count();
            assert_eq!(lists, usize::from(then.0.is_some()), "{then:?} {now:?}");
        }
    }

    #[test]
    fn f41_only_a_refused_precondition_shows_that_a_deletion_of_many_is_guarded() {
        for (code, expected) in [
            ("PreconditionFailed", Ok(true)),
            ("NotImplemented", Ok(false)),
            ("InvalidArgument", Ok(false)),
            ("AccessDenied", Ok(false)),
            ("NoSuchKey", Ok(false)),
            ("", Ok(false)),
            ("InternalError", Err(ErrorKind::Unavailable)),
            ("SlowDown", Err(ErrorKind::Unavailable)),
            ("ServiceUnavailable", Err(ErrorKind::Unavailable)),
        ] {
            assert_eq!(honoured(code, "words").map_err(|fault| fault.kind()), expected, "{code}");
        }
    }
}
