//! One line of an ignore file, translated to globs of `globset`.
//!
//! What a line means is decided as git's own matcher decides it, byte by byte: `?` and a class stand for
//! one byte of a name in UTF-8, `**` crosses folders only where git lets it, and a class is read by git's
//! rules before it is written down again by those of `globset`. A line git can never match yields no
//! globs; if that is because it is malformed it is an error, so that somebody can be told.

/// Longest rule in bytes: as long as a path Linux takes in one call, and short enough that every rule fits
/// an automaton and is matched quickly however deep the path. Ours; git has no limit.
pub(super) const MAX_RULE_BYTES: usize = 4096;

/// What one line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Whether the line brings back what an earlier one excluded.
    pub(super) negated: bool,
    /// Whether the line is about folders only.
    pub(super) folders_only: bool,
    /// The globs, any of which matches; none if nothing can match.
    pub(super) globs: Vec<String>,
}

/// Returns what `line` asks for, `None` for a blank line or a comment, or why it can never match.
pub(super) fn parse_line(line: &str) -> Result<Option<Pattern>, &'static str> {
    if line.len() > MAX_RULE_BYTES {
        return Err("it is longer than 4096 bytes");
    }
    if line.contains('\0') {
        return Err("it contains a NUL byte");
    }
    if line.starts_with('#') {
        return Ok(None);
    }
    let line = trim_trailing_spaces(line);
    let (negated, rest) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
    if rest.is_empty() {
        return Ok(None);
    }
    let (folders_only, body) = rest.strip_suffix('/').map_or((false, rest), |body| (true, body));
    Ok(Some(Pattern { negated, folders_only, globs: translate(body)? }))
}

/// Strips the spaces (not tabs) at the end; a backslash before a space keeps it.
fn trim_trailing_spaces(line: &str) -> &str {
    let mut end = 0;
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        if escaped || character != ' ' {
            end = at + character.len_utf8();
        }
        escaped = !escaped && character == '\\';
    }
    &line[..end]
}

/// Returns the globs of a pattern without its `!` and its `/` at the end.
fn translate(body: &str) -> Result<Vec<String>, &'static str> {
    let anchored = body.contains('/');
    let segments = parse_segments(body.strip_prefix('/').unwrap_or(body))?;
    let literal = segments.iter().take_while(|segment| segment.literal).count();
    let (before, rest) = segments.split_at(literal);
    match rest.split_first() {
        Some((crossing, after)) if crossing.crosses_after_literal && anchored && possible(before) => {
            Ok(cross_after_literal(before, crossing, after))
        }
        _ if !possible(&segments) && (!anchored || segments.iter().any(|segment| segment.deep)) => {
            Ok(Vec::new())
        }
        _ if anchored => Ok(vec![join(&parts_of(&segments))]),
        _ => Ok(segments.iter().map(|segment| format!("**/{}", segment.glob)).collect()),
    }
}

/// The globs of a pattern such as `a**/b`. Git compares the literal beginning on its own and hands
/// only the rest to its matcher, which then sees `**` at the start of a pattern and lets it cross folders,
/// so that both `ab` and `ax/y/b` match, and of `a**//b` even `a/b`.
fn cross_after_literal(before: &[Segment], crossing: &Segment, after: &[Segment]) -> Vec<String> {
    let repeated = after.iter().take_while(|next| next.deep && !next.before_escaped_slash).count();
    let after = &after[repeated..];
    let (before, mut behind) = (parts_of(before), parts_of(after));
    let mut globs = Vec::new();
    if possible(after) {
        let far = [crossing.glob.clone(), DEEP.into()];
        globs.push(join(&[&before[..], &far, &behind].concat()));
    }
    // What follows `**/` may also stand right behind the text; only there it may begin with a slash.
    if !crossing.before_escaped_slash && possible(after.get(1..).unwrap_or_default()) {
        match behind.first_mut() {
            Some(first) => first.insert_str(0, crossing.glob.trim_end_matches('*')),
            None => behind.push(crossing.glob.clone()),
        }
        globs.push(join(&[before, behind].concat()));
    }
    globs
}

/// Returns whether a key can have such segments. None has an empty one: `/`, `//a` and `a//b` match nothing but names of
/// objects that are no keys.
fn possible(segments: &[Segment]) -> bool {
    !segments.iter().any(|segment| segment.glob.is_empty())
}

/// What stands for any number of folders.
const DEEP: &str = "**";

/// What a pattern says about one segment of a name.
#[derive(Debug, Default)]
struct Segment {
    /// The glob of the segment.
    glob: String,
    /// Whether the segment is made of nothing but two or more stars.
    deep: bool,
    /// Whether it is plain text, without wildcards or escapes, and so is the slash behind it.
    literal: bool,
    /// Whether it is plain text followed by two or more stars.
    crosses_after_literal: bool,
    /// Whether the slash behind it is written `\/`; then `**` stands for one folder or more.
    before_escaped_slash: bool,
}

/// The globs of segments, `**` for any number of folders. Repeated `**` say no more than one, and a
/// thousand would cost a thousand times as much.
fn parts_of(segments: &[Segment]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for segment in segments {
        if !segment.deep {
            parts.push(segment.glob.clone());
            continue;
        }
        if segment.before_escaped_slash {
            parts.push("*".into());
        }
        if parts.last().is_none_or(|last| last != DEEP) {
            parts.push(DEEP.into());
        }
    }
    parts
}

fn join(parts: &[String]) -> String {
    match parts {
        [only] if only == DEEP => "**/*".into(),
        _ => parts.join("/"),
    }
}

/// Splits a pattern at its slashes, escaped or not, but not at those within a class.
fn parse_segments(body: &str) -> Result<Vec<Segment>, &'static str> {
    let mut segments = Vec::new();
    let mut builder = SegmentBuilder::default();
    let mut rest = body;
    while let Some(character) = take(&mut rest) {
        match character {
            '/' => segments.push(std::mem::take(&mut builder).finish(false)),
            '\\' => match take(&mut rest) {
                None => return Err("it ends with a lone backslash"),
                Some('/') => segments.push(std::mem::take(&mut builder).finish(true)),
                Some(escaped) => push_literal(builder.special(), escaped),
            },
            '*' => builder.star(),
            '?' => builder.special().push('?'),
            '[' => rest = Class::parse(rest, builder.special())?,
            plain => builder.plain(plain),
        }
    }
    segments.push(builder.finish(false));
    Ok(segments)
}

fn take(rest: &mut &str) -> Option<char> {
    let mut characters = rest.chars();
    let first = characters.next();
    *rest = characters.as_str();
    first
}

fn push_literal(glob: &mut String, character: char) {
    if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '!' | '\\') {
        glob.push('\\');
    }
    glob.push(character);
}

/// A segment while it is read.
#[derive(Debug, Default)]
struct SegmentBuilder {
    glob: String,
    /// Whether there are plain characters.
    plain: bool,
    /// How many stars were read since anything else.
    stars: usize,
    /// Whether there is more than plain characters and stars behind them.
    special: bool,
}

impl SegmentBuilder {
    fn plain(&mut self, character: char) {
        self.plain = true;
        self.special |= self.stars > 0;
        self.stars = 0;
        push_literal(&mut self.glob, character);
    }

    fn star(&mut self) {
        if self.stars == 0 {
            self.glob.push('*');
        }
        self.stars += 1;
    }

    /// Returns where to write what is neither plain nor a star.
    fn special(&mut self) -> &mut String {
        self.special = true;
        self.stars = 0;
        &mut self.glob
    }

    fn finish(self, before_escaped_slash: bool) -> Segment {
        let crosses = !self.special && self.stars >= 2;
        Segment {
            deep: crosses && !self.plain,
            crosses_after_literal: crosses && self.plain,
            literal: !self.special && self.stars == 0 && !before_escaped_slash,
            before_escaped_slash,
            glob: self.glob,
        }
    }
}

/// The bytes a class such as `[a-z]` stands for.
#[derive(Debug)]
struct Class {
    /// Which ASCII bytes are listed.
    ascii: [bool; 128],
    /// Ranges that reach beyond ASCII. `globset` writes their ends as bytes, side by side, which
    /// is how git reads them.
    beyond: Vec<(char, char)>,
}

const UNCLOSED: &str = "it has a `[` without a `]`";

impl Class {
    /// Reads the class that begins behind its `[`, adds it to `glob`, and returns what comes after it.
    fn parse<'a>(text: &'a str, glob: &mut String) -> Result<&'a str, &'static str> {
        let mut class = Self { ascii: [false; 128], beyond: Vec::new() };
        let inner = text.strip_prefix(['!', '^']);
        let mut rest = inner.unwrap_or(text);
        let mut previous = None;
        let mut first = true;
        loop {
            let character = take(&mut rest).ok_or(UNCLOSED)?;
            match (character, previous) {
                (']', _) if !first => break,
                ('\\', _) => previous = Some(class.add(take(&mut rest).ok_or(UNCLOSED)?)),
                // A hyphen at the end, or without a character before it, is one itself.
                ('-', Some(low)) if !rest.starts_with(']') => {
                    let mut high = take(&mut rest).ok_or(UNCLOSED)?;
                    if high == '\\' {
                        high = take(&mut rest).ok_or(UNCLOSED)?;
                    }
                    class.add_range(low, high);
                    previous = None;
                }
                ('[', _) if rest.starts_with(':') => {
                    previous = match named_class(rest)? {
                        Some((name, after)) => {
                            class.add_named(name)?;
                            rest = after;
                            None
                        }
                        None => Some(class.add('[')),
                    };
                }
                (plain, _) => previous = Some(class.add(plain)),
            }
            first = false;
        }
        class.write(inner.is_some(), glob);
        Ok(rest)
    }

    fn add(&mut self, character: char) -> char {
        match self.ascii.get_mut(character as usize) {
            Some(listed) => *listed = true,
            None => self.beyond.push((character, character)),
        }
        character
    }

    fn add_range(&mut self, low: char, high: char) {
        if low.is_ascii() {
            let end = (high as usize).min(127);
            (low as usize..=end).for_each(|byte| self.ascii[byte] = true);
            if !high.is_ascii() {
                self.beyond.push(('\x7f', high));
            }
        } else if !high.is_ascii() {
            // The range goes from the last byte of the one to the first byte of the other. U+0080 to
            // U+00BF end in the bytes of that name, and begin with one that every such range covers.
            let mut bytes = [0; 4];
            let last = low.encode_utf8(&mut bytes).bytes().last().unwrap_or(0x80);
            self.beyond.push((char::from(last), high.max('\u{bf}')));
            self.beyond.push((high, high));
        }
    }

    fn add_named(&mut self, name: &str) -> Result<(), &'static str> {
        let belongs: fn(u8) -> bool = match name {
            "alnum" => |b| b.is_ascii_alphanumeric(),
            "alpha" => |b| b.is_ascii_alphabetic(),
            "blank" => |b| matches!(b, b' ' | b'\t'),
            "cntrl" => |b| b.is_ascii_control(),
            "digit" => |b| b.is_ascii_digit(),
            "graph" => |b| b.is_ascii_graphic(),
            "lower" => |b| b.is_ascii_lowercase(),
            "print" => |b| b.is_ascii_graphic() || b == b' ',
            "punct" => |b| b.is_ascii_punctuation(),
            // Git's own idea of space, without vertical tab and form feed.
            "space" => |b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'),
            "upper" => |b| b.is_ascii_uppercase(),
            "xdigit" => |b| b.is_ascii_hexdigit(),
            _ => return Err("it has a `[:name:]` that is not a POSIX class"),
        };
        (0..128).filter(|byte| belongs(*byte)).for_each(|byte| self.ascii[usize::from(byte)] = true);
        Ok(())
    }

    /// Writes the class as `globset` reads it: `]` only first, `-` only last. Where `]` is not listed a NUL
    /// takes its place, which no name contains, so that `!` and `^` are never first.
    fn write(mut self, negated: bool, glob: &mut String) {
        // A class never stands for a slash.
        self.ascii[usize::from(b'/')] = negated;
        glob.push_str(if negated { "[!" } else { "[" });
        glob.push(if std::mem::take(&mut self.ascii[usize::from(b']')]) { ']' } else { '\0' });
        let hyphen = std::mem::take(&mut self.ascii[usize::from(b'-')]);
        for byte in (0..128u8).filter(|byte| self.ascii[usize::from(*byte)]) {
            glob.push(char::from(byte));
        }
        for (low, high) in self.beyond {
            glob.push(low);
            if low < high {
                glob.extend(['-', high]);
            }
        }
        glob.push_str(if hyphen { "-]" } else { "]" });
    }
}

/// Reads the `:name:]` of a `[:name:]`: the name and what comes after it, or `None` if it is none.
fn named_class(rest: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let Some((name, after)) = rest[1..].split_once(']') else { return Err(UNCLOSED) };
    Ok(name.strip_suffix(':').map(|name| (name, after)))
}
