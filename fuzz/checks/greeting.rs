//! A server's replies during the setup of a Redis connection.

use cachewarp::resp::{ConnectionAccess, Credentials, Frame, Handshake, HandshakeStep, Inbox, RedisLogin};
use cachewarp::secret::Secret;

/// The most commands of a setup: `HELLO`, `AUTH`, `CLIENT SETNAME`, `SELECT`, `READONLY`.
const STEPS_MAX: usize = 5;

/// Checks that the setup ends for any replies, and that a refusal does not contain the password.
pub(crate) fn handshake(data: &[u8]) {
    let Some((&choice, wire)) = data.split_first() else { return };
    let credentials = Credentials { user: "user".to_owned(), password: Secret::new("password") };
    let mut handshake = Handshake::new(RedisLogin {
        credentials: (choice & 1 == 1).then_some(credentials),
        database: u32::from(choice >> 1 & 1),
        access: if choice & 4 == 0 { ConnectionAccess::ReadWrite } else { ConnectionAccess::ReadOnly },
        name: "cachewarp",
    });
    let mut inbox = Inbox::new();
    inbox.room().extend_from_slice(wire);
    let mut steps = 0;
    while let Ok(Some(Frame::Reply(reply))) = inbox.frame() {
        steps += 1;
        assert!(steps <= STEPS_MAX, "the setup does not end");
        match handshake.step(&reply) {
            Ok(HandshakeStep::Next(next)) => handshake = next,
            Ok(HandshakeStep::Ready(_)) => return,
            Err(refused) => {
                assert!(!refused.to_string().contains("password"));
                return;
            }
        }
    }
}
