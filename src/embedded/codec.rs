//! Bytes of the rows of the index: integers of variable length, strings, and options of them.
//!
//! A row begins with the version of its form. What is read may have been damaged, so a length is checked
//! before it is used and an unknown tag is an error.

use super::failure::{Failure, Outcome};

/// The form of all rows that this version writes and reads. Another number is another form.
const FORM: u8 = 1;

/// A row being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![FORM])
    }

    pub(super) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Appends `value`, seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut value: u64) -> &mut Self {
        while value > 0x7f {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0])
    }

    pub(super) fn signed(&mut self, value: i64) -> &mut Self {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    pub(super) fn array(&mut self, bytes: &[u8; 16]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A row that is yet to be read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(row: &'a [u8]) -> Outcome<Self> {
        let mut reader = Self(row);
        if reader.byte()? == FORM { Ok(reader) } else { Err(Failure::damaged("a row has an unknown form")) }
    }

    /// Returns whether nothing is left of it.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Outcome<u8> {
        let (first, rest) = self.0.split_first().ok_or(Failure::damaged("a row ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Outcome<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Failure::damaged("a number is too long"))
    }

    pub(super) fn small(&mut self) -> Outcome<u32> {
        u32::try_from(self.number()?).map_err(|_| Failure::damaged("a number is too large"))
    }

    pub(super) fn signed(&mut self) -> Outcome<i64> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(super) fn array(&mut self) -> Outcome<[u8; 16]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Failure::damaged("a row ends too early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn text(&mut self) -> Outcome<&'a str> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (bytes, rest) =
            self.0.split_at_checked(length).ok_or(Failure::damaged("a row ends too early"))?;
        self.0 = rest;
        std::str::from_utf8(bytes).map_err(|_| Failure::damaged("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_cut_rows_are_refused() {
        let mut writer = Writer::new();
        writer.byte(7).number(u64::MAX).number(0).signed(-1).signed(i64::MAX).array(&[9; 16]).text("größe");
        let row = writer.finish();
        let read = |row: &[u8]| -> Outcome<String> {
            let mut reader = Reader::new(row)?;
            let numbers = (reader.byte()?, reader.number()?, reader.number()?);
            Ok(format!(
                "{numbers:?} {} {} {} {}",
                reader.signed()?,
                reader.signed()?,
                reader.array()?[3],
                reader.text()?
            ))
        };
        assert_eq!(read(&row).unwrap(), format!("(7, {}, 0) -1 {} 9 größe", u64::MAX, i64::MAX));
        for length in 0..row.len() {
            assert!(read(&row[..length]).is_err(), "{length}");
        }
        assert!(Reader::new(&[2]).is_err());
    }
}
