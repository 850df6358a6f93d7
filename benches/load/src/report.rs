//! The results of a phase, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use crate::durations::Durations;
use crate::plan::{Pace, Phase};
use crate::tally::Tally;

/// The P99 of the lag up to which a phase is not marked as spoiled.
const LAG_MICROS_FINE: f64 = 1000.0;

/// Returns a table with a line for each phase.
pub fn table(phases: &[Phase], tallies: &[Tally]) -> String {
    let mut text = String::from(
        "phase                 rate/s  answers/s      p50 µs      p99 µs    p99.9 µs      max µs  errors | \
         own lag p99, p99.9 µs; waited; CPU µs each\n",
    );
    for (phase, tally) in phases.iter().zip(tallies) {
        let rate = match phase.pace {
            Pace::PerSecond(rate) => format!("{rate:.0}"),
            Pace::AsAnswered => "max".into(),
        };
        let figures = [
            tally.latency.micros_at(500),
            tally.latency.micros_at(990),
            tally.latency.micros_at(999),
            tally.latency.micros_max(),
        ];
        // Writing to a String cannot fail.
        let _ = write!(text, "{:18} {rate:>9} {:>10.0}", phase.name, per_second(tally));
        for figure in figures {
            let _ = write!(text, " {figure:>11.0}");
        }
        let (lag, worst) = (tally.lag.micros_at(990), tally.lag.micros_at(999));
        let _ = write!(
            text,
            " {:>7} | {lag:.0}, {worst:.0}; {}; {:.1}",
            tally.errors(),
            tally.waited,
            micros_each(tally.cpu, tally)
        );
        if lag > LAG_MICROS_FINE {
            text.push_str("  SPOILED: the generator itself was late");
        }
        text.push('\n');
        for (failure, count) in &tally.failures {
            let _ = writeln!(text, "{:18} {count} {}", "", failure.word());
        }
        for (status, count) in tally.statuses.iter().filter(|&(&status, _)| status >= 400) {
            let _ = writeln!(text, "{:18} {count} answered with {status}", "");
        }
    }
    text
}

/// Returns one JSON object on one line.
pub fn json(phase: &Phase, tally: &Tally) -> String {
    let rate = match phase.pace {
        Pace::PerSecond(rate) => rate.to_string(),
        Pace::AsAnswered => "null".into(),
    };
    let watched = tally.watched.map_or("null".into(), |cpu| format!("{:.3}", micros_each(cpu, tally)));
    let statuses: Vec<_> =
        tally.statuses.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
    let failures: Vec<_> =
        tally.failures.iter().map(|(failure, count)| format!("\"{}\":{count}", failure.word())).collect();
    format!(
        "{{\"phase\":\"{}\",\"rate\":{rate},\"per_second\":{:.1},\"seconds\":{:.4},\"answers\":{},\"errors\":{},\
         \"latency_micros\":{},\"service_micros\":{},\"lag_micros\":{},\"waited\":{},\"bytes\":{},\
         \"cpu_micros_each\":{:.2},\"watched_cpu_micros_each\":{watched},\"statuses\":{{{}}},\"failures\":{{{}}}}}",
        phase.name,
        per_second(tally),
        seconds(tally),
        tally.answers(),
        tally.errors(),
        durations(&tally.latency),
        durations(&tally.service),
        durations(&tally.lag),
        tally.waited,
        tally.bytes,
        micros_each(tally.cpu, tally),
        statuses.join(","),
        failures.join(",")
    )
}

fn durations(durations: &Durations) -> String {
    format!(
        "{{\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1}}}",
        durations.micros_at(500),
        durations.micros_at(900),
        durations.micros_at(990),
        durations.micros_at(999),
        durations.micros_max()
    )
}

fn seconds(tally: &Tally) -> f64 {
    tally.span.map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64())
}

fn per_second(tally: &Tally) -> f64 {
    let seconds = seconds(tally);
    if seconds > 0.0 { count(tally.answers()) / seconds } else { 0.0 }
}

fn micros_each(cpu: Duration, tally: &Tally) -> f64 {
    1e6 * cpu.as_secs_f64() / count(tally.answers().max(1))
}

#[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than an f64 counts exactly")]
fn count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Failure;

    #[test]
    fn both_forms_report_the_results() {
        let phase = Phase::parse("steady,rate=100,seconds=1").unwrap();
        let mut tally = Tally::new();
        let start = crate::clock::now();
        let end = start + Duration::from_millis(500);
        tally.sent(start, start, start);
        tally.answered(start, start, end, 200);
        tally.answered(start, start, end, 503);
        tally.failed(Failure::Refused);
        tally.watched = Some(Duration::from_micros(9));
        let text = json(&phase, &tally);
        for part in [
            "{\"phase\":\"steady\",\"rate\":100,\"per_second\":4.0,\"seconds\":0.5000,\"answers\":2,\"errors\":2,",
            "\"latency_micros\":{\"p50\":500000.0,",
            "\"watched_cpu_micros_each\":4.500,",
            "\"statuses\":{\"200\":1,\"503\":1},\"failures\":{\"refused\":1}}",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let shown = table(&[phase], &[tally]);
        for part in ["1 refused", "1 answered with 503"] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("SPOILED"));
    }
}
