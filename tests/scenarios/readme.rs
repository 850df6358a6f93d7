//! The commands of the README, as its reader runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Answer, Client, Ended, Origin, Program, Proxy, Response, Start};

const README: &str = include_str!("../../README.md");
const ROUTES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/routes.toml");
const COMPOSE: &str = include_str!("../../docker/docker-compose.yml");
const NGINX: &str = include_str!("../../docker/origin/default.conf");

/// Returns the paths of the curl lines, at the default address of the proxy.
fn curl_paths(text: &str) -> Option<Vec<&str>> {
    let ends = |letter: char| letter.is_whitespace() || letter == '`';
    let mut urls = text.split("curl -i http://").skip(1).filter_map(|rest| rest.split(ends).next());
    urls.try_fold(Vec::new(), |mut paths, url| {
        paths.push(url.strip_prefix("127.0.0.1:8000").or(url.strip_prefix("localhost:8000"))?);
        Some(paths)
    })
}

fn assert_stored(first: &Response, second: &Response, path: &str) {
    assert_eq!((first.status, first.cache_status()), (200, "CacheWarp; fwd=uri-miss; stored"), "{path}");
    assert!(second.cache_status().starts_with("CacheWarp; hit; "), "{path}: {}", second.cache_status());
}

/// The demo on free ports, without Redis, and with no setting beside.
struct Demo {
    program: Program,
    /// The address of the proxy.
    addr: String,
}

impl Demo {
    fn start() -> Option<Self> {
        let arguments = &["demo", "--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"];
        let program = Program::start(&Start { arguments, ..Start::default() });
        program.await_line("Ctrl-C stops the demo");
        let line = program.await_line("/slow");
        let addr = line.split('/').nth(2)?.to_owned();
        Some(Self { program, addr })
    }

    fn get(&self, path: &str) -> Option<Response> {
        Some(Client::connect(self.addr.parse().ok()?).get(path))
    }
}

#[test]
fn the_curl_lines_of_the_readme_have_their_outcome() {
    let (of_demo, of_compose) = README.split_once("docker compose").unwrap();
    let paths = curl_paths(of_demo).unwrap();
    assert!(!paths.is_empty());
    let demo = Demo::start().unwrap();
    for path in paths {
        assert_stored(&demo.get(path).unwrap(), &demo.get(path).unwrap(), path);
    }

    let paths = [curl_paths(of_compose).unwrap(), curl_paths(COMPOSE).unwrap()].concat();
    assert!(paths.len() >= 2, "{paths:?}");
    for path in paths {
        let origin = Origin::start();
        origin.answer(path, answer_of_nginx(path).unwrap());
        let proxy = Proxy::start(&origin.url(), &[]);
        assert_stored(&proxy.get(path), &proxy.get(path), path);
    }
}

/// Returns the answer of the Compose file's origin.
fn answer_of_nginx(path: &str) -> Option<Answer> {
    let location = format!("location = {path} {{");
    let (_, block) = NGINX.split_once(&location)?;
    let (block, _) = block.split_once('}')?;
    let (_, file) = block.split_once("try_files /")?;
    let file = file.split([' ', ';']).next()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/origin/api").join(file);
    let body = fs::read_to_string(file).ok()?;
    let cache_control = block.split_once("Cache-Control \"").and_then(|(_, rest)| rest.split('"').next());
    let fields: Vec<_> = cache_control.map(|value| ("Cache-Control", value)).into_iter().collect();
    Some(Answer::json_with(&fields, &body))
}

#[test]
fn every_command_of_the_readme_works_in_the_demo() {
    let demo = Demo::start().unwrap();
    let url = format!("http://{}/quotes/EURUSD", demo.addr);
    let metrics = demo.program.await_line("Metrics: ");
    let admin = metrics.split('/').nth(2).unwrap();
    let heads = tempfile::NamedTempFile::new().unwrap();
    fs::write(heads.path(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let heads = heads.path().to_str().unwrap();
    let listener = format!("--listen-addr={}", demo.addr);
    let admin = format!("--admin-addr={admin}");
    // The words that a command prints.
    let runs: &[(&[&str], &str)] = &[
        (&["explain", "--token", "demo", &url], "fwd=uri-miss; stored"),
        (&["explain", "--token", "demo", &url], "hit"),
        (&["inspect", &url], "held"),
        (&["purge", "--url", &url], "everywhere"),
        (&["inspect", &url], "nothing"),
        (&["purge", "--tag", "t"], "everywhere"),
        (&["purge", "--group", "a/g"], "everywhere"),
        (&["purge", "--prefix", "http://a/v1/", "--soft"], "everywhere"),
        (&["purge", "--all"], "everywhere"),
        (&["top", "--once"], "hit-memory"),
        (&["health"], "\"status\":\"ok\""),
        (&["check"], "origin_url"),
        (&["check", "--explain-headers", heads], "1 request with GET"),
        (&["routes", "GET", &url, "--routes-file", ROUTES], "GET /quotes/EURUSD"),
    ];
    for (arguments, words) in runs {
        let arguments: Vec<_> = arguments.iter().copied().chain([listener.as_str(), &admin]).collect();
        let Ended { code, stdout, stderr } = Program::run(&arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains(words), "{arguments:?}: {stdout}");
    }
    let tried: BTreeSet<_> = runs.iter().map(|(arguments, _)| arguments[0]).chain(["demo"]).collect();
    let named = README.split("cachewarp ").skip(1).filter_map(|rest| {
        let word = rest.split(|letter: char| !letter.is_ascii_lowercase()).next()?;
        ["check", "demo", "explain", "health", "inspect", "purge", "reload", "routes", "top"]
            .into_iter()
            .find(|name| *name == word)
    });
    for command in named {
        assert!(tried.contains(command), "{command}");
    }
}

/// The demo has no file or variable to read again.
#[test]
fn a_reload_of_the_demo_is_refused_at_once() {
    let demo = Demo::start().unwrap();
    let metrics = demo.program.await_line("Metrics: ");
    let admin = format!("--admin-addr={}", metrics.split('/').nth(2).unwrap());
    let Ended { code, stdout, stderr } = Program::run(&["reload", &admin]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("the process is busy with other reloads, or has none"), "{stderr}");
}

#[test]
fn the_commands_that_the_demo_prints_run_as_printed() {
    let demo = Demo::start().unwrap();
    for (command, words) in [("explain", "fwd=uri-miss; stored"), ("purge", "everywhere")] {
        let line = demo.program.await_line(&format!("cachewarp {command} "));
        let arguments: Vec<_> = line.split_whitespace().skip(1).collect();
        let Ended { code, stdout, stderr } = Program::run(&arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line}");
        assert!(stdout.contains(words), "{line}: {stdout}");
    }
}
