//! The command line, read by clap and generated from the table.
//!
//! clap stops at the first unknown flag. An operator wants to see all of them, so the loop notes an
//! unknown flag, removes it with its value, and reads the rest again.

use std::ffi::OsString;

use clap::builder::{Arg, ArgAction, Command};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, value_parser};

use super::{completions, help, man};
use crate::config::commands::explain::ExplainArgs;
use crate::config::commands::operate::{CheckArgs, InspectArgs, PurgeArgs, TopArgs};
use crate::config::commands::routes::RoutesArgs;
use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::{ErrorLocation, LocatedError};
use crate::config::table::Name;
use crate::config::urls::{MASK, masked};

/// All commands.
pub(in crate::config) const COMMANDS: [&str; 11] =
    [CHECK, COMPLETIONS, DEMO, EXPLAIN, HEALTH, INSPECT, MAN, PURGE, RELOAD, ROUTES, TOP];
const CHECK: &str = "check";
const COMPLETIONS: &str = "completions";
const DEMO: &str = "demo";
const EXPLAIN: &str = "explain";
const HEALTH: &str = "health";
const INSPECT: &str = "inspect";
const MAN: &str = "man";
pub(in crate::config) const PURGE: &str = "purge";
const RELOAD: &str = "reload";
const ROUTES: &str = "routes";
const TOP: &str = "top";
const URL: &str = "url";
const HEADER: &str = "header";
const QUERY: &str = "query";
const TOKEN: &str = "token";
const CA_FILE: &str = "ca-file";

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum Invocation {
    Serve,
    Check(CheckArgs),
    Demo,
    Explain(ExplainArgs),
    Health {
        url: Option<String>,
        ca_file: Option<String>,
    },
    Inspect(InspectArgs),
    Purge(PurgeArgs),
    Reload,
    Routes(RoutesArgs),
    Top(TopArgs),
    /// The text of the help, the version, the completions or the manual page.
    Print(String),
}

/// A parsed command line.
#[derive(Debug)]
pub(in crate::config) struct CommandLine {
    pub(in crate::config) invocation: Invocation,
    /// The flags of settings, in the order of the table.
    pub(in crate::config) flags: Vec<(Name, String)>,
    /// The errors about unknown flags.
    pub(in crate::config) errors: Vec<LocatedError>,
}

/// A command line that cannot be parsed.
#[derive(Debug)]
pub(in crate::config) struct CommandLineError {
    /// The command that the errors concern, if it is known.
    pub(in crate::config) command: Option<&'static str>,
    pub(in crate::config) errors: Vec<LocatedError>,
}

impl Invocation {
    /// Returns the name of the command; `None` if the program serves.
    pub(in crate::config) fn command(&self) -> Option<&'static str> {
        match self {
            Self::Serve | Self::Print(_) => None,
            Self::Check(_) => Some(CHECK),
            Self::Demo => Some(DEMO),
            Self::Explain(_) => Some(EXPLAIN),
            Self::Health { .. } => Some(HEALTH),
            Self::Inspect(_) => Some(INSPECT),
            Self::Purge(_) => Some(PURGE),
            Self::Reload => Some(RELOAD),
            Self::Routes(_) => Some(ROUTES),
            Self::Top(_) => Some(TOP),
        }
    }
}

/// Returns whether no argument, with the program's name first, is the name of a command that ends
/// by itself.
pub(in crate::config) fn may_serve(args: impl IntoIterator<Item = OsString>) -> bool {
    let args: Vec<_> = args.into_iter().collect();
    command_among(&args).is_none_or(|command| command == DEMO)
}

/// Reads arguments, with the program's name first. It fails if the rest cannot be parsed.
pub(in crate::config) fn read(
    args: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, CommandLineError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut errors = Vec::new();
    loop {
        let error = match command().try_get_matches_from(&args) {
            Ok(matches) => {
                return Ok(CommandLine { invocation: invocation(&matches), flags: flags(&matches), errors });
            }
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let is_short = args.iter().any(|arg| arg == "-h") && command_among(&args).is_none();
            let text = if is_short { help::short() } else { error.render().to_string() };
            let invocation = Invocation::Print(text);
            return Ok(CommandLine { invocation, flags: Vec::new(), errors: Vec::new() });
        }
        match unknown_flag(&error).filter(|flag| remove_flag(&mut args, flag)) {
            Some(given) => {
                let error = match renamed(&given) {
                    Some(name) => ConfigError::Renamed { given, name: format!("--{}", name.flag()) },
                    None => ConfigError::Flag {
                        given: flag_shown(given),
                        suggestion: context(&error, ContextKind::SuggestedArg),
                    },
                };
                errors.push(LocatedError { location: ErrorLocation::CommandLine, error });
            }
            None => {
                let command = command_of(&error).or_else(|| command_among(&args));
                let error = match (unexpected_word(&error), command) {
                    (Some(word), Some(command)) => {
                        ConfigError::UnexpectedArgument { command, given: masked(&word) }
                    }
                    (Some(word), None) => ConfigError::UnexpectedWord(masked(&word)),
                    (None, _) => usage(&error),
                };
                errors.push(LocatedError { location: ErrorLocation::CommandLine, error });
                return Err(CommandLineError { command, errors });
            }
        }
    }
}

/// Returns the grammar of the command line.
fn command() -> Command {
    Command::new("cachewarp")
        .bin_name("cachewarp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A caching reverse proxy for JSON APIs. Serves if no command is given.")
        .after_help(SOURCES)
        .disable_help_subcommand(true)
        .max_term_width(110)
        .args(settings(SettingsInHelp::Yes))
        .subcommands([
            subcommand(CHECK, "Prints every setting with its source, or every error. Starts nothing.")
                .args(CheckArgs::args()),
            subcommand(COMPLETIONS, "Prints the completions of a shell.").arg(completions::arg()),
            subcommand(
                DEMO,
                "Starts a sample API with CacheWarp in front of it, and prints commands to try. Uses Redis only if \
                 redis_url is set.",
            ),
            subcommand(EXPLAIN, "Requests a URL of a running CacheWarp, and explains the response.").args([
                Arg::new(URL).required(true).value_name("URL").help("URL to request, at CacheWarp's address"),
                Arg::new(HEADER)
                    .short('H')
                    .long(HEADER)
                    .value_name("NAME: VALUE")
                    .help("Request header to send; may be repeated")
                    .action(ArgAction::Append),
                Arg::new(QUERY)
                    .long(QUERY)
                    .value_name("CONTENT")
                    .help("Send a QUERY with this content; state its Content-Type by -H"),
                Arg::new(TOKEN)
                    .long(TOKEN)
                    .value_name("SECRET")
                    .help("Token to send [default: explain_token]"),
                ca_file(),
            ]),
            subcommand(
                HEALTH,
                "Checks the health of a running CacheWarp. Exits with 0 if it is healthy, else with 1.",
            )
            .args([
                Arg::new(URL)
                    .long(URL)
                    .value_name("URL")
                    .help("URL to check [default: health_path at listen_addr, or /health at admin_addr]"),
                ca_file().requires(URL),
            ]),
            subcommand(
                INSPECT,
                "Shows the stored responses of a URL, and whether one answers the given request.",
            )
            .args(InspectArgs::args()),
            subcommand(MAN, "Prints the manual page: `cachewarp man | man -l -`."),
            subcommand(
                PURGE,
                "Purges stored responses on every node. Exits with 0 once every node has confirmed.",
            )
            .args(PurgeArgs::args()),
            subcommand(
                RELOAD,
                "Makes a running CacheWarp read its routes, certificates, tokens and log level again. Exits with 0 once \
                 all workers use them.",
            ),
            subcommand(ROUTES, "Shows the route of `routes_file` that a request matches, and why others do not.")
                .args(RoutesArgs::args()),
            subcommand(TOP, "Shows rates, hit ratios, latencies and connections on the terminal.")
                .args(TopArgs::args()),
        ])
}

/// The text below the list of flags: sources and units.
const SOURCES: &str = "\
A setting is a flag (--cache-default-ttl), or a variable (CACHE_DEFAULT_TTL or cache_default_ttl) of the environment \
or of the file .env in the working directory. A flag wins over the environment, and the environment over .env.

A DURATION is a whole number with a unit: 250ms, 30s, 5m, 1h; without a unit it is in seconds. So is a SIZE: 512KiB, \
64MiB, 1GiB; without a unit it is in bytes. Items of a LIST are separated by commas.";

/// A choice whether `--help` lists the settings. Only the help of the program does, since every
/// command takes the same settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SettingsInHelp {
    Yes,
    No,
}

fn subcommand(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .after_help("Accepts the settings that `cachewarp --help` lists.")
        .args(settings(SettingsInHelp::No))
}

/// Returns the flag for the authorities of an `https` URL.
fn ca_file() -> Arg {
    Arg::new(CA_FILE)
        .long(CA_FILE)
        .value_name("FILE")
        .help("Certificate authorities that an https URL trusts, in PEM [default: the system's]")
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
            // clap would silently keep the last of several values, or stop at the second one. `raw`
            // reports every repetition.
            .action(ArgAction::Append)
    })
}

fn invocation(matches: &ArgMatches) -> Invocation {
    match matches.subcommand() {
        Some((CHECK, check)) => Invocation::Check(CheckArgs::read(check)),
        Some((COMPLETIONS, shell)) => Invocation::Print(completions::script(shell, command())),
        Some((DEMO, _)) => Invocation::Demo,
        Some((EXPLAIN, explain)) => Invocation::Explain(ExplainArgs {
            url: explain.get_one::<String>(URL).cloned().unwrap_or_default(),
            fields: explain.get_many::<String>(HEADER).into_iter().flatten().cloned().collect(),
            query: explain.get_one::<String>(QUERY).cloned(),
            token: explain.get_one::<String>(TOKEN).cloned(),
            ca_file: explain.get_one::<String>(CA_FILE).cloned(),
        }),
        Some((INSPECT, inspect)) => Invocation::Inspect(InspectArgs::read(inspect)),
        Some((MAN, _)) => Invocation::Print(man::page(&command(), SOURCES)),
        Some((PURGE, purge)) => Invocation::Purge(PurgeArgs::read(purge)),
        Some((RELOAD, _)) => Invocation::Reload,
        Some((ROUTES, routes)) => Invocation::Routes(RoutesArgs::read(routes)),
        Some((TOP, top)) => Invocation::Top(TopArgs::read(top)),
        Some((HEALTH, health)) => Invocation::Health {
            url: health.get_one::<String>(URL).cloned(),
            ca_file: health.get_one::<String>(CA_FILE).cloned(),
        },
        Some(_) | None => Invocation::Serve,
    }
}

/// Returns the flags before and behind the command.
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

/// Returns the setting that had this flag under its old name.
fn renamed(flag: &str) -> Option<Name> {
    Name::renamed(&flag.strip_prefix("--")?.replace('-', "_"))
}

/// Returns the part of an unknown flag that can be a name. The rest may be a misplaced URL.
fn flag_shown(given: String) -> String {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match given.bytes().position(|byte| !is_name(byte)) {
        Some(end) => format!("{}{MASK}", given.get(..end).unwrap_or_default()),
        None => given,
    }
}

/// Returns an unexpected word.
fn unexpected_word(error: &clap::Error) -> Option<String> {
    context(error, ContextKind::InvalidSubcommand).or_else(|| unknown(error))
}

/// Returns the command whose arguments have the error. clap's line of usage names it.
fn command_of(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let words: Vec<_> = usage.split_whitespace().collect();
    let behind = words.windows(2).find_map(|pair| match pair {
        ["cachewarp", command] => Some(*command),
        _ => None,
    })?;
    COMMANDS.into_iter().find(|command| *command == behind)
}

/// Returns the first argument that is the name of a command. Not every error has a line of usage.
fn command_among(args: &[OsString]) -> Option<&'static str> {
    args.iter().skip(1).find_map(|arg| COMMANDS.into_iter().find(|command| *arg == **command))
}

fn unknown(error: &clap::Error) -> Option<String> {
    let word = context(error, ContextKind::InvalidArg);
    word.filter(|_| error.kind() == ErrorKind::UnknownArgument)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let value = error.get(kind)?;
    if let ContextValue::String(text) = value { Some(text.clone()) } else { None }
}

/// Returns clap's message in one line, without the usage behind it.
fn usage(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    // A word of it may be a misplaced URL.
    let words = message.trim_start_matches("error: ").split_whitespace().map(masked);
    ConfigError::Usage(words.collect::<Vec<_>>().join(" "))
}

/// Removes a flag and its value, and tells whether it found the flag.
fn remove_flag(args: &mut Vec<OsString>, flag: &str) -> bool {
    let is_it = |arg: &OsString| {
        arg.to_str().is_some_and(|arg| {
            arg == flag || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
        })
    };
    // The first argument is the program's name.
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
    use super::*;
    use crate::config::commands::operate::HeadSource;

    fn line(args: &[&str]) -> Result<CommandLine, CommandLineError> {
        read(std::iter::once("cachewarp").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn clap_accepts_the_grammar() {
        command().debug_assert();
    }

    #[test]
    fn commands() {
        for (args, invocation) in [
            (&[][..], Invocation::Serve),
            (&["check"], Invocation::Check(CheckArgs::default())),
            (
                &["check", "--explain-headers", "a b"],
                Invocation::Check(CheckArgs::of(HeadSource::File("a b".into()))),
            ),
            (&["check", "--explain-headers=-"], Invocation::Check(CheckArgs::of(HeadSource::StandardInput))),
            (&["demo", "--log-level", "debug"], Invocation::Demo),
            (&["--log-level=debug", "health"], Invocation::Health { url: None, ca_file: None }),
            (
                &[
                    "explain",
                    "-H",
                    "A: b",
                    "http://a/",
                    "--header=C: d",
                    "--token=t",
                    "--query={}",
                    "--ca-file=c",
                ],
                Invocation::Explain(ExplainArgs {
                    url: "http://a/".to_owned(),
                    fields: vec!["A: b".to_owned(), "C: d".to_owned()],
                    query: Some("{}".to_owned()),
                    token: Some("t".to_owned()),
                    ca_file: Some("c".to_owned()),
                }),
            ),
            (
                &["health", "--url", "https://a/", "--ca-file=c"],
                Invocation::Health { url: Some("https://a/".to_owned()), ca_file: Some("c".to_owned()) },
            ),
        ] {
            assert_eq!(line(args).unwrap().invocation, invocation, "{args:?}");
        }
    }

    #[test]
    fn flags_may_precede_or_follow_the_command() {
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
        let errors: Vec<_> = read.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "command line: unknown flag --redis-ulr; did you mean `--redis-url`?",
                "command line: unknown flag --frobnicate",
                "command line: unknown flag --x",
            ]
        );
        assert_eq!(read.invocation, Invocation::Check(CheckArgs::default()));
        assert_eq!(read.flags, [(Name::LogLevel, "warn".to_owned())]);
    }

    #[test]
    fn an_unparsable_command_line_is_an_error() {
        for (args, command, error) in [
            (
                &["chekc"][..],
                None,
                "command line: \"chekc\" is neither a command nor the value of a flag; did you mean `check`?",
            ),
            (
                &["redis://:secret@h"],
                None,
                "command line: \"redis://***@h\" is neither a command nor the value of a flag",
            ),
            (
                &["help"],
                None,
                "command line: \"help\" is neither a command nor the value of a flag; did you mean `--help`?",
            ),
            (&["check", "demo"], Some(CHECK), "command line: check does not take the argument \"demo\""),
            (
                &["--log-level=info", "purge", "--soft", "redis://:secret@h"],
                Some(PURGE),
                "command line: purge does not take the argument \"redis://***@h\"; use --url, --tag, --group, --prefix or --all",
            ),
            (
                &["top", "--node-name", "purge", "x"],
                Some(TOP),
                "command line: top does not take the argument \"x\"",
            ),
            (
                &["explain"],
                Some(EXPLAIN),
                "command line: the following required arguments were not provided: <URL>",
            ),
            (
                &["inspect", "http://a/", "-H"],
                Some(INSPECT),
                "command line: a value is required for '--header <NAME: VALUE>' but none was supplied",
            ),
            (
                &["--redis-url"],
                None,
                "command line: a value is required for '--redis-url <URL>' but none was supplied",
            ),
        ] {
            let refused = line(args).unwrap_err();
            assert_eq!(
                refused.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [error],
                "{args:?}"
            );
            assert_eq!(refused.command, command, "{args:?}");
        }
    }

    #[test]
    fn help_lists_every_setting_under_its_heading() {
        let Invocation::Print(help) = line(&["--help"]).unwrap().invocation else { panic!("no help") };
        for name in Name::ALL {
            let setting = name.setting();
            assert!(help.contains(&format!("--{} <", name.flag())), "{name}");
            assert!(help.contains(&format!("{}:\n", setting.group)));
        }
        assert!(COMMANDS.iter().all(|command| help.contains(&format!("  {command}"))));
        let Invocation::Print(short) = line(&["-h"]).unwrap().invocation else { panic!("no help") };
        assert!(short.lines().count() < 30 && !short.contains("--redis-hedge"), "{short}");
        assert_eq!(help::SUMMARIES.map(|(command, _)| command), COMMANDS);
        let Invocation::Print(purge) = line(&["purge", "-h"]).unwrap().invocation else { panic!("no help") };
        assert!(purge.contains("--tag <TAG>"), "{purge}");
    }

    #[test]
    fn completions_know_every_setting_and_command() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let Invocation::Print(script) = line(&["completions", shell]).unwrap().invocation else {
                panic!("no script")
            };
            for name in Name::ALL {
                assert!(script.contains(&name.flag()), "{shell}: {name}");
            }
            assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
        }
        assert!(line(&["completions", "tcsh"]).is_err());
    }

    #[test]
    fn the_manual_page_has_every_setting_and_command() {
        let Invocation::Print(page) = line(&["man"]).unwrap().invocation else { panic!("no page") };
        let escaped = |text: &str| text.replace('-', "\\-");
        for name in Name::ALL {
            assert!(page.contains(&format!("\\fB\\-\\-{}\\fR", escaped(&name.flag()))), "{name}");
        }
        for command in COMMANDS {
            assert!(page.contains(&format!(".TP\n\\fB{command}\\fR")), "{command}");
        }
        let is_macro = |line: &&str| line.starts_with('.');
        for line in page.lines().filter(is_macro) {
            let macros = [".TH ", ".SH ", ".SS ", ".TP", ".PP", ".RS", ".RE", ".B "];
            assert!(macros.iter().any(|known| line.starts_with(known)), "{line}");
        }
        assert_eq!(page.matches("\n.RS").count(), page.matches("\n.RE").count());
    }

    #[test]
    fn version() {
        let want = format!("cachewarp {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(line(&["--version"]).unwrap().invocation, Invocation::Print(want));
    }
}
