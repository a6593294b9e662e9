//! The protocol of S3, as far as the client speaks it, on a [`Store`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::store::{Lie, Object, Store, Upload, distorted};

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) key: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>As the model says.</Message></Error>");
    Answer { status, headers: Vec::new(), body: body.into() }
}

fn said(text: impl Into<String>) -> Answer {
    Answer { status: 200, headers: Vec::new(), body: Bytes::from(text.into()) }
}

fn tagged(etag: &str) -> Answer {
    Answer { status: 200, headers: vec![("etag".into(), format!("\"{etag}\""))], body: Bytes::new() }
}

/// Writes a name as `encoding-type=url` wants it.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'%' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&more[..2]).unwrap(), 16).unwrap());
                rest = &more[2..];
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Writes a moment as listings do.
fn stamp(seconds: i64) -> String {
    format!("{}.000Z", syncengine::Timestamp::new(seconds, 0).to_string().replace(' ', "T"))
}

/// Returns the first text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inside, _)| inside)
}

impl Asked {
    /// Takes a request of the SDK apart: all buckets are one.
    pub(super) fn new(method: &str, uri: &str, headers: BTreeMap<String, String>, body: Bytes) -> Self {
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        Self { method: method.to_owned(), key: decoded(key), query, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    /// Returns the request as S3 calls it.
    pub(super) fn operation(&self) -> &'static str {
        match (self.method.as_str(), self.key.is_empty()) {
            ("GET", true) if self.has("versioning") => "GetBucketVersioning",
            ("GET", true) if self.has("uploads") => "ListMultipartUploads",
            ("GET", true) => "ListObjectsV2",
            ("GET", false) if self.has("uploadId") => "ListParts",
            ("GET", false) => "GetObject",
            ("HEAD", false) => "HeadObject",
            ("PUT", false) if self.has("partNumber") => "UploadPart",
            ("PUT", false) if self.header("x-amz-copy-source").is_some() => "CopyObject",
            ("PUT", false) => "PutObject",
            ("POST", true) if self.has("delete") => "DeleteObjects",
            ("POST", false) if self.has("uploads") => "CreateMultipartUpload",
            ("POST", false) => "CompleteMultipartUpload",
            ("DELETE", false) if self.has("uploadId") => "AbortMultipartUpload",
            ("DELETE", false) => "DeleteObject",
            _ => "another",
        }
    }

    /// Returns whether it can change objects.
    pub(super) fn is_effect(&self) -> bool {
        matches!(
            self.operation(),
            "PutObject" | "CopyObject" | "CompleteMultipartUpload" | "DeleteObject" | "DeleteObjects"
        )
    }

    /// Returns the names of the objects that it is about.
    pub(super) fn names(&self) -> Vec<String> {
        if !self.key.is_empty() {
            return vec![self.key.clone()];
        }
        let text = String::from_utf8_lossy(&self.body);
        let listed = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        listed.map(|(key, _)| key.replace("&amp;", "&")).collect()
    }

    /// Returns whether it is about an object of this name.
    pub(super) fn is_about(&self, key: &str) -> bool {
        self.names().iter().any(|name| name == key)
    }

    fn kept(&self) -> Vec<(String, String)> {
        let of_object = |name: &str| name.starts_with("x-amz-meta-") || name == "content-type";
        self.headers.iter().filter(|(name, _)| of_object(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// Returns whether the bytes are those of which the sums were sent.
    fn is_whole(&self) -> bool {
        let md5 = self.header("content-md5").is_none_or(|told| {
            let mut hasher = syncengine::fingerprint::Hasher::new(syncengine::fingerprint::HashForm::Whole);
            hasher.update(&self.body);
            told == BASE64_STANDARD.encode(hasher.finish().md5)
        });
        let crc = || BASE64_STANDARD.encode(crc32fast::hash(&self.body).to_be_bytes());
        md5 && self.header("x-amz-checksum-crc32").is_none_or(|told| told == crc())
    }
}

impl Store {
    /// Does what it is asked, or says so.
    pub(super) fn answer(&mut self, asked: &Asked, now: i64, lie: Option<Lie>) -> Answer {
        match asked.operation() {
            "ListObjectsV2" => self.list(asked),
            "GetBucketVersioning" => said("<VersioningConfiguration/>"),
            "HeadObject" => self.show(asked, false, None),
            "GetObject" => self.show(asked, true, lie),
            "PutObject" => self.take(asked, now, lie),
            "CopyObject" => self.copy(asked, now, lie),
            "DeleteObject" => self.delete(asked, lie),
            "DeleteObjects" => self.delete_many(asked, lie),
            _ => self.of_parts(asked, now, lie),
        }
    }

    fn list(&self, asked: &Asked) -> Answer {
        let text = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
        let (prefix, after) = (text("prefix"), text("start-after").max(text("continuation-token")));
        let most: usize = text("max-keys").parse().unwrap_or(1000).min(3);
        let shown = self.earlier.as_ref().unwrap_or(&self.objects);
        let mut names = shown.iter().filter(|(name, _)| name.starts_with(&prefix) && **name > after);
        let (mut body, mut count, mut last) = (String::new(), 0, "");
        for (name, object) in names.by_ref().take(most) {
            let _ = write!(
                body,
                "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
                encoded(name),
                stamp(object.at),
                object.etag,
                object.bytes.len()
            );
            (count, last) = (count + 1, name);
        }
        let is_cut = names.next().is_some();
        let token = if is_cut {
            format!("<NextContinuationToken>{last}</NextContinuationToken>")
        } else {
            String::new()
        };
        said(format!(
            "<ListBucketResult><Name>vault</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><IsTruncated>{is_cut}</IsTruncated>\
             <EncodingType>url</EncodingType>{token}{body}</ListBucketResult>",
            encoded(&prefix)
        ))
    }

    fn show(&self, asked: &Asked, has_body: bool, lie: Option<Lie>) -> Answer {
        let Some(object) = self.objects.get(&asked.key) else {
            return refusal(404, if has_body { "NoSuchKey" } else { "" });
        };
        if !self.holds(&asked.key, None, asked.header("if-match")) {
            return refusal(412, "PreconditionFailed");
        }
        let mut answer = tagged(&object.etag);
        answer.headers.extend(object.kept.iter().cloned());
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let mut bytes = object.bytes.clone();
        if let Some((first, last)) = range {
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let last = last.min(bytes.len().saturating_sub(1));
            answer.status = 206;
            answer.headers.push(("content-range".into(), format!("bytes {first}-{last}/{}", bytes.len())));
            bytes = bytes.slice(first..=last);
        }
        let bytes = lie.map_or(bytes.clone(), |lie| distorted(&bytes, lie));
        answer.headers.push(("content-length".into(), bytes.len().to_string()));
        answer.body = if has_body { bytes } else { Bytes::new() };
        answer
    }

    fn take(&mut self, asked: &Asked, now: i64, lie: Option<Lie>) -> Answer {
        if !asked.is_whole() {
            return refusal(400, "BadDigest");
        }
        if !self.holds(&asked.key, asked.header("if-none-match"), asked.header("if-match")) {
            return refusal(412, "PreconditionFailed");
        }
        match lie {
            Some(Lie::Nothing | Lie::Late) => tagged(&self.etag(&asked.body, None)),
            lie => {
                let bytes = lie.map_or(asked.body.clone(), |lie| distorted(&asked.body, lie));
                tagged(&self.put(&asked.key, bytes, now, asked.kept()))
            }
        }
    }

    fn copy(&mut self, asked: &Asked, now: i64, lie: Option<Lie>) -> Answer {
        let source = decoded(asked.header("x-amz-copy-source").unwrap_or_default());
        let source = source.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).to_owned();
        if !self.holds(&source, None, asked.header("x-amz-copy-source-if-match"))
            || !self.holds(&asked.key, asked.header("if-none-match"), asked.header("if-match"))
        {
            return refusal(412, "PreconditionFailed");
        }
        let Some(object) = self.objects.get(&source).cloned() else { return refusal(404, "NoSuchKey") };
        let bytes = lie.map_or(object.bytes.clone(), |lie| distorted(&object.bytes, lie));
        let etag = self.etag(&bytes, None);
        if !lie.is_some_and(Lie::does_nothing) {
            self.place(&asked.key, Object { bytes, etag: etag.clone(), at: now, ..object });
        }
        said(format!(
            "<CopyObjectResult><ETag>&quot;{etag}&quot;</ETag><LastModified>{}</LastModified></CopyObjectResult>",
            stamp(now)
        ))
    }

    fn delete(&mut self, asked: &Asked, lie: Option<Lie>) -> Answer {
        if !self.holds(&asked.key, None, asked.header("if-match")) {
            return refusal(412, "PreconditionFailed");
        }
        if !lie.is_some_and(Lie::does_nothing) {
            self.objects.remove(&asked.key);
        }
        Answer { status: 204, ..Answer::default() }
    }

    fn delete_many(&mut self, asked: &Asked, lie: Option<Lie>) -> Answer {
        let text = String::from_utf8(asked.body.to_vec()).unwrap();
        let mut body = String::new();
        for object in text.split("<Object>").skip(1) {
            let key = between(object, "<Key>", "</Key>").unwrap().replace("&amp;", "&");
            let etag = between(object, "<ETag>", "</ETag>").map(|etag| etag.replace("&quot;", ""));
            if self.holds(&key, None, etag.as_deref()) {
                if !lie.is_some_and(Lie::does_nothing) {
                    self.objects.remove(&key);
                }
                let _ = write!(body, "<Deleted><Key>{key}</Key></Deleted>");
            } else {
                let _ = write!(body, "<Error><Key>{key}</Key><Code>PreconditionFailed</Code></Error>");
            }
        }
        said(format!("<DeleteResult>{body}</DeleteResult>"))
    }

    fn of_parts(&mut self, asked: &Asked, now: i64, lie: Option<Lie>) -> Answer {
        let id = asked.query.get("uploadId").cloned().unwrap_or_default();
        if asked.operation() == "CreateMultipartUpload" {
            let id = format!("upload-{}", self.next());
            let upload =
                Upload { key: asked.key.clone(), parts: BTreeMap::new(), kept: asked.kept(), at: now };
            self.uploads.insert(id.clone(), upload);
            return said(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ));
        }
        if asked.operation() == "ListMultipartUploads" {
            let one = |(id, upload): (&String, &Upload)| {
                let (key, at) = (&upload.key, stamp(upload.at));
                format!(
                    "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{at}</Initiated></Upload>"
                )
            };
            let all: String = self.uploads.iter().map(one).collect();
            return said(format!("<ListMultipartUploadsResult>{all}</ListMultipartUploadsResult>"));
        }
        let Some(upload) = self.uploads.get(&id).cloned() else { return refusal(404, "NoSuchUpload") };
        match asked.operation() {
            "UploadPart" => {
                if !asked.is_whole() {
                    return refusal(400, "BadDigest");
                }
                let bytes = lie.map_or(asked.body.clone(), |lie| distorted(&asked.body, lie));
                let etag = self.etag(&bytes, None);
                let number = asked.query["partNumber"].parse().unwrap();
                if !lie.is_some_and(Lie::does_nothing) {
                    self.uploads.get_mut(&id).unwrap().parts.insert(number, bytes);
                }
                tagged(&etag)
            }
            "ListParts" => {
                let mut parts = String::new();
                for (number, bytes) in &upload.parts {
                    let (etag, size) = (self.etag(bytes, None), bytes.len());
                    let _ = write!(
                        parts,
                        "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Part>"
                    );
                }
                said(format!("<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"))
            }
            "AbortMultipartUpload" => {
                self.uploads.remove(&id);
                Answer { status: 204, ..Answer::default() }
            }
            _ => self.complete(asked, &id, upload, now, lie),
        }
    }

    fn complete(&mut self, asked: &Asked, id: &str, upload: Upload, now: i64, lie: Option<Lie>) -> Answer {
        if !self.holds(&asked.key, asked.header("if-none-match"), asked.header("if-match")) {
            return refusal(412, "PreconditionFailed");
        }
        if upload.parts.is_empty() {
            return refusal(400, "InvalidPart");
        }
        self.uploads.remove(id);
        let bytes = Bytes::from(upload.parts.values().flatten().copied().collect::<Vec<u8>>());
        let bytes = lie.map_or(bytes.clone(), |lie| distorted(&bytes, lie));
        let etag = self.etag(&bytes, Some(u64::from(u32::MAX)));
        if !lie.is_some_and(Lie::does_nothing) {
            self.place(&asked.key, Object { bytes, etag: etag.clone(), at: now, kept: upload.kept });
        }
        said(format!(
            "<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        ))
    }
}
