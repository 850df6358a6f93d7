//! The replies to a consumer's commands, in RESP2 and RESP3.

use std::time::Duration;

use bytes::Bytes;

use super::id::StreamId;
use crate::resp::reply::Reply;

/// A reply that no server sends to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply does not match a command about a stream")]
pub struct StreamReplyError;

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMessage {
    /// Its identifier.
    pub id: StreamId,
    /// Its fields in their order; a name may repeat. `None` if the stream no longer has the
    /// message.
    pub fields: Option<Vec<(Bytes, Bytes)>>,
}

/// A message that a consumer has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// Its identifier.
    pub id: StreamId,
    /// The name of the consumer.
    pub consumer: Bytes,
    /// The time since its last delivery.
    pub idle: Duration,
}

/// The state of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The messages that were delivered and not acknowledged.
    pub pending: u64,
    /// The messages that were not delivered; `None` if the server does not know the number. Servers
    /// before Redis 7 do not.
    pub lag: Option<u64>,
}

/// Parses the reply to `XREADGROUP` for one stream; nil if there was no message.
pub fn messages(reply: &Reply) -> Result<Vec<StreamMessage>, StreamReplyError> {
    if *reply == Reply::Nil {
        return Ok(Vec::new());
    }
    let list = list_of_one_stream(reply).ok_or(StreamReplyError)?;
    array(list)?.iter().map(message).collect()
}

/// Returns the messages of the only stream: its name and they are a map, or in RESP2 a pair.
fn list_of_one_stream(reply: &Reply) -> Option<&Reply> {
    let (name, list) = if let Reply::Map(streams) = reply {
        let [(name, list)] = &streams[..] else { return None };
        (name, list)
    } else {
        let [pair] = array(reply).ok()? else { return None };
        let [name, list] = array(pair).ok()? else { return None };
        (name, list)
    };
    bulk(name).is_ok().then_some(list)
}

fn message(reply: &Reply) -> Result<StreamMessage, StreamReplyError> {
    let [id, fields] = array(reply)? else { return Err(StreamReplyError) };
    let id = stream_id(id)?;
    if *fields == Reply::Nil {
        return Ok(StreamMessage { id, fields: None });
    }
    let (pairs, rest) = array(fields)?.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(StreamReplyError);
    }
    let fields = pairs.iter().map(|[name, value]| Ok((bulk(name)?.clone(), bulk(value)?.clone())));
    Ok(StreamMessage { id, fields: Some(fields.collect::<Result<_, _>>()?) })
}

/// Parses the reply to `XPENDING` with a range.
pub fn pending_messages(reply: &Reply) -> Result<Vec<PendingMessage>, StreamReplyError> {
    let row = |row: &Reply| {
        let [id, consumer, idle, _deliveries] = array(row)? else { return Err(StreamReplyError) };
        let idle = Duration::from_millis(whole(idle)?);
        Ok(PendingMessage { id: stream_id(id)?, consumer: bulk(consumer)?.clone(), idle })
    };
    array(reply)?.iter().map(row).collect()
}

/// Parses the reply to `XCLAIM` with `JUSTID`: the messages that were taken over.
pub fn claimed_ids(reply: &Reply) -> Result<Vec<StreamId>, StreamReplyError> {
    array(reply)?.iter().map(stream_id).collect()
}

/// Parses the reply to `XINFO GROUPS`; `None` if the stream does not have the group.
pub fn group_state(reply: &Reply, group: &str) -> Result<Option<GroupState>, StreamReplyError> {
    for members in array(reply)? {
        if member(members, "name").is_some_and(|name| bulk(name).is_ok_and(|name| name == group)) {
            let pending = member(members, "pending").ok_or(StreamReplyError).and_then(whole)?;
            let lag = member(members, "lag").filter(|lag| **lag != Reply::Nil).map(whole).transpose()?;
            return Ok(Some(GroupState { pending, lag }));
        }
    }
    Ok(None)
}

/// Returns a member of a map, which is a flat array in RESP2.
fn member<'a>(members: &'a Reply, name: &str) -> Option<&'a Reply> {
    let is_named = |member: &Reply| bulk(member).is_ok_and(|member| member == name);
    if let Reply::Map(pairs) = members {
        return pairs.iter().find(|(member, _)| is_named(member)).map(|(_, value)| value);
    }
    let (pairs, _) = array(members).ok()?.as_chunks::<2>();
    pairs.iter().find(|[member, _]| is_named(member)).map(|[_, value]| value)
}

fn array(reply: &Reply) -> Result<&[Reply], StreamReplyError> {
    if let Reply::Array(elements) = reply { Ok(elements) } else { Err(StreamReplyError) }
}

fn bulk(reply: &Reply) -> Result<&Bytes, StreamReplyError> {
    if let Reply::Bulk(text) | Reply::Simple(text) = reply { Ok(text) } else { Err(StreamReplyError) }
}

fn stream_id(reply: &Reply) -> Result<StreamId, StreamReplyError> {
    StreamId::parse(bulk(reply)?).ok_or(StreamReplyError)
}

/// Parses a number that is not negative.
fn whole(reply: &Reply) -> Result<u64, StreamReplyError> {
    let Reply::Integer(number) = reply else { return Err(StreamReplyError) };
    u64::try_from(*number).map_err(|_| StreamReplyError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Frame;
    use crate::resp::inbox::Inbox;

    /// Decodes a reply, with `|` for each line end.
    fn reply(wire: &str) -> Reply {
        let mut inbox = Inbox::new();
        inbox.room().extend_from_slice(wire.replace('|', "\r\n").as_bytes());
        let Ok(Some(Frame::Reply(reply))) = inbox.frame() else { panic!("no reply: {wire}") };
        reply
    }

    fn id(text: &str) -> StreamId {
        StreamId::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn messages_of_both_protocols() {
        let list = "*2|*2|$3|1-0|*4|$3|tag|$1|t|$3|tag|$1|u|*2|$3|2-0|*-1|";
        let expected = [
            StreamMessage {
                id: id("1-0"),
                fields: Some(vec![
                    (Bytes::from_static(b"tag"), Bytes::from_static(b"t")),
                    (Bytes::from_static(b"tag"), Bytes::from_static(b"u")),
                ]),
            },
            StreamMessage { id: id("2-0"), fields: None },
        ];
        assert_eq!(messages(&reply(&format!("*1|*2|$1|s|{list}"))).unwrap(), expected);
        assert_eq!(messages(&reply(&format!("%1|$1|s|{}", list.replace("*-1|", "_|")))).unwrap(), expected);
        assert_eq!(messages(&reply("*-1|")), Ok(Vec::new()));
        assert_eq!(messages(&reply("_|")), Ok(Vec::new()));
        assert_eq!(messages(&reply("*1|*2|$1|s|*0|")), Ok(Vec::new()));
    }

    #[test]
    fn other_replies_are_refused() {
        for wire in [
            "+OK|",
            ":1|",
            "*0|",
            "%0|",
            "*2|*2|$1|s|*0|*2|$1|t|*0|",
            "%2|$1|s|*0|$1|t|*0|",
            "*1|*1|$1|s|",
            "*1|*2|:1|*0|",
            "*1|*2|$1|s|$1|s|",
            "*1|*2|$1|s|*1|*1|$3|1-0|",
            "*1|*2|$1|s|*1|*2|$1|1|*0|",
            "*1|*2|$1|s|*1|*2|$3|1-0|*1|$1|a|",
            "*1|*2|$1|s|*1|*2|$3|1-0|*2|$1|a|:1|",
        ] {
            assert_eq!(messages(&reply(wire)), Err(StreamReplyError), "{wire}");
        }
        for wire in ["+OK|", "*1|*3|$3|1-0|$1|c|:5|", "*1|*4|$3|1-0|$1|c|:-5|:1|", "*1|*4|$1|x|$1|c|:5|:1|"] {
            assert_eq!(pending_messages(&reply(wire)), Err(StreamReplyError), "{wire}");
        }
        for wire in ["+OK|", "*1|:1|", "*1|$1|1|"] {
            assert_eq!(claimed_ids(&reply(wire)), Err(StreamReplyError), "{wire}");
        }
    }

    #[test]
    fn pending_and_claimed_messages() {
        let rows = pending_messages(&reply("*1|*4|$3|1-0|$1|c|:1500|:2|")).unwrap();
        let (consumer, idle) = (Bytes::from_static(b"c"), Duration::from_millis(1_500));
        assert_eq!(rows, [PendingMessage { id: id("1-0"), consumer, idle }]);
        assert_eq!(claimed_ids(&reply("*2|$3|1-0|$3|2-7|")).unwrap(), [id("1-0"), id("2-7")]);
    }

    #[test]
    fn the_state_of_one_group() {
        let lag = |lag: &str| format!("*1|*6|$4|name|$1|g|$7|pending|:3|$3|lag|{lag}");
        let state = |lag| Ok(Some(GroupState { pending: 3, lag }));
        assert_eq!(group_state(&reply(&lag(":4|")), "g"), state(Some(4)));
        assert_eq!(group_state(&reply(&lag("$-1|")), "g"), state(None));
        assert_eq!(group_state(&reply(&lag(":4|")), "other"), Ok(None));
        assert_eq!(group_state(&reply("*1|%2|$4|name|$1|g|$7|pending|:3|"), "g"), state(None));
        assert_eq!(group_state(&reply("*0|"), "g"), Ok(None));
        for wire in ["+OK|", "*1|%1|$4|name|$1|g|", "*1|%2|$4|name|$1|g|$7|pending|:-1|"] {
            assert_eq!(group_state(&reply(wire), "g"), Err(StreamReplyError), "{wire}");
        }
    }
}
