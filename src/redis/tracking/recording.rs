//! A listener for the tests of tracking, and the pushes that it records.

use std::cell::RefCell;

use bytes::Bytes;

use crate::redis::tracking::options::{ConnectedServer, TrackingListener};
use crate::resp::Reply;

/// A listener that records its calls as text.
#[derive(Default)]
pub(in crate::redis) struct RecordingListener(pub(in crate::redis) RefCell<Vec<String>>);

impl TrackingListener for RecordingListener {
    fn invalidated(&self, key: &[u8]) {
        self.0.borrow_mut().push(format!("changed {}", String::from_utf8_lossy(key)));
    }

    fn connected(&self, server: &ConnectedServer) {
        self.0.borrow_mut().push(format!("connected {}", server.address));
    }

    fn subscribed(&self) {
        self.0.borrow_mut().push("subscribed".into());
    }

    fn tracking_lost(&self) {
        self.0.borrow_mut().push("tracking_lost".into());
    }

    fn message(&self, channel: &[u8], message: &Bytes) {
        let words = [channel, message].map(|word| String::from_utf8_lossy(word).into_owned());
        self.0.borrow_mut().push(words.join(": "));
    }
}

/// Returns a bulk string.
pub(in crate::redis) fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(Bytes::from_static(text.as_bytes()))
}

/// Returns the push that invalidates this key.
pub(in crate::redis) fn changed(key: &'static str) -> Vec<Reply> {
    vec![bulk("invalidate"), Reply::Array(vec![bulk(key)])]
}
