//! The command line, by clap, made from the table.
//!
//! clap stops at the first flag that it does not know. An operator wants to hear of all of them, so
//! an unknown flag is noted, taken away with its value, and the rest is read again.

use std::ffi::OsString;

use clap::builder::{Arg, ArgAction, Command};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, value_parser};

use super::errands::{CheckArgs, InspectArgs, PurgeArgs, TopArgs};
use super::faults::{ErrorLocation, LocatedError};
use super::questions::ExplainArgs;
use super::table::Name;
use super::urls::{MASK, masked};
use super::wrong::ConfigError;

/// What can stand before the flags.
pub(super) const COMMANDS: [&str; 7] = [CHECK, DEMO, EXPLAIN, HEALTH, INSPECT, PURGE, TOP];
const CHECK: &str = "check";
const DEMO: &str = "demo";
const EXPLAIN: &str = "explain";
const HEALTH: &str = "health";
const INSPECT: &str = "inspect";
const PURGE: &str = "purge";
const TOP: &str = "top";
const URL: &str = "url";
const HEADER: &str = "header";
const TOKEN: &str = "token";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    Serve,
    Check(CheckArgs),
    Demo,
    Explain(ExplainArgs),
    Health {
        url: Option<String>,
    },
    Inspect(InspectArgs),
    Purge(PurgeArgs),
    Top(TopArgs),
    /// Help or version: the text itself.
    Print(String),
}

/// A command line, read.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) asked: Invocation,
    /// In the order of the table.
    pub(super) flags: Vec<(Name, String)>,
    /// Flags that there are not.
    pub(super) faults: Vec<LocatedError>,
}

/// Reads arguments, the program's name first. An error is what makes the rest unreadable.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine, Vec<LocatedError>> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut faults = Vec::new();
    loop {
        let error = match command().try_get_matches_from(&args) {
            Ok(matches) => return Ok(CommandLine { asked: asked(&matches), flags: flags(&matches), faults }),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let asked = Invocation::Print(error.render().to_string());
            return Ok(CommandLine { asked, flags: Vec::new(), faults: Vec::new() });
        }
        match unknown_flag(&error).filter(|flag| without(&mut args, flag)) {
            Some(given) => {
                let meant = context(&error, ContextKind::SuggestedArg);
                let given = flag_shown(given);
                faults.push(LocatedError {
                    place: ErrorLocation::CommandLine,
                    wrong: ConfigError::Flag { given, meant },
                });
            }
            None => {
                let wrong =
                    stray(&error).map_or_else(|| usage(&error), |word| ConfigError::Stray(masked(&word)));
                faults.push(LocatedError { place: ErrorLocation::CommandLine, wrong });
                return Err(faults);
            }
        }
    }
}

/// The whole grammar.
fn command() -> Command {
    Command::new("cachewarp")
        .bin_name("cachewarp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A caching reverse proxy for JSON APIs. Without a command, it serves.")
        .after_help(SOURCES)
        .disable_help_subcommand(true)
        .max_term_width(110)
        .args(settings(SettingsInHelp::Yes))
        .subcommands([
            subcommand(CHECK, "Print every setting with its source, or every fault, and start nothing")
                .args(CheckArgs::args()),
            subcommand(DEMO, "Start a sample API and CacheWarp in front of it, and say what to try"),
            subcommand(EXPLAIN, "Ask a running CacheWarp for a URL, and tell how its answer came about")
                .args([
                    Arg::new(URL)
                        .required(true)
                        .value_name("URL")
                        .help("What to ask for, where CacheWarp listens"),
                    Arg::new(HEADER)
                        .short('H')
                        .long(HEADER)
                        .value_name("NAME: VALUE")
                        .help("A header to ask with; several are given one by one")
                        .action(ArgAction::Append),
                    Arg::new(TOKEN)
                        .long(TOKEN)
                        .value_name("SECRET")
                        .help("What shows that you may know [default: explain_token]"),
                ]),
            subcommand(HEALTH, "Ask a running CacheWarp whether it is well: exit code 0 or 1").arg(
                Arg::new(URL)
                    .long(URL)
                    .value_name("URL")
                    .help("Whom to ask [default: /health at listen_addr]"),
            ),
            subcommand(INSPECT, "Show what is stored of a URL, and whether it answers such a request")
                .args(InspectArgs::args()),
            subcommand(PURGE, "Have what is stored used no more, on every node: exit code 0 when that is so")
                .args(PurgeArgs::args()),
            subcommand(TOP, "Watch rates, hit ratios, latencies and connections on the terminal")
                .args(TopArgs::args()),
        ])
}

/// Where values come from, below the list of flags.
const SOURCES: &str = "\
Every setting has one name in three places: --cache-default-ttl as a flag, CACHE_DEFAULT_TTL (or cache_default_ttl) in \
the environment and in the file .env of the working directory. A flag wins over the environment, the environment over \
.env.

A DURATION is a whole number with a unit: 250ms, 30s, 5m, 1h; without one it is seconds. A SIZE too: 512KiB, 64MiB, \
1GiB; without one it is bytes. A LIST has commas between its items.";

/// Whether `--help` shows them: the settings are the same for every command, and stand in the help
/// of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SettingsInHelp {
    Yes,
    No,
}

fn subcommand(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .after_help("Takes the settings that `cachewarp --help` lists.")
        .args(settings(SettingsInHelp::No))
}

fn settings(shown: SettingsInHelp) -> impl Iterator<Item = Arg> {
    Name::ALL.iter().map(move |name| {
        let setting = name.setting();
        Arg::new(name.as_str())
            .long(name.flag())
            .value_name(setting.form.metavar())
            .help(match setting.default {
                "" => setting.help.to_owned(),
                default => format!("{} [default: {default}]", setting.help),
            })
            .help_heading(setting.group)
            .next_line_help(true)
            .hide(shown == SettingsInHelp::No)
            .value_parser(value_parser!(String))
            // clap would keep the last of several in silence, or end at the second; both are for us
            // to report.
            .action(ArgAction::Append)
    })
}

fn asked(matches: &ArgMatches) -> Invocation {
    match matches.subcommand() {
        Some((CHECK, check)) => Invocation::Check(CheckArgs::read(check)),
        Some((DEMO, _)) => Invocation::Demo,
        Some((EXPLAIN, explain)) => Invocation::Explain(ExplainArgs {
            url: explain.get_one::<String>(URL).cloned().unwrap_or_default(),
            fields: explain.get_many::<String>(HEADER).into_iter().flatten().cloned().collect(),
            token: explain.get_one::<String>(TOKEN).cloned(),
        }),
        Some((INSPECT, inspect)) => Invocation::Inspect(InspectArgs::read(inspect)),
        Some((PURGE, purge)) => Invocation::Purge(PurgeArgs::read(purge)),
        Some((TOP, top)) => Invocation::Top(TopArgs::read(top)),
        Some((HEALTH, health)) => Invocation::Health { url: health.get_one::<String>(URL).cloned() },
        Some(_) | None => Invocation::Serve,
    }
}

/// The flags before and behind the command.
fn flags(matches: &ArgMatches) -> Vec<(Name, String)> {
    let levels = [Some(matches), matches.subcommand().map(|(_, behind)| behind)];
    let values = |name: Name| {
        let at = move |level: &'_ ArgMatches| -> Vec<String> {
            level.get_many::<String>(name.as_str()).into_iter().flatten().cloned().collect()
        };
        levels.into_iter().flatten().flat_map(at).map(move |text| (name, text))
    };
    Name::ALL.iter().flat_map(|&name| values(name)).collect()
}

fn unknown_flag(error: &clap::Error) -> Option<String> {
    unknown(error).filter(|word| word.starts_with('-'))
}

/// Returns as much of an unknown flag as can be a name: what follows may be a URL in the wrong
/// place.
fn flag_shown(given: String) -> String {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match given.bytes().position(|byte| !is_name(byte)) {
        Some(end) => format!("{}{MASK}", given.get(..end).unwrap_or_default()),
        None => given,
    }
}

/// A word that stands where none is expected.
fn stray(error: &clap::Error) -> Option<String> {
    context(error, ContextKind::InvalidSubcommand).or_else(|| unknown(error))
}

fn unknown(error: &clap::Error) -> Option<String> {
    let word = context(error, ContextKind::InvalidArg);
    word.filter(|_| error.kind() == ErrorKind::UnknownArgument)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let value = error.get(kind)?;
    if let ContextValue::String(text) = value { Some(text.clone()) } else { None }
}

/// clap's own words, in a line and without the usage that follows them.
fn usage(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    // A word of it may be a URL in the wrong place.
    let words = said.trim_start_matches("error: ").split_whitespace().map(masked);
    ConfigError::Usage(words.collect::<Vec<_>>().join(" "))
}

/// Takes a flag away, and the value behind it; whether there was one.
fn without(args: &mut Vec<OsString>, flag: &str) -> bool {
    let is_it = |arg: &OsString| {
        arg.to_str().is_some_and(|arg| {
            arg == flag || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
        })
    };
    // The program's name is no flag.
    let Some(at) = args.iter().skip(1).position(is_it).map(|at| at + 1) else { return false };
    let joined = args.remove(at).to_str().is_some_and(|arg| arg.contains('='));
    let is_value =
        |arg: &OsString| arg.to_str().is_some_and(|arg| !arg.starts_with('-') && !COMMANDS.contains(&arg));
    if !joined && args.get(at).is_some_and(is_value) {
        args.remove(at);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::errands::HeadSource;
    use super::*;

    fn line(args: &[&str]) -> Result<CommandLine, Vec<LocatedError>> {
        read(std::iter::once("cachewarp").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn clap_finds_no_fault_in_the_grammar() {
        command().debug_assert();
    }

    #[test]
    fn commands() {
        for (args, asked) in [
            (&[][..], Invocation::Serve),
            (&["check"], Invocation::Check(CheckArgs::default())),
            (
                &["check", "--explain-headers", "a b"],
                Invocation::Check(CheckArgs::of(HeadSource::File("a b".into()))),
            ),
            (&["check", "--explain-headers=-"], Invocation::Check(CheckArgs::of(HeadSource::StandardInput))),
            (&["demo", "--log-level", "debug"], Invocation::Demo),
            (&["--log-level=debug", "health"], Invocation::Health { url: None }),
            (
                &["explain", "-H", "A: b", "http://a/", "--header=C: d", "--token", "t"],
                Invocation::Explain(ExplainArgs {
                    url: "http://a/".to_owned(),
                    fields: vec!["A: b".to_owned(), "C: d".to_owned()],
                    token: Some("t".to_owned()),
                }),
            ),
            (&["health", "--url", "http://a/"], Invocation::Health { url: Some("http://a/".to_owned()) }),
        ] {
            assert_eq!(line(args).unwrap().asked, asked, "{args:?}");
        }
    }

    #[test]
    fn flags_stand_before_and_behind_the_command() {
        let read = line(&["--redis-url", "off", "check", "--log-level=warn", "--redis-url=a=b"]).unwrap();
        assert_eq!(
            read.flags,
            [
                (Name::RedisUrl, "off".to_owned()),
                (Name::RedisUrl, "a=b".to_owned()),
                (Name::LogLevel, "warn".to_owned()),
            ]
        );
    }

    #[test]
    fn every_unknown_flag_is_named_and_the_rest_is_read() {
        let read = line(&[
            "--redis-ulr",
            "redis://:secret@h",
            "check",
            "--frobnicate",
            "--log-level",
            "warn",
            "--x=y",
        ]);
        let read = read.unwrap();
        let faults: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "command line: there is no flag --redis-ulr; did you mean `--redis-url`?",
                "command line: there is no flag --frobnicate",
                "command line: there is no flag --x",
            ]
        );
        assert_eq!(read.asked, Invocation::Check(CheckArgs::default()));
        assert_eq!(read.flags, [(Name::LogLevel, "warn".to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_further() {
        for (args, fault) in [
            (
                &["chekc"][..],
                "command line: \"chekc\" is neither a command nor the value of a flag; did you mean `check`?",
            ),
            (
                &["redis://:secret@h"],
                "command line: \"redis://***@h\" is neither a command nor the value of a flag",
            ),
            (&["check", "demo"], "command line: \"demo\" is neither a command nor the value of a flag"),
            (
                &["--redis-url"],
                "command line: a value is required for '--redis-url <URL>' but none was supplied",
            ),
        ] {
            let faults = line(args).unwrap_err();
            assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [fault], "{args:?}");
        }
    }

    #[test]
    fn help_names_every_setting_under_its_heading() {
        let Invocation::Print(help) = line(&["--help"]).unwrap().asked else { panic!("no help") };
        for name in Name::ALL {
            let setting = name.setting();
            assert!(help.contains(&format!("--{} <", name.flag())), "{name}");
            assert!(help.contains(&format!("{}:\n", setting.group)));
        }
        assert!(COMMANDS.iter().all(|command| help.contains(&format!("  {command}"))));
        assert_eq!(line(&["-h"]).unwrap().asked, Invocation::Print(help));
    }

    #[test]
    fn version() {
        let want = format!("cachewarp {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(line(&["--version"]).unwrap().asked, Invocation::Print(want));
    }
}
