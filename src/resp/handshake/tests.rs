use bytes::Bytes;

use super::*;
use crate::resp::reply::ErrorReply;
use crate::secret::Secret;

fn ok() -> Reply {
    Reply::Simple(Bytes::from_static(b"OK"))
}

fn error(text: &'static str) -> Reply {
    Reply::Error(ErrorReply::new(Bytes::from_static(text.as_bytes())))
}

fn greeting(proto: i64) -> Reply {
    let word = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
    Reply::Map(vec![(word("server"), word("redis")), (word("proto"), Reply::Integer(proto))])
}

fn login(credentials: Option<&str>, database: u32) -> RedisLogin {
    let credentials = credentials.map(|user| Credentials { user: user.into(), password: Secret::new("p") });
    RedisLogin { credentials, database, access: ConnectionAccess::ReadWrite, name: "cachewarp" }
}

fn replica(database: u32) -> RedisLogin {
    RedisLogin { access: ConnectionAccess::ReadOnly, ..login(None, database) }
}

/// The first words of the commands, and the result.
fn play(
    login: RedisLogin,
    replies: &[Reply],
) -> (Vec<&'static str>, Option<Result<RespVersion, HandshakeError>>) {
    let mut sent = Vec::new();
    let mut handshake = Handshake::new(login);
    for reply in replies {
        sent.push(handshake.command().name());
        match handshake.step(reply) {
            Ok(HandshakeStep::Next(next)) => handshake = next,
            Ok(HandshakeStep::Ready(protocol)) => return (sent, Some(Ok(protocol))),
            Err(refused) => return (sent, Some(Err(refused))),
        }
    }
    (sent, None)
}

#[test]
fn every_path_of_the_handshake() {
    let unknown = || error("ERR unknown command `HELLO`, with args beginning with: `3`, ");
    let refused = |command, kind| Some(Err(HandshakeError::Error { command, kind }));
    let nonsense = |command| Some(Err(HandshakeError::Nonsense { command }));
    let (resp2, resp3) = (Some(Ok(RespVersion::Resp2)), Some(Ok(RespVersion::Resp3)));
    type HandshakeRow = (RedisLogin, Vec<Reply>, &'static str, Option<Result<RespVersion, HandshakeError>>);
    let rows: Vec<HandshakeRow> = vec![
        (login(None, 0), vec![greeting(3), ok()], "HELLO CLIENT", resp3),
        (login(None, 3), vec![greeting(3), ok(), ok()], "HELLO CLIENT SELECT", resp3),
        (login(Some("ann"), 0), vec![greeting(3), ok()], "HELLO CLIENT", resp3),
        (login(Some("ann"), 3), vec![greeting(3), ok(), ok()], "HELLO CLIENT SELECT", resp3),
        // RESP2 only.
        (login(None, 0), vec![unknown(), ok()], "HELLO CLIENT", resp2),
        (login(None, 0), vec![error("NOPROTO unsupported protocol version"), ok()], "HELLO CLIENT", resp2),
        (login(Some("ann"), 3), vec![unknown(), ok(), ok(), ok()], "HELLO AUTH CLIENT SELECT", resp2),
        (login(None, 0), vec![error("ERR unsupported command 'HELLO'"), ok()], "HELLO CLIENT", resp2),
        (login(None, 0), vec![error("-ERR Command is not available"), ok()], "HELLO CLIENT", resp2),
        (login(None, 0), vec![error("NOPERM no permissions to run 'hello'"), ok()], "HELLO CLIENT", resp2),
        (login(None, 0), vec![error("ERR wrong number of arguments"), ok()], "HELLO CLIENT", resp2),
        (login(Some("ann"), 0), vec![error("NOAUTH required."), ok(), ok()], "HELLO AUTH CLIENT", resp2),
        (login(Some("ann"), 0), vec![error("NOPERM no"), ok(), ok()], "HELLO AUTH CLIENT", resp2),
        (login(None, 0), vec![error("LOADING"), ok()], "HELLO", refused("HELLO", ErrorKind::Loading)),
        (login(None, 0), vec![error("BUSY"), ok()], "HELLO", refused("HELLO", ErrorKind::Busy)),
        (login(None, 0), vec![greeting(2), ok()], "HELLO CLIENT", resp2),
        (login(None, 0), vec![Reply::Array(vec![]), ok()], "HELLO CLIENT", resp2),
        // A replica in a cluster.
        (replica(0), vec![greeting(3), ok(), ok()], "HELLO CLIENT READONLY", resp3),
        (replica(1), vec![greeting(3), ok(), ok(), ok()], "HELLO CLIENT SELECT READONLY", resp3),
        (
            replica(0),
            vec![greeting(3), ok(), error("ERR This instance has cluster support disabled")],
            "HELLO CLIENT READONLY",
            refused("READONLY", ErrorKind::Other),
        ),
        // A refused name does no harm.
        (login(None, 3), vec![greeting(3), error("NOPERM no"), ok()], "HELLO CLIENT SELECT", resp3),
        // Refused.
        (login(None, 0), vec![error("NOAUTH HELLO must")], "HELLO", refused("HELLO", ErrorKind::NoAuth)),
        (
            login(Some("ann"), 0),
            vec![error("WRONGPASS invalid")],
            "HELLO",
            refused("HELLO", ErrorKind::WrongPass),
        ),
        (
            login(None, 0),
            vec![error("ERR max number of clients reached")],
            "HELLO",
            refused("HELLO", ErrorKind::MaxClients),
        ),
        (
            login(Some("ann"), 0),
            vec![unknown(), error("ERR invalid password")],
            "HELLO AUTH",
            refused("AUTH", ErrorKind::WrongPass),
        ),
        (
            login(None, 3),
            vec![greeting(3), ok(), error("ERR DB index is out of range")],
            "HELLO CLIENT SELECT",
            refused("SELECT", ErrorKind::Other),
        ),
        // Unexpected replies.
        (login(None, 0), vec![ok()], "HELLO", nonsense("HELLO")),
        (login(Some("ann"), 0), vec![unknown(), Reply::Nil], "HELLO AUTH", nonsense("AUTH")),
        (login(None, 0), vec![greeting(3), Reply::Integer(1)], "HELLO CLIENT", nonsense("CLIENT")),
        (login(None, 3), vec![greeting(3), ok(), Reply::Nil], "HELLO CLIENT SELECT", nonsense("SELECT")),
        // Incomplete.
        (login(None, 3), vec![greeting(3), ok()], "HELLO CLIENT", None),
    ];
    for (login, replies, sent, end) in rows {
        let case = format!("{login:?} {replies:?}");
        assert_eq!(play(login, &replies), (sent.split(' ').collect(), end), "{case}");
    }
}
