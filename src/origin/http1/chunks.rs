//! The chunked coding of a response (RFC 9112 §7.1), decoded without copying.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::{ORIGIN_CHUNK_EXTENSION_BYTES_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX};
use crate::origin::error::ChunkError;

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// Some content.
    Data(Bytes),
    /// The bytes end within the body.
    Partial,
    /// The body is complete.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    Start,
    Size,
    /// Behind the digits, in white space.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// The reader of one chunked body.
#[derive(Debug)]
pub struct ChunkReader {
    state: ChunkState,
    /// The size of the chunk, or its remaining bytes.
    left: u64,
    extension_bytes: usize,
    trailers: Vec<u8>,
    trailer_lines: usize,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { state: ChunkState::Start, left: 0, extension_bytes: 0, trailers: Vec::new(), trailer_lines: 0 }
    }
}

impl ChunkReader {
    /// Takes the next part from the front of the bytes.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<ChunkPart, ChunkError> {
        loop {
            if self.state == ChunkState::End {
                return Ok(ChunkPart::End);
            }
            if self.state == ChunkState::Data && !bytes.is_empty() {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                let data = bytes.split_to(bytes.len().min(most)).freeze();
                self.left -= data.len() as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                return Ok(ChunkPart::Data(data));
            }
            let Some(byte) = bytes.first().copied() else { return Ok(ChunkPart::Partial) };
            self.state = self.step(byte)?;
            bytes.advance(1);
        }
    }

    /// Returns whether the body ends in these bytes, without further content, and takes its end.
    pub fn take_end(&mut self, bytes: &mut BytesMut) -> bool {
        // `CR LF 0 CR LF CR LF`: a longer end is read later.
        if self.state == ChunkState::DataCr && bytes.starts_with(b"\r\n0\r\n\r\n") {
            bytes.advance(7);
            self.state = ChunkState::End;
        }
        self.state == ChunkState::End
    }

    /// Returns the state behind a byte that is no content.
    fn step(&mut self, byte: u8) -> Result<ChunkState, ChunkError> {
        Ok(match (self.state, byte) {
            (ChunkState::Start | ChunkState::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = self.left.checked_mul(16).and_then(|size| size.checked_add(digit));
                self.left = size.ok_or(ChunkError::Size)?;
                ChunkState::Size
            }
            (ChunkState::Size | ChunkState::SizeSpace, b' ' | b'\t') => ChunkState::SizeSpace,
            (ChunkState::Size | ChunkState::SizeSpace, b';') => ChunkState::Extension,
            (ChunkState::Size | ChunkState::SizeSpace | ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Start | ChunkState::Size | ChunkState::SizeSpace, _) => {
                return Err(ChunkError::Size);
            }
            (ChunkState::Extension, byte) => {
                self.extension_bytes += 1;
                if byte == b'\n' || self.extension_bytes >= ORIGIN_CHUNK_EXTENSION_BYTES_MAX {
                    return Err(ChunkError::Extension);
                }
                ChunkState::Extension
            }
            (ChunkState::SizeLf, b'\n') if self.left == 0 => ChunkState::TrailerStart,
            (ChunkState::SizeLf, b'\n') => ChunkState::Data,
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Start,
            (ChunkState::TrailerStart, b'\r') => ChunkState::EndLf,
            (ChunkState::Trailer, b'\r') => {
                self.keep_trailer(byte)?;
                ChunkState::TrailerLf
            }
            (ChunkState::TrailerStart | ChunkState::Trailer, byte) => {
                self.keep_trailer(byte)?;
                ChunkState::Trailer
            }
            (ChunkState::TrailerLf, b'\n') => {
                self.keep_trailer(byte)?;
                self.trailer_lines += 1;
                if self.trailer_lines > ORIGIN_HEAD_FIELDS_MAX {
                    return Err(ChunkError::Trailers);
                }
                ChunkState::TrailerStart
            }
            (ChunkState::EndLf, b'\n') => {
                self.check_trailers()?;
                ChunkState::End
            }
            (
                ChunkState::SizeLf
                | ChunkState::DataCr
                | ChunkState::DataLf
                | ChunkState::TrailerLf
                | ChunkState::EndLf
                | ChunkState::Data
                | ChunkState::End,
                _,
            ) => return Err(ChunkError::LineEnd),
        })
    }

    fn keep_trailer(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.trailers.push(byte);
        if self.trailers.len() >= ORIGIN_HEAD_BYTES_MAX { Err(ChunkError::Trailers) } else { Ok(()) }
    }

    /// Checks that the lines behind the last chunk are fields. The proxy drops them.
    fn check_trailers(&mut self) -> Result<(), ChunkError> {
        if self.trailers.is_empty() {
            return Ok(());
        }
        let mut lines = std::mem::take(&mut self.trailers);
        lines.extend_from_slice(b"\r\n");
        let mut fields = vec![httparse::EMPTY_HEADER; self.trailer_lines];
        match httparse::parse_headers(&lines, &mut fields) {
            Ok(httparse::Status::Complete((read, _))) if read == lines.len() => Ok(()),
            Ok(_) | Err(_) => Err(ChunkError::Trailers),
        }
    }
}
