//! The metrics as text, in the two formats that Prometheus reads.
//!
//! ```text
//!              OpenMetrics 1.0                      text 0.0.4
//! counter      # TYPE a counter     a_total 1       # TYPE a_total counter   a_total 1
//! info         # TYPE a info        a_info{..} 1    # TYPE a_info gauge      a_info{..} 1
//! unit         # UNIT a_seconds seconds             –
//! end          # EOF                                –
//! ```
//!
//! The series are equal in both, so a change of format starts no new series.

use std::fmt::{self, Write};

use super::family::{MetricDescriptor, MetricFamily, MetricKind, Sample, SeriesLabels};
use super::format::MetricsFormat;
use super::histograms::BUCKET_BOUNDS;
use super::registry::Registry;
use super::tally::DurationSummary;

impl Registry {
    /// Returns all metrics as plain text.
    pub fn render(&self) -> String {
        self.render_as(MetricsFormat::Text)
    }

    /// Returns all metrics in a format.
    pub fn render_as(&self, format: MetricsFormat) -> String {
        let mut page = MetricsPage { format, text: String::new() };
        let mut write = || {
            self.for_each(|family| page.write_family(family))?;
            match format {
                MetricsFormat::OpenMetrics => page.text.write_str("# EOF\n"),
                MetricsFormat::Text => Ok(()),
            }
        };
        // Writing to a String cannot fail; an incomplete page would lack its `# EOF`, and the
        // reader would refuse it.
        match write() {
            Ok(()) | Err(fmt::Error) => page.text,
        }
    }
}

/// The text that a scrape receives.
struct MetricsPage {
    format: MetricsFormat,
    text: String,
}

/// The labels of one series, in the order of its metric.
type LabelPairs<'a> = &'a [(&'a str, &'a str)];

impl MetricsPage {
    fn write_family(&mut self, family: &MetricFamily) -> fmt::Result {
        let MetricDescriptor { kind, name, labels, .. } = &family.descriptor;
        self.write_metadata(&family.descriptor)?;
        let name = format!("{name}{}", kind.sample_suffix());
        match labels {
            SeriesLabels::None => self.write_series(&name, &[], family.read(0)),
            SeriesLabels::Closed(label, words) => words.iter().enumerate().try_for_each(|(series, word)| {
                self.write_series(&name, &[(label, word)], family.read(series))
            }),
            SeriesLabels::Grid(labels) => self.write_grid(&name, labels, family),
            SeriesLabels::Constant(labels) => {
                let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
                self.write_series(&name, &labels, family.read(0))
            }
            SeriesLabels::Open(labels) => family.listed().try_for_each(|(words, sample)| {
                let words = words.iter().map(String::as_str);
                let labels: Vec<_> = labels.iter().copied().zip(words).collect();
                self.write_series(&name, &labels, sample)
            }),
        }
    }

    fn write_metadata(&mut self, descriptor: &MetricDescriptor) -> fmt::Result {
        let MetricDescriptor { kind, name, help, .. } = descriptor;
        let (suffix, word) = match (self.format, kind) {
            (_, MetricKind::Histogram) => ("_seconds", "histogram"),
            (_, MetricKind::Gauge) => ("", "gauge"),
            (MetricsFormat::OpenMetrics, MetricKind::Counter) => ("", "counter"),
            (MetricsFormat::OpenMetrics, MetricKind::Info) => ("", "info"),
            (MetricsFormat::Text, MetricKind::Counter) => ("_total", "counter"),
            (MetricsFormat::Text, MetricKind::Info) => ("_info", "gauge"),
        };
        writeln!(self.text, "# HELP {name}{suffix} {}.", help.trim_end_matches('.'))?;
        writeln!(self.text, "# TYPE {name}{suffix} {word}")?;
        let family = format!("{name}{suffix}");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}")));
        match (self.format, unit) {
            (MetricsFormat::OpenMetrics, Some(unit)) => writeln!(self.text, "# UNIT {family} {unit}"),
            _ => Ok(()),
        }
    }

    /// Writes the combinations of labels that have counted.
    fn write_grid(
        &mut self,
        name: &str,
        labels: &[(&'static str, Vec<&'static str>)],
        family: &MetricFamily,
    ) -> fmt::Result {
        for series in 0..family.descriptor.cells() {
            let Sample::Count(count @ 1..) = family.read(series) else { continue };
            let mut rest = series;
            let mut pairs: Vec<_> = labels
                .iter()
                .rev()
                .filter_map(|(label, words)| {
                    let word = words.get(rest % words.len())?;
                    rest /= words.len();
                    Some((*label, *word))
                })
                .collect();
            pairs.reverse();
            self.write_series(name, &pairs, Sample::Count(count))?;
        }
        Ok(())
    }

    fn write_series(&mut self, name: &str, labels: LabelPairs<'_>, sample: Sample) -> fmt::Result {
        match sample {
            Sample::Count(count) => self.write_sample(name, "", labels, None, count),
            Sample::Level(level) => self.write_sample(name, "", labels, None, level),
            Sample::Sampled(value) => self.write_sample(name, "", labels, None, Float(value)),
            Sample::Times(DurationSummary { counts, nanos }) => {
                let bounds = BUCKET_BOUNDS.iter().map(|&micros| seconds(micros, 1e6)).chain([f64::INFINITY]);
                let mut upto = 0;
                for (bound, count) in bounds.zip(counts) {
                    upto += count;
                    self.write_sample(name, "_bucket", labels, Some(Float(bound)), upto)?;
                }
                self.write_sample(name, "_count", labels, None, upto)?;
                self.write_sample(name, "_sum", labels, None, Float(seconds(nanos, 1e9)))
            }
        }
    }

    fn write_sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: LabelPairs<'_>,
        bound: Option<Float>,
        value: impl fmt::Display,
    ) -> fmt::Result {
        write!(self.text, "{name}{suffix}")?;
        let mut separator = '{';
        for (label, word) in labels {
            write!(self.text, "{separator}{label}=\"{}\"", Escaped(word))?;
            separator = ',';
        }
        if let Some(bound) = bound {
            write!(self.text, "{separator}le=\"{bound}\"")?;
            separator = ',';
        }
        let close = if separator == '{' { "" } else { "}" };
        writeln!(self.text, "{close} {value}")
    }
}

impl MetricKind {
    /// Returns the suffix that a sample's name adds to the metric's.
    fn sample_suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Histogram => "_seconds",
            Self::Info => "_info",
        }
    }
}

/// A label's value, with the escapes of both formats.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

/// A number that is always written with a fraction, as OpenMetrics requires of bounds.
#[derive(Clone, Copy)]
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            f.write_str("NaN")
        } else if value.is_infinite() {
            f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if value.fract() == 0.0 {
            write!(f, "{value:.1}")
        } else {
            write!(f, "{value}")
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days; beyond that a sum loses nanoseconds")]
fn seconds(amount: u64, per_second: f64) -> f64 {
    amount as f64 / per_second
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::histograms::BUCKETS;

    crate::labels! {
        enum Tier {
            Memory => "memory",
            Redis => "redis",
        }
    }

    #[test]
    fn counters_and_gauges_in_text() {
        let registry = Registry::new();
        let hits = registry.counters::<Tier>("cachewarp_hits", "Answers from a tier.", "tier");
        let panics = registry.counter("cachewarp_panics_total", "Panics.");
        let open = registry.gauge("cachewarp_open", "Open connections.");
        let held = registry.gauges::<Tier>("cachewarp_held_bytes", "Bytes held.", "tier");
        registry.sampled("cachewarp_load", "Load.", || 0.5);
        hits.inc(Tier::Redis);
        hits.add(Tier::Redis, 2);
        panics.inc();
        open.add(-3);
        held.set(Tier::Memory, 7);
        held.add(Tier::Memory, -2);
        assert_eq!(
            registry.render_as(MetricsFormat::OpenMetrics),
            "# HELP cachewarp_hits Answers from a tier.\n\
             # TYPE cachewarp_hits counter\n\
             cachewarp_hits_total{tier=\"memory\"} 0\n\
             cachewarp_hits_total{tier=\"redis\"} 3\n\
             # HELP cachewarp_panics Panics.\n\
             # TYPE cachewarp_panics counter\n\
             cachewarp_panics_total 1\n\
             # HELP cachewarp_open Open connections.\n\
             # TYPE cachewarp_open gauge\n\
             cachewarp_open -3\n\
             # HELP cachewarp_held_bytes Bytes held.\n\
             # TYPE cachewarp_held_bytes gauge\n\
             # UNIT cachewarp_held_bytes bytes\n\
             cachewarp_held_bytes{tier=\"memory\"} 5\n\
             cachewarp_held_bytes{tier=\"redis\"} 0\n\
             # HELP cachewarp_load Load.\n\
             # TYPE cachewarp_load gauge\n\
             cachewarp_load 0.5\n\
             # EOF\n"
        );
    }

    #[test]
    fn histograms_in_text() {
        let registry = Registry::new();
        let took = registry.histograms::<Tier>("cachewarp_lookup_seconds", "Lookups.", "tier");
        took.observe(Tier::Redis, Duration::from_micros(50));
        took.observe(Tier::Redis, Duration::from_micros(51));
        took.observe(Tier::Redis, Duration::from_secs(11));
        let text = registry.render_as(MetricsFormat::OpenMetrics);
        let redis: Vec<_> = text.lines().filter(|line| line.contains("redis")).collect();
        assert!(
            text.contains(
                "# TYPE cachewarp_lookup_seconds histogram\n# UNIT cachewarp_lookup_seconds seconds"
            )
        );
        assert_eq!(
            redis[BUCKETS..],
            [
                "cachewarp_lookup_seconds_count{tier=\"redis\"} 3",
                "cachewarp_lookup_seconds_sum{tier=\"redis\"} 11.000101"
            ]
        );
        assert_eq!(redis[0], "cachewarp_lookup_seconds_bucket{tier=\"redis\",le=\"0.00005\"} 1");
        assert_eq!(redis[1], "cachewarp_lookup_seconds_bucket{tier=\"redis\",le=\"0.0001\"} 2");
        assert_eq!(redis[10], "cachewarp_lookup_seconds_bucket{tier=\"redis\",le=\"0.09\"} 2");
        assert_eq!(redis[BUCKETS - 2], "cachewarp_lookup_seconds_bucket{tier=\"redis\",le=\"10.0\"} 2");
        assert_eq!(redis[BUCKETS - 1], "cachewarp_lookup_seconds_bucket{tier=\"redis\",le=\"+Inf\"} 3");
        assert!(text.contains("cachewarp_lookup_seconds_count{tier=\"memory\"} 0\n"));
    }

    #[test]
    fn listed_series_in_text() {
        let registry = Registry::new();
        registry.listed_counters("cachewarp_sent_bytes", "Bytes.", "server", || {
            vec![("a:1".to_owned(), 3), ("\"\\\n".to_owned(), 4)]
        });
        registry.listed_histograms("cachewarp_reply_seconds", "Replies.", "server", || {
            let mut times = DurationSummary::default();
            (times.counts[0], times.nanos) = (2, 50_000);
            vec![("a:1".to_owned(), times)]
        });
        let text = registry.render_as(MetricsFormat::OpenMetrics);
        for line in [
            r#"cachewarp_sent_bytes_total{server="a:1"} 3"#,
            r#"cachewarp_sent_bytes_total{server="\"\\\n"} 4"#,
            r#"cachewarp_reply_seconds_sum{server="a:1"} 0.00005"#,
            r#"cachewarp_reply_seconds_count{server="a:1"} 2"#,
            r#"cachewarp_reply_seconds_bucket{server="a:1",le="0.00005"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        assert_eq!(registry.snapshot().series("cachewarp_sent_bytes"), []);
    }

    #[test]
    fn the_text_format_has_the_names_of_the_series() {
        let registry = Registry::new();
        registry.counter("cachewarp_sent_bytes", "Bytes.").add(2);
        registry.sampled_counter("process_cpu_seconds", "CPU", || 1.25);
        registry.info("cachewarp_build", "Build", vec![("version", "1 \"a\"".to_owned())]);
        assert_eq!(
            registry.render(),
            "# HELP cachewarp_sent_bytes_total Bytes.\n\
             # TYPE cachewarp_sent_bytes_total counter\n\
             cachewarp_sent_bytes_total 2\n\
             # HELP process_cpu_seconds_total CPU.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total 1.25\n\
             # HELP cachewarp_build_info Build.\n\
             # TYPE cachewarp_build_info gauge\n\
             cachewarp_build_info{version=\"1 \\\"a\\\"\"} 1\n"
        );
        assert_eq!(
            registry.render_as(MetricsFormat::OpenMetrics),
            "# HELP cachewarp_sent_bytes Bytes.\n\
             # TYPE cachewarp_sent_bytes counter\n\
             # UNIT cachewarp_sent_bytes bytes\n\
             cachewarp_sent_bytes_total 2\n\
             # HELP process_cpu_seconds CPU.\n\
             # TYPE process_cpu_seconds counter\n\
             # UNIT process_cpu_seconds seconds\n\
             process_cpu_seconds_total 1.25\n\
             # HELP cachewarp_build Build.\n\
             # TYPE cachewarp_build info\n\
             cachewarp_build_info{version=\"1 \\\"a\\\"\"} 1\n\
             # EOF\n"
        );
    }

    #[test]
    fn a_grid_shows_the_combinations_that_have_counted() {
        let registry = Registry::new();
        let labels = ["from", "to", "by"];
        let moves = registry.counter_grid::<Tier, Tier, Tier>("cachewarp_moves", "Moves.", labels);
        moves.inc(Tier::Memory, Tier::Redis, Tier::Memory);
        moves.inc(Tier::Redis, Tier::Redis, Tier::Redis);
        moves.inc(Tier::Redis, Tier::Redis, Tier::Redis);
        assert_eq!(
            registry.render(),
            "# HELP cachewarp_moves_total Moves.\n\
             # TYPE cachewarp_moves_total counter\n\
             cachewarp_moves_total{from=\"memory\",to=\"redis\",by=\"memory\"} 1\n\
             cachewarp_moves_total{from=\"redis\",to=\"redis\",by=\"redis\"} 2\n"
        );
    }

    #[test]
    fn numbers_are_floats_of_openmetrics() {
        let shown = [0.0, 10.0, 0.00005, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.25e18];
        assert_eq!(
            shown.map(|value| Float(value).to_string()),
            ["0.0", "10.0", "0.00005", "+Inf", "-Inf", "NaN", "1250000000000000000.0"]
        );
    }

    #[test]
    fn the_shards_of_all_workers_are_summed() {
        let registry = Registry::new();
        thread::scope(|scope| {
            for worker in 1..=4_u32 {
                let registry = &registry;
                scope.spawn(move || {
                    registry.counter("cachewarp_a", "A.").add(10);
                    registry.gauge("cachewarp_b", "B.").set(if worker == 1 { -9 } else { 2 });
                    registry.histogram("cachewarp_c", "C.").observe(Duration::from_millis(1));
                    registry.sampled("cachewarp_d", "D.", move || f64::from(worker));
                });
            }
        });
        let text = registry.render_as(MetricsFormat::OpenMetrics);
        for line in
            ["cachewarp_a_total 40", "cachewarp_b -3", "cachewarp_c_seconds_count 4", "cachewarp_d 10.0"]
        {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 4);
    }

    #[test]
    fn an_empty_registry_is_a_complete_text() {
        assert_eq!(Registry::new().render_as(MetricsFormat::OpenMetrics), "# EOF\n");
    }
}
