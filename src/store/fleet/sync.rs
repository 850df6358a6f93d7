//! What nodes say to each other when something has been purged: a question to all, and an answer of
//! each worker.
//!
//! ```text
//! <namespace>sync         <id> <where to answer> <when, ms> <name>*   the keys of which fetches under way are overtaken
//! <namespace>ack:<nonce>  <id> <node> <workers>                       who answers, and how many of it there are to answer
//! <namespace>nodes                                                    heard once in each node, so that nodes can be counted
//! ```
//!
//! A node is a process. Each of its workers has connections of its own and answers for itself; so
//! the node has answered when all of them have.

use std::fmt;

use crate::time::Timestamp;

/// What is asked: to catch up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// Whose answers are counted together.
    pub id: u64,
    /// The channel on which the answer is heard.
    pub answer_to: Box<str>,
    /// When it was asked, by the clock of the node that asks.
    pub asked: Timestamp,
    /// Of which keys the fetches under way are of before a change.
    pub names: Vec<u128>,
}

/// What one worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncAck {
    /// That of the question.
    pub id: u64,
    /// Drawn by lot when a process begins.
    pub node: u64,
    /// How many workers that process has.
    pub workers: u32,
}

impl SyncRequest {
    /// Reads one; what cannot be read is not answered.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        let id = hexadecimal::<16>(words.next()?)?;
        let answer_to = words.next().filter(|channel| !channel.is_empty())?;
        let asked = Timestamp::from_millis(words.next()?.parse().ok()?);
        let names = words.map(hexadecimal::<32>).collect::<Option<_>>()?;
        Some(Self { id: u64::try_from(id).ok()?, answer_to: answer_to.into(), asked, names })
    }
}

impl fmt::Display for SyncRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {} {}", self.id, self.answer_to, self.asked.as_millis())?;
        self.names.iter().try_for_each(|name| write!(f, " {name:032x}"))
    }
}

impl SyncAck {
    /// Reads one.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        let mut number = || u64::try_from(hexadecimal::<16>(words.next()?)?).ok();
        let (id, node) = (number()?, number()?);
        let workers = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { id, node, workers })
    }
}

impl fmt::Display for SyncAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {:016x} {}", self.id, self.node, self.workers)
    }
}

/// So many digits, all of them.
pub(in crate::store) fn hexadecimal<const DIGITS: usize>(text: &str) -> Option<u128> {
    let digits = text.len() == DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// The answers to one question.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct SyncTally {
    /// How many have come.
    pub(in crate::store) answered: u32,
    /// Who has answered, how many of it there are, and how many of them have; no longer than there
    /// are answers.
    nodes: Vec<(u64, u32, u32)>,
}

impl SyncTally {
    pub(in crate::store) fn count(&mut self, SyncAck { node, workers, .. }: SyncAck) {
        self.answered += 1;
        match self.nodes.iter_mut().find(|(known, ..)| *known == node) {
            Some((_, _, answered)) => *answered += 1,
            None => self.nodes.push((node, workers, 1)),
        }
    }

    /// Of which something has been heard.
    pub(in crate::store) fn nodes(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// Of which all has been heard: of each worker as many answers as there were servers to ask at.
    pub(in crate::store) fn whole_nodes(&self, servers: usize) -> u32 {
        let is_whole =
            |(_, workers, answered): &&(u64, u32, u32)| *answered as usize >= *workers as usize * servers;
        u32::try_from(self.nodes.iter().filter(is_whole).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn questions_are_read_as_they_are_written() {
        let question = SyncRequest {
            id: 255,
            answer_to: "c:ack:1".into(),
            asked: Timestamp::from_millis(1_000),
            names: vec![u128::from_str_radix(NAME, 16).unwrap()],
        };
        let message = format!("00000000000000ff c:ack:1 1000 {NAME}");
        assert_eq!(question.to_string(), message);
        assert_eq!(SyncRequest::parse(message.as_bytes()), Some(question));
        assert!(SyncRequest::parse(b"00000000000000ff c 1").unwrap().names.is_empty());
        for message in ["", "1", "1 c", "00000000000000ff c", "00000000000000ff  1", "00000000000000ff c x"] {
            assert_eq!(SyncRequest::parse(message.as_bytes()), None, "{message:?}");
        }
        for name in ["xyz", "+123456789abcdef0123456789abcdef", ""] {
            let message = format!("00000000000000ff c 1 {name}");
            assert_eq!(SyncRequest::parse(message.as_bytes()), None, "{message:?}");
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let answer = SyncAck { id: 1, node: 255, workers: 4 };
        assert_eq!(answer.to_string(), "0000000000000001 00000000000000ff 4");
        assert_eq!(SyncAck::parse(answer.to_string().as_bytes()), Some(answer));
        for message in ["", "0000000000000001", "0000000000000001 00000000000000ff", "1 2 3"] {
            assert_eq!(SyncAck::parse(message.as_bytes()), None, "{message:?}");
        }
        assert_eq!(SyncAck::parse(b"0000000000000001 00000000000000ff 4 5"), None);
    }

    #[test]
    fn a_node_has_answered_when_all_its_workers_have() {
        let mut tally = SyncTally::default();
        for (node, workers) in [(1, 2), (2, 1), (3, 2), (1, 2)] {
            tally.count(SyncAck { id: 0, node, workers });
        }
        assert_eq!((tally.answered, tally.nodes(), tally.whole_nodes(1)), (4, 3, 2));
        assert_eq!(tally.whole_nodes(2), 0, "asked at two servers, and answered at one");
    }
}
