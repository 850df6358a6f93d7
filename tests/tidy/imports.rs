//! The direction of imports among the files of `src`: none runs upward, and none in a circle.
//!
//! A file imports each name from the file that defines it, or from another folder's `mod.rs`. It
//! never imports a name from the `mod.rs` above it, which declares and re-exports.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

/// A module: the parts of its path below the crate.
type Module = Vec<String>;

/// The imports of each module.
type ImportGraph = BTreeMap<Module, BTreeSet<Module>>;

fn module_of(path: &str) -> Module {
    let parts: Vec<_> = path.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    match parts.split_last() {
        Some((last, above)) if ["mod", "lib"].contains(&last.as_str()) => above.to_vec(),
        Some(_) | None => parts,
    }
}

/// The modules that `source` declares for tests only.
fn test_modules(source: &Source) -> Vec<Module> {
    let mut lines = source.text.lines().map(str::trim).peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(next) = lines.peek().filter(|_| line == "#[cfg(test)]") else { continue };
        let declared = next.split_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
        found.extend(declared.map(|name| [module_of(&source.path), vec![name.to_owned()]].concat()));
    }
    found
}

/// The code that ships, without comments, string literals, visibilities, and statements for tests.
fn shipped(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.split("//").next().unwrap();
        if line.trim() != "#[cfg(test)]" {
            let literals = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
            kept.extend([literals.as_str(), "\n"]);
            continue;
        }
        // The item behind the attribute ends where its braces do, and unit tests with the file.
        let mut depth = 0_i64;
        for line in lines.by_ref() {
            if line.contains("mod tests {") {
                return without_visibilities(&kept);
            }
            let count = |brace: char| i64::try_from(line.matches(brace).count()).unwrap();
            depth += count('{') - count('}');
            if depth == 0 && (line.trim_end().ends_with([';', '}', ','])) {
                break;
            }
        }
    }
    without_visibilities(&kept)
}

fn without_visibilities(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |kept, part| kept + "pub" + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// The paths of a `use` tree: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn leaves(tree: &str, above: &[String], found: &mut Vec<Module>) {
    let names = |path: &str| {
        let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty());
        let names = parts.map(|part| part.split(" as ").next().unwrap().trim().to_owned());
        above.iter().cloned().chain(names).collect::<Module>()
    };
    let Some((path, inside)) = tree.split_once('{') else {
        return found.push(names(tree));
    };
    let inside = inside.rsplit_once('}').unwrap().0;
    let (mut depth, mut start) = (0, 0);
    for (at, char) in inside.char_indices().chain([(inside.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inside.get(start..at).unwrap().trim();
                if !item.is_empty() {
                    leaves(item, &names(path), found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The paths that a text imports with `use`, or names in full.
fn paths(code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let begins = statement.rfind("use ").filter(|at| {
            let before = statement.get(..*at).unwrap().trim_end();
            before.is_empty() || before.ends_with(['}', '{', ')', ']', 'b'])
        });
        if let Some(tree) = begins.and_then(|at| statement.get(at + 4..)) {
            leaves(tree, &[], &mut found);
            continue;
        }
        for (at, _) in statement.match_indices("crate::").chain(statement.match_indices("super::")) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = statement.get(at..).unwrap().split(|c| !is_path(c)).next().unwrap();
            leaves(path, &[], &mut found);
        }
    }
    found
}

/// The module that a path of `from` names or whose item it names, if the crate has it.
fn resolved(from: &Module, path: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut names = path.iter().map(String::as_str).peekable();
    let mut base = match names.peek().copied()? {
        "crate" => {
            names.next();
            Module::new()
        }
        "super" | "self" => from.clone(),
        child if modules.contains(&[from.clone(), vec![child.to_owned()]].concat()) => from.clone(),
        _ => return None,
    };
    for name in names {
        match name {
            "self" => {}
            "super" => drop(base.pop()),
            name => {
                let next = [base.clone(), vec![name.to_owned()]].concat();
                if !modules.contains(&next) {
                    break;
                }
                base = next;
            }
        }
    }
    (!base.is_empty()).then_some(base)
}

fn graph(sources: &[Source]) -> ImportGraph {
    let for_tests: BTreeSet<_> = sources.iter().flat_map(test_modules).collect();
    let shipping: Vec<_> = sources
        .iter()
        .filter(|source| !source.is_test() && !["lib.rs", "main.rs"].contains(&source.path.as_str()))
        .map(|source| (module_of(&source.path), source))
        .filter(|(module, _)| !for_tests.contains(module))
        .collect();
    let modules: BTreeSet<_> = shipping.iter().map(|(module, _)| module.clone()).collect();
    let imports = |module: &Module, source: &Source| {
        let paths = paths(&shipped(&source.text));
        let found = paths.iter().filter_map(|path| resolved(module, path, &modules));
        found.filter(|found| found != module).collect()
    };
    shipping.iter().map(|(module, source)| (module.clone(), imports(module, source))).collect()
}

/// The imports from a module above, and the first circle.
fn violations(graph: &ImportGraph) -> Vec<String> {
    let shown = |module: &Module| module.join("/");
    let mut found = Vec::new();
    for (module, imports) in graph {
        for above in imports.iter().filter(|import| module.starts_with(import)) {
            found.push(format!("{} imports from {} above it", shown(module), shown(above)));
        }
    }
    // A module stays while it imports one that stays: in the end, it is in a circle or leads to
    // one.
    let mut left = graph.clone();
    loop {
        let before = left.len();
        let names: BTreeSet<_> = left.keys().cloned().collect();
        left.retain(|_, imports| imports.iter().any(|import| names.contains(import)));
        if left.len() == before {
            break;
        }
    }
    let mut circle: Vec<&Module> = Vec::new();
    let mut at = left.keys().next();
    while let Some(module) = at {
        if let Some(begin) = circle.iter().position(|earlier| *earlier == module) {
            let names: Vec<_> = circle.split_off(begin).into_iter().map(shown).collect();
            found.push(format!("a circle of imports: {}", names.join(" -> ")));
            break;
        }
        circle.push(module);
        at = left.get(module).and_then(|imports| imports.iter().find(|import| left.contains_key(*import)));
    }
    found
}

#[test]
fn no_import_runs_upward_or_in_a_circle() {
    let graph = graph(&sources());
    let count: usize = graph.values().map(BTreeSet::len).sum();
    assert!(count > 300, "the walk found {count} imports");
    let violations = violations(&graph);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        module: path.split(['/', '.']).next().unwrap().to_owned(),
        text: text.to_owned(),
    };
    let clean = [
        source("a/mod.rs", "mod b;\nmod c;\n#[cfg(test)]\nmod t;\npub use b::B;\n"),
        source("a/b.rs", "use super::c::C;\n#[cfg(test)]\nmod tests {\n    use super::super::B;\n}\n"),
        source("a/c.rs", "pub(in crate::a) struct C; // crate::a::b::B\n"),
        source("a/t.rs", "use super::B;\n"),
        source("d.rs", "use crate::a::{self, B};\n"),
    ];
    assert_eq!(violations(&graph(&clean)), Vec::<String>::new());
    for (path, text, violation) in [
        ("a/c.rs", "use super::b::{self, B as _};", "a circle of imports: a/b -> a/c"),
        ("a/c.rs", "fn f() { crate::a::b::g() }", "a circle of imports: a/b -> a/c"),
        ("a/c.rs", "pub(super) use crate::{d::D, x};", "a circle of imports: a -> a/b -> a/c -> d"),
        ("a/c.rs", "use super::B;", "a/c imports from a above it"),
        ("a/c.rs", "use crate::{a::{B}};", "a/c imports from a above it"),
    ] {
        let planted =
            clean.iter().map(|file| source(&file.path, if file.path == path { text } else { &file.text }));
        let found = violations(&graph(&planted.collect::<Vec<_>>()));
        assert!(found.iter().any(|found| found == violation), "{text}: {found:?}");
    }
}
