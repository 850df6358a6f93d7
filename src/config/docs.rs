//! `.env.example`, SETTINGS.md and the table in the README, compared with the table of settings.
//!
//! `UPDATE_GOLDEN=1 cargo test --lib config::docs` writes all three.

use std::fs;
use std::path::{Path, PathBuf};

use super::table::Name;
use super::{CliCommand, ConfigSources, read};
use crate::config::resolve::resolver::FileChecks;
use crate::routes::MEMBERS;
use crate::tls::TLS_VERSIONS;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";
/// Columns of a comment in `.env.example`.
const COLUMNS: usize = 100;

fn env_example() -> String {
    let mut text = String::from(
        "# The settings of CacheWarp, each with its default. Copy this file to `.env` and uncomment what you change.\n\
         # A flag or a variable of the environment wins over this file. Put a value with spaces, `#` or `$` into\n\
         # single quotes. This file is generated from src/config/table.rs.\n",
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

/// Returns the table of the README: a row for each group, with names and defaults only.
fn readme_table() -> String {
    let mut text = String::from("| group | settings (defaults) |\n| --- | --- |\n");
    for (group, names) in groups() {
        let settings: Vec<_> = names
            .iter()
            .map(|name| match name.setting().default {
                "" => format!("`{name}`"),
                default => format!("`{name}` (`{default}`)"),
            })
            .collect();
        text += &format!("| {group} | {} |\n", settings.join(", "));
    }
    text
}

/// Returns SETTINGS.md: a heading and a table for each group.
fn settings_md() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         A setting is a flag (`--cache-default-ttl 1m`), a variable (`CACHE_DEFAULT_TTL`), or a line of `.env`\n\
         in the working directory. A flag wins over the environment, and the environment over `.env`.\n\
         Durations take a unit (`250ms`, `30s`, `5m`, `1h`; a bare number is seconds), and so do sizes\n\
         (`512KiB`, `64MiB`, `1GiB`; a bare number is bytes). Items of a list have commas between them. This\n\
         file is generated from `src/config/table.rs`.\n\n",
    );
    let of_routes: Vec<_> = MEMBERS.iter().filter_map(|member| setting_of(member)).collect();
    let sentence = format!(
        "A route of `routes_file` may state these settings for its requests, without `cache_`: {}. The lists \
         of fields and of cookies are added to those of the setting; each other value replaces it.",
        of_routes.join(", ")
    );
    for line in wrapped(&sentence, COLUMNS) {
        text += &format!("{line}\n");
    }
    for (group, names) in groups() {
        text += &format!("\n## {group}\n\n| setting | default | meaning |\n| --- | --- | --- |\n");
        for name in names {
            let setting = name.setting();
            let default = match setting.default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            text += &format!("| `{name}` | {default} | {} |\n", setting.help);
        }
    }
    text
}

/// Returns the setting that a member of a route replaces or extends, if there is one.
fn setting_of(member: &str) -> Option<String> {
    let names = [member.to_owned(), format!("cache_{member}")];
    let setting = Name::ALL.iter().find(|name| names.iter().any(|text| text == name.setting().text))?;
    Some(format!("`{setting}`"))
}

/// Returns the groups in the order of the table, each with its settings.
fn groups() -> Vec<(&'static str, &'static [Name])> {
    let same_group = |one: &Name, other: &Name| one.setting().group == other.setting().group;
    let with_heading = |names: &'static [Name]| (names[0].setting().group, names);
    Name::ALL.chunk_by(same_group).map(with_heading).collect()
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

/// Compares a file with the expected text, or writes that text to it.
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the test decides whether golden files are written"
)]
fn compare(name: &str, want: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file(name), want).unwrap();
    }
    let is = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(is == want, "{name} differs from the table: UPDATE_GOLDEN=1 cargo test --lib config::docs");
}

#[test]
fn env_example_follows_the_table() {
    compare(".env.example", &env_example());
}

#[test]
fn settings_md_follows_the_table() {
    compare("SETTINGS.md", &settings_md());
}

#[test]
fn the_help_of_the_certificate_names_the_versions_of_tls() {
    let version = |version: &&rustls::SupportedProtocolVersion| {
        format!("{:?}", version.version).replace("TLSv", "").replace('_', ".")
    };
    let versions: Vec<_> = TLS_VERSIONS.iter().map(version).collect();
    let words = format!("speaks TLS {} only", versions.join(" and "));
    assert!(Name::TlsCertFile.setting().help.contains(&words), "{words}");
}

#[test]
fn readme_follows_the_table() {
    let readme = fs::read_to_string(file("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md marks the begin of the settings");
    let (_, after) = rest.split_once(END).expect("README.md marks the end of the settings");
    compare("README.md", &format!("{before}{BEGIN}{}{END}{after}", readme_table()));
}

#[test]
fn env_example_sets_every_default() {
    let defaults: String = env_example()
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(defaults.lines().count(), Name::ALL.len());
    let settings = |dotenv: &str| {
        let args = vec!["cachewarp".into()];
        let plan = read(ConfigSources {
            args,
            environment: Vec::new(),
            dotenv: Ok(dotenv.into()),
            cores: 2,
            files: FileChecks::Unopened,
        })
        .unwrap();
        let CliCommand::Serve(settings) = plan.command else { panic!("not a command to serve") };
        format!("{settings:?}")
    };
    assert_eq!(settings(&defaults), settings(""));
}
