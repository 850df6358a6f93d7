//! The ends of messages: the framing guards, compared with the parser that hyper uses.

use std::ops::Range;

use cachewarp::origin::{self, FetchError};
use cachewarp::server::framing::{NextBytes, RequestFraming};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use httparse::Status;

use super::heads::named;

/// The guard's result for a client's bytes: the number of confirmed heads, the state of the next
/// message, and whether the framing is lost.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    heads: u64,
    next: NextBytes,
    lost: bool,
}

/// Checks that the guard's result does not depend on the cuts of the input; that a confirmed head
/// ends where hyper's parser ends it, and gives its body one length; and that the next message
/// begins at that end.
pub(crate) fn framing(data: &[u8]) {
    let (mut heads, mut messages) = (Vec::new(), Vec::new());
    let mut framing = RequestFraming::default();
    let mut lost = false;
    for (at, byte) in data.iter().enumerate() {
        let before = framing.inbound();
        lost |= framing.read(&[*byte]).is_err();
        heads.resize(usize::try_from(framing.vouched()).expect("few"), at + 1);
        if before != NextBytes::Between && framing.inbound() == NextBytes::Between {
            messages.push(at + 1);
        }
    }
    let bytewise = Verdict { heads: framing.vouched(), next: framing.inbound(), lost };
    let mut framing = RequestFraming::default();
    let lost = framing.read(data).is_err();
    assert_eq!(
        bytewise,
        Verdict { heads: framing.vouched(), next: framing.inbound(), lost },
        "the result depends on the cuts"
    );

    let mut begin = 0;
    for (number, &end) in heads.iter().enumerate() {
        let Some(extent) = extent_of(data, begin..end) else { return };
        let Some(whole) = message_end(data, end, extent) else { return };
        let found = messages.get(number);
        assert!(found == Some(&whole), "message {number} ends at {whole}, and not at {found:?}");
        begin = whole;
    }
}

/// The end of a body.
enum Extent {
    Length(u64),
    Chunked,
}

/// Returns the extent of a body by hyper's parser, or `None` if hyper refuses the head.
fn extent_of(data: &[u8], head: Range<usize>) -> Option<Extent> {
    let (begin, end) = (head.start, head.end);
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(data.get(begin..)?) {
        Ok(Status::Complete(length)) => assert_eq!(begin + length, end, "the ends of the head differ"),
        Ok(Status::Partial) => panic!("a confirmed head is incomplete"),
        Err(_) => return None,
    }
    let values = |name: &str| {
        let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect::<Vec<_>>()
    };
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(Extent::Length(0)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).expect("digits");
            Some(Extent::Length(length.parse().expect("a length that can be counted")))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Extent::Chunked),
        other => panic!("confirmed with {other:?}"),
    }
}

/// Returns the end of the message whose head ends here, or `None` if it is incomplete or hyper
/// refuses it.
fn message_end(data: &[u8], head: usize, extent: Extent) -> Option<usize> {
    let skip = |at: usize, count: u64| {
        let end = at.checked_add(usize::try_from(count).ok()?)?;
        (end <= data.len()).then_some(end)
    };
    let line = |at: usize| {
        let length = data.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &data[at..at + length];
        (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some((line, at + length + 2))
    };
    let mut at = match extent {
        Extent::Length(length) => return skip(head, length),
        Extent::Chunked => head,
    };
    loop {
        let (size, data) = line(at)?;
        let size = size.split(|&byte| byte == b';').next()?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, blank) = size.split_at(digits);
        if !blank.iter().all(|byte| b" \t".contains(byte)) {
            return None;
        }
        match u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
            0 => at = data,
            size => match line(skip(data, size)?)? {
                ([], next) => {
                    at = next;
                    continue;
                }
                _ => return None,
            },
        }
        break;
    }
    loop {
        match line(at)? {
            ([], end) => return Some(end),
            (_, next) => at = next,
        }
    }
}

/// Checks that the guard refuses an origin's head, or leaves in it one framing in digits, which the
/// guard reads as before.
pub(crate) fn answer_framing(data: &[u8]) {
    let Some((&choice, lines)) = data.split_first() else { return };
    let method = if choice & 1 == 0 { Method::GET } else { Method::HEAD };
    let status = [200, 204, 304, 101, 206, 404][usize::from(choice >> 1) % 6];
    let status = StatusCode::from_u16(status).expect("a status");
    let mut headers = named(lines);
    let original = headers.clone();
    let settled = origin::BodyFraming::from_head(&method, status, &mut headers);
    let Ok(framing) = settled else {
        assert!(matches!(settled, Err(FetchError::AmbiguousFraming)));
        return;
    };
    assert_one_meaning(&headers);
    assert_eq!(origin::BodyFraming::from_head(&method, status, &mut headers.clone()).ok(), Some(framing));
    if let origin::BodyFraming::Length(length) = framing {
        assert_eq!(headers[CONTENT_LENGTH], length.to_string());
        let members = original
            .get_all(CONTENT_LENGTH)
            .iter()
            .flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        for member in members {
            let member = std::str::from_utf8(member).expect("digits").trim();
            assert_eq!(member.parse(), Ok(length), "the lengths differ");
        }
    }
}

fn assert_one_meaning(headers: &HeaderMap) {
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}");
    assert!(lengths.iter().all(|length| length.as_bytes().iter().all(u8::is_ascii_digit)));
    assert!(codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")));
}
