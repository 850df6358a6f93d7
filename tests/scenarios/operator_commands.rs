//! The operator's commands `purge`, `inspect` and `top`, and their exit codes.

use crate::admin::TOKEN;
use crate::harness::{Answer, Ended, Origin, Program, Proxy, Redis, Start};

/// Runs a command against a proxy's admin listener.
fn run(proxy: &Proxy, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let admin = format!("--admin-addr={}", proxy.admin_addr());
    let arguments: Vec<_> = arguments.iter().copied().chain([admin.as_str()]).collect();
    Program::start(&Start { arguments: &arguments, environment, ..Start::default() }).end()
}

fn cacheable() -> Answer {
    Answer::json_with(&[("Cache-Control", "max-age=600"), ("Cache-Tag", "t")], "{}")
}

#[test]
fn the_purge_command_purges_a_url() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", cacheable());
    let proxy = Proxy::start_with_redis(
        &origin.url(),
        &redis.url(),
        &[("admin_token", TOKEN), ("redis_timeout", "10s"), ("cache_namespace", "api")],
    );
    proxy.get("/a");
    // Redis holds the entry and the counter of its tag.
    redis.await_keys(2);
    let purge = ["purge", "--url", "http://test/a", "--url=http://test/b"];

    let done = run(&proxy, &[("ADMIN_TOKEN", TOKEN)], &purge);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    for line in ["answer", "outcome     everywhere", "confirmed   1", "purged.url  http://test/a"] {
        assert!(done.stdout.contains(line), "{line} is not in {}", done.stdout);
    }
    let left = redis.keys();
    assert!(left.len() == 1 && left[0].starts_with("cachewarp:api:tag:"), "{left:?}");
    assert!(proxy.get("/a").cache_status().contains("fwd"));

    for (environment, message) in [
        (
            &[][..],
            "the admin listener returned \"401 Unauthorized\": send the admin_token as Authorization: Bearer",
        ),
        (
            &[("ADMIN_TOKEN", "wrong")],
            "the admin listener returned \"401 Unauthorized\": the request has a wrong admin_token",
        ),
    ] {
        let refused = run(&proxy, environment, &purge);
        assert_eq!(
            (refused.code, refused.stderr.as_str()),
            (Some(1), format!("cachewarp: {message}\n").as_str())
        );
    }
}

#[test]
fn an_invalid_purge_is_refused_without_a_request() {
    for (arguments, message) in [
        (&["purge"][..], "the order names nothing to purge"),
        (&["purge", "--url=test/a"], "--url \"test/a\": the URL cannot be parsed as an absolute URL"),
        (&["purge", "--all", "--admin-addr=off"], "admin_addr is off, so no listener accepts this command"),
        (&["inspect", "/a"], "the URL does not begin with http:// or https://"),
    ] {
        let ended = Program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        let head = format!("cachewarp: cannot run `cachewarp {}`:\n  {message}", arguments[0]);
        assert!(ended.stderr.starts_with(&head), "{}", ended.stderr);
    }
    let unreachable = Origin::start().stop().to_string();
    let ended = Program::run(&["purge", "--all", "--admin-addr", &unreachable]);
    assert_eq!(ended.code, Some(1));
    let message = format!("cachewarp: no answer from {unreachable}: ");
    assert!(ended.stderr.starts_with(&message), "{}", ended.stderr);
}

#[test]
fn the_inspect_command_shows_an_entry() {
    let origin = Origin::start();
    origin.answer("/a", cacheable());
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    let shown = run(&proxy, &[], &["inspect", "http://test/a", "-H", "Cache-Control: no-cache"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    for line in [
        "memory.state",
        "held",
        "redis.state",
        "off",
        "stored.lifetime",
        "600.000 s",
        "tags",
        "request-no-cache",
    ] {
        assert!(shown.stdout.contains(line), "{line} is not in {}", shown.stdout);
    }
    let bad = run(&proxy, &[], &["inspect", "http://test/a", "-H", "no colon"]);
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("header is not `Name: value`"), "{}", bad.stderr);
}

#[test]
fn the_top_command_prints_a_frame_as_text() {
    let origin = Origin::start();
    origin.answer("/a", cacheable());
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    (0..100).for_each(|_| drop(client.get("/a")));
    let shown = run(&proxy, &[], &["top", "--once"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    for words in ["CacheWarp", "1 workers", "hit-memory", "hit ratio", "off", "p99.9"] {
        assert!(shown.stdout.contains(words), "{words} is not in {}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'));
    let live = run(&proxy, &[], &["top"]);
    assert_eq!(live.code, Some(1));
    assert!(live.stderr.contains("standard output is not a terminal"), "{}", live.stderr);
    let unreachable = Origin::start().stop().to_string();
    assert_eq!(Program::run(&["top", "--once", "--admin-addr", &unreachable]).code, Some(1));
}
