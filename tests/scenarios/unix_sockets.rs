//! Unix sockets of the listeners and of the origin.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use crate::admin::TOKEN;
use crate::harness::{Answer, Origin, Program, Proxy, Start};

/// Sends a request over a socket, and returns the whole answer.
fn ask(path: &Path, before: &str, fields: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let request = format!("{before}GET /a HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => {}
        // The server closes without reading the request.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    answer
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], r#"{"a":1}"#));
    origin
}

fn client_at(origin: &Origin) -> String {
    origin.seen("/a").pop().and_then(|seen| seen.field("x-forwarded-for").map(str::to_owned)).unwrap()
}

#[test]
fn clients_connect_to_a_socket() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("clients.sock");
    // A process that died has left its socket.
    drop(UnixListener::bind(&path).unwrap());
    let listen = format!("unix:{}?mode=606", path.display());
    let proxy = Proxy::start(&origin.url(), &[("listen_addr", &listen), ("worker_threads", "2")]);
    for outcome in ["fwd=uri-miss; stored", "hit"] {
        let answer = ask(&path, "", "");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(outcome), "{answer}");
    }
    assert_eq!(client_at(&origin), "127.0.0.1");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o606);
    // Nothing else is left in the folder while the socket exists, and nothing after its end.
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    drop(proxy);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_trusted_peer_of_a_socket_forwards_for_its_clients() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("clients.sock");
    let listen = format!("unix:{}", path.display());
    let settings = [("listen_addr", listen.as_str()), ("trusted_proxies", "127.0.0.1")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let answer = ask(&path, "", "X-Forwarded-For: 192.0.2.7\r\nX-Request-Id: edge-7\r\n");
    assert!(answer.contains("x-request-id: edge-7\r\n"), "{answer}");
    assert_eq!(client_at(&origin), "192.0.2.7, 127.0.0.1");
    drop(proxy);

    let settings = [settings[0], settings[1], ("proxy_protocol", "require")];
    let proxy = Proxy::start(&origin.url(), &settings);
    ask(&path, "PROXY TCP4 192.0.2.9 192.0.2.10 1 2\r\n", "");
    assert_eq!(client_at(&origin), "192.0.2.9");
    assert_eq!(ask(&path, "", ""), "");
    drop(proxy);
}

#[test]
fn a_socket_that_is_in_use_is_not_replaced() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("clients.sock");
    let url = format!("--origin-url={}", origin.url());
    let listen = |path: &Path| format!("--listen-addr=unix:{}", path.display());
    let run = |listen: &str, sharing: &str| {
        let arguments = [listen, sharing, &url, "--admin-addr=off", "--redis-url=off"];
        Program::start(&Start { arguments: &arguments, ..Start::default() })
    };
    let first = run(&listen(&path), "--listen-reuse-port=false");
    first.await_line("serving");
    let second = run(&listen(&path), "--listen-reuse-port=false").end();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("clients.sock is already in use"), "{}", second.stderr);
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let refused = run(&listen(&file), "--listen-reuse-port=false").end();
    assert!(refused.stderr.contains("the file is no socket"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");

    // A successor takes the place, and the end of the first process leaves the successor's file.
    let successor = run(&listen(&path), "--listen-reuse-port=true");
    successor.await_line("serving");
    first.signal("TERM");
    assert_eq!(first.end().code, Some(0));
    assert!(ask(&path, "", "").starts_with("HTTP/1.1 200"));
    successor.signal("TERM");
    assert_eq!(successor.end().code, Some(0));
    assert!(!path.exists());
}

/// Serves one answer for each connection at a socket, and ends with the number of connections once
/// a client sends no request.
fn serve_at(path: &Path) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let mut hosts = Vec::new();
        loop {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            if head.is_empty() {
                return hosts;
            }
            hosts.extend(head.into_iter().filter(|line| line.to_ascii_lowercase().starts_with("host:")));
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\n\
                          Connection: close\r\nContent-Length: 2\r\n\r\n{}";
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    })
}

#[test]
fn the_origin_may_be_at_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("the api.sock");
    let url = format!("unix://{}", path.display().to_string().replace(' ', "%20"));
    let proxy = Proxy::start(&url, &[]);
    // The origin is not there yet, and the process needs no restart when it comes.
    assert_eq!(proxy.get("/a").status, 502);
    let origin = serve_at(&path);
    let answers = ["/a", "/a", "/b"].map(|target| proxy.get(target));
    let statuses: Vec<_> =
        answers.iter().map(|answer| (answer.status, answer.cache_status().contains("; hit"))).collect();
    assert_eq!(statuses, [(200, false), (200, true), (200, false)]);
    drop(UnixStream::connect(&path).unwrap());
    assert_eq!(origin.join().unwrap(), ["host: localhost", "host: localhost"]);
}

/// Sends a request to an admin listener, and returns the whole answer.
fn operate(path: &Path, head: &str, content: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let request = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{content}", content.len());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn operators_connect_to_a_socket() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("operators.sock");
    // A process that died has left its socket.
    drop(UnixListener::bind(&path).unwrap());
    let admin = format!("unix:{}?mode=600", path.display());
    let proxy = Proxy::start(&origin.url(), &[("admin_addr", &admin), ("admin_token", TOKEN)]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // The file admits a process to the public pages only.
    let metrics = operate(&path, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n", "");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("cachewarp_build_info"), "{metrics}");
    let post = "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for (token, status) in [("", "401"), ("Authorization: Bearer wrong\r\n", "401")] {
        let answer = operate(&path, &format!("{post}{token}"), r#"{"all":true}"#);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }

    assert_eq!(proxy.get("/a").status, 200);
    let flag = format!("--admin-addr={admin}");
    let run = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().copied().chain([flag.as_str()]).collect();
        let environment = [("ADMIN_TOKEN", TOKEN), ("HEALTH_PATH", "")];
        let ended = Program::start(&Start { arguments: &arguments, environment: &environment, dotenv: None });
        let ended = ended.end();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        ended.stdout
    };
    assert!(run(&["health"]).contains("ok"));
    assert!(run(&["inspect", "http://test/a"]).contains("memory"));
    assert!(run(&["purge", "--url", "http://test/a"]).contains("outcome     everywhere"));
    assert!(proxy.get("/a").cache_status().contains("fwd"));
    assert!(run(&["top", "--once"]).contains("memory"));

    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    drop(proxy);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn without_a_token_operators_of_a_socket_name_this_machine() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("operators.sock");
    let admin = format!("unix:{}", path.display());
    let _proxy = Proxy::start(&origin.url(), &[("admin_addr", &admin)]);
    for (host, status) in [("localhost", "200"), ("evil.test", "403")] {
        let head = format!("POST /purge HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        let answer = operate(&path, &head, r#"{"all":true}"#);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

/// All operators of a socket have one address, and the limit of an address does not hold for them.
#[test]
fn open_connections_to_a_socket_keep_no_operator_out() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let path = folder.path().join("operators.sock");
    let admin = format!("unix:{}", path.display());
    let proxy = Proxy::start(&origin.url(), &[("admin_addr", &admin)]);
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    let mut kept: Vec<_> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let exchange = |stream: &mut UnixStream| {
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.next().unwrap_or_default()
    };
    for _ in 0..2 {
        for stream in &mut kept {
            assert_eq!(exchange(stream), "HTTP/1.1 200 OK");
        }
    }
    // Beyond the limit of the listener, new connections end silent ones.
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert!(operate(&path, head, "").starts_with("HTTP/1.1 200 OK"));
    drop((silent, kept, proxy));
}

#[test]
fn no_two_listeners_have_one_socket() {
    for (name, message) in [
        ("--listen-addr", "is also the address of listen_addr; use another port or socket for one of them"),
        ("--origin-url", "is the address of admin_addr: CacheWarp would be its own origin"),
    ] {
        let (url, slashes) = if name == "--origin-url" { ("", "//") } else { ("--origin-url=http://a", "") };
        let other = format!("{name}=unix:{slashes}/run/./one.sock");
        let mut arguments = vec!["check", "--admin-addr=unix:/run/one.sock", &other];
        arguments.extend(Some(url).filter(|url| !url.is_empty()));
        let ended = Program::start(&Start { arguments: &arguments, ..Start::default() }).end();
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        assert!((ended.stdout + &ended.stderr).contains(message), "{name}");
    }
}
