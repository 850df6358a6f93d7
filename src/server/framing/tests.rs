//! Every framing result, and its independence of the cuts between pieces.

use proptest::prelude::*;

use super::*;

/// Reads all bytes in pieces of `size`. Returns the number of confirmed heads, the next part, and
/// the error.
fn read(wire: &[u8], size: usize) -> (u64, NextBytes, Option<FramingError>) {
    let mut framing = RequestFraming::default();
    let errors: Vec<_> = wire.chunks(size).filter_map(|piece| framing.read(piece).err()).collect();
    assert!(errors.len() <= 1, "an error is returned once");
    (framing.vouched(), framing.inbound(), errors.first().copied())
}

/// Returns the result, which is equal at every cut into equal pieces.
fn verdict(wire: &str) -> (u64, NextBytes, Option<FramingError>) {
    let whole = read(wire.as_bytes(), wire.len());
    for size in 1..wire.len() {
        assert_eq!(read(wire.as_bytes(), size), whole, "{wire:?} in pieces of {size}");
    }
    whole
}

#[test]
fn messages_with_one_meaning_are_confirmed() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\ncontent-LENGTH:5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n", 2),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: \tChunked \r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            2,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA ;a=b\r\n0123456789\r\n00\r\nx: y\r\n\r\n",
            1,
        ),
        // A body may contain any bytes.
        (
            "POST / HTTP/1.1\r\nContent-Length: 39\r\n\r\nTransfer-Encoding: a\r\nContent-Length: 1\r\nGET / HTTP/1.1\r\n\r\n",
            2,
        ),
        // These fields only resemble framing fields.
        (
            "GET / HTTP/1.1\r\nReferer: /#\r\nContent-Length-Hint: x\r\nTransfer-Encodings: x\r\nTe: x\r\nC:\r\n\r\n",
            1,
        ),
    ];
    for (wire, heads) in table {
        assert_eq!(verdict(wire), (heads, NextBytes::Between, None), "{wire:?}");
    }
}

#[test]
fn messages_with_several_meanings_are_refused() {
    use FramingError::{BareLineFeed, Chunk, Coding, Fragment, Length, LengthAndCoding, SeveralLengths};
    let table = [
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, LengthAndCoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 0, LengthAndCoding),
        (
            "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            1,
            LengthAndCoding,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, SeveralLengths),
        ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 0, Length),
        ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", 0, Length),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 0, Length),
        ("POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", 0, Length),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n\r\n", 0, Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 0, Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, Coding),
        ("GET /a#b HTTP/1.1\r\n\r\n", 0, Fragment),
        ("GET / HTTP/1.1\r\n\r\nGET /# HTTP/1.1\r\n\r\n", 1, Fragment),
        ("POST / HTTP/1.1\nContent-Length: 5\r\n\r\n", 0, BareLineFeed),
        ("POST / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\n", 0, BareLineFeed),
        ("GET / HTTP/1.1\r\nA: b\r\n\n", 0, BareLineFeed),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 1, Chunk),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 1, Chunk),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 1, Chunk),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 1, Chunk),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n", 1, BareLineFeed),
    ];
    for (wire, heads, error) in table {
        let wire = format!("{wire}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(verdict(&wire), (heads, NextBytes::Head, Some(error)), "{wire:?}");
    }
}

#[test]
fn an_overlong_line_is_neither_a_length_nor_a_coding() {
    let padding = " ".repeat(FRAMING_LINE_BYTES_MAX);
    for (field, error) in [
        (format!("Content-Length:{padding}5"), FramingError::Length),
        (format!("Transfer-Encoding:{padding}chunked"), FramingError::Coding),
    ] {
        let wire = format!("POST / HTTP/1.1\r\n{field}\r\n\r\n");
        assert_eq!(verdict(&wire).2, Some(error));
    }
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (line, error) in [(format!("1{padding}"), Some(FramingError::Chunk)), (format!("1;{padding}"), None)]
    {
        assert_eq!(verdict(&format!("{chunked}{line}\r\na\r\n0\r\n\r\n")).2, error, "{line:?}");
    }
    // The CR does not count towards the limit.
    for room in [FRAMING_LINE_BYTES_MAX - 1, FRAMING_LINE_BYTES_MAX] {
        let length = format!("{:<width$}5", "Content-Length:", width = room - 1);
        let error = verdict(&format!("POST / HTTP/1.1\r\n{length}\r\n\r\nhello")).2;
        assert_eq!(error.is_some(), room == FRAMING_LINE_BYTES_MAX, "{room}");
    }
    let cookie = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(10 * FRAMING_LINE_BYTES_MAX));
    assert_eq!(verdict(&cookie), (1, NextBytes::Between, None));
}

#[test]
fn the_next_part_is_known_after_every_byte() {
    let mut framing = RequestFraming::default();
    for (piece, next) in [
        ("\r\n", NextBytes::Between),
        ("P", NextBytes::Head),
        ("OST / HTTP/1.1\r\nContent-Length: 2\r\n", NextBytes::Head),
        ("\r\n", NextBytes::Body),
        ("a", NextBytes::Body),
        ("b", NextBytes::Between),
        ("G", NextBytes::Head),
    ] {
        framing.read(piece.as_bytes()).unwrap();
        assert_eq!(framing.inbound(), next, "after {piece:?}");
    }
}

proptest! {
    /// Framing reads any bytes in any pieces without a panic, in the memory of one line, and with
    /// an equal result.
    #[test]
    fn framing_result_is_independent_of_cuts(wire in "(GET|Content-Length|Transfer-Encoding|chunked|[:;\r\n 0-9a\u{0}]){0,40}", size in 1usize..9) {
        let wire = wire.as_bytes();
        prop_assert_eq!(read(wire, size), read(wire, wire.len().max(1)));
    }
}
