//! What an origin answers.

use crate::case::Case;
use crate::harness::Proxy;
use crate::origin::{Origin, Scripted};
use crate::requests::{Client, Got, replace};

pub(crate) fn hold(case: &mut Case) {
    let ask = case.says("ask").unwrap_or("GET /a").to_owned();
    let (method, target) = ask.split_once(' ').unwrap();
    let closes = case.says("closes").is_some();
    let scripted = Scripted { target: target.to_owned(), answer: case.bytes("origin"), closes };
    let origin = Origin::start(Some(scripted));
    let proxy =
        Proxy::start(&origin.url(), &[("origin_body_timeout", "300ms"), ("origin_head_timeout", "300ms")]);

    let mut client = Client::connect(proxy.addr());
    let length = if matches!(method, "POST" | "PUT") { "Content-Length: 0\r\n" } else { "" };
    client.send(format!("{ask} HTTP/1.1\r\nHost: test\r\n{length}\r\n").as_bytes());
    let got = client.next(method);
    let fate = match &got {
        Got::Closed(_) => "cut".to_owned(),
        Got::Answer { status, .. } => status.to_string(),
    };
    assert_eq!(Some(fate.as_str()), case.says("fate"), "{got:?}");
    let mut bytes = match got.clone() {
        Got::Closed(bytes) | Got::Answer { bytes, .. } => bytes,
    };
    if let Some(at) = bytes.windows(8).position(|window| window == b"\r\ndate: ") {
        let end = at + 2 + bytes[at + 2..].iter().position(|&byte| byte == b'\n').unwrap();
        bytes = replace(&bytes, &bytes[at + 2..=end], b"");
    }
    // What CacheWarp says of a failure is held elsewhere, and how much of a cut answer arrives is up to the scheduler.
    if fate != "cut" && !bytes.windows(24).any(|window| window == b"application/problem+json") {
        case.expect("the client", &bytes);
    }

    // Whoever asks next, for the same or for another, gets his own.
    let once = origin.asked().len();
    for other in ["/after-1", "/hit-after-2", "/after-3"] {
        let Got::Answer { status: 200, bytes } = Client::connect(proxy.addr()).get(other) else {
            panic!("{other} has no answer")
        };
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with(&format!("{{\"to\":\"{other}\"}}")), "{other} has another's answer: {text}");
    }
    let asked = origin.asked();
    let reused = asked.get(once).unwrap().connection == asked.first().unwrap().connection;
    let upstream = if reused { "reused" } else { "closed" };
    assert_eq!(upstream, case.says("upstream").unwrap_or("closed"), "the connection that it came on");

    let _ = Client::connect(proxy.addr()).get(target);
    let again = origin.asked().iter().filter(|asked| asked.target == target).count() > 1;
    assert_eq!(if again { "no" } else { "yes" }, case.says("stored").unwrap_or("no"), "whether it is stored");
}
