//! `Page`: one answer to ListObjectsV2, believed only if it passes every check.
//!
//! A listing that is shorter than the tree becomes deletions, and the SDK makes successful listings of cut,
//! empty and contradictory answers. So nothing here is filled in or skipped: what is missing or impossible is
//! a fault, and the request is sent again. Names come encoded, because a control character would break the
//! XML, and are decoded here, exactly once. Whether pages follow each other is for `walk`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::document;
use super::fault::Fault;
use super::listing::{Object, Page, Position, Seen};
use super::requests::ENTRY;
use super::store::Store;
use crate::error::ErrorKind;
use crate::fingerprint::ETag;
use crate::key::escape;
use crate::timestamp::Timestamp;

/// What LocalStack puts into the head of every answer.
const LOCALSTACK: &str = "x-localstack";

/// How the aliases of access points end. S3 may answer with the name of what is behind.
const ALIAS: &str = "-s3alias";

impl Store {
    /// Asks for the part of the listing of `prefix` that begins at `position`.
    pub(super) async fn page(&self, prefix: &str, position: &Position, max_keys: i32) -> Result<Page, Fault> {
        self.send(|| self.page_once(prefix, position, max_keys)).await
    }

    fn asks_plainly(&self, position: &Position) -> bool {
        *position != Position::Start && self.listing.pages_plainly()
    }

    async fn page_once(&self, prefix: &str, position: &Position, max_keys: i32) -> Result<Page, Fault> {
        let (answer, entries) = self.ask_for_page(prefix, position, max_keys).await?;
        // Whoever garbled the answer may not do so again.
        Page::from_answer(answer, entries, &self.bucket, prefix).map_err(|why| {
            Fault::new(ErrorKind::Unavailable, format!("the store's listing cannot be trusted: {why}"))
        })
    }

    async fn ask_for_page(
        &self,
        prefix: &str,
        position: &Position,
        max_keys: i32,
    ) -> Result<(ListObjectsV2Output, usize), Fault> {
        let request = self
            .sdk()
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
            .max_keys(max_keys);
        let request = match position {
            Position::Start => request,
            Position::After(name) => request.start_after(name),
            Position::Token(token) => request.continuation_token(token),
        };
        let encoding = (!self.asks_plainly(position)).then_some(EncodingType::Url);
        let watch = Watch { listing: Arc::clone(&self.listing), entries: Arc::default() };
        let entries = Arc::clone(&watch.entries);
        let answer = request.set_encoding_type(encoding).customize().interceptor(watch).send().await?;
        Ok((answer, entries.load(Ordering::Relaxed)))
    }
}

/// Looks at the head of an answer, which the SDK does not hand on, and counts its entries.
#[derive(Debug)]
struct Watch {
    listing: Arc<Seen>,
    entries: Arc<AtomicUsize>,
}

#[dyn_dispatch_hint]
impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "syncengine listing"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().headers().get(LOCALSTACK).is_some() {
            self.listing.is_localstack.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // What is no document is refused in `requests`.
        let entries = document::children(context.response().body().bytes().unwrap_or_default(), ENTRY);
        self.entries.store(entries.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }
}

impl Page {
    /// Checks an answer in which our own reader found so many entries. That it came whole is known: no other one
    /// gets through `requests`.
    pub(super) fn from_answer(
        answer: ListObjectsV2Output,
        entries: usize,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, String> {
        check_echo(&answer, bucket, prefix)?;
        let is_truncated = answer.is_truncated.ok_or("it does not say whether it goes on")?;
        let token = answer.next_continuation_token.unwrap_or_default();
        if is_truncated == token.is_empty() {
            return Err(if is_truncated {
                "it goes on but not where".into()
            } else {
                "it is at its end and goes on".into()
            });
        }
        let contents = answer.contents.unwrap_or_default();
        let count = contents.len();
        if answer.common_prefixes.is_some_and(|prefixes| !prefixes.is_empty()) {
            return Err("it has prefixes in the place of names".into());
        }
        if answer.key_count.is_some_and(|told| usize::try_from(told) != Ok(count)) {
            return Err(format!("it has {count} entries and says otherwise"));
        }
        // The SDK's reader ends without a word at what it cannot read between two entries.
        if entries != count {
            return Err(format!("only {count} of its {entries} entries can be read"));
        }
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let objects: Vec<Object> =
            contents.into_iter().map(|told| object(told, encoded, prefix)).collect::<Result<_, _>>()?;
        let next = is_truncated.then(|| go_on(token, &objects)).transpose()?;
        Ok(Self { objects, next })
    }
}

fn check_echo(answer: &ListObjectsV2Output, bucket: &str, prefix: &str) -> Result<(), String> {
    let name = answer.name.as_deref().unwrap_or(bucket);
    if name != bucket && !bucket.ends_with(ALIAS) {
        return Err(format!("it is that of another bucket, `{}`", escape(name.as_bytes())));
    }
    let echoed = answer.prefix.as_deref().unwrap_or(prefix);
    // SeaweedFS and Ceph do not encode the prefix, whatever they were asked; and SeaweedFS (4.48) replaces what XML cannot hold.
    if echoed != prefix
        && decode(echoed).as_deref() != Some(prefix)
        && echoed != crate::xml::replace_controls(prefix)
    {
        return Err(format!("it is that of another prefix, `{}`", escape(echoed.as_bytes())));
    }
    Ok(())
}

fn object(told: aws_sdk_s3::types::Object, encoded: bool, prefix: &str) -> Result<Object, String> {
    let name = told.key.unwrap_or_default();
    let shown = || escape(name.as_bytes());
    let key = if encoded { decode(&name) } else { Some(name.clone()) };
    let key = key.ok_or_else(|| format!("the name `{}` cannot be decoded", shown()))?;
    if key.is_empty() {
        return Err("an object has no name".into());
    }
    if !key.starts_with(prefix) {
        return Err(format!("`{}` is outside the prefix", shown()));
    }
    let size = told.size.and_then(|size| u64::try_from(size).ok());
    let size = size.ok_or_else(|| format!("`{}` has no possible size", shown()))?;
    let etag = told.e_tag.as_deref().and_then(ETag::parse);
    let modified = told.last_modified.map(|time| Timestamp::new(time.secs(), time.subsec_nanos()));
    Ok(Object { key, size, etag, modified })
}

/// Returns where the next page begins. A token with U+FFFD is a name that XML cannot carry: SeaweedFS (4.48)
/// uses names as tokens, and sent such a token it ends the listing early. The right name is known.
fn go_on(token: String, objects: &[Object]) -> Result<Position, String> {
    if !token.contains(char::REPLACEMENT_CHARACTER) {
        return Ok(Position::Token(token));
    }
    let last = objects.last().ok_or("it goes on at a name that cannot be shown")?;
    Ok(Position::After(last.key.clone()))
}

/// Decodes `%XX` and `+`, once; `None` if that does not lead to a name in UTF-8.
fn decode(name: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{CommonPrefix, Object as Told, ObjectStorageClass};
    use aws_smithy_types::DateTime;

    use super::*;

    fn told(key: &str) -> Told {
        let class = ObjectStorageClass::Standard;
        Told::builder()
            .key(key)
            .size(5)
            .e_tag("\"abc\"")
            .last_modified(DateTime::from_secs_and_nanos(7, 8_000_000))
            .storage_class(class)
            .build()
    }

    fn answer(objects: Vec<Told>) -> ListObjectsV2Output {
        let count = i32::try_from(objects.len()).unwrap();
        let answer = ListObjectsV2Output::builder()
            .name("vault")
            .prefix("p/")
            .is_truncated(false)
            .key_count(count)
            .encoding_type(EncodingType::Url)
            .set_contents(Some(objects));
        answer.build()
    }

    /// What becomes of an answer that is fine but for one change.
    fn judged(change: impl FnOnce(&mut ListObjectsV2Output)) -> Result<Page, String> {
        let mut answer = answer(vec![told("p/a"), told("p/b")]);
        change(&mut answer);
        checked(answer, "vault")
    }

    /// What becomes of an answer of which all was read.
    fn checked(answer: ListObjectsV2Output, bucket: &str) -> Result<Page, String> {
        let entries = answer.contents().len();
        Page::from_answer(answer, entries, bucket, "p/")
    }

    fn judged_object(change: impl FnOnce(&mut Told)) -> Result<Page, String> {
        judged(|answer| change(&mut answer.contents.as_mut().unwrap()[1]))
    }

    #[test]
    fn names_are_decoded_once_or_not_at_all() {
        for (encoded, name) in [
            ("a", Some("a")),
            ("a+b%20c%2Bd%2bd", Some("a b c+d+d")),
            ("%2e%2e%2fx", Some("../x")),
            ("%252e%252e", Some("%2e%2e")),
            ("%2500", Some("%00")),
            ("%00%01%0A%7F", Some("\0\u{1}\n\u{7f}")),
            ("%C3%A9é", Some("éé")),
            ("%F0%9F%98%80", Some("😀")),
            ("", Some("")),
            ("%", None),
            ("a%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%é", None),
            ("%FF", None),
            ("%ED%A0%80", None),
            ("%C0%AF", None),
        ] {
            assert_eq!(decode(encoded).as_deref(), name, "B-09, B-14 {encoded}");
        }
    }

    #[test]
    fn a_good_page_is_taken_as_it_is() {
        let page = judged(|_| ()).unwrap();
        let object = Object {
            key: "p/a".into(),
            size: 5,
            etag: Some(ETag::new("abc")),
            modified: Some(Timestamp::new(7, 8_000_000)),
        };
        let second = Object { key: "p/b".into(), ..object.clone() };
        assert_eq!(page, Page { objects: vec![object, second], next: None });
        let long = judged_object(|object| object.size = Some(i64::MAX)).unwrap();
        assert_eq!(long.objects[1].size, 9_223_372_036_854_775_807, "B-20");
    }

    #[test]
    fn i30_an_answer_that_could_hide_something_is_refused() {
        type Change = fn(&mut ListObjectsV2Output);
        let rows: [(&str, Change); 15] = [
            ("F-35 nothing in it", |a| *a = ListObjectsV2Output::builder().build()),
            ("IsTruncated missing", |a| a.is_truncated = None),
            ("F-32 no token", |a| a.is_truncated = Some(true)),
            ("F-32 empty token", |a| {
                a.is_truncated = Some(true);
                a.next_continuation_token = Some(String::new());
            }),
            ("token at the end", |a| a.next_continuation_token = Some("t".into())),
            ("F-33 fewer than told", |a| a.key_count = Some(3)),
            ("more than told", |a| a.key_count = Some(1)),
            ("negative count", |a| a.key_count = Some(-2)),
            ("prefixes count", |a| a.common_prefixes = Some(vec![CommonPrefix::builder().build()])),
            ("another bucket", |a| a.name = Some("vault2".into())),
            ("another prefix", |a| a.prefix = Some("p".into())),
            ("no prefix", |a| a.prefix = Some(String::new())),
            ("B-09 a prefix decoded twice", |a| a.prefix = Some("%2570/".into())),
            ("F-33 an empty last entry", |a| {
                a.contents.as_mut().unwrap()[1] = Told::builder().key("").build();
            }),
            ("an entry without anything", |a| a.contents.as_mut().unwrap()[0] = Told::builder().build()),
        ];
        for (row, change) in rows {
            assert!(judged(change).is_err(), "{row}");
        }
    }

    #[test]
    fn i30_an_answer_of_which_a_part_was_not_read_is_refused() {
        let both = || answer(vec![told("p/a"), told("p/b")]);
        for (entries, fine) in [(1, false), (2, true), (3, false)] {
            assert_eq!(Page::from_answer(both(), entries, "vault", "p/").is_ok(), fine, "{entries}");
        }
        let hides = judged(|answer| {
            answer.key_count = Some(3);
            answer.common_prefixes = Some(vec![CommonPrefix::builder().prefix("p/c/").build()]);
        });
        assert!(hides.is_err(), "{hides:?}");
    }

    #[test]
    fn b56_an_impossible_object_is_refused() {
        type Change = fn(&mut Told);
        let rows: [(&str, Change); 8] = [
            ("B-56 negative size", |o| o.size = Some(-5)),
            ("B-56 no size", |o| o.size = None),
            ("B-56 no key", |o| o.key = None),
            ("B-56 empty key", |o| o.key = Some(String::new())),
            ("F-36, B-17 outside the prefix", |o| o.key = Some("q/a".into())),
            ("B-17 beside the prefix", |o| o.key = Some("p".into())),
            ("B-14 not UTF-8", |o| o.key = Some("p/%ff".into())),
            ("B-14 half an escape", |o| o.key = Some("p/%f".into())),
        ];
        for (row, change) in rows {
            assert!(judged_object(change).is_err(), "{row}");
        }
    }

    #[test]
    fn what_stores_do_differently_and_may_is_accepted() {
        type Change = fn(&mut ListObjectsV2Output);
        let rows: [(&str, Change); 7] = [
            ("no count", |a| a.key_count = None),
            ("no echo", |a| (a.name, a.prefix) = (None, None)),
            ("an encoded prefix", |a| a.prefix = Some("%70%2f".into())),
            ("an empty token at the end", |a| a.next_continuation_token = Some(String::new())),
            ("B-59 an empty page that goes on", |a| {
                (a.contents, a.key_count, a.is_truncated) = (None, Some(0), Some(true));
                a.next_continuation_token = Some("t".into());
            }),
            ("an empty prefix", |a| (a.contents, a.key_count) = (Some(vec![]), Some(0))),
            ("plain names", |a| a.encoding_type = None),
        ];
        for (row, change) in rows {
            assert!(judged(change).is_ok(), "{row}: {:?}", judged(change));
        }
    }

    #[test]
    fn a_prefix_that_xml_cannot_hold_is_known_again() {
        for (echoed, fine) in
            [("p/\u{fffd}", true), ("p/\u{1}", true), ("p/%01", true), ("p/\u{fffd}\u{fffd}", false)]
        {
            let listing = ListObjectsV2Output::builder().name("vault").prefix(echoed).build();
            assert_eq!(check_echo(&listing, "vault", "p/\u{1}").is_ok(), fine, "{echoed:?}");
        }
        let listing = ListObjectsV2Output::builder().name("vault").prefix("p/\u{fffd}").build();
        assert!(check_echo(&listing, "vault", "p/a").is_err());
    }

    #[test]
    fn names_that_come_plain_stay_as_they_are() {
        let page = judged(|answer| {
            answer.encoding_type = None;
            answer.contents = Some(vec![told("p/100%"), told("p/a+b%20c")]);
        });
        let names: Vec<_> = page.unwrap().objects.into_iter().map(|object| object.key).collect();
        assert_eq!(names, ["p/100%", "p/a+b%20c"]);
    }

    #[test]
    fn what_a_listing_need_not_tell_may_be_missing() {
        type Change = fn(&mut Told);
        let rows: [(Change, bool, bool); 4] = [
            (|o| o.e_tag = None, false, true),
            (|o| o.e_tag = Some("\"\"".into()), false, true),
            (|o| o.e_tag = Some("W/\"abc\"".into()), true, true),
            (|o| o.last_modified = None, true, false),
        ];
        for (change, has_etag, has_time) in rows {
            let page = judged_object(change).unwrap();
            let told = &page.objects[1];
            assert_eq!((told.etag.is_some(), told.modified.is_some()), (has_etag, has_time));
            assert_eq!(page.objects[0].etag, Some(ETag::new("abc")));
        }
    }

    #[test]
    fn a_token_that_xml_has_damaged_is_not_sent_back() {
        let went_on = |token: &str, names: &[&str]| {
            let mut answer = answer(names.iter().map(|name| told(name)).collect());
            (answer.is_truncated, answer.next_continuation_token) = (Some(true), Some(token.into()));
            checked(answer, "vault").map(|page| page.next.unwrap())
        };
        assert_eq!(went_on("p/b\u{fffd}", &["p/a", "p/b%01"]), Ok(Position::After("p/b\u{1}".into())));
        assert_eq!(went_on("opaque", &["p/a"]), Ok(Position::Token("opaque".into())));
        assert!(went_on("\u{fffd}", &[]).is_err());
    }

    #[test]
    fn an_access_point_may_answer_with_another_name() {
        let alias = "here-1234567890abcdef-s3alias";
        assert!(checked(answer(vec![told("p/a")]), alias).is_ok());
    }
}
