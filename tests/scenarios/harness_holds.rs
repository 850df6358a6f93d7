//! Tests of the harness that the scenarios depend on.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;

use crate::harness::{
    Answer, Client, Exchange, Gate, Origin, Redis, Response, Script, ScriptedRedis, Then, Value, client,
};

#[test]
fn the_origin_answers_counts_and_records_requests() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let mut client = Client::connect(origin.addr());
    let response: Response = client.request("GET", "/a?b=c", &[("X-Y", "z")]);
    assert_eq!((response.status, response.text()), (200, "{}"));
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(client.get("/other").status, 404);
    assert_eq!((origin.count("/a"), origin.count("/other"), origin.connections()), (1, 1, 1));
    let seen = &origin.seen("/a")[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.field("x-y")), ("GET", "/a?b=c", Some("z")));
    assert!(origin.url().ends_with(&origin.addr().port().to_string()));
    let addr = origin.stop();
    assert!(TcpStream::connect(addr).is_err(), "a stopped origin must refuse connections");
}

#[test]
fn the_origin_holds_a_response_at_a_gate() {
    let origin = Origin::start();
    let gate = Gate::new();
    origin.answer("/slow", Answer::silent().pass(&gate).send("HTTP/1.1 204 Done\r\n\r\n"));
    let addr = origin.addr();
    let clients = [(); 2].map(|()| thread::spawn(move || client::get(addr, "/slow").status));
    gate.await_arrivals(2);
    origin.await_count("/slow", 2);
    assert!(clients.iter().all(|client| !client.is_finished()));
    gate.release_one();
    gate.open();
    assert_eq!(clients.map(|client| client.join().unwrap()), [204, 204]);
}

#[test]
fn the_origin_cuts_hangs_and_streams_endlessly() {
    let origin = Origin::start();
    origin.answer("/cut", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").close());
    origin.answer(
        "/cut-chunk",
        Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").close(),
    );
    origin.answer(
        "/long",
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").repeat([b'x'; 3000], 1000),
    );
    origin.answer("/hang", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").hang());
    for path in ["/cut", "/cut-chunk"] {
        let mut client = Client::connect(origin.addr());
        client.send_head("GET", path, &[]);
        let head = client.head();
        let (body, end) = client.body_of("GET", &head);
        assert_eq!((body.as_slice(), end.unwrap_err().kind()), (b"abc".as_slice(), ErrorKind::UnexpectedEof));
    }
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/long").body.len(), 3_000_000);
    client.send_head("GET", "/hang", &[]);
    client.head();
    assert_eq!(client.bytes(3), b"abc");
    origin.close_connections();
    assert_eq!(client.rest(), b"");
    assert!(client.try_send("x").and_then(|()| client.try_send("y")).is_err());
}

#[test]
fn the_origin_hands_an_exchange_over() {
    let origin = Origin::start();
    origin.script("/tunnel", |exchange: &mut Exchange| {
        let word = exchange.read_raw(3)?;
        exchange.write("HTTP/1.1 200 OK\r\n\r\n")?;
        exchange.write(word)?;
        exchange.await_close()?;
        Ok(Then::Close)
    });
    origin.script("/echo", |exchange| {
        let method = exchange.request.method.clone();
        let body = String::from_utf8(exchange.body()?).unwrap();
        Answer::new(200, &[("X-Method", &method)], &body).give(exchange)
    });
    let mut client = Client::connect(origin.addr());
    client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "ab");
    assert_eq!(client.request("HEAD", "/other", &[]).body, b"");
    client.send_head("GET", "/tunnel", &[]);
    client.send("abc");
    client.finish();
    assert_eq!(client.response().text(), "abc");
}

#[test]
fn a_real_redis_can_be_killed_stalled_and_restarted() {
    let mut redis = Redis::start();
    let url = redis.url();
    assert_eq!(redis.command(&["SET", "k", "v"]), Value::Simple("OK".into()));
    assert_eq!(redis.calls("set"), 1);
    assert_eq!(redis.command(&["GET", "k"]), Value::Bulk(b"v".to_vec()));
    redis.stall();
    redis.resume();
    assert_eq!(redis.command(&["STRLEN", "k"]), Value::Integer(1));
    redis.kill();
    redis.restart();
    assert_eq!(redis.url(), url);
    assert_eq!(redis.command(&["GET", "k"]), Value::Null);
}

#[test]
fn a_real_redis_listens_on_a_unix_socket_and_takes_arguments() {
    let redis = Redis::start_on_unix_socket();
    assert!(redis.url().starts_with("unix:///"));
    assert_eq!(redis.command(&["KEYS", "*"]), Value::Array(Vec::new()));
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    assert!(matches!(redis.command(&["GET", "k"]), Value::Error(error) if error.starts_with("NOAUTH")));
}

#[test]
fn a_scripted_redis_follows_its_script() {
    let gate = Gate::new();
    let redis = ScriptedRedis::follow(vec![
        Script::new().expect(&["GET", "k"]).pass(&gate).send("$1\r\nv\r\n").expect(&["get"]).send("$1"),
        Script::new().expect(&["HELLO"]).send("-NOPROTO\r\n").hang(),
    ]);
    let addr = redis.url().strip_prefix("redis://").unwrap().parse().unwrap();
    let mut first = Client::connect(addr);
    first.send("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    gate.await_arrivals(1);
    gate.open();
    assert!(first.bytes(2).starts_with(b"%3"));
    first.send("*2\r\n$3\r\nGET\r\n$1\r\nx\r\n");
    assert!(first.rest().ends_with(b"$1\r\nv\r\n$1"));
    let mut second = Client::connect(addr);
    second.send("*1\r\n$5\r\nHELLO\r\n");
    assert_eq!(second.bytes(10), b"-NOPROTO\r\n");
    let mut third = Client::connect(addr);
    assert_eq!(redis.faults(), Vec::<String>::new());
    drop(redis);
    assert_eq!(third.rest(), b"");
    assert_eq!(second.rest(), b"");
}

#[test]
fn a_scripted_redis_detects_a_deviation() {
    let redis = ScriptedRedis::follow(vec![Script::new().expect(&["GET"])]);
    let mut client = Client::connect(redis.url().strip_prefix("redis://").unwrap().parse().unwrap());
    client.send("*1\r\n$3\r\nDEL\r\n");
    assert_eq!(client.rest(), b"");
    assert_eq!(redis.faults(), [r#"["DEL"] instead of ["GET"] after ["DEL"]"#]);
    assert!(thread::spawn(move || drop(redis)).join().is_err(), "a deviation must fail the test");
}

#[test]
fn a_scripted_redis_can_answer_all_commands_alike() {
    let redis = ScriptedRedis::respond(|command| match command[0].as_str() {
        "QUIT" => None,
        _ => Some(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()),
    });
    let mut client = Client::connect(redis.url().strip_prefix("redis://").unwrap().parse().unwrap());
    client.send("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n");
    assert!(client.rest().starts_with(b"-LOADING "));
}
