//! The completions of a shell, generated from the grammar of the command line.

use clap::ArgMatches;
use clap::builder::{Arg, Command};
use clap::value_parser;
use clap_complete::{Shell, generate};

/// The argument that names the shell.
const SHELL: &str = "shell";

/// Returns the argument of `cachewarp completions`.
pub(super) fn arg() -> Arg {
    Arg::new(SHELL)
        .required(true)
        .value_name("SHELL")
        .value_parser(value_parser!(Shell))
        .help("Shell: bash, elvish, fish, powershell or zsh")
        .hide_possible_values(true)
}

/// Returns the completions of the shell that the arguments name.
pub(super) fn script(matches: &ArgMatches, mut command: Command) -> String {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>(SHELL) {
        generate(*shell, &mut command, "cachewarp", &mut script);
    }
    String::from_utf8_lossy(&script).into_owned()
}
