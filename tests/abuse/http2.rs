//! Cases in which a client sends HTTP/2 frames.

use std::collections::BTreeMap;

use crate::case::{Case, NO_REQUEST_ID, unescape};
use crate::harness::Proxy;
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, status,
};
use crate::origin::Origin;
use crate::requests::{Client, Got, plain};

/// The stream of the probe, above those of all cases.
const PROBE: u32 = 1001;

pub(crate) fn hold(case: &mut Case) {
    let origin = Origin::start(None);
    let proxy = Proxy::start(&origin.url(), &[NO_REQUEST_ID]);
    let fate = case.says("fate").unwrap().to_owned();
    let mut client = Http2::connect(proxy.addr());
    for frame in frames(case.text("frames")) {
        let _ = client.write(&frame.bytes());
    }
    let _ = client.get(PROBE, "/probe");

    // Reads until the probe and all streams of the fate have ended, or the connection has.
    let awaited: Vec<u32> =
        fate.split(", ").filter_map(|part| part.split('=').next()?.parse().ok()).collect();
    let mut streams = BTreeMap::<u32, Stream>::new();
    let mut ends = String::from("closed");
    while let Some(Frame { kind, flags, stream, payload }) = client.next() {
        let end = || u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap());
        match kind {
            HEADERS => streams.entry(stream).or_default().status = status(&payload),
            DATA => streams.entry(stream).or_default().body.extend(&payload),
            RST_STREAM => streams.entry(stream).or_default().reset = Some(end()),
            GOAWAY => {
                ends = format!("goaway {}", u32::from_be_bytes(payload[4..8].try_into().unwrap()));
                if ends != "goaway 0" {
                    break;
                }
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            streams.entry(stream).or_default().ended = true;
        }
        let over =
            |stream: &u32| streams.get(stream).is_some_and(|stream| stream.ended || stream.reset.is_some());
        if over(&PROBE) && awaited.iter().all(over) {
            let probe = streams.remove(&PROBE).unwrap().outcome();
            ends = if probe == "200 /probe" { "open".to_owned() } else { format!("probe={probe}") };
            break;
        }
    }
    let mut outcomes: Vec<String> =
        streams.iter().map(|(number, stream)| format!("{number}={}", stream.outcome())).collect();
    outcomes.push(ends);
    assert_eq!(outcomes.join(", "), fate);

    let Got::Answer { status: 200, .. } = Client::connect(proxy.addr()).get("/after") else {
        panic!("no answer after")
    };
    let mut went_on = origin.asked();
    went_on.retain(|asked| !["/probe", "/after"].contains(&asked.target.as_str()));
    let bytes: Vec<u8> = went_on.iter().flat_map(|asked| plain(&asked.bytes, &origin)).collect();
    case.expect("the origin", &bytes);
}

/// The name and value of a field.
type Field = (Vec<u8>, Vec<u8>);

#[derive(Default)]
struct Stream {
    status: u16,
    body: Vec<u8>,
    ended: bool,
    reset: Option<u32>,
}

impl Stream {
    fn outcome(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let of = text.split("{\"to\":\"").nth(1).and_then(|rest| rest.split('"').next());
        match (self.status, self.reset, of) {
            (0, Some(code), _) => format!("reset {code}"),
            (0, None, _) => "silent".to_owned(),
            (status, _, Some(target)) => format!("{status} {target}"),
            (status, _, None) => status.to_string(),
        }
    }
}

/// Parses lines such as `HEADERS 1 end`, followed by fields indented by two spaces, `DATA 1 end
/// text` and `RST_STREAM 1 text`.
fn frames(text: &str) -> Vec<Frame> {
    let mut frames: Vec<(Frame, Vec<Field>)> = Vec::new();
    for line in text.lines() {
        if let Some(field) = line.strip_prefix("  ") {
            let (name, value) = field.split_once(": ").or_else(|| field.split_once(":")).expect("a field");
            // A pseudo-field's name begins with a colon.
            let (name, value) = match (name, value.split_once(": ")) {
                ("", Some((name, value))) => (format!(":{name}"), value),
                _ => (name.to_owned(), value),
            };
            frames.last_mut().expect("a frame").1.push((unescape(&name), unescape(value)));
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let kind = match words.next().unwrap() {
            "DATA" => DATA,
            "HEADERS" => HEADERS,
            "RST_STREAM" => RST_STREAM,
            "SETTINGS" => SETTINGS,
            "PUSH_PROMISE" => 5,
            "PING" => PING,
            "GOAWAY" => GOAWAY,
            "WINDOW_UPDATE" => WINDOW_UPDATE,
            "CONTINUATION" => CONTINUATION,
            other => panic!("unknown frame type: {other}"),
        };
        let stream = words.next().expect("a stream").parse().expect("its number");
        let flags = words.next().unwrap_or_default().split('+').map(|flag| match flag {
            "end" => END_STREAM,
            "headers" => END_HEADERS,
            "padded" => 8,
            "" | "none" => 0,
            other => panic!("unknown flag: {other}"),
        });
        let flags = flags.fold(0, |all, flag| all | flag);
        frames.push((
            Frame { kind, flags, stream, payload: unescape(words.next().unwrap_or_default()) },
            Vec::new(),
        ));
    }
    let with_fields = |(mut frame, fields): (Frame, Vec<Field>)| {
        frame.payload.extend(block(&fields));
        frame
    };
    frames.into_iter().map(with_fields).collect()
}
