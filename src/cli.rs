//! The commands, from their words to their exit codes: 0 done, 1 failed, 2 the settings are wrong.

use std::fmt::Display;
use std::process::ExitCode;

use tracing::{info, warn};

use crate::app::{self, Signals, StartError};
use crate::config::{self, Command, Order, Settings, Surroundings, Watching};
use crate::server::Inherited;
use crate::telemetry::log;
use crate::{demo, descriptors, probe, top};

/// Does what this process was started for.
pub fn run() -> ExitCode {
    let Order { command, warnings } = match config::read(Surroundings::of_this_process()) {
        Ok(order) => order,
        Err(faults) => {
            complain(&faults);
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Serve(settings) => {
            // One process, one log: only a second installation fails, and there is none.
            log::install(&settings.log).unwrap_or_else(|bad| complain(&bad));
            warnings.iter().for_each(|warning| warn!("{warning}"));
            ended(serve(*settings))
        }
        Command::Demo(settings) => {
            warnings.iter().for_each(complain);
            ended(show(*settings))
        }
        Command::Check(report) => {
            warnings.iter().for_each(complain);
            print(&report)
        }
        Command::Health(target) => told(probe::health(&target)),
        Command::Explain(question) => {
            warnings.iter().for_each(complain);
            told(probe::explain(&question))
        }
        Command::Run(errand) => {
            let (operator, errand) = *errand;
            told(operator.run(&errand))
        }
        Command::Top(operator, Watching::Once) => told(top::once(&operator)),
        Command::Top(operator, Watching::Live) => {
            top::live(&operator).map_or_else(|unseen| told(Err::<&str, _>(unseen)), |()| ExitCode::SUCCESS)
        }
        Command::Print(text) => print(&text),
    }
}

fn serve(settings: Settings) -> Result<bool, StartError> {
    let workers = settings.workers.len();
    // Before there are other threads.
    descriptors::reserve(settings.connections_max()).unwrap_or_else(|too_few| warn!("{too_few}"));
    let signals = Signals::catch()?;
    let running = app::start_on(settings, &Inherited::of_this_process())?;
    info!(addr = %running.addr(), admin = running.admin_addr().map(tracing::field::display), workers, "serving");
    Ok(running.serve_until(signals))
}

fn show(settings: Settings) -> Result<bool, StartError> {
    let signals = Signals::catch()?;
    let demo = demo::start(settings)?;
    print(&demo.guide());
    Ok(demo.serve_until(signals))
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

#[expect(clippy::print_stdout, reason = "this is what the command was asked to print")]
fn print(text: &impl Display) -> ExitCode {
    println!("{}", text.to_string().trim_end());
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "the operator at the terminal reads this; there may be no log yet")]
fn complain(about: &impl Display) {
    eprintln!("cachewarp: {about}");
}
