use std::time::Duration;

use bytes::Buf;

use super::*;
use crate::limits::REDIS_COPY_BYTES_MAX;
use crate::secret::Secret;

fn wire(command: &Command<'_>) -> Vec<u8> {
    let mut outbox = Outbox::new();
    command.encode(&mut outbox);
    outbox.copy_to_bytes(outbox.remaining()).to_vec()
}

#[test]
fn commands_are_arrays_of_bulk_strings() {
    let value = Bytes::from_static(b"{}");
    let second = Duration::from_secs(1);
    let named = Credentials { user: "ann".to_owned(), password: Secret::new("pass") };
    let default = Credentials { user: "default".to_owned(), password: Secret::new("pass") };
    let rows: &[(Command<'_>, &str)] = &[
        (Command::Get { key: b"key" }, "*2 $3 GET $3 key "),
        (Command::Get { key: b"" }, "*2 $3 GET $0  "),
        (Command::Set { key: b"k", value: &value, ttl: second }, "*5 $3 SET $1 k $2 {} $2 PX $4 1000 "),
        (Command::Set { key: b"k", value: &value, ttl: Duration::ZERO }, "*5 $3 SET $1 k $2 {} $2 PX $1 1 "),
        (
            Command::Set { key: b"k", value: &value, ttl: Duration::MAX },
            "*5 $3 SET $1 k $2 {} $2 PX $20 18446744073709551615 ",
        ),
        (
            Command::SetNew { key: b"k", value: &value, ttl: second },
            "*6 $3 SET $1 k $2 {} $2 NX $2 PX $4 1000 ",
        ),
        (Command::Unlink { key: b"0123456789" }, "*2 $6 UNLINK $10 0123456789 "),
        (Command::Head { key: b"key", bytes: 28 }, "*4 $8 GETRANGE $3 key $1 0 $2 27 "),
        (
            Command::Script { script: ScriptName::Digest("abc"), key: b"k", arguments: &[] },
            "*4 $7 EVALSHA $3 abc $1 1 $1 k ",
        ),
        (
            Command::Script {
                script: ScriptName::Text("return"),
                key: b"k",
                arguments: &[Bytes::from_static(b""), Bytes::from_static(b"v")],
            },
            "*6 $4 EVAL $6 return $1 1 $1 k $0  $1 v ",
        ),
        (Command::Publish { channel: b"c", message: b"m" }, "*3 $7 PUBLISH $1 c $1 m "),
        (
            Command::Subscribe { channels: &[Bytes::from_static(b"a"), Bytes::from_static(b"b")] },
            "*3 $9 SUBSCRIBE $1 a $1 b ",
        ),
        (Command::Track, "*3 $6 CLIENT $8 TRACKING $2 ON "),
        (Command::Ping, "*1 $4 PING "),
        (Command::Hello { credentials: None }, "*2 $5 HELLO $1 3 "),
        (Command::Hello { credentials: Some(&named) }, "*5 $5 HELLO $1 3 $4 AUTH $3 ann $4 pass "),
        (Command::Hello { credentials: Some(&default) }, "*5 $5 HELLO $1 3 $4 AUTH $7 default $4 pass "),
        (Command::Auth { credentials: &named }, "*3 $4 AUTH $3 ann $4 pass "),
        (Command::Auth { credentials: &default }, "*2 $4 AUTH $4 pass "),
        (Command::SetName { name: "cachewarp" }, "*3 $6 CLIENT $7 SETNAME $9 cachewarp "),
        (Command::Select { database: 0 }, "*2 $6 SELECT $1 0 "),
        (Command::Select { database: 15 }, "*2 $6 SELECT $2 15 "),
        (Command::ReadOnly, "*1 $8 READONLY "),
        (Command::Asking, "*1 $6 ASKING "),
        (Command::ClusterShards, "*2 $7 CLUSTER $6 SHARDS "),
        (Command::ClusterSlots, "*2 $7 CLUSTER $5 SLOTS "),
        (Command::ClusterMyId, "*2 $7 CLUSTER $4 MYID "),
        (Command::ServerInfo, "*2 $4 INFO $6 server "),
        (Command::Role, "*1 $4 ROLE "),
        (Command::Wait { replicas: 1, timeout: Duration::from_millis(1500) }, "*3 $4 WAIT $1 1 $4 1500 "),
        (Command::Wait { replicas: 2, timeout: Duration::ZERO }, "*3 $4 WAIT $1 2 $1 1 "),
        (Command::MasterAddress { name: "m" }, "*3 $8 SENTINEL $23 GET-MASTER-ADDR-BY-NAME $1 m "),
    ];
    for (command, expected) in rows {
        assert!(wire(command).len() <= command.bytes_max(), "{command:?}");
        assert_eq!(String::from_utf8(wire(command)).unwrap(), expected.replace(' ', "\r\n"), "{command:?}");
    }
}

#[test]
fn a_large_value_is_encoded_like_a_small_one() {
    let value = Bytes::from(vec![b'v'; REDIS_COPY_BYTES_MAX + 1]);
    let command = Command::Set { key: b"k", value: &value, ttl: Duration::from_millis(5) };
    let expected =
        [b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$16385\r\n", &value[..], b"\r\n$2\r\nPX\r\n$1\r\n5\r\n"].concat();
    assert_eq!(wire(&command), expected);
}
