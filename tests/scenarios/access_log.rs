//! The access log of the program: one line for each request, up to its last byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Gate, Origin, Program, Start, Then, client, until};

const UPGRADE: &[(&str, &str)] = &[("Connection", "Upgrade"), ("Upgrade", "websocket")];
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Starts the program without Redis, with one worker, so that its lines have an order.
fn start(origin: &Origin, flags: &[&str]) -> Program {
    let url = format!("--origin-url={}", origin.url());
    let mut arguments =
        vec!["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--worker-threads=1", &url];
    arguments.extend(flags);
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

/// Ends the program, and returns its lines as JSON and its log.
fn lines(program: Program) -> (Vec<Value>, String) {
    program.signal("TERM");
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (ended.stdout.lines().map(parse).collect(), ended.stderr)
}

#[test]
fn every_request_has_a_line_of_json() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "public, max-age=60")], r#"{"a":1}"#));
    origin.answer("/private", Answer::new(200, &[("Cache-Control", "private")], "{}"));
    origin.answer("/orders", Answer::new(201, &[], "made"));
    let program = start(&origin, &["--access-log=json", "--trusted-proxies=127.0.0.1"]);
    let mut client = Client::connect(program.await_addr());
    let secret = ("Authorization", "Bearer hunter2");
    let agent = ("User-Agent", "test/1");
    for target in ["/a?token=hunter2", "/a?token=hunter2", "/private", "/health"] {
        assert_eq!(client.request("GET", target, &[secret, agent]).status, 200);
    }
    let sized = ("Content-Length", "4");
    client.send_head("POST", "/orders", &[sized, ("X-Request-Id", "r-7"), ("Traceparent", TRACEPARENT)]);
    client.send("half");
    assert_eq!(client.response().status, 201);
    assert_eq!(client.request("HEAD", "/a?token=hunter2", &[secret]).status, 200);
    assert_eq!(client.request("TRACE", "/a", &[]).status, 405);

    let (lines, log) = lines(program);
    assert!(!log.contains("hunter2") && !format!("{lines:?}").contains("hunter2"));
    let facts = |line: &Value| {
        ["http.request.method", "url.path", "http.response.status_code", "http.response.body.size"]
            .map(|name| line[name].clone())
    };
    assert_eq!(
        lines.iter().map(facts).collect::<Vec<_>>(),
        [
            [json!("GET"), json!("/a"), json!(200), json!(7)],
            [json!("GET"), json!("/a"), json!(200), json!(7)],
            [json!("GET"), json!("/private"), json!(200), json!(2)],
            [json!("GET"), json!("/health"), json!(200), json!(29)],
            [json!("POST"), json!("/orders"), json!(201), json!(4)],
            [json!("HEAD"), json!("/a"), json!(200), json!(0)],
            [json!("TRACE"), json!("/a"), json!(405), json!(83)],
        ]
    );
    let column = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(
        column("cachewarp.outcome"),
        ["miss", "hit-memory", "uncacheable", "health", "pass", "hit-memory", "refused"]
    );
    assert_eq!(column("cachewarp.end"), ["complete"; 7]);
    let null = Value::Null;
    assert_eq!(
        column("cachewarp.tier"),
        [
            null.clone(),
            json!("memory"),
            null.clone(),
            null.clone(),
            null.clone(),
            json!("memory"),
            null.clone()
        ]
    );
    assert_eq!([&lines[0]["cachewarp.forward"], &lines[2]["cachewarp.detail"]], ["uri-miss", "private"]);
    assert_eq!(lines[6]["cachewarp.detail"], "method-not-allowed");
    assert_eq!(lines[1]["cachewarp.age"], 0);
    assert_eq!(lines[4]["http.request.body.size"], 4);
    assert_eq!(
        [&lines[4]["cachewarp.request_id"], &lines[4]["trace_id"]],
        ["r-7", TRACEPARENT.split('-').nth(1).unwrap()]
    );
    for (line, asked) in lines.iter().zip([true, false, true, false, true, false, false]) {
        let seconds = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("no {name} in {line}"));
        assert!(seconds("cachewarp.duration") >= seconds("cachewarp.time_to_head"), "{line}");
        assert_eq!(line.get("cachewarp.origin_time").is_some(), asked, "{line}");
        assert_eq!(line["network.protocol.version"], "1.1");
        assert_eq!([&line["client.address"], &line["server.address"]], ["127.0.0.1", "test"]);
    }
    assert_eq!(lines[0]["user_agent.original"], "test/1");
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_client_cannot_forge_a_line() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let forged = "\",\"url.path\":\"/admin\"}\\\t{\"forged\":true}\\u000a\u{1b}[2J\u{2028}ÿ";
    for format in ["json", "text"] {
        let flags = [&format!("--access-log={format}"), "--access-log-path=full", "--request-id-header=off"];
        let program = start(&origin, &flags);
        let mut client = Client::connect(program.await_addr());
        client.send(format!(
            "GET /a?%0a=\"{{'}} HTTP/1.1\r\nHost: test\r\nUser-Agent: {}\r\nX-Request-Id: a\tb\"\r\n\r\n",
            forged.replace('\u{1b}', "")
        ));
        assert_eq!(client.response().status, 200);
        client.send(b"GET /health HTTP/1.1\r\nHost: test\r\nUser-Agent: \xff\xfe\"\r\n\r\n");
        client.response();
        program.signal("TERM");
        let text = program.end().stdout;
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
        if format == "json" {
            let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!((&line["url.path"], &line["url.query"]), (&json!("/a"), &json!("%0a=%22{'}")));
            assert_eq!(line["user_agent.original"], forged.replace('\u{1b}', ""));
            assert_eq!((&line["cachewarp.request_id"], line.get("forged")), (&json!("a\tb\""), None));
            let line: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
            assert_eq!(line["user_agent.original"], "\u{fffd}\u{fffd}\"");
        }
    }
}

#[test]
fn a_refused_request_has_a_line() {
    let origin = Origin::start();
    let program = start(&origin, &["--access-log=json", "--client-head-timeout=50ms"]);
    let addr = program.await_addr();
    let long = "a".repeat(70_000);
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
            400,
        ),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "A: b\r\n".repeat(99)), 404),
        (format!("GET / HTTP/1.1\r\nHost: test\r\nLong: {long}\r\n\r\n"), 431),
        ("GET / HTTP/1.1\r\nHost: te".to_owned(), 408),
        ("G".to_owned(), 408),
    ] {
        let mut client = Client::connect(addr);
        // The server may refuse and close before all bytes are sent.
        let _ = client.try_send(&request);
        assert_eq!(client.response().status, status, "{request:.99}");
    }
    let (lines, _) = lines(program);
    let facts = |line: &Value| (line["http.response.status_code"].clone(), line["cachewarp.detail"].clone());
    let found: Vec<_> = lines.iter().map(facts).collect();
    assert_eq!(found.len(), 6, "{lines:?}");
    for (number, (status, detail)) in [
        (400, "ambiguous-framing"),
        (400, "malformed"),
        (404, ""),
        (431, "head-too-large"),
        (408, "slow-head"),
        (408, "slow-head"),
    ]
    .into_iter()
    .enumerate()
    {
        let detail = if detail.is_empty() { found[number].1.clone() } else { json!(detail) };
        assert_eq!(found[number], (json!(status), detail), "{}", lines[number]);
        assert_eq!(lines[number]["client.address"], "127.0.0.1");
    }
}

#[test]
fn a_line_says_how_its_answer_ended() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/left", move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 100\r\n\r\nhalf")?;
        exchange.await_close()?;
        at_gate.pass();
        Ok(Then::Close)
    });
    origin.answer("/cut", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf!").close());
    origin.answer(
        "/stream",
        Answer::raw("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
    );
    origin.script("/ws", |exchange| {
        exchange.write(SWITCH)?;
        assert_eq!(exchange.read_raw(5)?, b"hello");
        exchange.write("bye")?;
        Ok(Then::Close)
    });
    let program = start(&origin, &["--access-log=json"]);
    let addr = program.await_addr();

    let mut leaver = Client::connect(addr);
    leaver.send_head("GET", "/left", &[]);
    leaver.head();
    assert_eq!(leaver.bytes(4), b"half");
    drop(leaver);
    gate.await_arrivals(1);
    gate.open();
    program.await_line("\"/left\"");

    let mut reader = Client::connect(addr);
    reader.send_head("GET", "/cut", &[]);
    let head = reader.head();
    assert!(reader.body_of("GET", &head).1.is_err());
    program.await_line("\"/cut\"");

    assert_eq!(client::get(addr, "/stream").text(), "abcdefg");
    program.await_line("\"/stream\"");

    let mut talker = Client::connect(addr);
    talker.send_head("GET", "/ws", UPGRADE);
    assert_eq!(talker.head().word(1), "101");
    talker.send("hello");
    assert_eq!(talker.rest(), b"bye");
    drop(talker);
    program.await_line("\"/ws\"");

    let (lines, _) = lines(program);
    let facts = |line: &Value| {
        ["url.path", "cachewarp.end", "http.response.body.size", "http.response.status_code"]
            .map(|name| line[name].clone())
    };
    assert_eq!(
        lines.iter().map(facts).collect::<Vec<_>>(),
        [
            [json!("/left"), json!("client-left"), json!(4), json!(200)],
            [json!("/cut"), json!("body-failed"), json!(5), json!(200)],
            [json!("/stream"), json!("complete"), json!(7), json!(200)],
            [json!("/ws"), json!("tunnel-closed"), json!(3), json!(101)],
        ]
    );
    assert_eq!(lines[3]["cachewarp.tunnel.received.size"], 5);
    assert_eq!(lines[3]["cachewarp.outcome"], "tunnel");
}

#[test]
fn a_client_behind_a_trusted_proxy_is_named() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let program = start(&origin, &["--access-log=json", "--trusted-proxies=127.0.0.0/8"]);
    let mut proxy = Client::connect(program.await_addr());
    let forwarded = ("X-Forwarded-For", "203.0.113.9");
    assert_eq!(proxy.request("GET", "/a", &[forwarded]).status, 200);
    assert_eq!(proxy.request("GET", "/a", &[("X-Forwarded-For", "\"}")]).status, 200);
    let (lines, _) = lines(program);
    assert_eq!(lines[0]["client.address"], "203.0.113.9");
    assert_eq!(lines[0]["network.peer.address"], "127.0.0.1");
    assert_eq!(
        (&lines[1]["client.address"], lines[1].get("network.peer.address")),
        (&json!("127.0.0.1"), None)
    );
}

#[test]
fn a_route_hides_the_paths_that_it_matches() {
    let origin = Origin::start();
    for path in ["/accounts/7", "/other"] {
        origin.answer(path, Answer::json("{}"));
    }
    let mut routes = tempfile::NamedTempFile::new().unwrap();
    routes.write_all(b"[[route]]\nname = \"accounts\"\npath = \"/accounts/{id}\"\n").unwrap();
    let file = format!("--routes-file={}", routes.path().display());
    for (shown, path) in [("route", Value::Null), ("path", json!("/accounts/7"))] {
        let program = start(&origin, &["--access-log=json", &file, &format!("--access-log-path={shown}")]);
        let mut client = Client::connect(program.await_addr());
        for target in ["/accounts/7?a=b", "/other?a=b"] {
            assert_eq!(client.get(target).status, 200);
        }
        let (lines, _) = lines(program);
        assert_eq!((&lines[0]["http.route"], &lines[0]["url.path"]), (&json!("accounts"), &path));
        assert_eq!((lines[1].get("http.route"), &lines[1]["url.path"]), (None, &json!("/other")));
    }
}

#[test]
fn the_text_format_is_for_people() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let program = start(&origin, &["--access-log=text"]);
    client::get(program.await_addr(), "/a?b=c");
    program.signal("TERM");
    let text = program.end().stdout;
    assert!(text.contains("Z 127.0.0.1 \"GET test/a HTTP/1.1\" 200 2 miss complete head="), "{text}");
    assert!(!text.contains("b=c"), "{text}");
}

#[test]
fn a_slow_request_causes_a_warning() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    origin.answer("/slow", Answer::silent().pass(&gate).send(answer));
    let program = start(&origin, &["--slow-log-threshold=5ms"]);
    let addr = program.await_addr();
    let mut client = Client::connect(addr);
    client.send_head("GET", "/slow?token=hunter2", &[]);
    gate.await_arrivals(1);
    let (mut polls, mut probe) = (0, Client::connect(addr));
    // Each health check takes some time, and a thousand take more than the threshold.
    until("the request to be slow", || {
        polls += 1;
        probe.get("/health");
        polls > 1000
    });
    gate.open();
    assert_eq!(client.response().status, 200);
    let (lines, log) = lines(program);
    assert!(lines.is_empty());
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("slow request")).collect();
    let warning = warnings.iter().find(|line| line.contains("/slow")).unwrap_or_else(|| panic!("{log}"));
    for words in [
        " WARN cachewarp::slow",
        "method=\"GET\"",
        "status=200",
        "outcome=\"miss\"",
        "origin_ms=",
        "left_out=",
    ] {
        assert!(warning.contains(words), "no {words} in {warning}");
    }
    assert!(!log.contains("hunter2") && warning.contains("end=\"complete\""), "{warning}");
}

/// Starts the program with a standard output that the test reads, and returns its addresses.
fn start_with_pipe(origin: &Origin) -> (std::process::Child, SocketAddr, SocketAddr, impl BufRead) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachewarp"));
    command.args(["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--redis-url=off"]);
    command.args(["--access-log=json", "--worker-threads=1", &format!("--origin-url={}", origin.url())]);
    let mut program = command
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the program ended");
    }
    let mut addresses = line.split(['=', '"', ' ', '\n']).filter_map(|word| word.parse().ok());
    (program, addresses.next().unwrap(), addresses.next().unwrap(), log)
}

/// Sends requests until the log has lost this line, and returns the number of requests.
fn lose_lines(addr: SocketAddr, admin: SocketAddr, lost: &str) -> usize {
    let text = "x".repeat(2000);
    let (mut client, mut requests) = (Client::connect(addr), 0);
    until("a line to be lost", || {
        for _ in 0..100 {
            let fields = [("User-Agent", text.as_str()), ("X-Request-Id", text.as_str())];
            assert_eq!(client.request("GET", "/health", &fields).status, 200);
            requests += 1;
        }
        let page = client::get(admin, "/metrics");
        let series = format!("cachewarp_access_log_lines_lost_total{{reason=\"{lost}\"}} ");
        page.text().lines().any(|line| line.strip_prefix(&series).is_some_and(|count| count != "0"))
    });
    requests
}

fn terminate(program: &mut std::process::Child) {
    let sent = Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap();
    assert!(sent.success() && program.wait().unwrap().success());
}

#[test]
fn a_reader_that_stops_delays_no_request_and_no_end() {
    let origin = Origin::start();
    let (mut program, addr, admin, _log) = start_with_pipe(&origin);
    let requests = lose_lines(addr, admin, "queue-full");
    // The pipe is still full, and the program ends.
    terminate(&mut program);
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let whole = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert!(whole > 0 && whole < requests, "{whole} lines of {requests}");
}

#[test]
fn a_reader_that_leaves_ends_the_log_and_nothing_else() {
    let origin = Origin::start();
    let (mut program, addr, admin, mut log) = start_with_pipe(&origin);
    drop(program.stdout.take());
    lose_lines(addr, admin, "closed");
    assert_eq!(client::get(addr, "/health").status, 200);
    terminate(&mut program);
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("the access log ends").count(), 1, "{text}");
}
