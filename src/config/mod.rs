//! Settings: flags, environment, `.env` → each module's own options, checked, every fault reported
//! at once.
//!
//! In two stages. `sayings` collects what was said and by whom; `settings` finds out what it means.
//! One table (`table`) is behind both, and behind `--help`, `.env.example` and the README.
//!
//! **Invariant:** nothing here reads the process or the disk except
//! [`ConfigSources::of_this_process`] and, where the surroundings say [`FileChecks::Opened`],
//! `files`, so that a test can be anywhere; and nothing below the composition root imports this
//! module.

mod args;
mod dotenv;
mod errands;
mod faults;
mod files;
mod hints;
mod namespace;
mod nearest;
mod places;
mod questions;
mod reading;
mod report;
mod sayings;
mod settings;
mod share;
mod source;
mod spelling;
mod table;
mod units;
mod urls;
mod values;
mod warnings;
mod wrong;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;

pub use errands::{HeadSource, TopOutput};
pub use faults::{ConfigErrors, ErrorLocation, LocatedError};
pub use report::SettingsReport;
pub use settings::Settings;
pub use share::WorkerSettings;
pub use source::SettingSource;
pub use table::Name;
pub use urls::SettingUrlError;
pub use warnings::ConfigWarning;
pub use wrong::{ConfigError, QuantityError, RequestFieldError};

use crate::probe;
use crate::request_fields::RequestFields;
use args::{CommandLine, Invocation};
use errands::CheckArgs;
use questions::ExplainArgs;
use sayings::RawSettings;

/// All that settings are read from.
#[derive(Debug)]
pub struct ConfigSources {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// The variables.
    pub environment: Vec<(OsString, OsString)>,
    /// What reading `.env` gave.
    pub dotenv: io::Result<Vec<u8>>,
    /// How many threads run at one time.
    pub cores: usize,
    /// Whether the files that settings name are there to be opened.
    pub files: FileChecks,
}

/// Whether the files that settings name are opened, to see what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChecks {
    /// Each of them.
    Opened,
    /// None.
    Unopened,
}

impl ConfigSources {
    /// Those of this process, and the `.env` of its working directory.
    pub fn of_this_process() -> Self {
        Self {
            args: std::env::args_os().collect(),
            environment: std::env::vars_os().collect(),
            dotenv: std::fs::read(".env"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            files: FileChecks::Opened,
        }
    }
}

/// What to do, and what to say before it.
#[derive(Debug)]
pub struct CommandPlan {
    /// What to do.
    pub command: CliCommand,
    /// What the operator should know.
    pub warnings: Vec<ConfigWarning>,
}

/// What to do.
#[derive(Debug)]
pub enum CliCommand {
    /// Serve.
    Serve(Box<Settings>),
    /// Start a sample API, and CacheWarp in front of it.
    Demo(Box<Settings>),
    /// Print the settings, which are good.
    Check(SettingsReport),
    /// Report which fields of recorded requests keep default freshness from applying.
    ExplainHeaders(HeadSource, RequestFields),
    /// Ask a running CacheWarp whether it is well.
    Health(probe::ProbeTarget),
    /// Ask a running CacheWarp for something, and tell how its answer came about.
    Explain(Box<probe::ExplainRequest>),
    /// Have an operator's errand run.
    Run(Box<(probe::AdminClient, probe::AdminCommand)>),
    /// Show how all is.
    Top(probe::AdminClient, TopOutput),
    /// Print this text: the help, or the version.
    Print(String),
}

/// Reads everything, and says what to do or everything that is wrong.
pub fn read(surroundings: ConfigSources) -> Result<CommandPlan, ConfigErrors> {
    let ConfigSources { args, environment, dotenv, cores, files } = surroundings;
    let CommandLine { asked, flags, mut faults } =
        args::read(args).map_err(|faults| ConfigErrors { faults, warnings: Vec::new() })?;
    match asked {
        Invocation::Print(text) => {
            return Ok(CommandPlan { command: CliCommand::Print(text), warnings: Vec::new() });
        }
        // Whoever names the place to ask needs no settings to find it.
        Invocation::Health { url: Some(url) } => {
            let target = urls::health(&url).map_err(|bad| vec![ConfigError::HealthUrl(bad)]);
            return ask_there(target.map(CliCommand::Health), faults);
        }
        Invocation::Explain(explain @ ExplainArgs { token: Some(_), .. }) => {
            let question = explain.question(None);
            return ask_there(question.map(|question| CliCommand::Explain(Box::new(question))), faults);
        }
        Invocation::Health { url: None }
        | Invocation::Explain(_)
        | Invocation::Inspect(_)
        | Invocation::Purge(_)
        | Invocation::Top(_)
        | Invocation::Serve
        | Invocation::Check(_)
        | Invocation::Demo => {}
    }

    let mut sayings = RawSettings::default();
    sayings.flags(flags);
    sayings.environment(environment);
    sayings.dotenv(dotenv);
    faults.append(&mut sayings.faults);
    let mut warnings = std::mem::take(&mut sayings.warnings);

    let meaning = settings::mean(&sayings, cores, files);
    warnings.extend(meaning.warnings);
    let settings = match meaning.settings {
        Ok(settings) if faults.is_empty() => settings,
        meant => {
            faults.extend(meant.err().into_iter().flatten());
            return Err(ConfigErrors { faults, warnings });
        }
    };
    let command = match asked {
        Invocation::Check(CheckArgs { heads: None }) => {
            CliCommand::Check(SettingsReport::of(&sayings, &settings))
        }
        Invocation::Check(CheckArgs { heads: Some(source) }) => {
            CliCommand::ExplainHeaders(source, settings.rules.fields)
        }
        Invocation::Demo => CliCommand::Demo(Box::new(settings)),
        Invocation::Explain(explain) => {
            let question = explain.question(settings.proxy.explain_token.as_ref());
            let asked = ask_there(question.map(|question| CliCommand::Explain(Box::new(question))), faults)?;
            return Ok(CommandPlan { warnings, ..asked });
        }
        // Whether the listener can be reached from elsewhere is no matter of who asks it.
        Invocation::Inspect(inspect) => return run(&settings, inspect.errand(), faults),
        Invocation::Purge(purge) => return run(&settings, purge.errand(), faults),
        Invocation::Top(top) => {
            let operator = errands::operator(&settings);
            return ask_there(operator.map(|operator| CliCommand::Top(operator, top.watching())), faults);
        }
        Invocation::Health { .. } => CliCommand::Health(probe::ProbeTarget::at(settings.listen_addr)),
        Invocation::Serve | Invocation::Print(_) => CliCommand::Serve(Box::new(settings)),
    };
    Ok(CommandPlan { command, warnings })
}

/// Everything that is wrong with the errand and with where it is to be run, at once.
fn run(
    settings: &Settings,
    errand: Result<probe::AdminCommand, Vec<ConfigError>>,
    faults: Vec<LocatedError>,
) -> Result<CommandPlan, ConfigErrors> {
    let asked = match (errands::operator(settings), errand) {
        (Ok(operator), Ok(errand)) => Ok(CliCommand::Run(Box::new((operator, errand)))),
        (operator, errand) => Err(operator.err().into_iter().chain(errand.err()).flatten().collect()),
    };
    ask_there(asked, faults)
}

fn ask_there(
    asked: Result<CliCommand, Vec<ConfigError>>,
    mut faults: Vec<LocatedError>,
) -> Result<CommandPlan, ConfigErrors> {
    match asked {
        Ok(command) if faults.is_empty() => return Ok(CommandPlan { command, warnings: Vec::new() }),
        Ok(_) => {}
        Err(wrong) => {
            faults.extend(
                wrong.into_iter().map(|wrong| LocatedError { place: ErrorLocation::CommandLine, wrong }),
            );
        }
    }
    Err(ConfigErrors { faults, warnings: Vec::new() })
}
