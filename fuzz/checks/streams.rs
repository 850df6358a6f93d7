//! Replies about streams, and the purge orders in their messages.

use cachewarp::limits::PURGE_NAMES_MAX;
use cachewarp::purge::read_message;
use cachewarp::resp::stream::{StreamId, claimed_ids, group_state, messages, pending_messages};
use cachewarp::resp::{Frame, Inbox};

/// Checks that any reply parses without a panic, that an identifier is written as it was read, and
/// that a message is a purge order within its bounds or is refused with a reason that repeats none
/// of its values.
pub(crate) fn stream(data: &[u8]) {
    let mut inbox = Inbox::new();
    inbox.room().extend_from_slice(data);
    while let Ok(Some(frame)) = inbox.frame() {
        let Frame::Reply(reply) = frame else { continue };
        for id in claimed_ids(&reply).unwrap_or_default() {
            comes_back(id);
        }
        for pending in pending_messages(&reply).unwrap_or_default() {
            comes_back(pending.id);
        }
        let _ = group_state(&reply, "cachewarp");
        for message in messages(&reply).unwrap_or_default() {
            comes_back(message.id);
            let Some(fields) = message.fields else { continue };
            match read_message(&fields) {
                Ok(order) => assert!((1..=PURGE_NAMES_MAX).contains(&order.named.len())),
                Err(error) => assert!(error.to_string().is_ascii() && error.to_string().len() < 256),
            }
        }
    }
}

fn comes_back(id: StreamId) {
    assert_eq!(StreamId::parse(id.to_string().as_bytes()), Some(id));
    assert!(id.next() > id || id.millis == u64::MAX);
}
