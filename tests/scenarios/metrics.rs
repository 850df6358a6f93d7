//! The page of metrics, as a scraper and `promtool` read it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Answer, Client, Origin, Program, Redis, Start, client};

/// The field that Prometheus 3 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Starts the program with all kinds of metrics, and returns it with its admin address.
fn start(origin: &Origin, redis: &Redis) -> (Program, std::net::SocketAddr) {
    let urls = [format!("--origin-url={}", origin.url()), format!("--redis-url={}", redis.url())];
    let flags = ["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", &urls[0], &urls[1]];
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
    let Ok(mut promtool) = check.spawn() else { return };
    promtool.stdin.take().unwrap().write_all(page.text().as_bytes()).unwrap();
    let found = promtool.wait_with_output().unwrap();
    let faults = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(found.status.success() && faults.is_empty(), "{faults}");
}
