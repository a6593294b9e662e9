//! The checksums of S3 besides MD5: which one a client asked for, and what it is over many parts.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Sha1, Sha256};
use s3s::{S3Result, s3_error};

use super::failure::{Failure, Outcome};

/// The algorithms, in the order in which S3 names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// What a checksum of an object in parts is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Over the content.
    Whole,
    /// Over the checksums of the parts.
    Composite,
}

/// A checksum that was declared by a client and found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) form: Form,
    /// In base64; a composite one ends in `-` and the number of parts.
    pub(super) value: String,
}

/// The values of a request or an answer, in the order of [`Algorithm::ALL`].
pub(super) type Values = [Option<String>; 5];

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Returns the name in requests, such as `CRC32`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Returns the header and the trailer that carry its value.
    pub(super) fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_lowercase())
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Returns the number in rows; 0 is left for none.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Crc32 => 1,
            Self::Crc32c => 2,
            Self::Crc64Nvme => 3,
            Self::Sha1 => 4,
            Self::Sha256 => 5,
        }
    }

    pub(super) fn of_code(code: u8) -> Outcome<Self> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.code() == code);
        found.ok_or(Failure::damaged("an unknown checksum"))
    }

    /// Returns the form that an object in parts has if the client did not choose.
    pub(super) fn usual_form(self) -> Form {
        if self == Self::Crc64Nvme { Form::Whole } else { Form::Composite }
    }

    /// Returns whether an object in parts can have a checksum of this form.
    pub(super) fn allows(self, form: Form) -> bool {
        match form {
            Form::Whole => self.polynomial().is_some(),
            Form::Composite => self != Self::Crc64Nvme,
        }
    }

    fn index(self) -> usize {
        usize::from(self.code()) - 1
    }

    /// Returns a hasher for this algorithm alone.
    pub(super) fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        hasher
    }

    /// Returns what a hasher for this algorithm found.
    pub(super) fn value(self, hasher: ChecksumHasher) -> Option<String> {
        let sums = hasher.finalize();
        match self {
            Self::Crc32 => sums.checksum_crc32,
            Self::Crc32c => sums.checksum_crc32c,
            Self::Crc64Nvme => sums.checksum_crc64nvme,
            Self::Sha1 => sums.checksum_sha1,
            Self::Sha256 => sums.checksum_sha256,
        }
    }

    /// Returns the width and the reversed polynomial, if two of these can be made one.
    fn polynomial(self) -> Option<(u32, u64)> {
        match self {
            Self::Crc32 => Some((32, 0xedb8_8320)),
            Self::Crc32c => Some((32, 0x82f6_3b78)),
            Self::Crc64Nvme => Some((64, 0x9a6c_9329_ac4b_c9b5)),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Whole, Self::Composite].into_iter().find(|form| form.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Composite => 1,
        }
    }

    pub(super) fn of_code(code: u8) -> Outcome<Self> {
        match code {
            0 => Ok(Self::Whole),
            1 => Ok(Self::Composite),
            _ => Err(Failure::damaged("an unknown kind of checksum")),
        }
    }
}

impl Checksum {
    /// Returns the values of an answer that shows `checksum`.
    pub(super) fn values(checksum: Option<&Self>) -> Values {
        let mut values = Values::default();
        if let Some(checksum) = checksum {
            values[checksum.algorithm.index()] = Some(checksum.value.clone());
        }
        values
    }
}

/// Returns the one value that a request declares.
pub(super) fn declared(values: Values) -> S3Result<Option<(Algorithm, String)>> {
    let mut found = Algorithm::ALL
        .into_iter()
        .zip(values)
        .filter_map(|(algorithm, value)| value.map(|value| (algorithm, value)));
    let first = found.next();
    if found.next().is_some() {
        return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header."));
    }
    Ok(first)
}

/// Returns the checksum of an object made of parts with these checksums and sizes, if all have one of the
/// same algorithm and the form can be computed from them.
pub(super) fn combined(parts: &[(Option<&Checksum>, u64)], form: Option<Form>) -> Option<Checksum> {
    let algorithm = parts.first()?.0?.algorithm;
    let mut values = Vec::new();
    for (checksum, size) in parts {
        let checksum = checksum.filter(|checksum| checksum.algorithm == algorithm)?;
        values.push((BASE64_STANDARD.decode(&checksum.value).ok()?, *size));
    }
    let form = form.unwrap_or_else(|| algorithm.usual_form());
    let value = match form {
        Form::Whole => whole(algorithm, &values)?,
        Form::Composite => {
            let mut hasher = algorithm.hasher();
            for (value, _) in &values {
                hasher.update(value);
            }
            format!("{}-{}", algorithm.value(hasher)?, values.len())
        }
    };
    Some(Checksum { algorithm, form, value })
}

fn whole(algorithm: Algorithm, values: &[(Vec<u8>, u64)]) -> Option<String> {
    let (width, polynomial) = algorithm.polynomial()?;
    let mut total: Option<u64> = None;
    for (value, size) in values {
        let value = value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        total = Some(total.map_or(value, |before| append(before, value, *size, width, polynomial)));
    }
    let bytes = total?.to_be_bytes();
    Some(BASE64_STANDARD.encode(&bytes[bytes.len() - width as usize / 8..]))
}

/// Returns the CRC of two runs of bytes after another, given the CRC of each and the length of the second.
///
/// A CRC over more bytes is the old one multiplied by x^8 for each byte, in the field of the polynomial;
/// squaring the factor makes that one step for each bit of the length. What a CRC begins and ends with
/// cancels out.
fn append(first: u64, second: u64, length: u64, width: u32, polynomial: u64) -> u64 {
    // In the reversed order of bits, x^0 is the highest bit and x^8 is eight below it.
    let one = 1_u64 << (width - 1);
    let (mut power, mut factor) = (one >> 8, one);
    let mut bits = length;
    while bits > 0 {
        if bits & 1 == 1 {
            factor = multiply(factor, power, width, polynomial);
        }
        power = multiply(power, power, width, polynomial);
        bits >>= 1;
    }
    multiply(first, factor, width, polynomial) ^ second
}

/// Returns the product of two polynomials with reversed bits, modulo a third.
fn multiply(a: u64, mut b: u64, width: u32, polynomial: u64) -> u64 {
    let mut product = 0;
    for bit in (0..width).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = if b & 1 == 1 { (b >> 1) ^ polynomial } else { b >> 1 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, data: &[u8]) -> Checksum {
        let mut hasher = algorithm.hasher();
        hasher.update(data);
        Checksum { algorithm, form: Form::Whole, value: algorithm.value(hasher).unwrap() }
    }

    #[test]
    fn the_crc_of_parts_is_that_of_the_whole() {
        let data: Vec<u8> =
            (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            for cuts in [vec![0, 100_000], vec![0, 1, 70_000, 70_000, 100_000], vec![0, 65_536, 100_000]] {
                let parts: Vec<_> = cuts.windows(2).map(|cut| &data[cut[0]..cut[1]]).collect();
                let sums: Vec<_> = parts.iter().map(|part| of(algorithm, part)).collect();
                let given: Vec<_> =
                    sums.iter().zip(&parts).map(|(sum, part)| (Some(sum), part.len() as u64)).collect();
                let found = combined(&given, Some(Form::Whole)).unwrap();
                assert_eq!(found, of(algorithm, &data), "{algorithm:?} {cuts:?}");
            }
        }
    }

    #[test]
    fn a_composite_checksum_is_over_the_checksums() {
        let (a, b) = (of(Algorithm::Sha256, b"a"), of(Algorithm::Sha256, b"b"));
        let found = combined(&[(Some(&a), 1), (Some(&b), 1)], None).unwrap();
        let both = [&a, &b].map(|sum| BASE64_STANDARD.decode(&sum.value).unwrap()).concat();
        assert_eq!(found.value, format!("{}-2", of(Algorithm::Sha256, &both).value));
        assert!(combined(&[(Some(&a), 1), (None, 1)], None).is_none());
        assert!(combined(&[(Some(&a), 1)], Some(Form::Whole)).is_none());
    }
}
