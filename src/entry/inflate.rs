//! Decoders of content codings (RFC 9110 §8.4.1), each with a limit on the decoded bytes, which are
//! only inspected.

use std::io::{self, Read};

/// Bytes that one step decodes.
const PIECE_BYTES: usize = 8 * 1024;

/// A content coding that the JSON check can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl ContentCoding {
    /// Reads a `Content-Encoding` that names exactly one coding. Several codings in a row are
    /// unusual and add risk, so they are refused.
    pub(super) fn parse(field: &[u8]) -> Option<Self> {
        let named = |name: &str| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if named("identity") => Some(Self::Identity),
            () if named("gzip") || named("x-gzip") => Some(Self::Gzip),
            () if named("deflate") => Some(Self::Deflate),
            () if named("br") => Some(Self::Brotli),
            () if named("zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// Appends the decoded `body` to `out`; an error if the body is broken, continues after its end, or
/// decodes to more than `bytes_max`.
pub(super) fn inflate(
    coding: ContentCoding,
    body: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    match coding {
        ContentCoding::Identity => read_bounded(body, bytes_max, out),
        // A gzip body may hold several members; a decoder that stopped after the first would check
        // half the body.
        ContentCoding::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(body), bytes_max, out),
        ContentCoding::Deflate => read_bounded(flate2::bufread::ZlibDecoder::new(body), bytes_max, out),
        ContentCoding::Brotli => {
            read_bounded(brotli_decompressor::Decompressor::new(body, 4096), bytes_max, out)
        }
        ContentCoding::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body).map_err(io::Error::other)?;
            read_bounded(decoder, bytes_max, out)
        }
    }
}

fn read_bounded(mut decoder: impl Read, bytes_max: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let end = out.len().saturating_add(bytes_max);
    // The decoder gets a small buffer: with a large one, it fills as much memory of its own.
    let mut piece = [0; PIECE_BYTES];
    loop {
        let read = match decoder.read(&mut piece)? {
            0 => return Ok(()),
            count => piece.get(..count).unwrap_or_default(),
        };
        if out.len() + read.len() > end {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        out.extend_from_slice(read);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(in super::super) fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(coding: ContentCoding, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        inflate(coding, body, 1000, &mut out).map(|()| out)
    }

    /// `{"a":1}`, encoded by the reference encoders of the two formats.
    pub(in super::super) const BROTLI: &[u8] = b"\x0b\x03\x80{\"a\":1}\x03";
    pub(in super::super) const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\x07\x39\x00\x00{\"a\":1}";

    #[test]
    fn every_coding_decodes() {
        let text = b"{\"a\":1}";
        for (coding, body) in [
            (ContentCoding::Identity, &text[..]),
            (ContentCoding::Gzip, &gzip(text)),
            (ContentCoding::Deflate, &zlib(text)),
            (ContentCoding::Brotli, BROTLI),
            (ContentCoding::Zstd, ZSTD),
        ] {
            assert_eq!(decoded(coding, body).unwrap(), text, "{coding:?}");
            if coding != ContentCoding::Identity {
                assert!(decoded(coding, b"\xff\xff\xff\xff").is_err(), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let bomb = gzip(&vec![b' '; 10 << 20]);
        let mut out = Vec::new();
        assert!(inflate(ContentCoding::Gzip, &bomb, 1000, &mut out).is_err());
        assert!(out.len() <= 1000);
    }

    #[test]
    fn a_second_gzip_member_counts() {
        let two = [gzip(b"{}"), gzip(b"x")].concat();
        assert_eq!(decoded(ContentCoding::Gzip, &two).unwrap(), b"{}x");
    }
}
