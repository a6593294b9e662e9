//! `filter.rs` and `filter/pattern.rs` against git: its answers written down, and git itself.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

#[derive(Deserialize)]
struct Vector {
    rules: Vec<String>,
    path: String,
    ignored: bool,
    #[serde(default)]
    nested: BTreeMap<String, Vec<String>>,
}

fn rules(lines: &[&str]) -> Rules {
    let (rules, errors) = Rules::parse(&lines.join("\n"));
    assert_eq!(errors, [], "{lines:?}");
    rules
}

fn root(text: &str) -> Filter {
    let mut filter = Filter::default();
    filter.enter("", Rules::parse(text).0);
    filter
}

fn excludes(text: &str, path: &str) -> bool {
    root(text).excludes(&Key::parse(path).unwrap())
}

fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

#[test]
fn every_vector_gets_gits_answer() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/data/ignore_vectors.json")).unwrap();
    assert_eq!(vectors.len(), 119);
    for vector in vectors {
        let mut filter = root(&vector.rules.join("\n"));
        for (folder, lines) in &vector.nested {
            filter.enter(folder.trim_end_matches('/'), Rules::parse(&lines.join("\n")).0);
        }
        let answer = filter.excludes(&key(&vector.path));
        assert_eq!(answer, vector.ignored, "{:?} {:?} {}", vector.rules, vector.nested, vector.path);
    }
}

#[test]
fn names_that_are_no_keys_can_be_excluded_too() {
    for (rule, name, is_folder, expected) in [
        ("*.jpg", "2026/1//photo.jpg", false, true),
        ("2026/1//*", "2026/1//photo.jpg", false, true),
        ("2026/1/*", "2026/1//photo.jpg", false, true),
        ("2026/1//photo.jpg", "2026/1//photo.jpg", false, true),
        ("2026//1/photo.jpg", "2026/1//photo.jpg", false, false),
        ("//lead.txt", "/lead.txt", false, true),
        ("1/", "2026/1//photo.jpg", false, true),
        ("2025/", "2026/1//photo.jpg", false, false),
        ("/lead.txt", "/lead.txt", false, true),
        ("lead.*", "/lead.txt", false, true),
        ("/x", "./x", false, true),
        ("a/b", "a/./b", false, true),
        ("name-*", "d/name-\u{fffd}", false, true),
        ("name-*/", "d/name-\u{fffd}", true, true),
        ("name-*/", "d/name-\u{fffd}", false, false),
        ("*", "//", false, true),
    ] {
        assert_eq!(root(rule).excludes_name(name, is_folder), expected, "{rule} {name}");
    }
    assert!(!Filter::default().excludes_name("//", false));
}

#[test]
fn stars_cross_folders_only_where_git_lets_them() {
    for (rule, yes, no) in [
        ("a/**/b", "a/b a/x/b a/x/y/b", "x/a/b ab"),
        ("**\\/b", "a/b a/c/b", "b"),
        ("x/**b", "x/b x/ab", "x/a/b"),
        ("?**/b", "a/b ab/b", "ab a/c/b"),
        // Behind a literal beginning `**` is at the start of what git's matcher is handed.
        ("a**/b", "ab a/b ax/b ax/y/b", "b xa/b abb"),
        ("/a**//b", "a/b", "ab ax/b a/x/b"),
        ("x/a**//", "x/a/y", "x/a x/ab/y a/y"),
        ("a**/**/b", "ab a/b ax/y/b", "b abb"),
        // A slash written `\/` has to be there.
        ("a**/**\\/b", "a/b a/x/b ax/y/b", "b ab"),
        ("a**\\/b", "a/b a/x/b ax/y/b", "b ab"),
        // A beginning with a wildcard is not literal, whatever follows the wildcard.
        ("*a/b**/c", "a/b/c xa/bx/c", "a/bc xa/bc xa/b/y/c"),
    ] {
        assert!(yes.split(' ').all(|path| excludes(rule, path)), "{rule}");
        assert!(!no.split(' ').any(|path| excludes(rule, path)), "{rule}");
    }
}

#[test]
fn a_class_or_a_question_mark_is_one_byte() {
    for (rule, yes, no) in [
        ("caf?", "cafe", "café"),
        ("caf??", "café", "cafe"),
        ("[é][é]", "é", "è"),
        ("x[!é]y", "xay", "xéy"),
        // The ends of a range are the last byte of the one and the first of the other.
        ("[¿-©x]", "x", "y"),
        ("[¼-©][¼-©]", "¼ ½ ©", "® é"),
        ("[ü-é][ü-é]", "ü é ¿", "» è"),
    ] {
        assert!(yes.split(' ').all(|path| excludes(rule, path)), "{rule}");
        assert!(!no.split(' ').any(|path| excludes(rule, path)), "{rule}");
    }
}

#[test]
fn files_may_have_a_mark_and_carriage_returns() {
    assert!(excludes("\u{feff}a\r\n\r\nb\r", "a") && excludes("\u{feff}a\r\n\r\nb\r", "b"));
    assert!(!excludes("a\tb \t", "a\tb") && excludes("a\\\\  ", "a\\"));
    let (rules, errors) = Rules::parse("# x\r\n\r\n  \n!\na\n");
    assert_eq!((rules.len(), errors.len()), (1, 0));
}

#[test]
fn the_command_line_decides_then_the_nearest_folder() {
    let mut filter = Filter::new(rules(&["*.tmp", "!keep.tmp", "/top"]));
    filter.enter("", rules(&["keep.tmp", "!x.tmp", "*.o", "!*.c", "y"]));
    filter.enter("d", rules(&["!*.o", "/here", "top", "*.c"]));
    filter.enter("d/e", rules(&["y.o", "!/y"]));
    for (path, excluded) in [
        ("d/x.tmp", true),     // the command line over the root's `!x.tmp`
        ("d/keep.tmp", false), // the command line's last match over the root's
        ("d/a.o", false),      // the nearer `!*.o` over the root's `*.o`
        ("d/e/a.o", false),    // no match in d/e, so d decides
        ("d/e/y.o", true),     // d/e over d
        ("d/e/y", false),      // d/e over the root
        ("d/y", true),
        ("d/here", true),
        ("d/e/here", false), // anchored at d
        ("d/top", true),
        ("d/a.c", true),
        ("top", true),
    ] {
        assert_eq!(filter.excludes(&key(path)), excluded, "{path}");
    }
}

#[test]
fn what_lies_in_an_excluded_folder_is_never_brought_back() {
    let mut filter = Filter::new(rules(&["!d/x"]));
    filter.enter("", rules(&["d/"]));
    filter.enter("d", rules(&["!*"]));
    assert!(filter.excludes_folder("d") && filter.excludes_folder("d/e"));
    assert!(filter.excludes(&key("d/x")) && filter.excludes(&key("d/e/x")));
    assert!(!filter.excludes(&key("d")), "the rule is about folders");
    assert!(!filter.excludes_folder("") && !filter.excludes_folder("de"));
}

#[test]
fn entering_a_folder_leaves_those_it_is_not_in() {
    let mut filter = Filter::default();
    filter.enter("", rules(&["r"]));
    filter.enter("a", rules(&["x"]));
    filter.enter("a/b", rules(&["y"]));
    assert!(filter.excludes(&key("a/x")) && filter.excludes(&key("a/b/x")) && filter.excludes(&key("a/b/y")));
    assert!(!filter.excludes(&key("x")) && !filter.excludes(&key("ab/x")) && !filter.excludes(&key("a/y")));
    filter.enter("a/c", rules(&["z"]));
    assert_eq!(filter.nested.len(), 3);
    assert!(
        filter.excludes(&key("a/c/x")) && filter.excludes(&key("a/c/z")) && !filter.excludes(&key("a/c/y"))
    );
    filter.enter("a/c", Rules::default());
    assert!(!filter.excludes(&key("a/c/z")), "a folder's rules are replaced");
    filter.enter("ab", rules(&["w"]));
    assert_eq!(filter.nested.iter().map(|(folder, _)| folder.as_str()).collect::<Vec<_>>(), ["", "ab"]);
    for folder in ["b", "c/d", "c/e", "f"] {
        filter.enter(folder, rules(&["w"]));
    }
    assert_eq!(filter.nested.len(), 2, "as deep as the tree, not as wide");
    assert!(filter.excludes(&key("f/r")));
    filter.enter("", Rules::default());
    assert!(filter.is_empty() && !filter.excludes(&key("r")) && !filter.excludes_folder("r"));
}

#[test]
fn entering_forgets_what_was_judged() {
    let mut filter = root("d");
    assert!(filter.excludes_folder("d") && filter.excludes(&key("d/e/f")));
    filter.enter("", rules(&["/e"]));
    assert!(!filter.excludes_folder("d") && !filter.excludes(&key("d/e/f")));
    filter.enter("d", rules(&["/e"]));
    assert!(filter.excludes(&key("d/e/f")));
}

#[test]
fn folders_judged_are_not_judged_again() {
    let mut filter = root("/a/x");
    for (folder, excluded, judged) in
        [("a/b/c", false, "a/b/c"), ("a/x/y", true, "a/x"), ("a/x/z", true, "a/x"), ("a", false, "a")]
    {
        assert_eq!(filter.excludes_folder(folder), excluded, "{folder}");
        assert_eq!((filter.judged.as_str(), filter.judged_excluded), (judged, excluded), "{folder}");
    }
    for (left, right, common) in [
        ("", "a", ""),
        ("a", "a", "a"),
        ("a/b", "a", "a"),
        ("a/b", "a/c", "a"),
        ("a/bc", "a/bd", "a"),
        ("a/b/c", "a/b/d", "a/b"),
        ("a/b", "a/bc/d", "a"),
        ("ab", "ac", ""),
        ("a", "ab", ""),
        ("é/a", "è/a", ""),
    ] {
        assert_eq!(common_folder(left, right), common.len(), "{left} {right}");
        assert_eq!(common_folder(right, left), common.len(), "{left} {right}");
    }
}

#[test]
fn b47_invalid_lines_match_nothing_and_are_named() {
    for line in
        ["a[b", "a\\", "[[:nope:]]", "[", "[a", "[]", "[!]", "[a-\\", "[[:alpha:]", "a\\/", "a\0b", "![a"]
    {
        let (parsed, errors) = Rules::parse(&format!("x\n{line}\ny"));
        assert_eq!((parsed.len(), errors.len()), (2, 1), "{line}");
        assert_eq!(errors[0].line, line);
        let mut pushed = rules(&["x"]);
        assert_eq!(pushed.push(line).unwrap_err(), errors[0]);
        assert_eq!(pushed.len(), 1);
    }
    for line in ["", "  ", "# x", "!", "!  "] {
        assert!(Rules::default().push(line).is_err(), "{line}");
    }
    let long = "a".repeat(pattern::MAX_RULE_BYTES + 1);
    let shown = Rules::default().push(&long).unwrap_err().to_string();
    assert!(shown.len() < 300 && shown.contains("longer"), "{shown}");
    assert_eq!(
        Rules::default().push("\u{1b}[").unwrap_err().to_string(),
        "the rule `\\u{1b}[` can never match: it has a `[` without a `]`"
    );
}

#[test]
fn b47_extreme_rules_stay_cheap() {
    let deep = key(&vec!["a"; 1000].join("/"));
    for (line, excluded) in [
        ("**/".repeat(1000) + "a", true),
        ("**/".repeat(1000) + "b", false),
        ("**/a/".repeat(800) + "b", false),
        ("**/a/".repeat(800) + "a", true),
        ("*".repeat(4_096), true),
        ("*a".repeat(2_048), false),
        ("*?".repeat(2_048), false),
        ("[[:punct:]]".repeat(372), false),
        ("x".repeat(4_096), false),
        ("x**/".repeat(1_024), false),
    ] {
        let mut filter = root(&line);
        assert_eq!(filter.excludes(&deep), excluded, "{}", &line[..12]);
        assert_eq!(filter.nested[0].1.0.batches().len(), 1, "{}", &line[..12]);
    }
    let many: Vec<String> = (0..100).map(|n| format!("{}{n}", "*?[!b]".repeat(500))).collect();
    let mut filter = root(&format!("a*\n{}\n!ab", many.join("\n")));
    assert!(filter.nested[0].1.0.batches().len() > 1, "too large for one automaton");
    assert!(filter.excludes(&key("aa")) && !filter.excludes(&key("ab")));
}

#[test]
fn b47_a_rule_may_exclude_everything() {
    for line in ["*", "**", "/**", "/*", "**/*", "***", "?*"] {
        let mut filter = root(line);
        assert!(filter.excludes(&key("a")) && filter.excludes(&key("a/b")), "{line}");
        assert!(filter.excludes_folder("a") && !filter.excludes_folder(""), "{line}");
        assert!(filter.excludes(&key(IGNORE_FILE)), "{line}");
    }
    let mut none = Filter::default();
    assert!(none.is_empty() && !none.excludes(&key("a")) && !none.excludes_folder("a"));
}

#[test]
fn rules_show_their_globs() {
    let shown = format!("{:?}", rules(&["*.o", "!a.o"]));
    assert!(shown.contains("*.o") && shown.contains("negated: true"), "{shown}");
}

#[test]
fn rules_are_pushed_without_touching_their_clones() {
    let mut first = Rules::default();
    first.push("*.o").unwrap();
    assert!(Filter::new(first.clone()).excludes(&key("a.o")));
    let mut second = first.clone();
    second.push("!a.o").unwrap();
    second.push("/").unwrap();
    assert_eq!((first.len(), second.len(), first.is_empty()), (1, 3, false));
    assert!(Filter::new(first).excludes(&key("a.o")) && !Filter::new(second).excludes(&key("a.o")));
}

fn shared<T: Send + Sync + Clone + Default>() {}

proptest! {
    #[test]
    fn nothing_panics(
        text in prop_oneof![".{0,60}", "[\\[\\]!^:a/*?\\\\{},é \n-]{0,60}", proptest::string::string_regex("(?s).{0,30}").unwrap()],
        folders in prop::collection::vec("[ab/é*]{0,6}|.{0,8}", 0..5),
        names in prop::collection::vec("[ab/é]{1,8}|.{1,8}", 0..5),
    ) {
        shared::<Filter>();
        let (parsed, errors) = Rules::parse(&text);
        assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        let mut filter = Filter::new(parsed.clone());
        drop(Rules::default().push(&text));
        for folder in &folders {
            filter.enter(folder, parsed.clone());
            filter.excludes_folder(folder);
            for name in &names {
                filter.excludes_folder(name);
                if let Ok(name) = Key::parse(name) {
                    let answer = filter.excludes(&name);
                    let mut fresh = filter.clone();
                    fresh.judge("", false);
                    prop_assert_eq!(answer, fresh.excludes(&name));
                }
            }
        }
    }
}

/// A generator of numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn join(&mut self, from: &[&str], most: usize, between: &str) -> String {
        (0..=self.below(most)).map(|_| self.pick(from)).collect::<Vec<_>>().join(between)
    }
}

/// Pieces of rules, the common ones more than once.
const PIECES: &[&str] = &[
    "a",
    "a",
    "a",
    "b",
    "b",
    "/",
    "/",
    "/",
    "*",
    "*",
    "**",
    "**/",
    "/**",
    "/**/",
    "?",
    "[ab]",
    "[!a]",
    "[^b-]",
    "[a-]",
    "[b-a]",
    "[]a]",
    "[/a]",
    "[!/]",
    "[.-b]",
    "[--0]",
    "[\\]a]",
    "[[:alpha:]]",
    "[[:x:]]",
    "[[:]",
    "[[a]",
    "[é]",
    "[!é]",
    "[a-é]",
    "[ü-é]",
    "[©-¿]",
    "[¿-©x]",
    "[—-é]",
    "é",
    "\\",
    "\\a",
    "\\*",
    "\\/",
    " ",
    "\\ ",
    "!",
    "#",
    "[",
    "]",
    "{a,b}",
    "{",
    "-",
    "^",
    ",",
    ".",
    "\t",
    "\\\\",
    "ab",
    "[a-b-é]",
    "[a-\\é]",
    "***",
];
const NAMES: &[&str] = &[
    "a", "a", "a", "a", "b", "b", "b", "ab", "ab", "ba", "aa", "abb", "é", "aé", "ü", "©", "¿", "-", "a b",
    "a ", " ", "{a,b}", "{", "[", "]", "*", "\\", "!", "!a", "#", "#a", "^", "a.", ".a", "a.b", ",", "/",
    "\t", "0",
];

#[derive(Default)]
struct Case {
    root: String,
    nested: String,
    paths: BTreeSet<String>,
}

/// Rules for a root and its folder `a`, and paths to judge, in the order of a walk.
fn generate(dice: &mut Dice) -> Case {
    let mut lines = |most: usize| {
        let line = |dice: &mut Dice| {
            let bang = if dice.below(4) == 0 { "!" } else { "" };
            let slash = if dice.below(5) == 0 { "/" } else { "" };
            format!("{bang}{}{slash}", dice.join(PIECES, 5, ""))
        };
        (0..dice.below(most + 1)).map(|_| line(dice)).collect::<Vec<_>>().join("\n")
    };
    let (root, nested) = (lines(4), lines(3));
    let mut paths = BTreeSet::new();
    while paths.len() < 25 {
        let path = dice.join(NAMES, 4, "/");
        if Key::parse(&path).is_ok() {
            paths.insert(path);
        }
    }
    Case { root, nested, paths }
}

/// One case for each named class, with every ASCII character a name can have.
fn named_classes() -> impl Iterator<Item = Case> {
    let names = "alnum alpha blank cntrl digit graph lower print punct space upper xdigit";
    names.split(' ').map(|name| Case {
        root: format!("x[[:{name}:]]\ny[^[:{name}:]x]"),
        paths: (1..=127u8)
            .filter(|byte| *byte != b'/')
            .flat_map(|byte| [format!("x{}", char::from(byte)), format!("y{}", char::from(byte))])
            .collect(),
        ..Case::default()
    })
}

fn git(at: &std::path::Path) -> Command {
    let mut git = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES"] {
        git.env_remove(variable);
    }
    git.current_dir(at).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.args(["-c", "core.excludesFile=/dev/null", "-c", "core.ignoreCase=false", "-c", "init.templateDir="]);
    git
}

#[expect(clippy::disallowed_methods, reason = "tests learn from the environment what must not be skipped")]
fn git_is_installed() -> bool {
    let installed = Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        assert!(std::env::var_os("SYNCENGINE_REQUIRE_ALL").is_none(), "git is not installed");
        eprintln!("skipped: git is not installed");
    }
    installed
}

/// A rule that git says decided: the folder whose rules it is of, its line, and whether it excludes.
type Gits = (String, usize, bool);

/// Lays the cases out as folders of one repository and returns which rule git says decided about each path.
fn ask_git(at: &std::path::Path, cases: &[Case]) -> BTreeMap<String, Gits> {
    let mut questions = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let top = at.join(n.to_string());
        std::fs::create_dir_all(top.join("a")).unwrap();
        std::fs::write(top.join(".gitignore"), &case.root).unwrap();
        std::fs::write(top.join("a/.gitignore"), &case.nested).unwrap();
        // Some of the paths are folders, the others are nothing and count as files.
        for folder in case.paths.iter().step_by(4) {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        case.paths.iter().for_each(|path| questions.extend(format!("{n}/{path}\0").bytes()));
    }
    assert!(git(at).args(["init", "-q"]).status().unwrap().success());
    std::fs::write(at.join("questions"), questions).unwrap();
    let questions = Stdio::from(std::fs::File::open(at.join("questions")).unwrap());
    let output = git(at)
        .args(["check-ignore", "--no-index", "-v", "-z", "--stdin"])
        .stdin(questions)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let fields: Vec<&str> = text.split_terminator('\0').collect();
    let (answers, rest) = fields.as_chunks::<4>();
    assert!(rest.is_empty(), "{rest:?}");
    let answer = |[source, line, rule, path]: &[&str; 4]| {
        let folder = source.strip_suffix("/.gitignore").unwrap();
        let (_, folder) = folder.split_once('/').unwrap_or((folder, ""));
        ((*path).to_owned(), (folder.to_owned(), line.parse().unwrap(), !rule.starts_with('!')))
    };
    answers.iter().map(answer).collect()
}

#[test]
fn generated_rules_get_gits_answer() {
    if !git_is_installed() {
        return;
    }
    let mut dice = Dice(47);
    let mut cases: Vec<_> = (0..600).map(|_| generate(&mut dice)).collect();
    cases.extend(named_classes());
    let at = tempfile::tempdir().unwrap();
    let gits = ask_git(at.path(), &cases);
    let (mut yes, mut no) = (0, 0);
    for (n, case) in cases.iter().enumerate() {
        let mut filter = root(&case.root);
        filter.enter("a", Rules::parse(&case.nested).0);
        for path in &case.paths {
            let folder = at.path().join(n.to_string()).join(path).is_dir();
            let ours = if folder { filter.excludes_folder(path) } else { filter.excludes(&key(path)) };
            let gits = gits.get(&format!("{n}/{path}"));
            let excluded = gits.is_some_and(|(_, _, excludes)| *excludes);
            assert_eq!(ours, excluded, "{:?} {:?} {path:?} (a folder: {folder})", case.root, case.nested);
            if !folder {
                let decision = filter.decision(&key(path));
                let ours = decision.map(|found| (found.folder.unwrap(), found.line, found.excludes));
                assert_eq!(ours.as_ref(), gits, "{:?} {:?} {path:?}", case.root, case.nested);
            }
            *(if ours { &mut yes } else { &mut no }) += 1;
        }
    }
    assert!(yes > 2_000 && no > 2_000, "{yes} excluded, {no} not");
}

#[test]
fn a_decision_names_the_rule_and_what_it_matched() {
    let mut options = Rules::default();
    options.push("*.tmp").unwrap();
    options.push("!keep.tmp").unwrap();
    let mut filter = Filter::new(options);
    filter.enter("", Rules::parse("# mine\n\n/build/\r\n*.log\n").0);
    filter.enter("a", Rules::parse("!b.log\n").0);
    for (path, expected) in [
        ("a/x.tmp", "options 1 *.tmp excludes a/x.tmp"),
        ("keep.tmp", "options 2 !keep.tmp brings back keep.tmp"),
        ("build/c/x", "'' 3 /build/ excludes build"),
        ("a/c.log", "'' 4 *.log excludes a/c.log"),
        ("a/b.log", "'a' 1 !b.log brings back a/b.log"),
        ("a/b", "nothing"),
    ] {
        let shown = filter.decision(&key(path)).map_or("nothing".into(), |found| {
            let source = found.folder.map_or("options".into(), |folder| format!("'{folder}'"));
            let says = if found.excludes { "excludes" } else { "brings back" };
            format!("{source} {} {} {says} {}", found.line, found.rule, found.matched)
        });
        assert_eq!(shown, expected, "{path}");
    }
}
