//! What was seen, as a row of Markdown; and whether it is what is promised.

use load::durations::Durations;
use load::tally::Tally;

use crate::fault::Fault;
use crate::mix::{CLASSES, Class};

/// No hit takes longer at P99.9, whatever happens.
const HIT_MILLIS_MAX: f64 = 90.0;
/// What needs nothing that is faulty takes no more than so many times what it takes in fair weather, at P99.
const FAIR_FACTOR: f64 = 1.5;

/// The head of the table.
pub(crate) fn head() -> String {
    let names: Vec<_> = CLASSES.iter().map(|class| class.name).collect();
    let lines = vec!["---"; CLASSES.len() + 3];
    format!(
        "| P50 / P99 / P99.9 / max in ms | {} | errors that the origin did not give | the load was late itself, P99.9 |\n| {} |",
        names.join(" | "),
        lines.join(" | ")
    )
}

/// One phase.
pub(crate) fn row(name: &str, tallies: &[Tally]) -> String {
    let cells: Vec<_> = tallies.iter().map(|tally| four(&tally.latency)).collect();
    let errors: Vec<_> =
        CLASSES.iter().zip(tallies).filter_map(|(class, tally)| errors(class, tally)).collect();
    let errors = if errors.is_empty() { "0".to_owned() } else { errors.join("; ") };
    let late = tallies.iter().map(|tally| tally.lag.micros_at(999)).fold(0.0, f64::max);
    format!("| {name} | {} | {errors} | {} |", cells.join(" | "), millis(late))
}

/// The aims that a phase has missed, held against fair weather.
pub(crate) fn missed(fault: &Fault, tallies: &[Tally], fair: &[Tally]) -> Vec<String> {
    let mut missed = Vec::new();
    for ((class, tally), fair) in CLASSES.iter().zip(tallies).zip(fair) {
        let is_hit = class.needs.is_none();
        let stands = class.needs.is_none_or(|needs| fault.part != Some(needs));
        let mut miss = |what: String| missed.push(format!("{}, {}: {what}", fault.name, class.name));
        if stands && own_errors(tally) > 0 {
            miss(format!("{} errors", own_errors(tally)));
        }
        if is_hit && tally.latency.micros_at(999) > HIT_MILLIS_MAX * 1e3 {
            miss(format!("P99.9 of {} ms", millis(tally.latency.micros_at(999))));
        }
        let factor = tally.latency.micros_at(990) / fair.latency.micros_at(990).max(1.0);
        if stands && factor > FAIR_FACTOR {
            miss(format!("P99 is {factor:.1} times that of fair weather"));
        }
    }
    missed
}

/// Answers that are an error of ours, and requests without an answer. The origin of this bench gives `500`, we never do.
pub(crate) fn own_errors(tally: &Tally) -> u64 {
    let answers = tally.statuses.iter().filter(|&(&status, _)| is_ours(status)).map(|(_, count)| count);
    answers.chain(tally.failures.values()).sum()
}

fn is_ours(status: u16) -> bool {
    status >= 400 && status != 500
}

fn errors(class: &Class, tally: &Tally) -> Option<String> {
    let answers = tally.statuses.iter().filter(|&(&status, _)| is_ours(status));
    let answers = answers.map(|(status, count)| format!("{count} of {status}"));
    let failures = tally.failures.iter().map(|(failure, count)| format!("{count} {}", failure.word()));
    let all: Vec<_> = answers.chain(failures).collect();
    (!all.is_empty()).then(|| format!("{}: {}", class.name, all.join(", ")))
}

/// P50, P99, P99.9 and the longest.
pub(crate) fn four(durations: &Durations) -> String {
    let at = [500, 990, 999].map(|per_mille| millis(durations.micros_at(per_mille)));
    format!("{} / {}", at.join(" / "), millis(durations.micros_max()))
}

/// Milliseconds with as many digits as mean something.
pub(crate) fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    if millis < 10.0 { format!("{millis:.2}") } else { format!("{millis:.0}") }
}
