//! Cases in which the origin sends the bytes.

use crate::case::{Case, NO_REQUEST_ID};
use crate::harness::Proxy;
use crate::origin::{Origin, Scripted};
use crate::requests::{Client, Got, replace};

pub(crate) fn hold(case: &mut Case) {
    let ask = case.says("ask").unwrap_or("GET /a").to_owned();
    let (method, target) = ask.split_once(' ').unwrap();
    let closes = case.says("closes").is_some();
    let scripted = Scripted { target: target.to_owned(), answer: case.bytes("origin"), closes };
    let origin = Origin::start(Some(scripted));
    let proxy = Proxy::start(
        &origin.url(),
        &[("origin_body_timeout", "300ms"), ("origin_head_timeout", "300ms"), NO_REQUEST_ID],
    );

    let mut client = Client::connect(proxy.addr());
    let length = if matches!(method, "POST" | "PUT") { "Content-Length: 0\r\n" } else { "" };
    client.send(format!("{ask} HTTP/1.1\r\nHost: test\r\n{length}\r\n").as_bytes());
    let mut interims = Vec::new();
    let got = loop {
        match client.next(method) {
            Got::Answer { status: 102 | 103, bytes } => interims.extend(bytes),
            got @ (Got::Answer { .. } | Got::Closed(_)) => break got,
        }
    };
    let fate = match &got {
        Got::Closed(_) => "cut".to_owned(),
        Got::Answer { status, .. } => status.to_string(),
    };
    assert_eq!(Some(fate.as_str()), case.says("fate"), "{got:?}");
    let mut bytes = match got.clone() {
        Got::Closed(bytes) | Got::Answer { bytes, .. } => [interims, bytes].concat(),
    };
    if let Some(at) = bytes.windows(8).position(|window| window == b"\r\ndate: ") {
        let end = at + 2 + bytes[at + 2..].iter().position(|&byte| byte == b'\n').unwrap();
        bytes = replace(&bytes, &bytes[at + 2..=end], b"");
    }
    // Other tests check CacheWarp's own error documents, and the scheduler decides how much of a
    // cut answer arrives.
    if fate != "cut" && !bytes.windows(24).any(|window| window == b"application/problem+json") {
        case.expect("the client", &bytes);
    }

    // The next requests, for the same and for other targets, get their own answers.
    let once = origin.asked().len();
    for other in ["/after-1", "/hit-after-2", "/after-3"] {
        let Got::Answer { status: 200, bytes } = Client::connect(proxy.addr()).get(other) else {
            panic!("{other} has no answer")
        };
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.ends_with(&format!("{{\"to\":\"{other}\"}}")),
            "{other} got the answer of another target: {text}"
        );
    }
    let asked = origin.asked();
    let reused = asked.get(once).unwrap().connection == asked.first().unwrap().connection;
    let upstream = if reused { "reused" } else { "closed" };
    assert_eq!(
        upstream,
        case.says("upstream").unwrap_or("closed"),
        "the origin's connection after the answer"
    );

    let _ = Client::connect(proxy.addr()).get(target);
    let again = origin.asked().iter().filter(|asked| asked.target == target).count() > 1;
    assert_eq!(
        if again { "no" } else { "yes" },
        case.says("stored").unwrap_or("no"),
        "the fact that the response is stored"
    );
}
