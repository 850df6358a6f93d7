//! The OpenMetrics text of all metrics. Only this file uses the encoder of prometheus-client.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::family::{MetricDescriptor, MetricFamily, MetricKind, Sample, SeriesLabels};
use super::histograms::BUCKET_BOUNDS;
use super::registry::Registry;
use super::tally::DurationSummary;

/// The media type of [`Registry::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Registry {
    /// Returns all metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut everything = prometheus_client::registry::Registry::default();
        everything.register_collector(Box::new(Scrape(self.clone())));
        let mut text = String::new();
        // Writing to a String cannot fail; an incomplete text would lack its `# EOF`, and the
        // reader would refuse it.
        match prometheus_client::encoding::text::encode(&mut text, &everything) {
            Ok(()) | Err(fmt::Error) => text,
        }
    }
}

/// A registry as a collector.
#[derive(Debug)]
struct Scrape(Registry);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.for_each(|family| family.encode(&mut encoder))
    }
}

impl MetricFamily {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let MetricDescriptor { kind, name, help, labels } = &self.descriptor;
        let (unit, metric_type) = match kind {
            MetricKind::Counter => (None, MetricType::Counter),
            MetricKind::Gauge => (None, MetricType::Gauge),
            MetricKind::Histogram => (Some(&Unit::Seconds), MetricType::Histogram),
        };
        let mut metric = encoder.encode_descriptor(name, help, unit, metric_type)?;
        match labels {
            SeriesLabels::None => encode(self.read(0), metric),
            SeriesLabels::Closed(label, words) => words.iter().enumerate().try_for_each(|(series, word)| {
                encode(self.read(series), metric.encode_family(&[(*label, *word)])?)
            }),
            SeriesLabels::Open(label) => self
                .listed()
                .try_for_each(|(word, reading)| encode(reading, metric.encode_family(&[(*label, word)])?)),
        }
    }
}

fn encode(reading: Sample, mut metric: MetricEncoder<'_>) -> fmt::Result {
    match reading {
        Sample::Count(count) => metric.encode_counter::<NoLabelSet, _, u64>(&count, None),
        Sample::Level(level) => metric.encode_gauge(&level),
        Sample::Sampled(value) => metric.encode_gauge(&value),
        Sample::Times(DurationSummary { counts, nanos }) => {
            let bounds = BUCKET_BOUNDS.iter().map(|&micros| seconds(micros, 1e6)).chain([f64::INFINITY]);
            let count = counts.iter().sum();
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            metric.encode_histogram::<NoLabelSet>(seconds(nanos, 1e9), count, &buckets, None)
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
            registry.render(),
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
        let text = registry.render();
        let redis: Vec<_> = text.lines().filter(|line| line.contains("redis")).collect();
        assert!(
            text.contains(
                "# TYPE cachewarp_lookup_seconds histogram\n# UNIT cachewarp_lookup_seconds seconds"
            )
        );
        assert_eq!(
            redis[..2],
            [
                "cachewarp_lookup_seconds_sum{tier=\"redis\"} 11.000101",
                "cachewarp_lookup_seconds_count{tier=\"redis\"} 3"
            ]
        );
        assert_eq!(redis.len(), 2 + BUCKETS);
        assert_eq!(redis[2], "cachewarp_lookup_seconds_bucket{le=\"0.00005\",tier=\"redis\"} 1");
        assert_eq!(redis[3], "cachewarp_lookup_seconds_bucket{le=\"0.0001\",tier=\"redis\"} 2");
        assert_eq!(redis[BUCKETS], "cachewarp_lookup_seconds_bucket{le=\"10.0\",tier=\"redis\"} 2");
        assert_eq!(redis[BUCKETS + 1], "cachewarp_lookup_seconds_bucket{le=\"+Inf\",tier=\"redis\"} 3");
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
        let text = registry.render();
        for line in [
            r#"cachewarp_sent_bytes_total{server="a:1"} 3"#,
            r#"cachewarp_sent_bytes_total{server="\"\\\n"} 4"#,
            r#"cachewarp_reply_seconds_sum{server="a:1"} 0.00005"#,
            r#"cachewarp_reply_seconds_count{server="a:1"} 2"#,
            r#"cachewarp_reply_seconds_bucket{le="0.00005",server="a:1"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        assert_eq!(registry.snapshot().series("cachewarp_sent_bytes"), []);
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
        let text = registry.render();
        for line in
            ["cachewarp_a_total 40", "cachewarp_b -3", "cachewarp_c_seconds_count 4", "cachewarp_d 10.0"]
        {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in {text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 4);
    }

    #[test]
    fn an_empty_registry_is_a_complete_text() {
        assert_eq!(Registry::new().render(), "# EOF\n");
    }
}
