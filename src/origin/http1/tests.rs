//! Tests of the readers and of the writer, without a socket.

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Version};

use super::chunks::{ChunkPart, ChunkReader};
use super::head::{ResponseHead, ResponseHeadReader};
use super::request::{Outgoing, UploadFraming};
use crate::limits::{
    ORIGIN_CHUNK_EXTENSION_BYTES_MAX, ORIGIN_COPIED_BYTES_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX,
};
use crate::origin::error::{ChunkError, HeadError};

/// Reads a head from pieces of this size; returns it with the bytes behind it.
fn head(wire: &str, size: usize) -> Result<Option<(ResponseHead, Bytes)>, HeadError> {
    let (mut reader, mut bytes) = (ResponseHeadReader::default(), BytesMut::new());
    let mut pieces = wire.as_bytes().chunks(size);
    loop {
        if let Some(head) = reader.next(&mut bytes)? {
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
            return Ok(Some((head, bytes.freeze())));
        }
        let Some(piece) = pieces.next() else { return Ok(None) };
        bytes.extend_from_slice(piece);
    }
}

#[test]
fn a_head_ends_where_it_ends_at_every_cut() {
    for (wire, status, keeps_alive, rest) in [
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}", 200, true, "{}"),
        ("HTTP/1.1 200 OK\nA: b\n\n{}", 200, true, "{}"),
        ("HTTP/1.1 204\r\n\r\n", 204, true, ""),
        ("\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 201", 200, true, "HTTP/1.1 201"),
        ("HTTP/1.1 200 OK\r\nConnection: a, CLOSE\r\n\r\n", 200, false, ""),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", 200, false, ""),
        ("HTTP/1.0 200 OK\r\n\r\n", 200, false, ""),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", 200, true, ""),
        ("HTTP/1.1 103 A\r\nLink: b\r\n\r\nHTTP/1.1 2", 103, true, "HTTP/1.1 2"),
    ] {
        for size in 1..=wire.len() {
            let (head, behind) = head(wire, size).unwrap().expect(wire);
            assert_eq!((head.status.as_u16(), head.keeps_alive), (status, keeps_alive), "{wire:?} by {size}");
            assert_eq!(behind, rest.as_bytes(), "{wire:?} by {size}");
        }
        for end in 1..wire.len() - rest.len() {
            assert!(head(wire.get(..end).unwrap(), 1).unwrap().is_none(), "{wire:?} up to {end}");
        }
    }
}

#[test]
fn a_head_keeps_its_fields_in_order() {
    let (read, _) =
        head("HTTP/1.0 404 Nothing\r\nB: 1\r\na:  2 \r\nb: 3\r\nc:\r\n\r\n", 64).unwrap().unwrap();
    assert_eq!((read.status, read.version), (StatusCode::NOT_FOUND, Version::HTTP_10));
    assert_eq!(read.reason.unwrap().as_bytes(), b"Nothing");
    let fields: Vec<_> = read.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("b", &b"1"[..]), ("b", b"3"), ("a", b"2"), ("c", b"")]);
    let (read, _) = head("HTTP/1.1 404 Not Found\r\n\r\n", 64).unwrap().unwrap();
    assert!(read.reason.is_none(), "the usual reason is not kept");
}

#[test]
fn bytes_that_are_no_head_are_refused() {
    let syntax = |wire: &str| matches!(head(wire, wire.len()), Err(HeadError::Syntax(_)));
    for wire in [
        "SSH-2.0\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
    ] {
        assert!(syntax(wire), "{wire:?}");
    }
    assert_eq!(head("HTTP/1.1 099 A\r\n\r\n", 64).unwrap_err(), HeadError::Status);
}

#[test]
fn a_head_has_limits() {
    let fields = |number| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(number));
    for number in [47, 48, 49, ORIGIN_HEAD_FIELDS_MAX] {
        let (read, _) = head(&fields(number), 4096).unwrap().unwrap();
        assert_eq!(read.headers.len(), number);
    }
    assert_eq!(head(&fields(ORIGIN_HEAD_FIELDS_MAX + 1), 4096).unwrap_err(), HeadError::TooLarge);
    let begin = "HTTP/1.1 200 OK\r\na: ";
    let sized = |bytes: usize| format!("{begin}{}\r\n\r\n", "b".repeat(bytes - begin.len() - 4));
    for size in [1000, ORIGIN_HEAD_BYTES_MAX, 2 * ORIGIN_HEAD_BYTES_MAX] {
        assert!(head(&sized(ORIGIN_HEAD_BYTES_MAX), size).unwrap().is_some(), "{size}");
        assert_eq!(head(&sized(ORIGIN_HEAD_BYTES_MAX + 1), size).unwrap_err(), HeadError::TooLarge, "{size}");
    }
    let endless = format!("{begin}{}", "b".repeat(ORIGIN_HEAD_BYTES_MAX));
    assert_eq!(head(&endless, 1000).unwrap_err(), HeadError::TooLarge);
}

/// Reads a chunked body from pieces of this size; returns its content, and the bytes behind it if
/// it is complete.
fn chunked(wire: &[u8], size: usize) -> Result<(Vec<u8>, Option<Bytes>), ChunkError> {
    let (mut reader, mut bytes, mut content) = (ChunkReader::default(), BytesMut::new(), Vec::new());
    let mut pieces = wire.chunks(size);
    loop {
        match reader.next(&mut bytes)? {
            ChunkPart::Data(data) => {
                content.extend_from_slice(&data);
                reader.take_end(&mut bytes);
            }
            ChunkPart::Partial => match pieces.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None => return Ok((content, None)),
            },
            ChunkPart::End => {
                pieces.for_each(|piece| bytes.extend_from_slice(piece));
                return Ok((content, Some(bytes.freeze())));
            }
        }
    }
}

#[test]
fn a_chunked_body_ends_where_it_ends_at_every_cut() {
    for (wire, content, rest) in [
        ("0\r\n\r\n", "", ""),
        ("2\r\n{}\r\n0\r\n\r\n", "{}", ""),
        ("2\r\n{}\r\n0\r\n\r\nHTTP", "{}", "HTTP"),
        ("A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", ""),
        ("2 \t\r\n{}\r\n0 \r\n\r\n", "{}", ""),
        ("2;a=\"0;b\"\r\n{}\r\n0;c\r\n\r\n", "{}", ""),
        ("2\r\n{}\r\n0\r\nA: b\r\nC: d\r\n\r\nX", "{}", "X"),
        ("3\r\n\r\n0\r\n0\r\n\r\n", "\r\n0", ""),
    ] {
        for size in 1..=wire.len() {
            let (read, behind) = chunked(wire.as_bytes(), size).unwrap();
            assert_eq!(
                (read.as_slice(), behind.as_deref()),
                (content.as_bytes(), Some(rest.as_bytes())),
                "{wire:?} by {size}"
            );
        }
        for end in 0..wire.len() - rest.len() {
            assert_eq!(chunked(&wire.as_bytes()[..end], 1).unwrap().1, None, "{wire:?} up to {end}");
        }
    }
}

#[test]
fn bytes_that_are_no_chunks_are_refused() {
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(ORIGIN_CHUNK_EXTENSION_BYTES_MAX));
    let trailer = format!("0\r\na: {}\r\n\r\n", "b".repeat(ORIGIN_HEAD_BYTES_MAX));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(ORIGIN_HEAD_FIELDS_MAX + 1));
    for (wire, error) in [
        ("\r\n", ChunkError::Size),
        ("x\r\n", ChunkError::Size),
        (";a\r\n", ChunkError::Size),
        (" 2\r\n{}", ChunkError::Size),
        ("-2\r\n{}", ChunkError::Size),
        ("0x2\r\n{}", ChunkError::Size),
        ("2 2\r\n{}", ChunkError::Size),
        ("2\n{}", ChunkError::Size),
        ("10000000000000000\r\n", ChunkError::Size),
        ("2\rx", ChunkError::LineEnd),
        ("2\r\n{}x", ChunkError::LineEnd),
        ("2\r\n{}\n", ChunkError::LineEnd),
        ("2\r\n{}\rx", ChunkError::LineEnd),
        ("0\r\n\rx", ChunkError::LineEnd),
        ("2;a\nb\r\n{}", ChunkError::Extension),
        (&extension, ChunkError::Extension),
        ("0\r\na b\r\n\r\n", ChunkError::Trailers),
        ("0\r\n a: b\r\n\r\n", ChunkError::Trailers),
        (&trailer, ChunkError::Trailers),
        (&trailers, ChunkError::Trailers),
    ] {
        for size in [1, wire.len()] {
            assert_eq!(chunked(wire.as_bytes(), size).unwrap_err(), error, "{wire:.40?} by {size}");
        }
    }
}

#[test]
fn a_request_is_written_as_its_head_says() {
    let request = |method: &str, target: &str, fields: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut out = Outgoing::default();
        let framing = out.put_head(&request.body(()).unwrap().into_parts().0);
        (String::from_utf8(out.copied.to_vec()).unwrap(), framing)
    };
    for (written, want) in [
        (
            request("GET", "/a?b", &[("host", "h"), ("a", "1")]),
            "GET /a?b HTTP/1.1\r\nhost: h\r\na: 1\r\n\r\n",
        ),
        (request("OPTIONS", "*", &[]), "OPTIONS * HTTP/1.1\r\n\r\n"),
        (request("PURGE", "/", &[("content-length", "0")]), "PURGE / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"),
    ] {
        assert_eq!(written, (want.to_owned(), UploadFraming::Length));
    }
    assert_eq!(request("POST", "/", &[("transfer-encoding", "chunked")]).1, UploadFraming::Chunked);
}

#[test]
fn content_is_framed_and_leaves_in_any_portions() {
    let large = Bytes::from(vec![b'x'; ORIGIN_COPIED_BYTES_MAX + 1]);
    let wire = |out: &Outgoing| [&out.copied[..], &out.piece, out.end].concat();
    for (data, framing, want) in [
        (Bytes::from_static(b"{}"), UploadFraming::Length, b"{}".to_vec()),
        (
            Bytes::from_static(b"0123456789abcdef"),
            UploadFraming::Chunked,
            b"10\r\n0123456789abcdef\r\n".to_vec(),
        ),
        (Bytes::new(), UploadFraming::Chunked, Vec::new()),
        (large.clone(), UploadFraming::Length, large.to_vec()),
        (large.clone(), UploadFraming::Chunked, [b"1001\r\n", &large[..], b"\r\n"].concat()),
    ] {
        for portion in [1, 7, 4096, usize::MAX] {
            let mut out = Outgoing::default();
            out.put_data(data.clone(), framing);
            let mut written = Vec::new();
            while !out.is_empty() {
                let rest = wire(&out);
                let part = rest.len().min(portion);
                written.extend_from_slice(&rest[..part]);
                out.advance(part);
            }
            assert_eq!(written, want, "in portions of {portion}");
        }
    }
    let mut out = Outgoing::default();
    out.put_end(UploadFraming::Length);
    assert!(out.is_empty());
    out.put_end(UploadFraming::Chunked);
    assert_eq!(wire(&out), b"0\r\n\r\n");
}
