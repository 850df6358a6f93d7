//! `.env.example` and the table in the README, held against the table of settings.
//!
//! `UPDATE_GOLDEN=1 cargo test --lib config::docs` writes both anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::table::Name;
use super::{CliCommand, ConfigSources, FileChecks, read};

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";
/// Columns of a comment in `.env.example`.
const COLUMNS: usize = 100;

fn env_example() -> String {
    let mut text = String::from(
        "# The settings of CacheWarp, each with its default. Copy this file to `.env` and change what should differ.\n\
         # A flag or a variable of the environment wins over this file. A value with spaces, `#` or `$` stands in\n\
         # single quotes. This file is made from the table in src/config/table.rs.\n",
    );
    let mut group = "";
    for name in Name::ALL {
        let setting = name.setting();
        if group != setting.group {
            group = setting.group;
            text += &format!("\n# --- {group} ---\n");
        }
        text += "\n";
        for line in wrapped(setting.help, COLUMNS) {
            text += &format!("# {line}\n");
        }
        text += &format!("#{}={}\n", name.variable(), setting.default);
    }
    text
}

fn readme_table() -> String {
    let row = |name: &Name| {
        let setting = name.setting();
        let default =
            if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!("| `{name}` | {default} | {} |\n", setting.help)
    };
    let rows: String = Name::ALL.iter().map(row).collect();
    format!("| setting | default | meaning |\n| --- | --- | --- |\n{rows}")
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= columns => *line = format!("{line} {word}"),
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a file with what it should be, or makes it so.
#[expect(
    clippy::disallowed_methods,
    reason = "what to do with a golden file is asked of the person who runs the test"
)]
fn hold(name: &str, want: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file(name), want).unwrap();
    }
    let is = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(is == want, "{name} is not what the table says: UPDATE_GOLDEN=1 cargo test --lib config::docs");
}

#[test]
fn env_example_is_what_the_table_says() {
    hold(".env.example", &env_example());
}

#[test]
fn readme_is_what_the_table_says() {
    let readme = fs::read_to_string(file("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the begin of the settings");
    let (_, after) = rest.split_once(END).expect("README.md has the end of the settings");
    hold("README.md", &format!("{before}{BEGIN}{}{END}{after}", readme_table()));
}

#[test]
fn env_example_says_nothing_but_defaults() {
    let said: String = env_example()
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(said.lines().count(), Name::ALL.len());
    let settings = |dotenv: &str| {
        let args = vec!["cachewarp".into()];
        let order = read(ConfigSources {
            args,
            environment: Vec::new(),
            dotenv: Ok(dotenv.into()),
            cores: 2,
            files: FileChecks::Unopened,
        })
        .unwrap();
        let CliCommand::Serve(settings) = order.command else { panic!("not to serve") };
        format!("{settings:?}")
    };
    assert_eq!(settings(&said), settings(""));
}
