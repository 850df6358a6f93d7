//! A client that speaks HTTP/2 frame by frame, and sends frames that no library would.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Frame types (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Frame flags. The first is `ACK` in SETTINGS and PING.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// An HTTP/2 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Returns the encoded frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Http2 {
    /// Connects, and sends the preface and empty SETTINGS.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, bytes: Vec::new() };
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.send(SETTINGS, 0, 0, &[]).unwrap();
        client
    }

    /// Sends one frame.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write(&Frame { kind, flags, stream, payload: payload.to_vec() }.bytes())
    }

    /// Sends a `GET` of one frame.
    pub(crate) fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)];
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next frame, or `None` at any end of the connection. Acknowledges SETTINGS.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole() {
                if frame.kind == SETTINGS && frame.flags == 0 {
                    let _ = self.send(SETTINGS, 1, 0, &[]);
                }
                return Some(frame);
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend(&piece[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return None;
                }
                Err(error) => panic!("neither a frame nor an end: {error}"),
            }
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.bytes.get(..9)?.try_into().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        self.bytes.get(..9 + length)?;
        let frame: Vec<u8> = self.bytes.drain(..9 + length).collect();
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload: frame[9..].to_vec() })
    }
}

/// Encodes a header block of literals without indexing (RFC 7541 §6.2.2), with arbitrary names and
/// values.
pub(crate) fn block(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            block.extend(length(text.len()));
            block.extend(text);
        }
    }
    block
}

/// Encodes an integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(length: usize) -> Vec<u8> {
    if length < 127 {
        return vec![u8::try_from(length).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![127], length - 127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// Decodes the status at the beginning of a header block: indexed, or a literal in Huffman's code
/// (RFC 7541, appendices A and B).
pub(crate) fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x48 | 0x08, length, rest @ ..] if length & 0x80 != 0 => {
            let bits: String =
                rest[..usize::from(length & 0x7f)].iter().map(|byte| format!("{byte:08b}")).collect();
            let mut bits = bits.as_str();
            let mut number = 0;
            while let Some((digit, rest)) = digit(bits) {
                (number, bits) = (number * 10 + digit, rest);
            }
            number
        }
        other => panic!("no status: {other:?}"),
    }
}

fn digit(bits: &str) -> Option<(u16, &str)> {
    let codes =
        ["00000", "00001", "00010", "011001", "011010", "011011", "011100", "011101", "011110", "011111"];
    (0..).zip(codes).find_map(|(digit, code)| Some((digit, bits.strip_prefix(code)?)))
}
