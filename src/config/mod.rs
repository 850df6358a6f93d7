//! Settings: flags, environment, `.env` → each module's own options, checked, every fault reported at once.
//!
//! In two stages. `sayings` collects what was said and by whom; `settings` finds out what it means. One table
//! (`table`) is behind both, and behind `--help`, `.env.example` and the README.
//!
//! **Invariant:** nothing here reads the process or the disk except [`Surroundings::of_this_process`] and, where the
//! surroundings say [`Files::Opened`], `files`, so that a test can be anywhere; and nothing below the composition root imports this module.

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

pub use errands::{HeadSource, Watching};
pub use faults::{Fault, Faults, Place};
pub use report::Report;
pub use settings::Settings;
pub use share::Worker;
pub use source::Source;
pub use table::Name;
pub use urls::BadUrl;
pub use warnings::Warning;
pub use wrong::{BadField, BadQuantity, Wrong};

use crate::probe;
use crate::request_fields::RequestFields;
use args::{Asked, CommandLine};
use errands::Check;
use questions::Explain;
use sayings::Sayings;

/// All that settings are read from.
#[derive(Debug)]
pub struct Surroundings {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// The variables.
    pub environment: Vec<(OsString, OsString)>,
    /// What reading `.env` gave.
    pub dotenv: io::Result<Vec<u8>>,
    /// How many threads run at one time.
    pub cores: usize,
    /// Whether the files that settings name are there to be opened.
    pub files: Files,
}

/// Whether the files that settings name are opened, to see what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Each of them.
    Opened,
    /// None.
    Unopened,
}

impl Surroundings {
    /// Those of this process, and the `.env` of its working directory.
    pub fn of_this_process() -> Self {
        Self {
            args: std::env::args_os().collect(),
            environment: std::env::vars_os().collect(),
            dotenv: std::fs::read(".env"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            files: Files::Opened,
        }
    }
}

/// What to do, and what to say before it.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Settings>),
    /// Start a sample API, and CacheWarp in front of it.
    Demo(Box<Settings>),
    /// Print the settings, which are good.
    Check(Report),
    /// Report which fields of recorded requests keep default freshness from applying.
    ExplainHeaders(HeadSource, RequestFields),
    /// Ask a running CacheWarp whether it is well.
    Health(probe::Target),
    /// Ask a running CacheWarp for something, and tell how its answer came about.
    Explain(Box<probe::Question>),
    /// Have an operator's errand run.
    Run(Box<(probe::Operator, probe::Errand)>),
    /// Show how all is.
    Top(probe::Operator, Watching),
    /// Print this text: the help, or the version.
    Print(String),
}

/// Reads everything, and says what to do or everything that is wrong.
pub fn read(surroundings: Surroundings) -> Result<Order, Faults> {
    let Surroundings { args, environment, dotenv, cores, files } = surroundings;
    let CommandLine { asked, flags, mut faults } =
        args::read(args).map_err(|faults| Faults { faults, warnings: Vec::new() })?;
    match asked {
        Asked::Print(text) => return Ok(Order { command: Command::Print(text), warnings: Vec::new() }),
        // Whoever names the place to ask needs no settings to find it.
        Asked::Health { url: Some(url) } => {
            let target = urls::health(&url).map_err(|bad| vec![Wrong::HealthUrl(bad)]);
            return ask_there(target.map(Command::Health), faults);
        }
        Asked::Explain(explain @ Explain { token: Some(_), .. }) => {
            let question = explain.question(None);
            return ask_there(question.map(|question| Command::Explain(Box::new(question))), faults);
        }
        Asked::Health { url: None }
        | Asked::Explain(_)
        | Asked::Inspect(_)
        | Asked::Purge(_)
        | Asked::Top(_)
        | Asked::Serve
        | Asked::Check(_)
        | Asked::Demo => {}
    }

    let mut sayings = Sayings::default();
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
            return Err(Faults { faults, warnings });
        }
    };
    let command = match asked {
        Asked::Check(Check { heads: None }) => Command::Check(Report::of(&sayings, &settings)),
        Asked::Check(Check { heads: Some(source) }) => Command::ExplainHeaders(source, settings.rules.fields),
        Asked::Demo => Command::Demo(Box::new(settings)),
        Asked::Explain(explain) => {
            let question = explain.question(settings.proxy.explain_token.as_ref());
            let asked = ask_there(question.map(|question| Command::Explain(Box::new(question))), faults)?;
            return Ok(Order { warnings, ..asked });
        }
        // Whether the listener can be reached from elsewhere is no matter of who asks it.
        Asked::Inspect(inspect) => return run(&settings, inspect.errand(), faults),
        Asked::Purge(purge) => return run(&settings, purge.errand(), faults),
        Asked::Top(top) => {
            let operator = errands::operator(&settings);
            return ask_there(operator.map(|operator| Command::Top(operator, top.watching())), faults);
        }
        Asked::Health { .. } => Command::Health(probe::Target::at(settings.listen_addr)),
        Asked::Serve | Asked::Print(_) => Command::Serve(Box::new(settings)),
    };
    Ok(Order { command, warnings })
}

/// Everything that is wrong with the errand and with where it is to be run, at once.
fn run(
    settings: &Settings,
    errand: Result<probe::Errand, Vec<Wrong>>,
    faults: Vec<Fault>,
) -> Result<Order, Faults> {
    let asked = match (errands::operator(settings), errand) {
        (Ok(operator), Ok(errand)) => Ok(Command::Run(Box::new((operator, errand)))),
        (operator, errand) => Err(operator.err().into_iter().chain(errand.err()).flatten().collect()),
    };
    ask_there(asked, faults)
}

fn ask_there(asked: Result<Command, Vec<Wrong>>, mut faults: Vec<Fault>) -> Result<Order, Faults> {
    match asked {
        Ok(command) if faults.is_empty() => return Ok(Order { command, warnings: Vec::new() }),
        Ok(_) => {}
        Err(wrong) => {
            faults.extend(wrong.into_iter().map(|wrong| Fault { place: Place::CommandLine, wrong }));
        }
    }
    Err(Faults { faults, warnings: Vec::new() })
}
