use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::limits::{REPLY_BYTES_MAX, REPLY_DEPTH_MAX, REPLY_ELEMENTS_MAX, REPLY_LINE_BYTES_MAX};
use crate::resp::reply::ErrorKind;

fn decode(wire: &[u8]) -> Result<Option<Frame>, ProtocolError> {
    ReplyDecoder::default().decode(&mut BytesMut::from(wire))
}

/// Decodes `wire`, which arrives in pieces that end at `cuts`.
fn decode_all(wire: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, ProtocolError> {
    let (mut decoder, mut buffer, mut frames, mut from) =
        (ReplyDecoder::default(), BytesMut::new(), Vec::new(), 0);
    for &to in cuts.iter().chain([&wire.len()]) {
        buffer.extend_from_slice(&wire[from..to]);
        from = to;
        while let Some(frame) = decoder.decode(&mut buffer)? {
            frames.push(frame);
        }
    }
    assert!(buffer.is_empty(), "every byte belongs to a frame");
    Ok(frames)
}

fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(Bytes::from_static(text.as_bytes()))
}

fn simple(text: &'static str) -> Reply {
    Reply::Simple(Bytes::from_static(text.as_bytes()))
}

fn error(text: &'static str) -> Reply {
    Reply::Error(ErrorReply::new(Bytes::from_static(text.as_bytes())))
}

fn rows() -> Vec<(&'static str, Frame)> {
    use Reply::{Array, BigNumber, Boolean, Double, Integer, Map, Nil};
    let push = |push: Vec<Reply>| Frame::Push(push);
    let mut rows: Vec<(&'static str, Frame)> = [
        ("$5\r\nhello\r\n", bulk("hello")),
        ("$0\r\n\r\n", bulk("")),
        ("$4\r\n\r\n\r\n\r\n", bulk("\r\n\r\n")),
        ("$005\r\nhello\r\n", bulk("hello")),
        ("$-1\r\n", Nil),
        ("*-1\r\n", Nil),
        ("_\r\n", Nil),
        ("+OK\r\n", simple("OK")),
        ("+\r\n", simple("")),
        ("+a\rb\nc\r\n", simple("a\rb\nc")),
        ("-LOADING wait\r\n", error("LOADING wait")),
        ("!9\r\nBUSY\r\nnow\r\n", error("BUSY\r\nnow")),
        (":-42\r\n", Integer(-42)),
        (":9223372036854775807\r\n", Integer(i64::MAX)),
        (",1.5\r\n", Double(1.5)),
        (",-inf\r\n", Double(f64::NEG_INFINITY)),
        ("#t\r\n", Boolean(true)),
        ("#f\r\n", Boolean(false)),
        (
            "(3492890328409238509324850943850943825024385\r\n",
            BigNumber(Bytes::from_static(b"3492890328409238509324850943850943825024385")),
        ),
        ("=7\r\ntxt:abc\r\n", bulk("abc")),
        ("=4\r\nmkd:\r\n", bulk("")),
        ("*0\r\n", Array(vec![])),
        ("*2\r\n$1\r\na\r\n$-1\r\n", Array(vec![bulk("a"), Nil])),
        (
            "*2\r\n*1\r\n*0\r\n*2\r\n:1\r\n:2\r\n",
            Array(vec![Array(vec![Array(vec![])]), Array(vec![Integer(1), Integer(2)])]),
        ),
        ("*3\r\n_\r\n-ERR x\r\n#t\r\n", Array(vec![Nil, error("ERR x"), Boolean(true)])),
        ("~1\r\n:1\r\n", Array(vec![Integer(1)])),
        ("%1\r\n+proto\r\n:3\r\n", Map(vec![(simple("proto"), Integer(3))])),
        ("%0\r\n", Map(vec![])),
        // Attributes precede a reply, which is the same without them.
        ("|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n", bulk("a")),
        ("|0\r\n_\r\n", Nil),
        ("*2\r\n|1\r\n+ttl\r\n:1\r\n:1\r\n:2\r\n", Array(vec![Integer(1), Integer(2)])),
    ]
    .into_iter()
    .map(|(wire, reply)| (wire, Frame::Reply(reply)))
    .collect();
    rows.push((
        ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
        push(vec![simple("invalidate"), Array(vec![bulk("k")])]),
    ));
    rows.push((">2\r\n$10\r\ninvalidate\r\n_\r\n", push(vec![bulk("invalidate"), Nil])));
    rows
}

#[test]
fn a_duplicate_key_decodes_deterministically() {
    // Found by fuzzing: a map with random order let either of the two win.
    let wire = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$06\r\nserver\r\n$6\r\nvalkey\r\n";
    for _ in 0..64 {
        let first = Reply::Map(vec![(bulk("server"), bulk("redis"))]);
        assert_eq!(decode(wire), Ok(Some(Frame::Reply(first))));
    }
}

#[test]
fn every_kind_of_frame_decodes_at_every_cut() {
    for (wire, frame) in rows() {
        for cut in 0..wire.len() {
            // An attribute is taken off the buffer as soon as it is complete, and yields nothing.
            assert_eq!(decode(&wire.as_bytes()[..cut]), Ok(None), "{wire:?} cut at {cut}");
            assert_eq!(decode_all(wire.as_bytes(), &[cut]), Ok(vec![frame.clone()]), "{wire:?} cut at {cut}");
        }
        let every: Vec<_> = (0..wire.len()).collect();
        assert_eq!(decode_all(wire.as_bytes(), &every), Ok(vec![frame]), "{wire:?} byte by byte");
    }
}

#[test]
fn invalid_frames_are_refused() {
    let rows: &[(&[u8], ProtocolError)] = &[
        (b"HTTP/1.1 400 Bad Request\r\n", ProtocolError::Type),
        (b"\0", ProtocolError::Type),
        (b"\r\n", ProtocolError::Type),
        (b"HELLO 3\r\n", ProtocolError::Type),
        (b"$x\r\n", ProtocolError::Length),
        (b"$\r\n", ProtocolError::Length),
        (b"$+1\r\na\r\n", ProtocolError::Length),
        (b"$1 \r\na\r\n", ProtocolError::Length),
        (b"$1\na\r\n", ProtocolError::Length),
        (b"$-2\r\n", ProtocolError::Length),
        (b"$-12\r\n", ProtocolError::Length),
        (b"*-2\r\n", ProtocolError::Length),
        (b"%-1\r\n", ProtocolError::Length),
        (b"~-1\r\n", ProtocolError::Length),
        (b">-1\r\n", ProtocolError::Length),
        (b"|-1\r\n", ProtocolError::Length),
        (b"!-1\r\n", ProtocolError::Length),
        (b"=-1\r\n", ProtocolError::Length),
        (b"$9223372036854775808\r\n", ProtocolError::Bytes),
        (b"$18446744073709551615\r\n", ProtocolError::Bytes),
        (b"$18446744073709551616\r\n", ProtocolError::Length),
        (b"$99999999999999999999999999", ProtocolError::Length),
        (b"$000000000000000000000000000", ProtocolError::Length),
        (b"*9223372036854775808\r\n", ProtocolError::Elements),
        (b"%9223372036854775808\r\n", ProtocolError::Elements),
        (b"$1\r\nabc", ProtocolError::End),
        (b"*1\r\n$1\r\na\n\n", ProtocolError::End),
        (b"$?\r\n", ProtocolError::Streamed),
        (b"*?\r\n", ProtocolError::Streamed),
        (b";1\r\na\r\n", ProtocolError::Streamed),
        (b".\r\n", ProtocolError::Streamed),
        (b"=3\r\ntxt\r\n", ProtocolError::Content),
        (b"=0\r\n\r\n", ProtocolError::Content),
        (b"=7\r\nbad:abc\r\n", ProtocolError::Content),
        (b"_x\r\n", ProtocolError::Content),
        (b"#x\r\n", ProtocolError::Content),
        (b":1.5\r\n", ProtocolError::Content),
        (b":9223372036854775808\r\n", ProtocolError::Content),
        (b",one\r\n", ProtocolError::Content),
        (b"*1\r\n>1\r\n:1\r\n", ProtocolError::Content),
        (b"%1\r\n*1\r\n:1\r\n:1\r\n", ProtocolError::Content),
    ];
    for (wire, malformed) in rows {
        assert_eq!(decode(wire), Err(*malformed), "{:?}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn limits_apply_before_anything_is_allocated() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert!(matches!(decode(&nested(REPLY_DEPTH_MAX)), Ok(Some(_))));
    assert_eq!(decode(&nested(REPLY_DEPTH_MAX + 1)), Err(ProtocolError::Depth));
    assert_eq!(decode(&b"*1\r\n".repeat(10_000)), Err(ProtocolError::Depth));

    let flat = |count: usize| [format!("*{count}\r\n").into_bytes(), b":1\r\n".repeat(count)].concat();
    assert!(matches!(decode(&flat(REPLY_ELEMENTS_MAX)), Ok(Some(_))));
    assert_eq!(decode(format!("*{}\r\n", REPLY_ELEMENTS_MAX + 1).as_bytes()), Err(ProtocolError::Elements));
    let split = format!("*2\r\n*{}\r\n", REPLY_ELEMENTS_MAX - 1);
    assert_eq!(decode(split.as_bytes()), Err(ProtocolError::Elements), "nested ones count too");

    let line = |length: usize| [b"+", &b"x".repeat(length)[..], b"\r\n"].concat();
    assert!(matches!(decode(&line(REPLY_LINE_BYTES_MAX)), Ok(Some(_))));
    assert_eq!(decode(&line(REPLY_LINE_BYTES_MAX + 1)), Err(ProtocolError::LineBytes));
    assert_eq!(
        decode(&line(2 * REPLY_LINE_BYTES_MAX)[..REPLY_LINE_BYTES_MAX + 2]),
        Err(ProtocolError::LineBytes)
    );

    assert_eq!(decode(format!("${REPLY_BYTES_MAX}\r\n").as_bytes()), Err(ProtocolError::Bytes));
    assert_eq!(decode(format!("${}\r\n", REPLY_BYTES_MAX - 64).as_bytes()), Ok(None));
}

#[test]
fn a_value_is_a_slice_of_the_buffer() {
    let mut buffer = BytesMut::from(&b"$5\r\nhello\r\n+OK\r\n"[..]);
    let expected = buffer[4..].as_ptr();
    let Ok(Some(Frame::Reply(Reply::Bulk(value)))) = ReplyDecoder::default().decode(&mut buffer) else {
        panic!()
    };
    assert_eq!(value.as_ptr(), expected);
    assert_eq!(buffer, "+OK\r\n");
}

#[test]
fn the_missing_bytes_of_a_value_are_known() {
    let mut decoder = ReplyDecoder::default();
    let mut buffer = BytesMut::from(&b"$1000\r\nabc"[..]);
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(decoder.missing(), 1000 - 3 + 2);
}

#[test]
fn an_error_need_not_be_text() {
    let Ok(Some(Frame::Reply(Reply::Error(error)))) = decode(b"-OOM \xff\xfe\r\n") else { panic!() };
    assert_eq!((error.kind, &error.text[..]), (ErrorKind::Oom, &b"OOM \xff\xfe"[..]));
}

/// The wire bytes of one frame, of any kind and nesting.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let blob = |kind: &'static str, before: &'static str| {
        prop::collection::vec(any::<u8>(), 0..50).prop_map(move |bytes| {
            let head = format!("{kind}{}\r\n{before}", bytes.len() + before.len());
            [head.as_bytes(), &bytes, b"\r\n"].concat()
        })
    };
    let leaf = prop_oneof![
        4 => blob("$", ""),
        1 => blob("!", ""),
        1 => blob("=", "txt:"),
        1 => "[+-][ -~]{0,20}\r\n".prop_map(String::into_bytes),
        1 => any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        1 => any::<i32>().prop_map(|number| format!(",{number}.5\r\n").into_bytes()),
        1 => any::<bool>().prop_map(|is| format!("#{}\r\n", if is { 't' } else { 'f' }).into_bytes()),
        1 => Just(b"_\r\n".to_vec()),
    ];
    let nested = leaf.prop_recursive(4, 40, 5, |inner| {
        prop::collection::vec(inner, 0..5)
            .prop_map(|elements| [format!("*{}\r\n", elements.len()).as_bytes(), &elements.concat()].concat())
    });
    (nested, any::<bool>()).prop_map(|(wire, push)| match wire.first() {
        Some(b'*') if push => [b">", &wire[1..]].concat(),
        _ => wire,
    })
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_the_cuts(
        frames in prop::collection::vec(frame(), 1..10),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let wire = frames.concat();
        let whole = decode_all(&wire, &[]).unwrap();
        prop_assert_eq!(whole.len(), frames.len());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode_all(&wire, &cuts).unwrap(), whole);
    }

    #[test]
    fn no_bytes_cause_a_panic(
        wire in prop::collection::vec(prop_oneof![
            8 => prop::sample::select(&b"$*+-:_,#(!=%~>|0123456789\r\ntf?;."[..]).prop_map(|byte| vec![byte]),
            4 => Just(b"\r\n".to_vec()),
            2 => Just(b"$3\r\nabc\r\n".to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ], 0..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let wire = wire.concat();
        let cut = if wire.is_empty() { 0 } else { cut.index(wire.len()) };
        let mut decoder = ReplyDecoder::default();
        let mut buffer = BytesMut::new();
        'pieces: for piece in [&wire[..cut], &wire[cut..]] {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'pieces,
                }
            }
        }
    }
}
