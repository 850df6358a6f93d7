//! A batch of messages as purges: the orders of several messages become one.
//!
//! A purge waits for every node, and costs little more with more items. So the messages of a batch
//! share purges: one for each strength, up to the limit of items.

use bytes::Bytes;

use super::metrics::MessageResult;
use crate::key::{Target, TargetError, UrlError};
use crate::limits::{PURGE_MESSAGE_BYTES_MAX, PURGE_NAMES_MAX};
use crate::purge::{PurgeOrder, PurgeOrderError, read_message};
use crate::redis::stream::{StreamId, StreamMessage};

/// The purges of a batch, and the messages that are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MessageBatch {
    pub(super) purges: Vec<MergedPurge>,
    pub(super) set_aside: Vec<SetAside>,
}

/// One purge for several messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MergedPurge {
    pub(super) order: PurgeOrder,
    pub(super) ids: Vec<StreamId>,
}

/// A message that is not a purge order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) id: StreamId,
    pub(super) result: MessageResult,
    /// For the log, without any content of the message.
    pub(super) reason: String,
}

impl MessageBatch {
    /// Reads a batch. `reaches` checks whether the proxy has a URL.
    pub(super) fn of(
        messages: Vec<StreamMessage>,
        reaches: impl Fn(&Target) -> Result<(), TargetError>,
    ) -> Self {
        let mut batch = Self::default();
        for StreamMessage { id, fields } in messages {
            let Some(fields) = fields else {
                let reason = "the stream was trimmed before a node could read it".to_owned();
                batch.set_aside.push(SetAside { id, result: MessageResult::Deleted, reason });
                continue;
            };
            if bytes_of(&fields) > PURGE_MESSAGE_BYTES_MAX {
                batch.set_aside.push(SetAside::oversized(id));
                continue;
            }
            match read(&fields, &reaches) {
                Ok(order) => batch.add(id, order),
                Err(error) => {
                    let (result, reason) = (MessageResult::Malformed, error.to_string());
                    batch.set_aside.push(SetAside { id, result, reason });
                }
            }
        }
        batch
    }

    /// Adds an order to the last purge of its strength, or begins a new one if that is full.
    fn add(&mut self, id: StreamId, order: PurgeOrder) {
        let last = self.purges.iter_mut().rfind(|purge| purge.order.strength == order.strength);
        match last {
            Some(MergedPurge { order: merged, ids })
                if merged.named.len() + order.named.len() <= PURGE_NAMES_MAX =>
            {
                for named in order.named {
                    if !merged.named.contains(&named) {
                        merged.named.push(named);
                    }
                }
                ids.push(id);
            }
            Some(_) | None => self.purges.push(MergedPurge { order, ids: vec![id] }),
        }
    }
}

impl SetAside {
    pub(super) fn oversized(id: StreamId) -> Self {
        let reason = format!("it has more than {PURGE_MESSAGE_BYTES_MAX} bytes");
        Self { id, result: MessageResult::Oversized, reason }
    }
}

fn read(
    fields: &[(Bytes, Bytes)],
    reaches: impl Fn(&Target) -> Result<(), TargetError>,
) -> Result<PurgeOrder, PurgeOrderError> {
    let order = read_message(fields)?;
    order.urls().try_for_each(reaches).map_err(|bad| PurgeOrderError::from(UrlError::from(bad)))?;
    Ok(order)
}

fn bytes_of(fields: &[(Bytes, Bytes)]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::read as read_document;

    fn message(millis: u64, fields: &[(&'static str, &str)]) -> StreamMessage {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let fields = fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        StreamMessage { id: id(millis), fields: Some(fields) }
    }

    fn id(millis: u64) -> StreamId {
        StreamId { millis, sequence: 0 }
    }

    fn order(document: &str) -> PurgeOrder {
        read_document(document).unwrap_or_else(|bad| panic!("{bad}"))
    }

    fn everywhere(_: &Target) -> Result<(), TargetError> {
        Ok(())
    }

    #[test]
    fn messages_of_one_strength_share_a_purge() {
        let messages = vec![
            message(1, &[("tag", "a")]),
            message(2, &[("tag", "b"), ("soft", "true")]),
            message(3, &[("tag", "c"), ("tag", "a")]),
            message(4, &[("all", "true"), ("soft", "true")]),
        ];
        let batch = MessageBatch::of(messages, everywhere);
        let hard = MergedPurge { order: order(r#"{"tags":["a","c"]}"#), ids: vec![id(1), id(3)] };
        let soft = r#"{"tag":"b","all":true,"soft":true}"#;
        let soft = MergedPurge { order: order(soft), ids: vec![id(2), id(4)] };
        assert_eq!(batch, MessageBatch { purges: vec![hard, soft], set_aside: vec![] });
    }

    #[test]
    fn a_purge_has_no_more_items_than_an_operators() {
        let names: Vec<String> = (0..PURGE_NAMES_MAX).map(|number| format!("t{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| ("tag", name.as_str())).collect();
        let messages = vec![message(1, &[("tag", "x")]), message(2, &many), message(3, &[("tag", "y")])];
        let batch = MessageBatch::of(messages, everywhere);
        let shape: Vec<_> =
            batch.purges.iter().map(|purge| (purge.order.named.len(), purge.ids.clone())).collect();
        assert_eq!(
            shape,
            [(1, vec![id(1)]), (PURGE_NAMES_MAX, vec![id(2)]), (1, vec![id(3)])],
            "no message is split"
        );
    }

    #[test]
    fn other_messages_are_set_aside() {
        let large = "x".repeat(PURGE_MESSAGE_BYTES_MAX);
        let messages = vec![
            message(1, &[("order", "secret")]),
            message(2, &[("tag", &large)]),
            StreamMessage { id: id(3), fields: None },
            message(4, &[("url", "http://a.test/elsewhere")]),
            message(5, &[("tag", "a")]),
        ];
        let batch = MessageBatch::of(messages, |_| Err(TargetError::Authority));
        let results: Vec<_> = batch.set_aside.iter().map(|aside| (aside.id, aside.result)).collect();
        let malformed = MessageResult::Malformed;
        let expected = [
            (id(1), malformed),
            (id(2), MessageResult::Oversized),
            (id(3), MessageResult::Deleted),
            (id(4), malformed),
        ];
        assert_eq!(results, expected);
        assert!(batch.set_aside.iter().all(|aside| !aside.reason.contains("secret")));
        assert_eq!(batch.purges, [MergedPurge { order: order(r#"{"tag":"a"}"#), ids: vec![id(5)] }]);
    }
}
