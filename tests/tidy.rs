//! The architecture, held against the code: which module may import which, and what a source file
//! looks like.
//!
//! A change of direction is a reviewed line of [`MAY_IMPORT`], and of the same table in
//! ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Known to everything: bounds, the clock, keys, names.
const BASE: &[&str] = &[
    "answer_budget",
    "client_address",
    "hash",
    "hop",
    "interim",
    "json",
    "key",
    "label",
    "limits",
    "quantity",
    "readiness",
    "request_fields",
    "request_id",
    "sealing",
    "secret",
    "time",
    "tls",
];

/// What each module may import beside [`BASE`] and itself, from the pure to the I/O.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("answer_budget", &[]),
    ("client_address", &[]),
    ("hash", &[]),
    ("hop", &[]),
    ("interim", &[]),
    ("json", &[]),
    ("key", &[]),
    ("label", &[]),
    ("limits", &[]),
    ("quantity", &[]),
    ("readiness", &[]),
    ("request_fields", &[]),
    ("request_id", &[]),
    ("sealing", &[]),
    ("secret", &[]),
    ("time", &[]),
    ("tls", &[]),
    ("policy", &[]),
    ("entry", &["policy"]),
    ("routes", &["policy"]),
    ("resp", &[]),
    ("survey", &[]),
    ("telemetry", &[]),
    ("probe", &[]),
    ("top", &["probe", "telemetry"]),
    ("redis", &["resp", "telemetry"]),
    ("origin", &["telemetry"]),
    ("store", &["entry", "redis", "telemetry"]),
    ("purge", &["store"]),
    ("proxy", &["policy", "entry", "store", "purge", "origin", "routes", "telemetry"]),
    ("purge_stream", &["proxy", "purge", "redis", "store", "telemetry"]),
    ("admin", &["proxy", "purge", "store", "telemetry"]),
    ("server", &["telemetry"]),
    (
        "config",
        &[
            "admin",
            "origin",
            "policy",
            "probe",
            "proxy",
            "purge",
            "purge_stream",
            "redis",
            "routes",
            "server",
            "store",
            "telemetry",
        ],
    ),
    ("supervisor", &[]),
    (
        "app",
        &[
            "admin",
            "config",
            "origin",
            "policy",
            "proxy",
            "purge_stream",
            "redis",
            "routes",
            "server",
            "store",
            "supervisor",
            "telemetry",
        ],
    ),
    ("descriptors", &[]),
    ("demo", &["app", "config", "routes", "server", "store", "telemetry"]),
    (
        "cli",
        &[
            "app",
            "config",
            "demo",
            "descriptors",
            "probe",
            "server",
            "supervisor",
            "survey",
            "telemetry",
            "top",
        ],
    ),
];

/// Modules that decide: no socket, no clock, no task, no log.
const PURE: &[&str] = &[
    "hash",
    "hop",
    "json",
    "key",
    "label",
    "quantity",
    "request_fields",
    "policy",
    "entry",
    "resp",
    "routes",
];

/// Dependencies whose face we do not control, each named in one file, or below one folder, only.
const WRAPPED: &[(&str, &str)] = &[
    ("redis_protocol", "resp/decode.rs"),
    ("sfv", "policy/parse/structured.rs"),
    ("simd_json", "entry/json.rs"),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "manager", "helpers", "misc"];

/// Lines of a source file, its tests aside; beyond it, a file has grown two ideas.
const LINES_MAX: usize = 400;

struct Source {
    /// Relative to `src`.
    path: String,
    module: String,
    text: String,
}

impl Source {
    /// The part that ships: up to the unit tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let module = relative.split(['/', '.']).next().unwrap().to_owned();
                found.push(Source { path: relative, module, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(found.len() > 40, "the sources were found");
    found
}

/// The modules that a text names by `crate::`, also in a list: `use crate::{key, time}`.
fn imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for after in text.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(inside) => inside.split('}').next().unwrap(),
            None => after,
        };
        let heads = if after.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for head in heads {
            let name: String =
                head.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
    }
    names
}

fn lines_of_code(source: &Source) -> impl Iterator<Item = &str> {
    source.code().lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        if ["lib", "main"].contains(&source.module.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(source.module.as_str()) else {
            wrong.push(format!("{}: module `{}` is not in the table", source.path, source.module));
            continue;
        };
        let code: Vec<_> = lines_of_code(&source).collect();
        for name in imports(&code.join("\n")) {
            let known = allowed.contains_key(name.as_str());
            let own = name == source.module || BASE.contains(&name.as_str()) || may.contains(&name.as_str());
            if known && !own {
                wrong.push(format!("{}: `{}` may not import `{name}`", source.path, source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_do_no_io() {
    for source in
        sources().iter().filter(|source| PURE.contains(&source.module.as_str()) && !source.is_test())
    {
        for line in lines_of_code(source) {
            for word in [
                "tokio",
                "hyper",
                "socket2",
                "tracing",
                "std::net::Tcp",
                "std::fs",
                "time::now",
                "time::instant",
            ] {
                assert!(!line.contains(word), "{} does I/O or reads the clock: {line}", source.path);
            }
        }
    }
}

#[test]
fn wrapped_dependencies_have_one_face() {
    for source in sources() {
        for (dependency, place) in WRAPPED {
            let named = lines_of_code(&source).any(|line| line.contains(dependency));
            let is_there = source.path == *place || (place.ends_with('/') && source.path.starts_with(place));
            assert!(!named || is_there, "{} names {dependency}; only {place} may", source.path);
        }
    }
}

#[test]
fn files_open_with_what_they_are_and_stay_small() {
    for source in sources() {
        let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
        assert!(!EMPTY_NAMES.contains(&name), "{} has a name that says nothing", source.path);
        assert!(
            source.is_test() || source.text.starts_with("//! "),
            "{} does not say what it is",
            source.path
        );
        let lines = source.code().lines().count();
        assert!(source.is_test() || lines <= LINES_MAX, "{} has {lines} lines: two ideas?", source.path);
    }
}

#[test]
fn nothing_is_left_for_later() {
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for mark in ["TODO", "FIXME", "XXX", "HACK", "#[allow("] {
                assert!(!line.contains(mark), "{}:{}: {mark}", source.path, number + 1);
            }
        }
    }
}

#[test]
fn the_table_in_the_architecture_is_this_one() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (module, may) in MAY_IMPORT.iter().filter(|(module, _)| !BASE.contains(module)) {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{module}` |")))
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for `{module}`"));
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let mut named: Vec<_> = last
            .split(',')
            .map(|name| name.trim().trim_matches('`'))
            .filter(|name| *name != "base")
            .collect();
        let mut may = may.to_vec();
        named.sort_unstable();
        may.sort_unstable();
        assert_eq!(named, may, "the row of `{module}` in ARCHITECTURE.md");
    }
}

/// Every file below `folder`, by its path from there.
fn files_below(folder: &Path) -> Vec<String> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

#[test]
fn files_that_the_architecture_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let files = files_below(&root.join("src"));
    let is_file = |name: &str| {
        let end = format!("/{name}");
        root.join(name).is_file() || files.iter().any(|file| file == name || file.ends_with(&end))
    };
    // In code spans, which may also name a function: `origin/pool.rs: open`.
    let names: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.split(':').next().unwrap())
        .filter(|name| [".rs", ".lua"].iter().any(|end| name.ends_with(end)))
        .collect();
    assert!(names.len() > 50, "the walk found the names");
    let absent: Vec<_> = names.into_iter().filter(|name| !is_file(name)).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn there_are_no_paths_of_a_machine_and_no_registries() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "SETTINGS.md",
        "Cargo.toml",
        "tests/run.sh",
    ] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for word in ["/root/", "/home/", "/work/"] {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}

/// A file that a session leaves in the root by mistake fails here.
#[test]
fn the_root_holds_only_the_listed_names() {
    const NAMES: &str = ".ci .dockerignore .env.example .gitignore ARCHITECTURE.md CHANGELOG.md \
        CONTRIBUTING.md Cargo.lock Cargo.toml DECISIONS.md HEADERS.md LICENSE METRICS.md README.md \
        ROUTES.md SECURITY.md SETTINGS.md benches clippy.toml deny.toml docker examples fuzz \
        rustfmt.toml src tests";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listing = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    // Without a repository there is nothing to compare, as in a package of the source.
    let Some(listing) = listing.ok().filter(|output| output.status.success()) else { return };
    let tracked = String::from_utf8(listing.stdout).unwrap();
    let paths = tracked.split_terminator('\0');
    let mut names: Vec<_> = paths.filter_map(|path| path.split('/').next()).collect();
    names.dedup();
    assert!(names.len() > 20, "the listing has the names");
    let others: Vec<_> =
        names.into_iter().filter(|name| !NAMES.split_whitespace().any(|listed| listed == *name)).collect();
    assert!(others.is_empty(), "{others:?}");
}
