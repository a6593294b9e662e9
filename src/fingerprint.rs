//! What tells one version of a file from another, and what its content is.
//!
//! A [`Fingerprint`] is cheap evidence from a listing: the stat of a local file, or size and ETag of an
//! object. Equal fingerprints mean the same version; different ones do not yet mean different content.
//! A [`ContentHash`] is MD5 of the content in the form S3 uses for ETags: of the whole file, or of the MD5s
//! of its parts, so that it can be compared with a listing without a transfer.

use std::fmt;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fingerprint {
    /// A file of a local tree.
    File(FileStat),
    /// An object of a store.
    Object(ETag),
}

impl Fingerprint {
    /// Returns what no version ever shows: an ETag that no store can give, for no answer has a zero byte. It names
    /// the file that is to be renamed.
    pub fn of_rename_from(old: &str) -> Self {
        Self::Object(ETag(format!("\0{old}").into()))
    }

    /// Returns the inode number of a file, 0 where there is none that lasts, and when it was modified.
    pub(crate) fn number_and_time(&self) -> (u64, Option<Timestamp>) {
        match self {
            Self::File(stat) => (stat.inode, Some(stat.modified)),
            Self::Object(_) => (0, None),
        }
    }

    /// Returns the name in a fingerprint [of a rename](Self::of_rename_from).
    pub fn renamed_from(&self) -> Option<&str> {
        match self {
            Self::Object(etag) => etag.as_str().strip_prefix('\0'),
            Self::File(_) => None,
        }
    }
}

/// The stat of a local file: what changes when anybody writes to it, replaces it or sets its times.
#[derive(Debug, Clone, Copy, Eq)]
pub struct FileStat {
    /// Modification time.
    pub modified: Timestamp,
    /// Status change time, which `utimes` cannot reset.
    pub changed: Timestamp,
    /// Inode number, 0 where inode numbers do not last.
    pub inode: u64,
    /// False if the times were so fresh when they were read that a later write could leave them as they are
    /// (they then prove nothing, and the content is read again next time). Not part of equality.
    pub settled: bool,
}

impl FileStat {
    /// Returns whether both are of one version. Inode 0 stands for a number that does not last, and says nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_inode = self.inode == other.inode || self.inode == 0 || other.inode == 0;
        same_inode && (self.modified, self.changed) == (other.modified, other.changed)
    }
}

impl PartialEq for FileStat {
    fn eq(&self, other: &Self) -> bool {
        (self.modified, self.changed, self.inode) == (other.modified, other.changed, other.inode)
    }
}

/// An ETag without its quotes: opaque, but often the MD5 of the content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(Box<str>);

impl ETag {
    /// Returns the ETag in a header or listing, without quotes.
    pub fn new(text: &str) -> Self {
        // Somebody on the way who may compress makes it a weak one; which version it names stays the same.
        let text = text.strip_prefix("W/").filter(|text| text.starts_with('"')).unwrap_or(text);
        let text = text.strip_prefix('"').unwrap_or(text);
        Self(text.strip_suffix('"').unwrap_or(text).into())
    }

    /// Returns the ETag in a header or listing, if it is one: not empty.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text)).filter(|etag| !etag.0.is_empty())
    }

    /// Returns the text without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the MD5 of the object's content if the ETag has that form. Stores that encrypt use the
    /// same form for something else, so a difference proves nothing there; equality does.
    pub fn whole_md5(&self) -> Option<ContentHash> {
        Some(ContentHash { md5: parse_md5(&self.0)?, parts: None })
    }

    /// Returns the digest and the number of parts if the ETag is that of a multipart upload.
    pub fn multipart(&self) -> Option<([u8; 16], u32)> {
        let (digest, count) = self.0.split_once('-')?;
        let count: u32 = count.parse().ok().filter(|count| (1..=10_000).contains(count))?;
        Some((parse_md5(digest)?, count))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_md5(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// How a content hash is made: of the whole, or of parts of a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashForm {
    /// MD5 of the content.
    Whole,
    /// MD5 of the MD5s of parts of this many bytes (never 0), the last may be shorter.
    Parts(u64),
}

/// MD5 of a file's content, in one of the two forms of an S3 ETag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash {
    /// The digest.
    pub md5: [u8; 16],
    /// Number and size in bytes of the parts; `None` if the digest is of the whole.
    pub parts: Option<Parts>,
}

/// Into what a multipart upload was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parts {
    /// How many parts there are.
    pub count: u32,
    /// The size of each but the last, in bytes.
    pub size: u64,
}

impl ContentHash {
    /// Returns how the hash was made.
    pub fn form(&self) -> HashForm {
        self.parts.map_or(HashForm::Whole, |parts| HashForm::Parts(parts.size))
    }

    /// Returns the ETag a store gives to this content.
    pub fn etag(&self) -> ETag {
        match self.parts {
            None => ETag(self.hex().into()),
            Some(parts) => ETag(format!("{}-{}", self.hex(), parts.count).into()),
        }
    }

    /// Returns the digest in hexadecimal.
    pub fn hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.md5))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.etag().as_str())
    }
}

/// Makes a [`ContentHash`] from bytes as they pass.
#[derive(Debug, Clone)]
pub struct Hasher {
    current: Md5,
    parts: Option<PartHasher>,
}

#[derive(Debug, Clone)]
struct PartHasher {
    size: u64,
    filled: u64,
    count: u32,
    of_parts: Md5,
}

impl Hasher {
    /// Returns a hasher for content that is yet to come.
    pub fn new(form: HashForm) -> Self {
        let parts = match form {
            HashForm::Whole => None,
            HashForm::Parts(size) => {
                Some(PartHasher { size: size.max(1), filled: 0, count: 0, of_parts: Md5::new() })
            }
        };
        Self { current: Md5::new(), parts }
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let Some(parts) = &mut self.parts else {
            return self.current.update(bytes);
        };
        while !bytes.is_empty() {
            if parts.filled == parts.size {
                parts.close(&mut self.current);
            }
            let room = usize::try_from(parts.size - parts.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            parts.filled += now.len() as u64;
            bytes = later;
        }
    }

    /// Returns the hash of all bytes added.
    pub fn finish(mut self) -> ContentHash {
        match self.parts {
            None => ContentHash { md5: self.current.finalize().into(), parts: None },
            Some(mut parts) => {
                // Even empty content is one part.
                parts.close(&mut self.current);
                let shape = Parts { count: parts.count, size: parts.size };
                ContentHash { md5: parts.of_parts.finalize().into(), parts: Some(shape) }
            }
        }
    }
}

impl PartHasher {
    fn close(&mut self, current: &mut Md5) {
        self.of_parts.update(std::mem::take(current).finalize());
        self.count = self.count.saturating_add(1);
        self.filled = 0;
    }
}

const MIB: u64 = 1024 * 1024;

/// Returns the part sizes that well-known tools could have used for `count` parts of `size` bytes, the
/// likeliest first: 8 MiB (aws, syncengine), 5, 16, 64, 10, 15, 25, 50, 100 and 128 MiB, the smallest
/// whole MiB that fits, and powers of two.
pub fn likely_part_sizes(size: u64, count: u32) -> Vec<u64> {
    let count = u64::from(count.max(1));
    let smallest = size.div_ceil(count).div_ceil(MIB).max(1);
    let common = [8, 5, 16, 64, 10, 15, 25, 50, 100, 128, smallest, smallest.next_power_of_two()];
    let mut sizes = Vec::new();
    for part in common.map(|mib| mib * MIB) {
        if size.div_ceil(part).max(1) == count && !sizes.contains(&part) {
            sizes.push(part);
        }
    }
    sizes
}

/// Returns the MD5 of a text, in hexadecimal digits: for names that tell nothing and have one length.
pub(crate) fn md5_of(text: &str) -> String {
    let digest: [u8; 16] = Md5::digest(text).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(form: HashForm, content: &[u8]) -> ContentHash {
        let mut hasher = Hasher::new(form);
        hasher.update(content);
        hasher.finish()
    }

    #[test]
    fn hashes_are_the_etags_a_store_gives() {
        // Digests by md5sum and by hand: md5(md5("aaaa") md5("b")).
        assert_eq!(hash(HashForm::Whole, b"").etag().as_str(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hash(HashForm::Whole, b"abc").etag().as_str(), "900150983cd24fb0d6963f7d28e17f72");
        let mut joined = Vec::new();
        for part in [&b"aaaa"[..], b"b"] {
            joined.extend(hash(HashForm::Whole, part).md5);
        }
        let expected = format!("{}-2", hash(HashForm::Whole, &joined).hex());
        assert_eq!(hash(HashForm::Parts(4), b"aaaab").etag().as_str(), expected);
        assert_eq!(hash(HashForm::Parts(4), b"aaaa").parts, Some(Parts { count: 1, size: 4 }));
        assert_eq!(hash(HashForm::Parts(4), b"").parts, Some(Parts { count: 1, size: 4 }));
        assert_eq!(hash(HashForm::Parts(0), b"ab").parts, Some(Parts { count: 2, size: 1 }));
        assert_eq!(hash(HashForm::Parts(4), b"aaaab").form(), HashForm::Parts(4));
        assert_eq!(hash(HashForm::Whole, b"").form(), HashForm::Whole);
        assert_eq!(format!("{:?}", hash(HashForm::Parts(4), b"aaaab")), expected);
    }

    #[test]
    fn etags_are_opaque_unless_they_have_the_form_of_an_md5() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        assert_eq!(ETag::new(&format!("\"{md5}\"")).whole_md5(), Some(hash(HashForm::Whole, b"abc")));
        assert_eq!(ETag::new(&format!("\"{md5}\"")).to_string(), md5);
        assert_eq!(ETag::new(&format!("{md5}-12")).multipart().map(|(_, count)| count), Some(12));
        assert_eq!(ETag::new(&format!("{md5}-12")).whole_md5(), None);
        assert_eq!(ETag::new(md5).multipart(), None);
        let odd = ["", "\"", "x", &md5[..31], "+00150983cd24fb0d6963f7d28e17f72", "W/\"abc\""];
        for text in odd {
            assert_eq!(ETag::new(text).whole_md5(), None, "{text}");
        }
        for count in ["0", "10001", "-1", "", "x"] {
            assert_eq!(ETag::new(&format!("{md5}-{count}")).multipart(), None, "{count}");
        }
        assert!(ETag::new(&format!("{md5}-10000")).multipart().is_some());
        assert!(ETag::new(&format!("{md5}-1")).multipart().is_some());
    }

    #[test]
    fn part_sizes_of_known_tools_are_deduced() {
        assert_eq!(likely_part_sizes(20 * MIB, 3), [8 * MIB, 7 * MIB]);
        assert_eq!(likely_part_sizes(20 * MIB, 4), [5 * MIB]);
        assert_eq!(likely_part_sizes(17 * MIB, 1).first(), Some(&(64 * MIB)));
        assert_eq!(likely_part_sizes(0, 1).first(), Some(&(8 * MIB)));
        assert!(likely_part_sizes(100, 7).is_empty());
        assert_eq!(likely_part_sizes(9 * MIB, 0), likely_part_sizes(9 * MIB, 1));
        assert!(likely_part_sizes(48 * MIB, 2).contains(&(32 * MIB)));
        assert_eq!(likely_part_sizes(20_971_520, 3), [8_388_608, 7_340_032]);
        // Every part size that fits is named once, the likeliest first.
        assert_eq!(likely_part_sizes(15 * MIB, 2), [8 * MIB, 10 * MIB]);
    }

    #[test]
    fn a_stat_is_equal_whether_it_is_settled_or_not() {
        let stat = FileStat {
            modified: Timestamp::new(1, 2),
            changed: Timestamp::new(3, 4),
            inode: 5,
            settled: true,
        };
        assert_eq!(stat, FileStat { settled: false, ..stat });
        assert_ne!(stat, FileStat { inode: 6, ..stat });
        assert_ne!(stat, FileStat { modified: Timestamp::new(1, 3), ..stat });
        assert_ne!(stat, FileStat { changed: Timestamp::new(3, 5), ..stat });
    }

    proptest! {
        #[test]
        fn a_hash_does_not_depend_on_how_the_bytes_arrive(
            content in proptest::collection::vec(any::<u8>(), 0..64), part in 1u64..20, cut in 1usize..9
        ) {
            for form in [HashForm::Whole, HashForm::Parts(part)] {
                let mut pieces = Hasher::new(form);
                content.chunks(cut).for_each(|chunk| pieces.update(chunk));
                let pieces = pieces.finish();
                prop_assert_eq!(pieces, hash(form, &content));
                if let Some(parts) = pieces.parts {
                    prop_assert_eq!(u64::from(parts.count), (content.len() as u64).div_ceil(part).max(1));
                }
            }
        }
    }
}
