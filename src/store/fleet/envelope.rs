//! The MACs of messages between nodes that have a name key.
//!
//! ```text
//! <message> mac:<worker, 16 digits><MAC, 32 digits>
//! ```
//!
//! The MAC covers the channel, the message and the random name of the worker that sends it. Each
//! worker acknowledges a sync once at each server, so two acknowledgements with one MAC are one,
//! published twice.
//!
//! **Always:** a message without a valid MAC confirms no purge and supersedes no fetch. Its sender
//! has another key, or is no node.

use crate::key::{MAC_BYTES, NameKey};
use crate::store::fleet::sync::hexadecimal;

/// The separator of a message and its MAC.
const SEPARATOR: &str = " mac:";
/// Digits of a worker's name.
const WORKER_DIGITS: usize = 16;

/// The origin of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageSender {
    /// A node with the same key, or, without keys, any client of Redis. The MAC, if there is one,
    /// tells the messages apart.
    Fleet(Option<[u8; MAC_BYTES]>),
    /// A node with another key, or another client of Redis.
    Foreign,
}

/// Returns the message for this channel with the MAC of a worker; without a key, the message.
pub(super) fn sealed_message(key: &NameKey, channel: &[u8], message: String, worker: u64) -> String {
    let named = format!("{message}{SEPARATOR}{worker:016x}");
    match key.mac(channel, named.as_bytes()) {
        Some(mac) => format!("{named}{:032x}", u128::from_be_bytes(mac)),
        None => message,
    }
}

/// Returns the text and the sender of a message that came through this channel.
pub(super) fn opened_message<'a>(
    key: &NameKey,
    channel: &[u8],
    message: &'a [u8],
) -> (&'a [u8], MessageSender) {
    let parts = || {
        let text = str::from_utf8(message).ok()?;
        let (body, end) = text.rsplit_once(SEPARATOR)?;
        let mac = hexadecimal::<{ 2 * MAC_BYTES }>(end.get(WORKER_DIGITS..)?)?;
        let named = text.get(..body.len() + SEPARATOR.len() + WORKER_DIGITS)?;
        Some((body.as_bytes(), named.as_bytes(), mac.to_be_bytes()))
    };
    match (parts(), key.is_set()) {
        (Some((body, named, mac)), _) if key.verifies(channel, named, &mac) => {
            (body, MessageSender::Fleet(Some(mac)))
        }
        (Some((body, ..)), _) => (body, MessageSender::Foreign),
        (None, true) => (message, MessageSender::Foreign),
        (None, false) => (message, MessageSender::Fleet(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_opens_with_its_key_in_its_channel() {
        let [none, key, other] = [NameKey::default(), NameKey::new(&[1; 32]), NameKey::new(&[2; 32])];
        let sealed = sealed_message(&key, b"c", "1 2 3".to_owned(), 255);
        let (text, mac) = sealed.split_at(sealed.len() - 32);
        assert_eq!(text, "1 2 3 mac:00000000000000ff");
        let mac = u128::from_str_radix(mac, 16).unwrap().to_be_bytes();
        let known = (&b"1 2 3"[..], MessageSender::Fleet(Some(mac)));
        assert_eq!(opened_message(&key, b"c", sealed.as_bytes()), known);
        let foreign = (&b"1 2 3"[..], MessageSender::Foreign);
        for (key, channel, message) in [
            (&other, &b"c"[..], sealed.clone()),
            (&none, b"c", sealed.clone()),
            (&key, b"d", sealed.clone()),
            (&key, b"c", sealed.replace("ff", "fe")),
            (&key, b"c", sealed_message(&other, b"c", "1 2 3".to_owned(), 255)),
        ] {
            assert_eq!(opened_message(key, channel, message.as_bytes()), foreign, "{message}");
        }
        assert_eq!(opened_message(&key, b"c", b"1 2 3"), foreign);
        assert_eq!(sealed_message(&none, b"c", "1 2 3".to_owned(), 255), "1 2 3");
        assert_eq!(opened_message(&none, b"c", b"1 2 3"), (&b"1 2 3"[..], MessageSender::Fleet(None)));
        assert_ne!(sealed_message(&key, b"c", "1 2 3".to_owned(), 254), sealed);
        let bytes = sealed.as_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (_, sender) = opened_message(&key, b"c", &changed);
            // The digits of a MAC have two cases.
            let is_case = changed.eq_ignore_ascii_case(bytes) && bit / 8 >= bytes.len() - 32;
            assert!(is_case || sender == MessageSender::Foreign, "{bit}");
        }
    }
}
