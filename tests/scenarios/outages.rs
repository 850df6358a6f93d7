//! Outages of the origin in the log of the binary: one line at the beginning, one at the end.

use crate::harness::{Answer, Client, Origin, Program, Start, TlsFront, until};

/// Starts a program with several workers in front of an origin.
fn in_front_of(origin_url: &str, more: &[&str]) -> Program {
    let mut arguments = vec![
        "--listen-addr=127.0.0.1:0",
        "--admin-addr=off",
        "--redis-url=off",
        "--worker-threads=4",
        "--origin-connect-timeout=20s",
        "--origin-url",
        origin_url,
    ];
    arguments.extend(more);
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

/// Sends requests on separate connections, so that every worker gets some. Returns the statuses.
fn request_statuses(program: &Program, count: usize) -> Vec<u16> {
    (0..count).map(|number| Client::connect(program.await_addr()).get(&format!("/{number}")).status).collect()
}

/// Stops the program. Returns the lines that contain these words.
fn lines(program: Program, words: &str) -> Vec<String> {
    program.signal("TERM");
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

#[test]
fn a_refusing_origin_and_its_return_are_logged_once_each() {
    let addr = Origin::start().stop();
    let program = in_front_of(&format!("http://{addr}"), &[]);
    assert!(request_statuses(&program, 8).iter().all(|status| *status == 502));
    let line = program.await_line("the origin fails");
    for part in [
        "WARN",
        &format!("origin=\"{addr}\""),
        &format!("addresses={addr}"),
        "phase=\"connect\"",
        &format!("the connection to the origin failed: {addr}: Connection refused"),
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let origin = Origin::start_at(addr);
    origin.answer("/back", Answer::json("{}"));
    until("the origin to be found again", || {
        Client::connect(program.await_addr()).get("/back").status == 200
    });
    let line = program.await_line("the origin answers again");
    for part in ["INFO", "after=", "failures="] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let lines = lines(program, "origin::outages");
    assert_eq!(lines.len(), 2, "one line for all workers: {lines:#?}");
}

#[test]
fn a_second_outage_is_logged_again() {
    let addr = Origin::start().stop();
    let program = in_front_of(&format!("http://{addr}"), &[]);
    for back in ["/back", "/back-again"] {
        assert_eq!(request_statuses(&program, 1), [502]);
        let origin = Origin::start_at(addr);
        origin.answer(back, Answer::json("{}"));
        until("the origin", || Client::connect(program.await_addr()).get(back).status == 200);
        origin.stop();
    }
    assert_eq!(lines(program, "origin::outages").len(), 4);
}

#[test]
fn an_unresolvable_origin_is_logged_with_its_name() {
    let program = in_front_of("http://origin.invalid:8080", &[]);
    assert_eq!(request_statuses(&program, 2), [502, 502]);
    let lines = lines(program, "the origin fails");
    let [line] = &*lines else { panic!("{lines:?}") };
    for part in ["origin=\"origin.invalid:8080\"", "phase=\"resolve\"", "does not resolve: failed to lookup"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn an_untrusted_certificate_is_logged_with_the_reason() {
    let origin = Origin::start();
    let (front, other) = (TlsFront::before(origin.addr()), TlsFront::before(origin.addr()));
    let program =
        in_front_of(&format!("https://{}", front.authority()), &["--origin-ca-file", other.ca_file()]);
    assert_eq!(request_statuses(&program, 2), [502, 502]);
    let lines = lines(program, "the origin fails");
    let [line] = &*lines else { panic!("{lines:?}") };
    for part in
        ["origin=\"localhost:", "phase=\"tls\"", "handshake with the origin failed: invalid peer certificate"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn a_timeout_or_a_cut_is_logged_with_its_phase() {
    let origin = Origin::start();
    origin.answer("/0", Answer::silent().hang());
    let program = in_front_of(&origin.url(), &["--origin-head-timeout=500ms"]);
    assert_eq!(request_statuses(&program, 1), [504]);
    let line = program.await_line("the origin fails");
    assert!(line.contains("phase=\"head\"") && line.contains("the origin did not respond in time"), "{line}");
    origin.answer("/0", Answer::json("{}"));
    assert_eq!(request_statuses(&program, 1), [200]);
    program.await_line("the origin answers again");
    origin.answer("/0", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{").close());
    let mut client = Client::connect(program.await_addr());
    client.send_head("GET", "/0?cut", &[]);
    client.rest();
    let line = program.await_line("phase=\"body\"");
    assert!(line.contains("the response body is incomplete: received 1 bytes of 10"), "{line}");
}
