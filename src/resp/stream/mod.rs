//! Streams, as the consumer of a group reads them: identifiers, commands and their replies.
//! <https://redis.io/docs/latest/develop/data-types/streams/>

mod command;
mod id;
mod replies;

pub use command::StreamCommand;
pub use id::StreamId;
pub use replies::{
    GroupState, PendingMessage, StreamMessage, StreamReplyError, claimed_ids, group_state, messages,
    pending_messages,
};
