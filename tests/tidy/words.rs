//! The rule for words, executed: subjects open sentences, names are unique, prose wraps, and commit
//! subjects begin with a verb.
//!
//! The rule and its reasons are in CONTRIBUTING.md, *Words*.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders whose Rust files hold prose.
const FOLDERS: &[&str] = &["src", "tests", "benches", "fuzz", "examples"];

/// Folders that tools fill.
const GENERATED: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// The documents beside the code.
const DOCUMENTS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "DECISIONS.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];

/// A comment line that opens with one of these asks a riddle before it names its subject.
const OPENERS: &[&str] =
    &["What", "Who", "Whoever", "Whom", "Where", "How", "Why", "Of", "By", "That", "The same"];

/// Lines with such an opener, of 1,000 comment lines.
const OPENERS_PER_THOUSAND_MAX: usize = 15;

/// Words that hide the subject, or that have a plainer synonym.
const FORBIDDEN: &[&str] = &[
    "nobody",
    "somebody",
    "everybody",
    "whoever",
    "told",
    "said",
    "heard",
    "news",
    "in place of",
    "so many",
    "none of ours",
    "be it",
];

/// The most columns of a line of prose.
const COLUMNS_MAX: usize = 100;

/// Type names that several modules may define, because each is always written behind its module.
const SHARED_NAMES: &[&str] = &["Options", "Metrics", "Error"];

/// The last commit before the rule for commit subjects.
const SUBJECTS_SINCE: &str = "4493a2fa545d7c529251e26c9843ebb16ec25b8a";

/// Verbs, in the imperative, that open a commit subject.
const VERBS: &str = "\
    accept add admit allow answer apply ask assert attach avoid ban bind bound break bring \
    budget build bump bury cache call cap carry change check choose clarify clean close \
    collapse collect compare compress compute confirm connect convert correct count cover \
    cross cut decide declare decode define delete demand deny derive describe detect \
    disconnect distinguish document draw drop emit encrypt end enforce ensure escape exclude \
    expect expire explain export expose extend extract fail fetch fill fit fix flush follow forbid \
    format forward \
    free freeze freshen gate generate give group grow guard handle harden hash heed hide hold \
    ignore import include index initialise inline interrupt introduce invalidate isolate join \
    judge keep key know label land leave let lift limit link list load lock log lower make map mark \
    mask match measure merge move name narrow negotiate note notify number obey offer omit \
    open order own pad pair parse pass pause permit pick pin place plan plant plot point poll \
    prefer prefix print probe promise protect prove publish pull purge push put quote raise \
    reach read rebuild receive record redirect redraw reduce reflow refresh refuse regenerate \
    register reject release reload remember remove rename repair repeat replay rephrase replace \
    report require reserve reset resolve respect restore resume retire retry satisfy return reuse \
    revert reword rework rewrite rotate round run sample save say scale scan seal seed select \
    send separate serve set share shed shorten show shrink sign simplify simulate skip \
    snapshot sort speed spell spare split spread stamp standardise start state stop store straighten \
    stream strip supply support suppress survive swap switch take teach tell test throttle \
    tidy time tolerate touch trace track treat trim truncate trust try tune turn unify unpin \
    update use validate verify wait wake warn widen wire withdraw withhold word wrap write \
";

/// One line of prose, and its place.
struct Prose {
    place: String,
    text: String,
    columns: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file, by its path from the root.
fn rust_files() -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !GENERATED.contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.len() > 200, "the walk found the Rust files");
    files
}

/// The text of a comment line, without its slashes.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    let text = text.strip_prefix(['/', '!']).unwrap_or(text);
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// Every comment line of the Rust files.
fn comments() -> Vec<Prose> {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            let Some(text) = comment(line) else { continue };
            if text.starts_with("```") {
                in_code = !in_code;
            } else if !in_code {
                found.push(Prose {
                    place: format!("{path}:{}", number + 1),
                    text: text.to_owned(),
                    columns: line.chars().count(),
                });
            }
        }
    }
    found
}

/// Every line of the documents outside code blocks.
fn document_lines() -> Vec<Prose> {
    let mut found = Vec::new();
    for name in DOCUMENTS {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if !in_code {
                found.push(Prose {
                    place: format!("{name}:{}", number + 1),
                    text: line.to_owned(),
                    columns: line.chars().count(),
                });
            }
        }
    }
    found
}

/// String literals of a line that read like prose: they hold a space.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2).filter(|text| text.contains(' '))
}

/// Texts that the program shows: string literals of `src` outside its tests.
fn shown_texts() -> Vec<Prose> {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        if !path.starts_with("src/") || path.contains("/tests") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| comment(line).is_none()) {
            for literal in literals(line) {
                found.push(Prose {
                    place: format!("{path}:{}", number + 1),
                    text: literal.to_owned(),
                    columns: 0,
                });
            }
        }
    }
    found
}

fn opens_badly(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '`' && c != '[');
    OPENERS.iter().any(|opener| {
        text.strip_prefix(opener).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    })
}

/// The forbidden word in a text, as a whole word in any case.
fn forbidden(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    FORBIDDEN.iter().copied().find(|word| {
        text.match_indices(word).any(|(at, _)| {
            let is_inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let before = text.get(..at).and_then(|text| text.chars().next_back());
            let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
            !is_inside(before) && !is_inside(after)
        })
    })
}

fn listed(lines: &[String]) -> String {
    lines.join("\n")
}

#[test]
fn comments_open_with_their_subject() {
    let comments = comments();
    let odd: Vec<_> = comments
        .iter()
        .filter(|line| opens_badly(&line.text))
        .map(|line| format!("{}: {}", line.place, line.text))
        .collect();
    let bound = comments.len() * OPENERS_PER_THOUSAND_MAX / 1_000;
    assert!(
        odd.len() <= bound,
        "{} of {} comment lines, more than {bound}:\n{}",
        odd.len(),
        comments.len(),
        listed(&odd)
    );
}

#[test]
fn forbidden_words_are_absent() {
    let odd: Vec<_> = comments()
        .into_iter()
        .chain(document_lines())
        .chain(shown_texts())
        .filter(|line| !line.place.starts_with("tests/tidy"))
        .filter_map(|line| forbidden(&line.text).map(|word| format!("{}: \"{word}\"", line.place)))
        .collect();
    assert!(odd.is_empty(), "{} places:\n{}", odd.len(), listed(&odd));
}

#[test]
fn prose_wraps() {
    let is_prose = |text: &str| {
        // A row of a table cannot wrap, and a word without a space has nowhere to.
        !text.trim_start().starts_with('|') && text.trim().contains(' ')
    };
    let odd: Vec<_> = comments()
        .into_iter()
        .chain(document_lines())
        .filter(|line| line.columns > COLUMNS_MAX && is_prose(&line.text))
        .map(|line| format!("{}: {} columns", line.place, line.columns))
        .collect();
    assert!(odd.is_empty(), "{} lines:\n{}", odd.len(), listed(&odd));
}

/// The name that a line defines, if it defines a type of a module (also inside `labels!`).
fn defined(line: &str) -> Option<&str> {
    let indent = line.len() - line.trim_start().len();
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let (kind, rest) = line.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "union"].contains(&kind);
    // `type` inside of a block is an associated type.
    if (!is_type && kind != "type") || indent > 4 || (kind == "type" && indent > 0) {
        return None;
    }
    let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
    name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(name)
}

#[test]
fn type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_files().iter().filter(|(path, _)| path.starts_with("src/")) {
        for name in text.lines().filter_map(defined) {
            places.entry(name.to_owned()).or_default().push(path.clone());
        }
    }
    assert!(places.len() > 300, "the walk found the types");
    let twice: Vec<_> = places
        .iter()
        .filter(|(name, places)| places.len() > 1 && !SHARED_NAMES.contains(&name.as_str()))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(twice.is_empty(), "{} names:\n{}", twice.len(), listed(&twice));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root()).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a subject is `scope: verb ...`, with a verb in the imperative.
fn begins_with_a_verb(subject: &str) -> bool {
    let Some((_, change)) = subject.split_once(": ") else { return false };
    let word = change.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or_default();
    VERBS.split_whitespace().any(|verb| verb == word)
}

#[test]
fn commit_subjects_begin_with_a_verb() {
    if git(&["rev-parse", "--git-dir"]).is_none() {
        println!("not a checkout of git: there are no subjects to look at");
        return;
    }
    let release = git(&["describe", "--tags", "--abbrev=0", "--match", "v*"]);
    let since = release.as_deref().map_or(SUBJECTS_SINCE, str::trim);
    let Some(subjects) = git(&["log", "--no-merges", "--format=%s", &format!("{since}..HEAD")]) else {
        // A shallow clone does not have the commit.
        assert_eq!(git(&["rev-parse", "--is-shallow-repository"]).as_deref(), Some("true\n"));
        return;
    };
    let odd: Vec<_> =
        subjects.lines().filter(|line| !begins_with_a_verb(line)).map(ToOwned::to_owned).collect();
    assert!(odd.is_empty(), "{} subjects:\n{}", odd.len(), listed(&odd));
}

#[test]
fn the_rules_find_what_they_forbid() {
    for (text, is_odd) in [
        ("What it is.", true),
        ("- Who asks.", true),
        ("The same without it.", true),
        ("**How** it ends.", true),
        ("Whatever comes.", false),
        ("Offers a permit.", false),
        ("`What` is a type.", false),
        ("The worker asks.", false),
    ] {
        assert_eq!(opens_badly(text), is_odd, "{text}");
    }
    for (text, word) in [
        ("Nobody waits.", Some("nobody")),
        ("it comes in place of the other", Some("in place of")),
        ("a newsletter, retold", None),
        ("the news.", Some("news")),
    ] {
        assert_eq!(forbidden(text), word, "{text}");
    }
    for (line, name) in [
        ("pub(super) struct Alone {", Some("Alone")),
        ("    pub enum InLabels {", Some("InLabels")),
        ("    type Item = u8;", None),
        ("type Alias<'a> = &'a [u8];", Some("Alias")),
        ("        struct Nested;", None),
        ("let enumerate = 1;", None),
    ] {
        assert_eq!(defined(line), name, "{line}");
    }
    for (subject, holds) in
        [("proxy: serve stale answers", true), ("docs: what is new", false), ("lock files follow", false)]
    {
        assert_eq!(begins_with_a_verb(subject), holds, "{subject}");
    }
}
