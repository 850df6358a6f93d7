//! Frames, compared with their expected text.

use super::*;
use crate::telemetry::BUCKET_BOUNDS;

/// Returns an answer of `/stats`, this many seconds after the start.
fn stats(seconds: u64, hits: u64, misses: u64) -> StatsSample {
    let cacheable = hits + misses;
    let document = format!(
        r#"{{"version":"1.2.3","uptime":{seconds}.000,"now_ms":{seconds}000,"workers":2,
            "requests":{{"hit-memory":{hits},"hit-redis":0,"miss":{misses},"failed":0}},"cacheable":{cacheable},
            "latency":{{"hit-memory":{{"buckets":[{hits},0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}},
                       "miss":{{"buckets":[0,0,0,0,0,0,0,{misses},0,0,0,0,0,0,0,0,0,0,0]}}}},
            "memory":{{"bytes":1572864,"entries":7}},
            "redis":{{"health":"connected","connections":{{"disconnected":0,"connecting":1,"up":19}},"in_flight":3,
                     "commands":{{"ok":{misses},"timeout":{seconds}}}}},
            "origin":{{"open":4,"idle":3,"requests":{{"complete":{misses}}}}},
            "clients":{{"open":64}},"shared_fetches":1,
            "top":[{{"path":"/quotes/EURUSD","requests":800}},{{"path":"/a\u001b[2J","requests":8}}]}}"#
    );
    StatsSample::of(&serde_json::from_str(&document).unwrap())
}

fn frame(now: &StatsSample, before: Option<&StatsSample>, silent: Option<&str>) -> String {
    text(&TopFrame { now, before, silent })
}

#[test]
fn a_frame_shows_the_last_second() {
    let (before, now) = (stats(100, 1_000, 100), stats(101, 10_000, 600));
    assert_eq!(
        frame(&now, Some(&before), None),
        "\
\x20CacheWarp 1.2.3  up 1m 41s  2 workers  64 clients  9500 requests/s
┌ requests ────────────────────────────────────────────────────────────────────────────────────────┐
│outcome                                       requests/s    share        p50        p99      p99.9│
│hit-memory                                          9000   94.7 %      25 µs      50 µs      50 µs│
│miss                                                 500    5.3 %    7.50 ms    9.95 ms    9.99 ms│
└──────────────────────────────────────────────────────────────────────────────────────────────────┘
┌ hit ratio ───────┐┌ Redis ───────────────────────────────┐┌ origin and memory ───────────────────┐
│memory      94.7 %││health                       connected││connections                  4, 3 idle│
│Redis        0.0 %││connections                19 of 20 up││fetches/s                          500│
│together    94.7 %││commands/s                         501││shared now                           1│
│                  ││failed/s                           1.0││memory                         1.5 MiB│
│                  ││in flight                            3││entries                              7│
└──────────────────┘└──────────────────────────────────────┘└──────────────────────────────────────┘
┌ most requested paths, counted while displayed; q to quit ────────────────────────────────────────┐
│path                                                                                         about│
│/quotes/EURUSD                                                                                 800│
│/a\u{fffd}[2J                                                                                           8│
└──────────────────────────────────────────────────────────────────────────────────────────────────┘
"
    );
}

#[test]
fn the_first_frame_and_the_first_after_a_restart_show_the_totals() {
    let (now, of_another) = (stats(10, 1_000, 0), stats(5_000, 99, 9));
    for before in [None, Some(&of_another), Some(&now)] {
        let shown = frame(&now, before, None);
        assert!(shown.contains("up 0m 10s") && shown.contains(" 100 requests/s"), "{shown}");
        assert!(shown.contains("100.0 %"), "{shown}");
    }
}

#[test]
fn a_missing_answer_shows_an_error_over_the_last_values() {
    let shown = frame(&stats(10, 1, 1), None, Some("no answer: refused"));
    assert!(shown.starts_with(" no answer: refused\n") && shown.contains("hit-memory"), "{shown}");
}

#[test]
fn malformed_answers_are_drawn_without_control_characters() {
    for document in [
        "{}",
        "[]",
        r#"{"requests":7,"latency":[],"top":{},"redis":"x"}"#,
        r#"{"requests":{"a\u0007":-1e300,"b":1e300},"latency":{"b":{"buckets":[1,2]}},"top":[1,{"path":"\u001b]0;x\u0007"}]}"#,
    ] {
        let reading = StatsSample::of(&serde_json::from_str(document).unwrap());
        let shown = frame(&reading, None, None);
        assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
    }
}

/// Returns a frame of a busy node on a terminal of this size.
fn busy_frame(columns: usize, lines: usize) -> String {
    let outcomes = [
        "hit-memory",
        "hit-redis",
        "miss",
        "validated",
        "stale-on-error",
        "collapsed",
        "uncacheable",
        "pass",
    ];
    let counts = |count: u64| outcomes.map(|outcome| format!(r#""{outcome}":{count}"#)).join(",");
    let latency = outcomes
        .map(|outcome| format!(r#""{outcome}":{{"buckets":[{}9000000]}}"#, "0,".repeat(BUCKET_BOUNDS.len())))
        .join(",");
    let sample = |uptime: u64, count: u64| {
        let document = format!(
            r#"{{"version":"10.20.30","now_ms":{uptime},"workers":64,"requests":{{{}}},"latency":{{{latency}}},
                "memory":{{"bytes":1098437885952,"entries":123456789}},
                "redis":{{"health":"disconnected","connections":{{"disconnected":1,"connecting":2,"up":997}},
                          "in_flight":31999,"commands":{{"ok":{count},"timeout":{count}}}}},
                "origin":{{"open":16384,"idle":12345,"requests":{{"complete":{count}}}}},
                "clients":{{"open":65535}},"shared_fetches":54321,
                "top":[{{"path":"/{}","requests":987654321}}]}}"#,
            counts(count),
            "long/".repeat(40),
        );
        StatsSample::of(&serde_json::from_str(&document).unwrap())
    };
    let (before, now) = (sample(40_000_000_000, 0), sample(40_000_001_000, 1_234_567));
    let mut grid = FrameGrid::new(columns, lines);
    view::draw(&mut grid, &TopFrame { now: &now, before: Some(&before), silent: None });
    grid.text().join("\n")
}

#[test]
fn a_terminal_of_80_columns_and_24_lines_cuts_no_number() {
    let frame = busy_frame(80, 24);
    for words in [
        "CacheWarp 10.20.30  up 462d 23h  64 workers  65535 clients  9876536 requests/s",
        "1234567   12.5 %",
        "disconnected",
        "997 of 1000 up",
        "2469134",
        "31999",
        "16384, 12345 idle",
        "54321",
        "1023.0 GiB",
        "123456789",
        "987654321│",
    ] {
        assert!(frame.contains(words), "{words} is not in\n{frame}");
    }
    for name in ["hit-memory", "stale-on-error", "pass", "connections", "commands/s", "entries", "together"] {
        assert!(frame.contains(name), "{name} is not in\n{frame}");
    }
}

#[test]
fn every_size_of_terminal_works() {
    let now = stats(10, 1_000, 10);
    for (columns, lines) in [(0, 0), (1, 1), (3, 200), (200, 3), (40, 12)] {
        let mut grid = FrameGrid::new(columns, lines);
        view::draw(&mut grid, &TopFrame { now: &now, before: None, silent: None });
        let text = grid.text();
        let sizes: Vec<usize> = text.iter().map(|line| line.chars().count()).collect();
        assert_eq!(sizes, vec![columns; if columns == 0 { 0 } else { lines }]);
    }
}
