//! Which paths are synced: gitignore rules.
//!
//! [`Rules`] are the lines of one source: one `.syncignore` file or the command line. A [`Filter`] puts the
//! sources in order: the command line's rules come first, then the `.syncignore` of the folder nearest to
//! the path, and so on to the root; within one source the last line that matches decides. What lies in
//! an excluded folder is excluded, whatever another rule says. How a line is read is decided in `pattern.rs`.
//! Everything here is as git has it, and nothing here reads a file.

use std::fmt;
use std::sync::{Arc, OnceLock};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::key::{Key, escape};

pub mod layers;
mod pattern;

/// The name of the file that holds the rules of a folder.
pub const IGNORE_FILE: &str = ".syncignore";

/// How many characters of a line an error shows.
const SHOWN_CHARACTERS: usize = 200;

/// The rules of one source, in order. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<Lines>);

/// Why a line is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The line, as it was given.
    pub line: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.line.chars();
        let shown: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
        let more = if characters.next().is_some() { "..." } else { "" };
        write!(f, "the rule `{}{more}` can never match: {}", escape(shown.as_bytes()), self.why)
    }
}

impl std::error::Error for RuleError {}

impl Rules {
    /// Returns the rules of a file's content, and the lines that are none.
    pub fn parse(text: &str) -> (Self, Vec<RuleError>) {
        let mut lines = Lines { text: text.into(), ..Lines::default() };
        let mut errors = Vec::new();
        let all = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n');
        for (number, line) in (1..).zip(all) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            match pattern::parse_line(line) {
                Ok(Some(pattern)) => lines.push(&pattern, line, number),
                Ok(None) => {}
                Err(why) => errors.push(RuleError { line: line.into(), why: why.into() }),
            }
        }
        (Self(Arc::new(lines)), errors)
    }

    /// Adds one rule behind the others.
    ///
    /// # Errors
    /// [`RuleError`] if the line is blank, a comment, or can never match because it is malformed.
    pub fn push(&mut self, line: &str) -> Result<(), RuleError> {
        let error = |why: &str| RuleError { line: line.into(), why: why.into() };
        let pattern = pattern::parse_line(line).map_err(error)?;
        let pattern = pattern.ok_or_else(|| error("it is blank or a comment"))?;
        let lines = Arc::make_mut(&mut self.0);
        let number = lines.lines.len() + 1;
        lines.push(&pattern, line, number);
        Ok(())
    }

    /// Returns the lines as they were written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.lines.is_empty()
    }

    /// Returns how many rules there are; comments, blank and invalid lines do not count.
    pub fn len(&self) -> usize {
        self.0.lines.len()
    }

    /// Returns the last line that matches.
    fn verdict(&self, path: &str, is_folder: bool, hits: &mut Vec<usize>) -> Option<&Line> {
        if self.is_empty() {
            return None;
        }
        let candidate = Candidate::new(path);
        for batch in self.0.batches().iter().rev() {
            batch.set.matches_candidate_into(&candidate, hits);
            for hit in hits.iter().rev() {
                let line = &self.0.lines[self.0.globs[batch.first + hit].0];
                if is_folder || !line.folders_only {
                    return Some(line);
                }
            }
        }
        None
    }
}

/// What a line says once one of its globs matches.
#[derive(Debug, Clone)]
struct Line {
    negated: bool,
    folders_only: bool,
    /// Where it stands in its source, from 1.
    number: usize,
    text: Box<str>,
}

/// The rule that decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The folder whose `.syncignore` has the rule (`""` is the root); `None` for one of the options.
    pub folder: Option<String>,
    /// The number of its line there, from 1; of an option, which of them it is.
    pub line: usize,
    /// The rule as it is written.
    pub rule: String,
    /// Whether it excludes; otherwise it brings back what an earlier rule excludes.
    pub excludes: bool,
    /// What it matched: the path itself or a folder that it is in.
    pub matched: String,
}

#[derive(Clone, Default)]
struct Lines {
    text: Box<str>,
    lines: Vec<Line>,
    /// Every glob, with the index of its line, in the order of the lines.
    globs: Vec<(usize, String)>,
    /// The globs compiled, when first asked: rules pushed one by one are compiled once.
    compiled: OnceLock<Vec<Batch>>,
}

/// Globs that are matched together.
#[derive(Clone)]
struct Batch {
    /// The index of the first of them.
    first: usize,
    set: GlobSet,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.globs.iter().map(|(line, glob)| (&self.lines[*line], glob))).finish()
    }
}

impl Lines {
    fn push(&mut self, pattern: &pattern::Pattern, text: &str, number: usize) {
        let line = self.lines.len();
        let pattern::Pattern { negated, folders_only, .. } = *pattern;
        self.lines.push(Line { negated, folders_only, number, text: text.into() });
        self.globs.extend(pattern.globs.iter().map(|glob| (line, glob.clone())));
        self.compiled = OnceLock::new();
    }

    fn batches(&self) -> &[Batch] {
        self.compiled.get_or_init(|| {
            let mut batches = Vec::new();
            compile(&self.globs, 0, &mut batches);
            batches
        })
    }
}

/// Compiles globs together, or by halves if they are too large for one automaton. A single line is
/// short enough to fit, so nothing is left out.
fn compile(globs: &[(usize, String)], first: usize, batches: &mut Vec<Batch>) {
    if let Ok(set) = compile_together(globs) {
        batches.push(Batch { first, set });
    } else if globs.len() > 1 {
        let (left, right) = globs.split_at(globs.len() / 2);
        compile(left, first, batches);
        compile(right, first + left.len(), batches);
    }
}

fn compile_together(globs: &[(usize, String)]) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for (_, glob) in globs {
        builder.add(GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build()?);
    }
    builder.build()
}

/// All rules in force while a tree is walked in the order of its keys.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    command_line: Rules,
    /// The `.syncignore` rules of the folders the walk is in, outermost first.
    nested: Vec<(String, Rules)>,
    /// The folder judged last: neither it nor a folder above it is excluded, unless the next field says so.
    judged: String,
    /// Whether the folder judged last is itself excluded. The folders above it never are.
    judged_excluded: bool,
    /// Room for the globs that match, kept from call to call.
    hits: Vec<usize>,
}

impl Filter {
    /// Returns a filter with the rules of the command line, which precede those of every `.syncignore`.
    pub fn new(rules: Rules) -> Self {
        Self { command_line: rules, ..Self::default() }
    }

    /// Takes in the `.syncignore` rules of `folder` (`""` is the root) and drops those of folders that
    /// `folder` is not in. Keys in byte order never come back to a folder they have left.
    pub fn enter(&mut self, folder: &str, rules: Rules) {
        let folder = folder.trim_end_matches('/');
        self.nested.retain(|(outer, _)| outer != folder && relative(folder, outer).is_some());
        if !rules.is_empty() {
            self.nested.push((folder.into(), rules));
        }
        self.judged.clear();
        self.judged_excluded = false;
    }

    /// Returns whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.command_line.is_empty() && self.nested.is_empty()
    }

    /// Returns whether `folder` or a folder it is in is excluded, and with it everything below.
    /// The root (`""`) never is.
    pub fn excludes_folder(&mut self, folder: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let folder = folder.trim_end_matches('/');
        let known = common_folder(&self.judged, folder);
        if self.judged_excluded && known == self.judged.len() {
            return true;
        }
        let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
        for end in ends.filter(|end| *end > known) {
            if self.decide(&folder[..end], true) {
                self.judge(&folder[..end], true);
                return true;
            }
        }
        self.judge(folder, false);
        false
    }

    /// Returns whether the file `key` is excluded, by itself or by a folder it is in.
    pub fn excludes(&mut self, key: &Key) -> bool {
        if self.is_empty() {
            return false;
        }
        key.parent().is_some_and(|parent| self.excludes_folder(parent)) || self.decide(key.as_str(), false)
    }

    /// Returns whether rules exclude what has a name that is no key, as it is written or without the slashes that are too many.
    pub fn excludes_name(&mut self, name: &str, is_folder: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let segments: Vec<&str> = name.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
        [name, &segments.join("/")].into_iter().any(|path| {
            let mut folders = path.match_indices('/').map(|(end, _)| path[..end].trim_end_matches('/'));
            folders.any(|folder| !folder.is_empty() && self.decide(folder, true))
                || self.decide(path, is_folder)
        })
    }

    fn judge(&mut self, folder: &str, excluded: bool) {
        self.judged.clear();
        self.judged.push_str(folder);
        self.judged_excluded = excluded;
    }

    /// Returns the rule that decided about the file `key`, by itself or by a folder it is in; `None` if no rule matches.
    pub fn decision(&mut self, key: &Key) -> Option<Decision> {
        let path = key.as_str();
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        let excluded = folders.filter(|folder| self.decide(folder, true)).map(str::to_owned).next();
        let (matched, is_folder) = excluded.as_deref().map_or((path, false), |folder| (folder, true));
        let (folder, line) = self.deciding(matched, is_folder)?;
        Some(Decision {
            folder: folder.map(str::to_owned),
            line: line.number,
            rule: line.text.to_string(),
            excludes: !line.negated,
            matched: matched.to_owned(),
        })
    }

    /// Judges one path, whatever the folders it is in.
    fn decide(&mut self, path: &str, is_folder: bool) -> bool {
        self.deciding(path, is_folder).is_some_and(|(_, line)| !line.negated)
    }

    /// Returns the rule that decides about a path, whatever the folders it is in, and the folder whose rule it is.
    fn deciding(&mut self, path: &str, is_folder: bool) -> Option<(Option<&str>, &Line)> {
        let Self { command_line, nested, hits, .. } = self;
        // Rules of a folder the walk has left stay until the next is entered; `relative` passes them over.
        let mut sources = std::iter::once((None, &*command_line))
            .chain(nested.iter().rev().map(|(folder, rules)| (Some(folder.as_str()), rules)));
        sources.find_map(|(folder, rules)| {
            let line = rules.verdict(relative(path, folder.unwrap_or_default())?, is_folder, hits)?;
            Some((folder, line))
        })
    }
}

/// Returns the part of `path` below `folder`, if it is below it.
fn relative<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    match folder {
        "" => Some(path),
        _ => path.strip_prefix(folder)?.strip_prefix('/'),
    }
}

/// Returns the length of the longest folder that both `left` and `right` are or are in.
fn common_folder(left: &str, right: &str) -> usize {
    let same = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
    let ends = |path: &str| path.len() == same || path.as_bytes()[same] == b'/';
    if ends(left) && ends(right) {
        return same;
    }
    left.as_bytes()[..same].iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests;
