//! The binary from its operator's view: its output about settings, and its start and end.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;

use crate::harness::{Answer, Client, Ended, Gate, Origin, Program, Redis, Start, until};

/// Flags with which the binary runs on free ports without Redis.
const FREE: [&str; 3] = ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off"];

fn line<'a>(text: &'a str, words: &str) -> &'a str {
    text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?} in\n{text}"))
}

#[test]
fn check_prints_every_value_with_its_source() {
    let program = Program::start(&Start {
        arguments: &["check", "--cache-default-ttl", "5m"],
        environment: &[
            ("REDIS_URL", "redis://alice:hunter2@cache.test:7000/3"),
            ("cache_default_ttl", "7m"),
            ("CACHE_NAMESPACE", "prices"),
            ("PATH", "/bin"),
        ],
        dotenv: Some("# ours\nCACHE_MAX_BODY=2MiB\nREDIS_URL=off\n"),
    });
    let Ended { code, stdout, stderr } = program.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for (name, value, source) in [
        ("cache_default_ttl", "5m", "flag --cache-default-ttl"),
        ("redis_url", "redis://***@cache.test:7000/3", "environment REDIS_URL"),
        ("cache_max_body", "2MiB", ".env line 2"),
        ("listen_addr", "127.0.0.1:8000", "default"),
        ("trusted_proxies", "(none)", "default"),
    ] {
        let words: Vec<_> = line(&stdout, name).split_whitespace().collect();
        assert_eq!((words[0], words[1], words[2..].join(" ").as_str()), (name, value, source));
    }
    assert!(!stdout.contains("hunter2"));
}

#[test]
fn every_invalid_setting_is_listed_and_the_server_does_not_start() {
    let nonsense = [
        ("listen_addr", "localhost"),
        ("admin_addr", "127.0.0.1:99999"),
        ("worker_threads", "0"),
        ("max_connections", "many"),
        ("client_head_timeout", "soon"),
        ("client_idle_timeout", "-1s"),
        ("origin_url", "ftp://api.test"),
        ("origin_preserve_host", "perhaps"),
        ("origin_head_timeout", "0"),
        ("trusted_proxies", "10.0.0.0/99"),
        ("redis_url", "http://alice:hunter2@cache.test"),
        ("redis_pool_size", "0"),
        ("redis_timeout", "3h"),
        ("cache_default_ttl", "1.5s"),
        ("cache_max_body", "1TB"),
        ("cache_content_types", "json"),
        ("cache_statuses", "99"),
        ("credential_headers", "x api key"),
        ("cache_memory_size", "64 MiB!"),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("access_log", "sometimes"),
    ];
    let flags = nonsense.map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
    let check: Vec<_> = std::iter::once("check").chain(flags.iter().map(String::as_str)).collect();
    for arguments in [&check[..], &check[1..]] {
        let Ended { code, stdout, stderr } = Program::run(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        for (name, _) in nonsense {
            let flag = format!("(flag --{}): ", name.replace('_', "-"));
            assert!(line(&stderr, &format!("{name} = ")).contains(&flag), "{stderr}");
        }
        assert!(!stderr.contains("hunter2"), "a misplaced secret must not be printed");
    }
}

#[test]
fn invalid_settings_in_environment_and_file_are_refused() {
    let program = Program::start(&Start {
        arguments: &["--no-such-flag=1", "--redis-uri=off"],
        environment: &[("CACHE_DEFAULT_TTL", "banana"), ("Redis_URL", "off"), ("CACHE_MAX_BODDY", "1")],
        dotenv: Some("WORKER_THREADS=0\nnot a line\n"),
    });
    let Ended { code, stderr, .. } = program.end();
    assert_eq!(code, Some(2));
    for words in [
        "command line: unknown flag --no-such-flag",
        "command line: unknown flag --redis-uri",
        "cache_default_ttl = \"banana\" (environment CACHE_DEFAULT_TTL): ",
        "worker_threads = \"0\" (.env line 1): ",
        ".env line 2: ",
        "(warning) Redis_URL (environment Redis_URL) is not read",
        "(warning) CACHE_MAX_BODDY",
    ] {
        line(&stderr, words);
    }
}

#[test]
fn help_lists_every_setting_and_version_prints_the_version() {
    let Ended { code, stdout, .. } = Program::run(&["--help"]);
    assert_eq!(code, Some(0));
    for words in ["--cache-default-ttl", "[default: 30s]", "--redis-url", "check", "demo", "health"] {
        line(&stdout, words);
    }
    let Ended { code, stdout, .. } = Program::run(&["--version"]);
    assert_eq!((code, stdout.trim()), (Some(0), concat!("cachewarp ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(Program::run(&["serv"]).code, Some(2));
}

#[test]
fn health_exits_with_0_if_healthy_and_1_if_unreachable() {
    let program = Program::start(&Start { arguments: &FREE, ..Start::default() });
    let addr = program.await_addr();
    let by_url = format!("--url=http://{addr}/health");
    let by_setting = format!("--listen-addr={addr}");
    for flag in [&by_url, &by_setting] {
        let Ended { code, stdout, stderr } = Program::run(&["health", flag]);
        assert_eq!((code, stdout.trim(), stderr.as_str()), (Some(0), r#"{"status":"ok","redis":"off"}"#, ""));
    }
    // Another server listens there, or one that never answers.
    let origin = Origin::start();
    origin.answer("/else", Answer::new(404, &[], "").close());
    origin.answer("/silent", Answer::silent().hang());
    for (path, words) in [("/else", "404"), ("/silent", "no whole answer within 1s")] {
        let url = format!("--url={}{path}", origin.url());
        let Ended { code, stderr, .. } = Program::run(&["health", &url]);
        assert_eq!(code, Some(1));
        line(&stderr, words);
    }
    let unused = origin.stop();
    assert_eq!(Program::run(&["health", "--url", &format!("http://{unused}/health")]).code, Some(1));
    assert_eq!(Program::run(&["health", "--url", "nonsense"]).code, Some(2));
}

#[test]
fn a_port_in_use_is_an_error() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for (flag, threads) in [("--listen-addr", "1"), ("--listen-addr", "2"), ("--admin-addr", "1")] {
        let flag = format!("{flag}={taken}");
        let other =
            if flag.starts_with("--admin") { "--listen-addr=127.0.0.1:0" } else { "--admin-addr=off" };
        let Ended { code, stderr, .. } =
            Program::run(&[&flag, other, "--redis-url=off", "--worker-threads", threads]);
        assert_eq!(code, Some(1));
        line(&stderr, &format!("{taken} is already in use"));
    }
}

#[test]
fn a_fatal_error_is_json_in_a_json_log() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--listen-addr={}", holder.local_addr().unwrap());
    for (arguments, environment, code, messages) in [
        (&[taken.as_str(), "--admin-addr=off", "--redis-url=off"][..], &[][..], 1, &["already in use"][..]),
        (&["--log-level=off", &taken, "--admin-addr=off", "--redis-url=off"], &[], 1, &["already in use"]),
        (
            &["--redis-pool-size=0", "--no-such-flag"],
            &[("ORIGIN_URL", "nowhere")],
            2,
            &["unknown flag --no-such-flag", "origin_url = ", "redis_pool_size = "],
        ),
        (&["serve"], &[], 2, &["\"serve\" is neither a command"]),
    ] {
        let environment: Vec<_> = environment.iter().copied().chain([("LOG_FORMAT", "json")]).collect();
        let start = Start { arguments, environment: &environment, ..Start::default() };
        let Ended { code: ended, stderr, .. } = Program::start(&start).end();
        assert_eq!(ended, Some(code), "{arguments:?}");
        let mut errors = Vec::new();
        for line in stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(line["timestamp"].is_string(), "{line}");
            if line["level"] == "ERROR" {
                errors.push(line["message"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(errors.len(), messages.len(), "{stderr}");
        for (error, message) in errors.iter().zip(messages) {
            assert!(error.contains(message), "{error}");
        }
    }
    // The other commands are for people.
    let environment = &[("LOG_FORMAT", "json")];
    let purge = Program::start(&Start { arguments: &["purge"], environment, ..Start::default() }).end();
    assert!(purge.stderr.starts_with("cachewarp: cannot run `cachewarp purge`:"), "{}", purge.stderr);
}

#[test]
fn a_default_start_on_a_usual_system_logs_no_warning() {
    for (descriptors, warns) in [(20_000, false), (1024, true)] {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let input = File::open("/dev/null").unwrap().into();
        let program = Program::start_by(&script, input, &FREE);
        program.await_addr();
        program.signal("TERM");
        let Ended { code, stderr, .. } = program.end();
        assert_eq!(code, Some(0), "{stderr}");
        let warnings: Vec<_> = stderr.lines().filter(|line| line.contains(" WARN ")).collect();
        assert_eq!(warnings.len(), usize::from(warns), "{stderr}");
        assert!(warnings.iter().all(|line| line.contains("LimitNOFILE")), "{stderr}");
    }
}

#[test]
fn all_missing_files_are_reported_together() {
    let files = [
        "--origin-ca-file=/nowhere/ca.pem",
        "--redis-ca-file=/nowhere/redis.pem",
        "--redis-password-file=/nowhere/password",
    ];
    for command in [&[][..], &["check"]] {
        let mut arguments = command.to_vec();
        arguments.extend(FREE.iter().filter(|flag| !flag.starts_with("--redis-url")));
        arguments.extend(files);
        let Ended { code, stderr, .. } = Program::run(&arguments);
        assert_eq!(code, Some(2), "{stderr}");
        for file in files {
            let (_, path) = file.split_once('=').unwrap();
            line(&stderr, path);
        }
    }
}

/// Starts a program in front of an origin that holds its responses halfway.
fn half_way(origin: &Origin, gate: &Gate, settings: &[&str]) -> (Program, SocketAddr) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n";
    origin.answer("/a", Answer::raw(head).send("[1,").pass(gate).send("2]"));
    let url = origin.url();
    let mut arguments = vec!["--origin-url", &url];
    let is_listed = |flag: &&str| settings.iter().any(|listed| flag.starts_with(&format!("{listed}=")));
    arguments.extend(FREE.iter().filter(|flag| !is_listed(flag)));
    arguments.extend(settings);
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let addr = program.await_addr();
    (program, addr)
}

#[test]
fn sigterm_lets_accepted_work_finish() {
    for (signal, threads) in [("TERM", "1"), ("INT", "2")] {
        let (origin, gate) = (Origin::start(), Gate::new());
        let (program, addr) = half_way(&origin, &gate, &["--worker-threads", threads]);
        let mut clients: Vec<_> = (0..6).map(|_| Client::connect(addr)).collect();
        let (idle, busy) = clients.split_at_mut(2);
        idle.iter_mut().for_each(|client| assert_eq!(client.get("/health").status, 200));
        for (number, client) in busy.iter_mut().enumerate() {
            // Two clients share a fetch, two have their own.
            client.send_head(if number < 2 { "GET" } else { "POST" }, "/a", &[("Content-Length", "0")]);
        }
        let heads: Vec<_> = busy.iter_mut().map(Client::head).collect();
        program.signal(signal);
        program.await_line("draining");
        idle.iter_mut().for_each(|client| assert_eq!(client.rest(), b"", "one without work is closed"));
        until("the listener to be closed", || TcpStream::connect(addr).is_err());
        gate.open();
        for (client, head) in busy.iter_mut().zip(&heads) {
            let (body, end) = client.body_of("GET", head);
            end.unwrap();
            assert_eq!(body, b"[1,2]");
            assert_eq!(client.rest(), b"");
        }
        assert_eq!(program.end().code, Some(0));
    }
}

#[test]
fn sigterm_waits_for_a_bounded_time() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let (program, addr) = half_way(&origin, &gate, &["--drain-timeout=100ms"]);
    let mut client = Client::connect(addr);
    client.send_head("POST", "/a", &[("Content-Length", "0")]);
    let head = client.head();
    program.signal("TERM");
    let Ended { code, stderr, .. } = program.end();
    assert_eq!(code, Some(0));
    line(&stderr, "drain_timeout ended; closed the remaining connections");
    assert!(client.body_of("GET", &head).1.is_err(), "a cut body must not look complete");
}

#[test]
fn a_fetch_under_way_is_stored_before_the_process_ends() {
    let (origin, gate, redis) = (Origin::start(), Gate::new(), Redis::start());
    let redis_url = redis.url();
    let settings = ["--redis-url", &redis_url, "--worker-threads=1"];
    let (program, addr) = half_way(&origin, &gate, &settings);
    program.await_line("connected to Redis");
    let mut client = Client::connect(addr);
    client.send_head("GET", "/a", &[]);
    client.head();
    drop(client);
    program.signal("TERM");
    program.await_line("draining");
    until("the listener to be closed", || TcpStream::connect(addr).is_err());
    gate.open();
    assert_eq!(program.end().code, Some(0));
    redis.await_keys(1);
}

#[test]
fn a_mistyped_setting_or_argument_ends_with_code_2() {
    type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
    let rows: [Row; 8] = [
        (&["check"], &[("CACHE_DEFAULT_TLL", "1m")], "CACHE_DEFAULT_TTL"),
        (&["check", "--no-such-flag"], &[], "--no-such-flag"),
        (&["check", "surplus"], &[], "surplus"),
        (&["chekc"], &[], "chekc"),
        (&["--cache-default-ttl=soon"], &[], "cache_default_ttl"),
        (&["purge"], &[], "purge"),
        (&["completions", "tcsh"], &[], "tcsh"),
        (&["health", "--url=gopher://a/"], &[], "gopher"),
    ];
    for (arguments, environment, named) in rows {
        let ended = Program::start(&Start { arguments, environment, ..Start::default() }).end();
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(named), "{arguments:?}: {}", ended.stderr);
    }
    // The variables that Kubernetes sets for a service are no settings.
    let environment = [("REDIS_PORT", "tcp://10.0.0.1:6379"), ("REDIS_SERVICE_HOST", "10.0.0.1")];
    let start = Start { arguments: &["check"], environment: &environment, ..Start::default() };
    let ended = Program::start(&start).end();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
}
