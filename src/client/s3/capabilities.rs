//! What a store can do.

use serde::{Deserialize, Serialize};

use super::object::quoted;
use crate::fingerprint::ETag;

/// What ETags are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Etags {
    /// They are the MD5 of the content, or of the MD5s of its parts.
    Hashes,
    /// Nobody can tell.
    Opaque,
}

/// Which conditions a store honours, and whether it tells names apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Capabilities {
    pub(super) put_if_none_match: bool,
    pub(super) put_if_match: bool,
    /// The store compares what stands in `If-Match` with the bare ETag, as Ceph does.
    pub(super) unquoted: bool,
    pub(super) complete_if_none_match: bool,
    pub(super) complete_if_match: bool,
    pub(super) delete_if_match: bool,
    pub(super) delete_many_if_match: bool,
    pub(super) copy_if_none_match: bool,
    pub(super) copy_source_if_match: bool,
    /// Whether it refuses bytes that do not have the CRC-32 they are sent with.
    pub(super) enforces_crc32: bool,
    /// Whether ETags are made of the content, as the one of the probe is.
    pub(super) md5_etags: bool,
    /// Whether it takes names that differ in case, or in the form of an accent, for one.
    pub(super) folds_names: bool,
}

impl Capabilities {
    /// Returns an ETag as the store wants it in `If-Match`.
    pub(super) fn if_match(self, etag: &ETag) -> String {
        if self.unquoted { etag.to_string() } else { quoted(etag) }
    }

    /// Returns what ETags are made of.
    pub(super) fn etags(self) -> Etags {
        if self.md5_etags { Etags::Hashes } else { Etags::Opaque }
    }
}
