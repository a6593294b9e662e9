//! How fuzz targets read their input, and what they ask of every text that is shown. The command line has
//! this file too.

/// What stands between the parts of an input: no text in UTF-8 has it.
pub(crate) const SEPARATOR: u8 = 0xff;

/// Choices read from an input, a byte each. Once it is used up, the first of everything.
#[derive(Debug)]
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound.max(1)
    }

    /// Returns one of `all`, which are not none.
    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Returns whether `text` has nothing in it that a terminal acts on: no control character, and none of
/// those that Unicode calls separators of lines or controls of direction.
pub(crate) fn is_harmless(text: &str) -> bool {
    !text.chars().any(|character| {
        character.is_control()
            || matches!(character,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}
