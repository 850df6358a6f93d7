//! The page of metrics, as a scraper and `promtool` read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::harness::{Answer, Client, Origin, Program, Redis, Start, client};
use crate::metric_table::GROUPS;

/// Returns the document of all metrics. A changed name or label breaks operators' dashboards.
fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md")).unwrap_or_default()
}

/// The field that Prometheus 3 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Starts the program with all kinds of metrics, and returns it with its admin address.
fn start(origin: &Origin, redis: &Redis) -> (Program, std::net::SocketAddr) {
    let mut routes = NamedTempFile::new().unwrap();
    routes.write_all(b"[[route]]\nname = 'a'\npath = '/a'\n").unwrap();
    let urls = [
        format!("--origin-url={}", origin.url()),
        format!("--redis-url={}", redis.url()),
        format!("--routes-file={}", routes.path().display()),
    ];
    let stream = "--purge-stream=cachewarp:purges";
    let flags =
        ["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", stream, &urls[0], &urls[1], &urls[2]];
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let mut addresses = program
        .await_line("serving")
        .split(['=', '"', ' '])
        .filter_map(|word| word.parse().ok())
        .collect::<Vec<std::net::SocketAddr>>();
    let admin = addresses.pop().unwrap();
    assert_eq!(client::get(addresses.pop().unwrap(), "/a").status, 200);
    (program, admin)
}

/// Returns the series of a page without their values.
fn series(page: &str) -> Vec<&str> {
    let series = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    series.map(|(series, _)| series).collect()
}

#[test]
fn the_format_follows_the_accept_field() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json("{}"));
    let (_program, admin) = start(&origin, &redis);
    let mut scraper = Client::connect(admin);
    let open_metrics = scraper.request("GET", "/metrics", &[("Accept", PROMETHEUS)]);
    let text = scraper.request("GET", "/metrics", &[("Accept", "*/*")]);
    let unstated = scraper.get("/metrics");
    for (page, media_type) in [
        (&open_metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (&text, "text/plain; version=0.0.4; charset=utf-8"),
        (&unstated, "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        assert_eq!((page.status, page.field("content-type")), (200, Some(media_type)));
        assert_eq!((page.field("cache-control"), page.field("vary")), (Some("no-store"), Some("Accept")));
    }
    assert!(open_metrics.text().ends_with("# EOF\n") && !text.text().contains("# EOF"));
    assert!(open_metrics.text().contains("# TYPE cachewarp_requests counter\n"));
    assert!(text.text().contains("# TYPE cachewarp_requests_total counter\n"));
    assert_eq!(series(open_metrics.text()), series(text.text()), "one format has other series");
    for name in ["cachewarp_build_info{version=\"", "process_cpu_seconds_total", "process_start_time_seconds"]
    {
        assert!(series(text.text()).iter().any(|series| series.starts_with(name)), "{name}");
    }
}

#[test]
fn promtool_finds_no_fault() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json("{}"));
    let (_program, admin) = start(&origin, &redis);
    let page = client::get(admin, "/metrics");
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The tool is part of Prometheus, which few machines have.
    let Ok(mut promtool) = check.spawn() else { return println!("promtool is missing: nothing is checked") };
    promtool.stdin.take().unwrap().write_all(page.text().as_bytes()).unwrap();
    let found = promtool.wait_with_output().unwrap();
    let faults = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(found.status.success() && faults.is_empty(), "{faults}");
}

/// One family of the page.
#[derive(Default)]
struct Family<'a> {
    kind: &'a str,
    unit: &'a str,
    help: &'a str,
    /// The labels, each with its values.
    labels: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

/// Reads a page of OpenMetrics.
fn families(page: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families = BTreeMap::<&str, Family<'_>>::new();
    let mut last = "";
    for line in page.lines() {
        if let Some((word, rest)) = line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            let (name, text) = rest.split_once(' ').unwrap();
            last = name;
            let family = families.entry(name).or_default();
            match word {
                "TYPE" => family.kind = text,
                "UNIT" => family.unit = text,
                _ => family.help = text,
            }
        } else if let Some((_, rest)) = line.split_once('{') {
            let labels = rest.rsplit_once('}').unwrap().0;
            for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
                families
                    .entry(last)
                    .or_default()
                    .labels
                    .entry(label)
                    .or_default()
                    .insert(value.trim_matches('"'));
            }
        }
    }
    families
}

impl Family<'_> {
    /// Returns a row of the document.
    fn row(&self, name: &str, advice: &str) -> String {
        let Self { kind, unit, help, .. } = self;
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        format!("| `{name}{suffix}` | {kind}{unit} | {} | {help} | {advice} |\n", self.labels())
    }

    /// Returns the labels, with the values of a label whose values are a closed set.
    fn labels(&self) -> String {
        let labels = self.labels.iter().filter(|(label, _)| **label != "le");
        let is_alone = labels.clone().count() == 1;
        let shown = labels.map(|(label, values)| {
            if !is_alone || ["route", "server"].contains(label) {
                return format!("`{label}`");
            }
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("`{label}`: {}", values.join(", "))
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the test decides whether the document is written"
)]
fn the_document_has_every_metric_with_its_labels() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json("{}"));
    let (_program, admin) = start(&origin, &redis);
    let open_metrics = ("Accept", "application/openmetrics-text");
    let page = Client::connect(admin).request("GET", "/metrics", &[open_metrics]);
    let mut families = families(page.text());
    let mut text = String::from(
        "# Metrics\n\n\
         `GET /metrics` on `admin_addr`, as plain text (0.0.4) or OpenMetrics 1.0 by `Accept`. Counters begin\n\
         at 0 with the process. A histogram has the suffixes `_bucket`, `_sum` and `_count`, and a bucket at\n\
         90 ms. All series of a label with listed values exist from the start. This file is generated from\n\
         a running program and `tests/scenarios/metric_table.rs`.\n",
    );
    for (heading, rows) in GROUPS {
        text += &format!("\n## {heading}\n\n| metric | type, unit | labels | meaning | when it changes |\n");
        text += "| --- | --- | --- | --- | --- |\n";
        for (name, advice) in *rows {
            let family = families.remove(name).unwrap_or_else(|| panic!("/metrics has no {name}"));
            text += &family.row(name, advice);
        }
    }
    let left: Vec<_> = families.into_keys().collect();
    assert!(left.is_empty(), "tests/scenarios/metric_table.rs has no row for {left:?}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md"), &text).unwrap();
    } else {
        let update = "UPDATE_GOLDEN=1 cargo test --test scenarios the_document_has_every_metric";
        assert!(text == document(), "METRICS.md differs from /metrics and the table: {update}");
    }
}

#[test]
fn every_metric_in_the_readme_exists() {
    let readme = include_str!("../../README.md");
    let (document, mut named) = (document(), 0);
    for word in readme.split('`').skip(1).step_by(2).filter(|word| word.starts_with("cachewarp_")) {
        // The README names a family with its suffix, with `*`, or with its labels.
        let name = word.split(['*', '{']).next().unwrap();
        assert!(document.contains(&format!("| `{name}")), "{word}");
        named += 1;
    }
    assert!(named >= 5);
}
