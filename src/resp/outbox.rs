//! The write buffer of a connection.
//!
//! The commands of one turn share one buffer and leave with one write. A large value is not copied:
//! the buffer is cut before it, the value is kept as it is between the two parts, and a vectored
//! write sends them all.
//!
//! ```text
//! cut: [ *3 SET k $9 | <value> | \r\n *2 GET .. $70 | <value> ]   open: \r\n *2 GET ..
//!        leaves first                                              grows here
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::REDIS_COPY_BYTES_MAX;

/// The sending end of a connection. As a [`Buf`] it is the bytes to write, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Complete parts, oldest first, none empty; at most two per large value.
    cut: VecDeque<Bytes>,
    /// The last part.
    open: BytesMut,
    /// Bytes in all parts.
    remaining: usize,
}

impl Outbox {
    /// Creates an empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a copy.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.open.extend_from_slice(text);
        self.remaining += text.len();
    }

    /// Appends a value: copied if it is small, shared if it is large.
    pub(super) fn value(&mut self, value: &Bytes) {
        if value.len() <= REDIS_COPY_BYTES_MAX {
            return self.text(value);
        }
        if !self.open.is_empty() {
            self.cut.push_back(self.open.split().freeze());
        }
        self.cut.push_back(value.clone());
        self.remaining += value.len();
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.cut.front().map_or(&self.open[..], |part| &part[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.cut.iter().map(|part| &part[..]).chain([&self.open[..]]);
        let filled = slices.iter_mut().zip(parts.filter(|part| !part.is_empty()));
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "more was written than there was");
        self.remaining -= count;
        while let Some(part) = self.cut.front_mut() {
            if count < part.len() {
                return part.advance(count);
            }
            count -= part.len();
            self.cut.pop_front();
        }
        self.open.advance(count);
        if self.open.is_empty() {
            self.open.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        while outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = outbox.chunks_vectored(&mut slices);
            let piece: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).take(step).collect();
            assert_eq!(outbox.chunk(), &*slices[0]);
            outbox.advance(piece.len());
            wire.extend(piece);
        }
        wire
    }

    #[test]
    fn parts_leave_in_order_whatever_a_write_takes() {
        let large = Bytes::from(vec![b'L'; REDIS_COPY_BYTES_MAX + 1]);
        let expected = [b"one", &large[..], &large[..], b"two", b"small", b"three"].concat();
        for step in [1, 7, 1000, usize::MAX] {
            let mut outbox = Outbox::new();
            outbox.text(b"one");
            outbox.value(&large);
            outbox.value(&large);
            outbox.text(b"two");
            outbox.value(&Bytes::from_static(b"small"));
            outbox.text(b"three");
            assert_eq!(outbox.remaining(), expected.len());
            assert_eq!(all(&mut outbox, step), expected);
            assert_eq!(outbox.remaining(), 0);
        }
    }

    #[test]
    fn a_large_value_is_not_copied() {
        let large = Bytes::from(vec![b'L'; REDIS_COPY_BYTES_MAX + 1]);
        let mut outbox = Outbox::new();
        outbox.value(&large);
        assert_eq!(outbox.chunk().as_ptr(), large.as_ptr());
    }
}
