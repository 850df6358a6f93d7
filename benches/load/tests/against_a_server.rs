//! The generator against servers that answer, stall, cut and disappear.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use load::request::Request;
use load::tally::{Failure, Tally};
use load::{Idle, Order, Phase, Plan};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves each connection on its own thread: `answer` gets the number of the request on it, and its
/// path.
fn server(answer: impl Fn(u64, &str) -> Option<String> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || serve(stream.unwrap(), answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: impl Fn(u64, &str) -> Option<String>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    for number in 0.. {
        let Some(first) = lines.next() else { return };
        let path = first.split(' ').nth(1).unwrap();
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        let Some(text) = answer(number, path) else { return };
        if stream.write_all(text.as_bytes()).is_err() || text.contains("connection: close") {
            return;
        }
    }
}

fn plan(urls: &[String], phases: &[&str]) -> Plan {
    Plan {
        requests: urls.iter().map(|url| Request::parse(url, &[]).unwrap()).collect(),
        connections: 1,
        timeout: Duration::from_secs(30),
        order: Order::Sequential,
        idle: Idle::Sleep,
        seed: 1,
        watch: Some(std::process::id()),
        phases: phases.iter().map(|phase| Phase::parse(phase).unwrap()).collect(),
    }
}

fn run(plan: &Plan) -> Vec<Tally> {
    load::run(plan, |_| {}).unwrap()
}

#[test]
fn a_pause_of_the_server_delays_every_request_due_in_it() {
    let address = server(|number, _| {
        if number == 10 {
            thread::sleep(Duration::from_millis(300));
        }
        Some(OK.into())
    });
    let [tally] = &run(&plan(&[format!("http://{address}/")], &["a,rate=100,requests=60"]))[..] else {
        panic!()
    };
    // Half of the sixty requests in 600 ms are due within the pause: a closed loop would have seen
    // one slow answer.
    assert!(tally.latency.micros_at(700) > 50_000.0, "{}", tally.latency.micros_at(700));
    assert!(tally.waited >= 20, "{}", tally.waited);
    assert_eq!((tally.answers(), tally.errors()), (60, 0));
}

#[test]
fn each_phase_has_its_own_figures_and_statuses() {
    let address = server(|_, path| Some(if path == "/7" { OK.replace("200", "503") } else { OK.into() }));
    let urls = [format!("http://{address}/{{0..10}}")];
    let mut begun = Vec::new();
    let plan = plan(&urls, &["fill,rate=max,requests=20", "steady,rate=1000,seconds=0.03"]);
    let tallies = load::run(&plan, |phase| begun.push(phase)).unwrap();
    let seen: Vec<_> = tallies.iter().map(|tally| (tally.answers(), tally.errors())).collect();
    assert_eq!(seen, [(20, 2), (30, 3)]);
    assert_eq!(begun, [0, 1]);
    let bytes = 20 * OK.len() as u64;
    assert_eq!(tallies[0].bytes, bytes);
    assert!(tallies.iter().all(|tally| tally.watched.is_some()));
}

#[test]
fn weights_share_out_requests_over_servers() {
    let (often, seldom) = (server(|_, _| Some(OK.into())), server(|_, _| Some(OK.replace("200", "201"))));
    let urls = [format!("9@http://{often}/"), format!("http://{seldom}/")];
    let tally = run(&plan(&urls, &["a,rate=max,requests=1000"])).pop().unwrap();
    let seldom = tally.statuses[&201];
    assert!((50..200).contains(&seldom), "{seldom}");
}

#[test]
fn connections_that_end_are_opened_again() {
    let address = server(|number, path| match (number, path) {
        (_, "/1") => Some(OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")),
        (_, "/2") => Some(format!("{}\r\nconnection: close", OK.replace(": 2", ": 200"))),
        (_, "/3") => None,
        _ => Some(OK.into()),
    });
    let urls = [format!("http://{address}/{{0..5}}")];
    let tally = run(&plan(&urls, &["a,rate=max,requests=10"])).pop().unwrap();
    assert_eq!(tally.statuses[&200], 6);
    assert_eq!((tally.failures[&Failure::Cut], tally.failures[&Failure::Closed]), (2, 2));
}

/// Starts a server that accepts one connection, gives one answer, and disappears.
fn gone_after_one_answer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        serve(stream, |number, _| (number == 0).then(|| OK.into()));
    });
    url
}

#[test]
fn failures_of_a_lost_or_stalled_server_are_counted() {
    let tally = run(&plan(&[gone_after_one_answer()], &["a,rate=200,requests=40"])).pop().unwrap();
    assert_eq!((tally.answers(), tally.errors()), (1, 39));
    let refused = tally.failures.get(&Failure::Refused).copied().unwrap_or_default();
    assert!(refused >= 30, "{:?}", tally.failures);

    // A closed loop ends as well.
    let tally = run(&plan(&[gone_after_one_answer()], &["a,rate=max,requests=5"])).pop().unwrap();
    assert_eq!((tally.answers(), tally.errors()), (1, 4));

    // The kernel accepts the connection, and no process reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = plan(&[format!("http://{}/", silent.local_addr().unwrap())], &["a,rate=100,requests=20"]);
    plan.timeout = Duration::from_millis(50);
    let tally = run(&plan).pop().unwrap();
    assert_eq!((tally.answers(), tally.errors()), (0, 20));
    assert!(tally.failures.contains_key(&Failure::Timeout), "{:?}", tally.failures);
}
