//! Small objects of our own: markers and manifests.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::fault::Fault;
use super::metadata;
use super::store::Store;
use crate::error::ErrorKind;

impl Store {
    /// Writes an object that only we write. With a condition, one that is there already stays.
    pub(super) async fn put_ours(
        &self,
        key: &str,
        text: &str,
        if_none_match: Option<&str>,
    ) -> Result<(), Fault> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let write = |condition: Option<&str>| {
            let (bytes, condition) = (&bytes, condition.map(str::to_owned));
            self.send(move || {
                let (bytes, condition) = (bytes.clone(), condition.clone());
                async move {
                    let request = self.sdk().put_object().bucket(&self.bucket).key(key);
                    let request =
                        request.content_type("application/json").checksum_crc32(metadata::checksum(&bytes));
                    let request = request.body(ByteStream::from(bytes)).set_if_none_match(condition);
                    Ok(request.customize().disable_payload_signing().send().await?)
                }
            })
        };
        let written = match write(if_none_match).await {
            Err(fault) if if_none_match.is_some() && fault.is_refused_condition() => return Ok(()),
            Err(fault) if if_none_match.is_some() && fault.is_unsupported() => write(None).await,
            written => written,
        };
        written.map(drop)
    }

    /// Writes an object that only we write, unless one is there that says the same, and looks whether it is there: others go because
    /// of it. Who may not look must believe what he is told.
    pub(super) async fn put_and_look(&self, key: &str, text: &str) -> Result<(), Fault> {
        for _ in 0..2 {
            self.put_ours(key, text, Some("*")).await?;
            if !matches!(self.look(key, None).await, Ok(None)) {
                return Ok(());
            }
        }
        Err(Fault::new(ErrorKind::Unavailable, "the store took it and does not have it"))
    }

    /// Reads an object that only we write, or its first `most` bytes; `None` if it is not there.
    pub(super) async fn ours(&self, key: &str, most: u64) -> Result<Option<String>, Fault> {
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        let read = self.send(|| async {
            let request = self.sdk().get_object().bucket(&self.bucket).key(key).range(&range);
            let found = request.send().await?;
            let broken = |error| Fault::new(ErrorKind::Unavailable, format!("the answer broke off: {error}"));
            found.body.collect().await.map_err(broken)
        });
        match read.await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes.into_bytes()).into_owned())),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Deletes an object that only we write.
    pub(super) async fn delete_ours(&self, key: &str) -> Result<(), Fault> {
        let deleted = self
            .send(|| async { Ok(self.sdk().delete_object().bucket(&self.bucket).key(key).send().await?) })
            .await;
        match deleted {
            Err(fault) if !fault.is_missing() => Err(fault),
            _ => Ok(()),
        }
    }
}
