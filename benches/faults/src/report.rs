//! The results as rows of Markdown, and their comparison with the aims.

use load::durations::Durations;
use load::tally::Tally;

use crate::fault::Fault;
use crate::mix::{CLASSES, Class};

/// The longest P99.9 of hits under any fault.
const HIT_MILLIS_MAX: f64 = 90.0;
/// The factor by which the P99 of an unaffected class may exceed that without a fault.
const BASELINE_FACTOR: f64 = 1.5;

/// Returns the head of the table.
pub(crate) fn head() -> String {
    let names: Vec<_> = CLASSES.iter().map(|class| class.name).collect();
    let lines = vec!["---"; CLASSES.len() + 3];
    format!(
        "| P50 / P99 / P99.9 / max in ms | {} | errors, except for the origin's | lag of the generator, P99.9 |\n| {} |",
        names.join(" | "),
        lines.join(" | ")
    )
}

/// Returns the row of one phase.
pub(crate) fn row(name: &str, tallies: &[Tally]) -> String {
    let cells: Vec<_> = tallies.iter().map(|tally| four(&tally.latency)).collect();
    let errors: Vec<_> =
        CLASSES.iter().zip(tallies).filter_map(|(class, tally)| errors(class, tally)).collect();
    let errors = if errors.is_empty() { "0".to_owned() } else { errors.join("; ") };
    let late = tallies.iter().map(|tally| tally.lag.micros_at(999)).fold(0.0, f64::max);
    format!("| {name} | {} | {errors} | {} |", cells.join(" | "), millis(late))
}

/// Returns the aims that a phase has missed, compared with the phase without a fault.
pub(crate) fn missed(fault: &Fault, tallies: &[Tally], baseline: &[Tally]) -> Vec<String> {
    let mut missed = Vec::new();
    for ((class, tally), before) in CLASSES.iter().zip(tallies).zip(baseline) {
        let is_hit = class.needs.is_none();
        let is_unaffected = class.needs.is_none_or(|needs| fault.part != Some(needs));
        let mut miss = |what: String| missed.push(format!("{}, {}: {what}", fault.name, class.name));
        if is_unaffected && own_errors(tally) > 0 {
            miss(format!("{} errors", own_errors(tally)));
        }
        if is_hit && tally.latency.micros_at(999) > HIT_MILLIS_MAX * 1e3 {
            miss(format!("P99.9 of {} ms", millis(tally.latency.micros_at(999))));
        }
        let factor = tally.latency.micros_at(990) / before.latency.micros_at(990).max(1.0);
        if is_unaffected && factor > BASELINE_FACTOR {
            miss(format!("P99 is {factor:.1} times that without a fault"));
        }
    }
    missed
}

/// Returns the number of CacheWarp's own errors and of requests without an answer. In this bench
/// only the origin answers with `500`.
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

/// Formats P50, P99, P99.9 and the maximum.
pub(crate) fn four(durations: &Durations) -> String {
    let at = [500, 990, 999].map(|per_mille| millis(durations.micros_at(per_mille)));
    format!("{} / {}", at.join(" / "), millis(durations.micros_max()))
}

/// Formats milliseconds with three significant digits at most.
pub(crate) fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    if millis < 10.0 { format!("{millis:.2}") } else { format!("{millis:.0}") }
}
