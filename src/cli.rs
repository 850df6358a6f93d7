//! The commands and their exit codes: 0 for success, 1 for failure, 2 if the settings or the
//! recorded heads are invalid.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::ExitCode;

use tracing::{info, warn};

use crate::app::{self, HarmlessSignals, ProcessControl, SettingsSource, ShutdownSignals, StartError};
use crate::config::{self, CliCommand, CommandPlan, ConfigSources, HeadSource, Settings, TopOutput};
use crate::request_fields::RequestFields;
use crate::server::InheritedSockets;
use crate::supervisor::Supervisor;
use crate::survey::{SurveyError, survey};
use crate::telemetry::log::{self, LogFilter, LogFormat};
use crate::{demo, descriptors, probe, top};

/// Runs the command of this process.
pub fn run() -> ExitCode {
    // A file may delay the settings, and a signal to a server must not end it meanwhile. Every
    // other command ends by any signal.
    let harmless = config::may_serve(std::env::args_os()).then(HarmlessSignals::catch);
    let harmless = || harmless.unwrap_or_else(HarmlessSignals::catch);
    let CommandPlan { command, warnings } = match config::read(ConfigSources::of_this_process()) {
        Ok(order) => order,
        Err(errors) => {
            match errors.format {
                LogFormat::Human => complain(&errors),
                LogFormat::Json => errors.errors.iter().for_each(log::write_fatal),
            }
            return ExitCode::from(2);
        }
    };
    match command {
        CliCommand::Serve(settings) => {
            // Only a second installation of the log fails, and a process installs one.
            let filter = match log::install(&settings.log) {
                Ok(filter) => filter,
                Err(bad) => return exit_with(Err::<&str, _>(bad)),
            };
            warnings.iter().for_each(|warning| warn!("{warning}"));
            let format = settings.log.format;
            ended(serve(*settings, filter, harmless), format)
        }
        CliCommand::Demo(settings) => {
            warnings.iter().for_each(complain);
            ended(show(*settings, harmless), LogFormat::Human)
        }
        CliCommand::Check(report) => {
            warnings.iter().for_each(complain);
            print(&report)
        }
        CliCommand::ExplainHeaders(source, fields) => {
            warnings.iter().for_each(complain);
            explain_headers(&source, &fields)
        }
        CliCommand::Routes(report) => print(&report),
        CliCommand::Health(target) => exit_with(probe::health(&target)),
        CliCommand::Explain(request) => {
            warnings.iter().for_each(complain);
            exit_with(probe::explain(&request))
        }
        CliCommand::Run(command) => {
            let (operator, command) = *command;
            exit_with(operator.run(&command))
        }
        CliCommand::Top(operator, TopOutput::Once) => exit_with(top::once(&operator)),
        CliCommand::Top(operator, TopOutput::Live) => {
            top::live(&operator).map_or_else(|error| exit_with(Err::<&str, _>(error)), |()| ExitCode::SUCCESS)
        }
        CliCommand::Print(text) => print(&text),
    }
}

/// Reads recorded heads and prints the report, or an error with the number of the first invalid
/// line.
fn explain_headers(source: &HeadSource, fields: &RequestFields) -> ExitCode {
    let name = source.to_string();
    let report = match source {
        HeadSource::StandardInput => survey(&name, io::stdin().lock(), fields),
        HeadSource::File(path) => File::open(path)
            .map_err(SurveyError::from)
            .and_then(|file| survey(&name, BufReader::new(file), fields)),
    };
    match report {
        Ok(report) => print(&report),
        Err(error) => {
            complain(&format_args!("{name}: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Reads the settings of this process again, for a reload.
fn read_again() -> Result<Settings, String> {
    let plan = config::read(ConfigSources::of_this_process()).map_err(|errors| {
        let errors: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })?;
    match plan.command {
        CliCommand::Serve(settings) => Ok(*settings),
        CliCommand::Demo(_)
        | CliCommand::Check(_)
        | CliCommand::ExplainHeaders(..)
        | CliCommand::Routes(_)
        | CliCommand::Health(_)
        | CliCommand::Explain(_)
        | CliCommand::Run(_)
        | CliCommand::Top(..)
        | CliCommand::Print(_) => Err("the process does not serve".to_owned()),
    }
}

fn serve(
    mut settings: Settings,
    filter: LogFilter,
    harmless: impl FnOnce() -> Result<HarmlessSignals, StartError>,
) -> Result<bool, StartError> {
    let workers = settings.workers.len();
    // The limit is raised before the process has other threads.
    if let Some(warning) = settings.fit(descriptors::reserve(settings.connections_max())) {
        warn!("{warning}");
    }
    let overrides = settings.routes.as_ref().map(|routes| routes.overrides()).unwrap_or_default();
    let signals = ShutdownSignals::catch(harmless()?)?;
    let supervisor = Supervisor::of_this_process();
    let running = app::start_on(settings, &InheritedSockets::of_this_process())?;
    for line in overrides {
        warn!("{line}");
    }
    info!(addr = %running.listener(), admin = running.admin_listener().map(tracing::field::display), workers, "serving");
    let control = ProcessControl { settings: Some(SettingsSource::new(read_again, filter)), supervisor };
    Ok(running.serve_until(signals, &control, |signal| warn!("{}", ignored(signal))))
}

fn show(
    settings: Settings,
    harmless: impl FnOnce() -> Result<HarmlessSignals, StartError>,
) -> Result<bool, StartError> {
    let signals = ShutdownSignals::catch(harmless()?)?;
    let demo = demo::start(settings)?;
    let program = std::env::args().next().unwrap_or_else(|| "cachewarp".to_owned());
    print(&demo.guide(&program));
    Ok(demo.serve_until(signals, |signal| complain(&ignored(signal))))
}

/// Returns the line about an ignored signal.
fn ignored(signal: &str) -> String {
    format!("{signal} is ignored")
}

fn ended(end: Result<bool, StartError>, format: LogFormat) -> ExitCode {
    match end {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            match format {
                LogFormat::Human => complain(&error),
                LogFormat::Json => log::write_fatal(&error),
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints the answer of a running CacheWarp, or the error.
fn exit_with(answer: Result<impl Display, impl Display>) -> ExitCode {
    match answer {
        Ok(answer) => print(&answer),
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints the result of a command. A closed pipe is a success: its reader has read enough.
fn print(text: &impl Display) -> ExitCode {
    let text = format!("{}\n", text.to_string().trim_end());
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error: the log may not be installed yet. A failure is ignored, since
/// no channel is left to report it.
fn complain(about: &impl Display) {
    let _ = io::stderr().write_all(format!("cachewarp: {about}\n").as_bytes());
}
