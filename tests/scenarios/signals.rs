//! Signals and closed pipes: common events of shells and supervisors end no process and cut no
//! request.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use crate::admin::TOKEN;
use crate::harness::{Answer, Client, Gate, Origin, Program, Proxy, Start};

const ROUTES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/routes.toml");
const IGNORED: [&str; 2] = ["USR1", "USR2"];

#[test]
fn unused_signals_are_logged_and_cut_no_request() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}";
    origin.answer("/slow", Answer::silent().pass(&gate).send(head));
    let url = origin.url();
    let arguments =
        ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--origin-url", &url];
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let mut client = Client::connect(program.await_addr());
    client.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);
    for signal in IGNORED {
        program.signal(signal);
        let line = program.await_line(&format!("SIG{signal} is ignored"));
        assert!(line.contains("WARN"), "{line}");
    }
    program.signal("HUP");
    program.await_line("reloaded");
    gate.open();
    assert_eq!(client.response().status, 200);
    program.signal("TERM");
    assert_eq!(program.end().code, Some(0));
}

/// The settings are a pipe: opening it to write succeeds when the program has opened it to read.
#[test]
fn no_signal_ends_a_server_that_reads_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let [routes, later] = ["routes.toml", "later.toml"].map(|name| folder.path().join(name));
    assert!(Command::new("mkfifo").arg(&routes).status().unwrap().success());
    fs::copy(ROUTES, &later).unwrap();
    let path = routes.to_str().unwrap();
    let arguments =
        ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--routes-file", path];
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let mut settings = fs::OpenOptions::new().write(true).open(&routes).unwrap();
    // A reload reads a file.
    fs::rename(&later, &routes).unwrap();
    for signal in ["HUP", "USR1", "USR2"] {
        program.signal(signal);
    }
    settings.write_all(&fs::read(ROUTES).unwrap()).unwrap();
    drop(settings);
    program.await_addr();
    program.await_line("reloaded");
    for signal in IGNORED {
        program.await_line(&format!("SIG{signal} is ignored"));
    }
    program.signal("TERM");
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn sigterm_ends_a_process_that_reads_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.toml");
    assert!(Command::new("mkfifo").arg(&routes).status().unwrap().success());
    let path = routes.to_str().unwrap();
    let program = Program::start(&Start { arguments: &["--routes-file", path], ..Start::default() });
    let _settings = fs::OpenOptions::new().write(true).open(&routes).unwrap();
    program.signal("TERM");
    assert_eq!(program.end().code, None);
}

#[test]
fn the_demo_survives_unused_signals() {
    let arguments = ["demo", "--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--redis-url=off"];
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    program.await_line("Ctrl-C stops the demo");
    for signal in ["HUP", "USR1", "USR2"] {
        program.signal(signal);
        program.await_line(&format!("SIG{signal} is ignored"));
    }
    program.signal("INT");
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn a_command_with_a_closed_output_pipe_ends_silently() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("explain_token", TOKEN)]);
    let admin = format!("--admin-addr={}", proxy.admin_addr());
    let (health, url) = (format!("http://{}/health", proxy.addr()), format!("http://{}/a", proxy.addr()));
    let heads = tempfile::NamedTempFile::new().unwrap();
    fs::write(heads.path(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let heads = heads.path().to_str().unwrap();
    let flags = ["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--redis-url=off"];
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let line = program.await_line("serving");
    let own = line.split("admin=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let own = format!("--admin-addr={own}");
    let rows: [&[&str]; 13] = [
        &["check"],
        &["check", "--explain-headers", heads],
        &["routes", "GET", "http://test/a", "--routes-file", ROUTES],
        &["reload", &own],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["man"],
        &["health", "--url", &health],
        &["explain", &url, "--token", TOKEN],
        &["purge", "--all", &admin],
        &["inspect", "http://test/a", &admin],
        &["top", "--once", &admin],
    ];
    for arguments in rows {
        // A pipe whose reader is closed.
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(env!("CARGO_BIN_EXE_cachewarp"))
            .args(arguments)
            .env_clear()
            .current_dir(tempfile::tempdir().unwrap().path())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn an_unprintable_error_keeps_its_exit_code() {
    for (arguments, code) in
        [(&["check", "--no-such-flag"][..], 2), (&["health", "--url=http://127.0.0.1:1/"], 1)]
    {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(env!("CARGO_BIN_EXE_cachewarp"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(writer)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}");
    }
}
