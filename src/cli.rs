//! The commands, from their words to their exit codes: 0 done, 1 failed, 2 the settings, or the
//! recorded heads, cannot be used.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::ExitCode;

use tracing::{info, warn};

use crate::app::{self, ShutdownSignals, StartError};
use crate::config::{self, CliCommand, CommandPlan, ConfigSources, HeadSource, Settings, TopOutput};
use crate::request_fields::RequestFields;
use crate::server::InheritedSockets;
use crate::survey::{SurveyError, survey};
use crate::telemetry::log;
use crate::{demo, descriptors, probe, top};

/// Does what this process was started for.
pub fn run() -> ExitCode {
    let CommandPlan { command, warnings } = match config::read(ConfigSources::of_this_process()) {
        Ok(order) => order,
        Err(faults) => {
            complain(&faults);
            return ExitCode::from(2);
        }
    };
    match command {
        CliCommand::Serve(settings) => {
            // One process, one log: only a second installation fails, and there is none.
            log::install(&settings.log).unwrap_or_else(|bad| complain(&bad));
            warnings.iter().for_each(|warning| warn!("{warning}"));
            ended(serve(*settings))
        }
        CliCommand::Demo(settings) => {
            warnings.iter().for_each(complain);
            ended(show(*settings))
        }
        CliCommand::Check(report) => {
            warnings.iter().for_each(complain);
            print(&report)
        }
        CliCommand::ExplainHeaders(source, fields) => {
            warnings.iter().for_each(complain);
            explain_headers(&source, &fields)
        }
        CliCommand::Health(target) => told(probe::health(&target)),
        CliCommand::Explain(question) => {
            warnings.iter().for_each(complain);
            told(probe::explain(&question))
        }
        CliCommand::Run(errand) => {
            let (operator, errand) = *errand;
            told(operator.run(&errand))
        }
        CliCommand::Top(operator, TopOutput::Once) => told(top::once(&operator)),
        CliCommand::Top(operator, TopOutput::Live) => {
            top::live(&operator).map_or_else(|unseen| told(Err::<&str, _>(unseen)), |()| ExitCode::SUCCESS)
        }
        CliCommand::Print(text) => print(&text),
    }
}

/// Reads recorded heads and prints the report, or names the line that cannot be read.
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

fn serve(settings: Settings) -> Result<bool, StartError> {
    let workers = settings.workers.len();
    // Before there are other threads.
    descriptors::reserve(settings.connections_max()).unwrap_or_else(|too_few| warn!("{too_few}"));
    let signals = ShutdownSignals::catch()?;
    let running = app::start_on(settings, &InheritedSockets::of_this_process())?;
    info!(addr = %running.addr(), admin = running.admin_addr().map(tracing::field::display), workers, "serving");
    Ok(running.serve_until(signals, |signal| warn!("{}", ignored(signal))))
}

fn show(settings: Settings) -> Result<bool, StartError> {
    let signals = ShutdownSignals::catch()?;
    let demo = demo::start(settings)?;
    print(&demo.guide());
    Ok(demo.serve_until(signals, |signal| complain(&ignored(signal))))
}

/// The line about a signal that does nothing.
fn ignored(signal: &str) -> String {
    format!("{signal} is ignored: settings are read at the start only")
}

fn ended(end: Result<bool, StartError>) -> ExitCode {
    match end {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// What a running CacheWarp said, or why it said nothing.
fn told(answer: Result<impl Display, impl Display>) -> ExitCode {
    match answer {
        Ok(answer) => print(&answer),
        Err(unsaid) => {
            complain(&unsaid);
            ExitCode::FAILURE
        }
    }
}

/// Prints the result of a command. A reader that has closed the pipe has read enough.
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

/// Says something to the operator at the terminal: there may be no log yet. Where standard error is
/// closed, nothing can.
fn complain(about: &impl Display) {
    let _ = io::stderr().write_all(format!("cachewarp: {about}\n").as_bytes());
}
