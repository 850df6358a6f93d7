//! Settings: flags, environment and `.env` become the options of each module. Every error is
//! reported at once.
//!
//! There are two stages: `sources` collects the text of each setting with its source, and `resolve`
//! turns it into options. One table (`table`) defines the settings for both stages, for `--help`,
//! and for the documents.
//!
//! **Invariant:** only [`ConfigSources::of_this_process`] reads the process, and only `resolve`
//! reads the disk, if [`FileChecks::Opened`] is given: a test chooses its own environment. No
//! module below the composition root imports this one.

mod commands;
mod reporting;
mod resolve;
mod sources;
mod table;
mod urls;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;

pub use commands::operate::{HeadSource, TopOutput};
pub use reporting::error::{ConfigError, RequestFieldError};
pub use reporting::located::{ErrorLocation, LocatedError, SettingSource};
pub use reporting::report::{ConfigErrors, SettingsReport};
pub use reporting::warnings::ConfigWarning;
pub use resolve::resolver::FileChecks;
pub use resolve::settings::Settings;
pub use resolve::workers::WorkerSettings;
pub use table::Name;
pub use urls::SettingUrlError;

use crate::probe;
use crate::request_fields::RequestFields;
use crate::telemetry::log::LogFormat;
use commands::explain::ExplainArgs;
use commands::operate::{self, CheckArgs};
use resolve::settings;
use sources::args::{self, CommandLine, Invocation};
use sources::raw::RawSettings;

/// The `explain_token` of the demo, unless one is set.
pub const DEMO_TOKEN: &str = "demo";

/// All sources of settings.
#[derive(Debug)]
pub struct ConfigSources {
    /// The arguments, with the program's name first.
    pub args: Vec<OsString>,
    /// The environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The result of reading `.env`.
    pub dotenv: io::Result<Vec<u8>>,
    /// The number of threads that run in parallel.
    pub cores: usize,
    /// The choice whether the files that settings name are opened.
    pub files: FileChecks,
}

impl ConfigSources {
    /// Returns the sources of this process, with the `.env` of its working directory.
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

/// A command to run, and the warnings to print before it.
#[derive(Debug)]
pub struct CommandPlan {
    /// The command.
    pub command: CliCommand,
    /// Likely mistakes that do not prevent the start.
    pub warnings: Vec<ConfigWarning>,
}

/// A command of the program.
#[derive(Debug)]
pub enum CliCommand {
    /// Serves.
    Serve(Box<Settings>),
    /// Starts a sample API, and CacheWarp in front of it.
    Demo(Box<Settings>),
    /// Prints the settings, which are valid.
    Check(SettingsReport),
    /// Prints the route of a request.
    Routes(String),
    /// Reports which fields of recorded requests keep default freshness from applying.
    ExplainHeaders(HeadSource, RequestFields),
    /// Checks the health of a running CacheWarp.
    Health(probe::ProbeTarget),
    /// Requests a URL of a running CacheWarp and explains the response.
    Explain(Box<probe::ExplainRequest>),
    /// Sends a command to the admin listener.
    Run(Box<(probe::AdminClient, probe::AdminCommand)>),
    /// Shows live statistics.
    Top(probe::AdminClient, TopOutput),
    /// Prints this text: the help, the version, the completions or the manual page.
    Print(String),
}

/// Returns whether arguments, with the program's name first, can be those of a process that serves.
pub fn may_serve(arguments: impl IntoIterator<Item = OsString>) -> bool {
    args::may_serve(arguments)
}

/// Reads all sources, and returns the command or every error.
pub fn read(sources: ConfigSources) -> Result<CommandPlan, ConfigErrors> {
    let ConfigSources { args, environment, dotenv, cores, files } = sources;
    let mut raw = RawSettings::default();
    let mut line = args::read(args);
    raw.flags(line.as_mut().map(|line| std::mem::take(&mut line.flags)).unwrap_or_default());
    raw.environment(environment);
    raw.dotenv(dotenv);
    let command = match &line {
        Ok(line) => line.invocation.command(),
        Err(refused) => refused.command,
    };
    // A supervisor reads the errors of a server where it reads the log.
    let is_json = command.is_none() && raw.of(Name::LogFormat).text == "json";
    let format = if is_json { LogFormat::Json } else { LogFormat::Human };
    let planned = match line {
        Ok(line) => plan(line, raw, cores, files),
        Err(refused) => Err(ConfigErrors::of(refused.errors, Vec::new())),
    };
    planned.map_err(|errors| ConfigErrors { command, format, ..errors })
}

/// Returns the command of a command line, with its settings, or every error.
fn plan(
    line: CommandLine,
    mut raw: RawSettings,
    cores: usize,
    files: FileChecks,
) -> Result<CommandPlan, ConfigErrors> {
    let CommandLine { invocation, mut errors, .. } = line;
    match invocation {
        Invocation::Print(text) => {
            return Ok(CommandPlan { command: CliCommand::Print(text), warnings: Vec::new() });
        }
        // A command with its own URL needs no settings.
        Invocation::Health { url: Some(url), ca_file } => {
            let target =
                urls::health(&url, ca_file.as_deref()).map_err(|error| vec![ConfigError::HealthUrl(error)]);
            return plan_of(target.map(CliCommand::Health), errors);
        }
        Invocation::Explain(explain @ ExplainArgs { token: Some(_), .. }) => {
            let request = explain.request(None);
            return plan_of(request.map(|request| CliCommand::Explain(Box::new(request))), errors);
        }
        Invocation::Health { url: None, .. }
        | Invocation::Explain(_)
        | Invocation::Inspect(_)
        | Invocation::Purge(_)
        | Invocation::Reload
        | Invocation::Routes(_)
        | Invocation::Top(_)
        | Invocation::Serve
        | Invocation::Check(_)
        | Invocation::Demo => {}
    }

    errors.append(&mut raw.errors);
    let mut warnings = std::mem::take(&mut raw.warnings);
    if matches!(invocation, Invocation::Check(_)) {
        let misspellings = warnings.iter().filter_map(ConfigWarning::misspelling);
        errors.extend(misspellings);
        warnings.retain(|warning| warning.misspelling().is_none());
    }

    if invocation == Invocation::Demo {
        // A demonstration needs no Redis, and no secret.
        raw.set_default(Name::RedisUrl, "off");
        raw.set_default(Name::ExplainToken, DEMO_TOKEN);
    }

    let resolved = settings::resolve(&raw, cores, files);
    warnings.extend(resolved.warnings);
    let settings = match resolved.settings {
        Ok(settings) if errors.is_empty() => settings,
        failed => {
            errors.extend(failed.err().into_iter().flatten());
            return Err(ConfigErrors::of(errors, warnings));
        }
    };
    let command = match invocation {
        Invocation::Check(CheckArgs { heads: None }) => {
            CliCommand::Check(SettingsReport::of(&raw, &settings))
        }
        Invocation::Check(CheckArgs { heads: Some(source) }) => {
            CliCommand::ExplainHeaders(source, settings.rules.fields)
        }
        Invocation::Demo => CliCommand::Demo(Box::new(settings)),
        Invocation::Explain(explain) => {
            let request = explain.request(settings.proxy.explain_token.as_ref());
            let plan = plan_of(request.map(|request| CliCommand::Explain(Box::new(request))), errors)?;
            return Ok(CommandPlan { warnings, ..plan });
        }
        // Warnings about the listener do not concern the clients of it.
        Invocation::Inspect(inspect) => return admin_plan(&settings, inspect.command(), errors),
        Invocation::Reload => return admin_plan(&settings, Ok(probe::AdminCommand::Reload), errors),
        Invocation::Purge(purge) => return admin_plan(&settings, purge.command(), errors),
        Invocation::Routes(routes) => {
            return plan_of(routes.report(&settings).map(CliCommand::Routes), errors);
        }
        Invocation::Top(top) => {
            let client = operate::admin_client(&settings);
            return plan_of(client.map(|client| CliCommand::Top(client, top.output())), errors);
        }
        Invocation::Health { .. } => {
            return plan_of(operate::health(&settings).map(CliCommand::Health), errors);
        }
        Invocation::Serve | Invocation::Print(_) => CliCommand::Serve(Box::new(settings)),
    };
    Ok(CommandPlan { command, warnings })
}

/// Returns a command for the admin listener, or the errors of both the command and the listener.
fn admin_plan(
    settings: &Settings,
    command: Result<probe::AdminCommand, Vec<ConfigError>>,
    errors: Vec<LocatedError>,
) -> Result<CommandPlan, ConfigErrors> {
    let command = match (operate::admin_client(settings), command) {
        (Ok(client), Ok(command)) => Ok(CliCommand::Run(Box::new((client, command)))),
        (client, command) => Err(client.err().into_iter().chain(command.err()).flatten().collect()),
    };
    plan_of(command, errors)
}

/// Returns the plan of a command, unless the command or the command line has an error.
fn plan_of(
    command: Result<CliCommand, Vec<ConfigError>>,
    mut errors: Vec<LocatedError>,
) -> Result<CommandPlan, ConfigErrors> {
    match command {
        Ok(command) if errors.is_empty() => return Ok(CommandPlan { command, warnings: Vec::new() }),
        Ok(_) => {}
        Err(error) => {
            errors.extend(
                error.into_iter().map(|error| LocatedError { location: ErrorLocation::CommandLine, error }),
            );
        }
    }
    Err(ConfigErrors::of(errors, Vec::new()))
}
