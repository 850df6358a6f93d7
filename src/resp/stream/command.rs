//! The commands of a consumer.

use std::time::Duration;

use itoa::Buffer;

use super::id::StreamId;
use crate::resp::outbox::Outbox;
use crate::time::millis;

/// A command about one stream and one consumer group. None of them is sent over the connections of
/// a pool, since a reader may block its connection.
#[derive(Clone, Copy, Debug)]
pub enum StreamCommand<'a> {
    /// `XGROUP CREATE stream group 0 MKSTREAM`
    CreateGroup {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
    },
    /// `XREADGROUP … STREAMS stream >`: messages that no consumer of the group has got.
    ReadNew {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// The name of the consumer.
        consumer: &'a str,
        /// The number of messages at most.
        count: usize,
        /// The longest wait for a message; `None` does not wait.
        block: Option<Duration>,
    },
    /// `XREADGROUP … STREAMS stream after`: messages that this consumer has not acknowledged.
    ReadPending {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// The name of the consumer.
        consumer: &'a str,
        /// The number of messages at most.
        count: usize,
        /// The identifier before the first message.
        after: StreamId,
    },
    /// `XACK stream group id…`
    Acknowledge {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// At least one.
        ids: &'a [StreamId],
    },
    /// `XPENDING stream group from + count [consumer]`
    Pending {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// The least identifier.
        from: StreamId,
        /// The number of messages at most.
        count: usize,
        /// Lists the messages of this consumer only.
        consumer: Option<&'a str>,
    },
    /// `XCLAIM stream group consumer idle id… JUSTID`
    Claim {
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// The name of the consumer that takes the messages over.
        consumer: &'a str,
        /// The least time since the last delivery.
        idle: Duration,
        /// At least one.
        ids: &'a [StreamId],
    },
    /// `XINFO GROUPS stream`
    Groups {
        /// The name of the stream.
        stream: &'a str,
    },
    /// `EVAL script 1 stream group consumer idle`
    RemoveConsumers {
        /// The text of the script.
        script: &'a str,
        /// The name of the stream.
        stream: &'a str,
        /// The name of the group.
        group: &'a str,
        /// The consumer to remove whatever its idle time; may be empty.
        consumer: &'a str,
        /// The idle time from which other consumers are removed.
        idle: Duration,
    },
}

impl StreamCommand<'_> {
    /// Returns the command's first word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateGroup { .. } => "XGROUP",
            Self::ReadNew { .. } | Self::ReadPending { .. } => "XREADGROUP",
            Self::Acknowledge { .. } => "XACK",
            Self::Pending { .. } => "XPENDING",
            Self::Claim { .. } => "XCLAIM",
            Self::Groups { .. } => "XINFO",
            Self::RemoveConsumers { .. } => "EVAL",
        }
    }

    /// Appends the command.
    pub fn encode(&self, outbox: &mut Outbox) {
        let mut words = CommandWords::of(self.name());
        match *self {
            Self::CreateGroup { stream, group } => {
                words.texts(&["CREATE", stream, group, "0", "MKSTREAM"]);
            }
            Self::ReadNew { stream, group, consumer, count, block } => {
                words.texts(&["GROUP", group, consumer, "COUNT"]);
                words.number(count as u64);
                if let Some(block) = block {
                    words.texts(&["BLOCK"]);
                    // Zero waits for ever.
                    words.number(millis(block).max(1));
                }
                words.texts(&["STREAMS", stream, ">"]);
            }
            Self::ReadPending { stream, group, consumer, count, after } => {
                words.texts(&["GROUP", group, consumer, "COUNT"]);
                words.number(count as u64);
                words.texts(&["STREAMS", stream]);
                words.ids(&[after]);
            }
            Self::Acknowledge { stream, group, ids } => {
                words.texts(&[stream, group]);
                words.ids(ids);
            }
            Self::Pending { stream, group, from, count, consumer } => {
                words.texts(&[stream, group]);
                words.ids(&[from]);
                words.texts(&["+"]);
                words.number(count as u64);
                words.texts(consumer.as_slice());
            }
            Self::Claim { stream, group, consumer, idle, ids } => {
                words.texts(&[stream, group, consumer]);
                words.number(millis(idle));
                words.ids(ids);
                words.texts(&["JUSTID"]);
            }
            Self::Groups { stream } => words.texts(&["GROUPS", stream]),
            Self::RemoveConsumers { script, stream, group, consumer, idle } => {
                words.texts(&[script, "1", stream, group, consumer]);
                words.number(millis(idle));
            }
        }
        words.encode(outbox);
    }
}

/// The words of one command.
struct CommandWords {
    count: usize,
    /// Each word behind its length.
    encoded: Vec<u8>,
}

impl CommandWords {
    fn of(name: &str) -> Self {
        let mut words = Self { count: 0, encoded: Vec::new() };
        words.texts(&[name]);
        words
    }

    fn texts(&mut self, words: &[&str]) {
        for word in words {
            self.encoded.push(b'$');
            self.encoded.extend_from_slice(Buffer::new().format(word.len()).as_bytes());
            self.encoded.extend_from_slice(b"\r\n");
            self.encoded.extend_from_slice(word.as_bytes());
            self.encoded.extend_from_slice(b"\r\n");
            self.count += 1;
        }
    }

    fn number(&mut self, number: u64) {
        self.texts(&[Buffer::new().format(number)]);
    }

    fn ids(&mut self, ids: &[StreamId]) {
        for id in ids {
            self.texts(&[&id.to_string()]);
        }
    }

    fn encode(self, outbox: &mut Outbox) {
        outbox.text(b"*");
        outbox.text(Buffer::new().format(self.count).as_bytes());
        outbox.text(b"\r\n");
        outbox.text(&self.encoded);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    /// Returns the words of an encoded command, separated by spaces.
    fn words(command: &StreamCommand<'_>) -> String {
        let mut outbox = Outbox::new();
        command.encode(&mut outbox);
        let bytes = outbox.copy_to_bytes(outbox.remaining());
        let text = std::str::from_utf8(&bytes).unwrap();
        let mut lines = text.split("\r\n");
        let count: usize = lines.next().unwrap().strip_prefix('*').unwrap().parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let length: usize = lines.next().unwrap().strip_prefix('$').unwrap().parse().unwrap();
            let word = lines.next().unwrap();
            assert_eq!(word.len(), length);
            words.push(word);
        }
        assert_eq!((lines.next(), lines.next()), (Some(""), None));
        words.join(" ")
    }

    #[test]
    fn each_command_has_its_words() {
        let (stream, group, consumer) = ("s", "g", "c");
        let ids = [StreamId { millis: 1, sequence: 2 }, StreamId { millis: 3, sequence: 4 }];
        let (count, idle) = (9, Duration::from_secs(30));
        let read = |block| StreamCommand::ReadNew { stream, group, consumer, count, block };
        let pending =
            |consumer| StreamCommand::Pending { stream, group, from: StreamId::ZERO, count, consumer };
        for (command, expected) in [
            (StreamCommand::CreateGroup { stream, group }, "XGROUP CREATE s g 0 MKSTREAM"),
            (read(None), "XREADGROUP GROUP g c COUNT 9 STREAMS s >"),
            (read(Some(Duration::from_micros(1_200))), "XREADGROUP GROUP g c COUNT 9 BLOCK 1 STREAMS s >"),
            (read(Some(Duration::ZERO)), "XREADGROUP GROUP g c COUNT 9 BLOCK 1 STREAMS s >"),
            (
                StreamCommand::ReadPending { stream, group, consumer, count, after: StreamId::ZERO },
                "XREADGROUP GROUP g c COUNT 9 STREAMS s 0-0",
            ),
            (StreamCommand::Acknowledge { stream, group, ids: &ids }, "XACK s g 1-2 3-4"),
            (pending(None), "XPENDING s g 0-0 + 9"),
            (pending(Some(consumer)), "XPENDING s g 0-0 + 9 c"),
            (
                StreamCommand::Claim { stream, group, consumer, idle, ids: &ids },
                "XCLAIM s g c 30000 1-2 3-4 JUSTID",
            ),
            (StreamCommand::Groups { stream }, "XINFO GROUPS s"),
            (
                StreamCommand::RemoveConsumers { script: "return", stream, group, consumer, idle },
                "EVAL return 1 s g c 30000",
            ),
        ] {
            assert_eq!(words(&command), expected);
        }
    }
}
