//! Nonces of seals, from the operating system.

use std::cell::RefCell;

use super::sizes::NONCE_BYTES;
use crate::limits::NONCES_DRAWN_TOGETHER;

/// A nonce that seals one value. The type is neither `Copy` nor `Clone`, so no code uses it twice.
#[derive(Debug)]
pub struct SealNonce([u8; NONCE_BYTES]);

/// The random bytes that a thread has drawn and not used.
struct DrawnBytes {
    bytes: [u8; NONCE_BYTES * NONCES_DRAWN_TOGETHER],
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<DrawnBytes> =
        const { RefCell::new(DrawnBytes { bytes: [0; NONCE_BYTES * NONCES_DRAWN_TOGETHER], left: 0 }) };
}

impl SealNonce {
    /// Draws a nonce; `None` if the operating system provides no randomness. A thread draws the
    /// bytes of several nonces with one system call.
    pub fn draw() -> Option<Self> {
        DRAWN.with_borrow_mut(|drawn| {
            if drawn.left == 0 {
                getrandom::fill(&mut drawn.bytes).ok()?;
                drawn.left = NONCES_DRAWN_TOGETHER;
            }
            drawn.left -= 1;
            let bytes = drawn.bytes.get(drawn.left * NONCE_BYTES..)?.first_chunk()?;
            Some(Self(*bytes))
        })
    }

    /// Returns the nonce with these bytes, for a value whose nonce follows from its content.
    pub(super) const fn of(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_nonce_comes_twice() {
        let draw =
            || (0..10 * NONCES_DRAWN_TOGETHER).map(|_| SealNonce::draw().unwrap().0).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(draw)).collect();
        let nonces: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(nonces.iter().collect::<HashSet<_>>().len(), nonces.len());
    }
}
