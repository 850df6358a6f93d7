//! Replies about the topology: redirections, slot maps, sentinels' replies.

use bytes::Bytes;
use cachewarp::resp::topology::{
    Encryption, Endpoint, HashSlot, Redirect, RedirectKind, SlotMap, master_address, replicas, role, shards,
    slots, switch,
};
use cachewarp::resp::{ErrorReply, Frame, Inbox, Reply};

fn asked() -> Endpoint {
    Endpoint { host: "asked".to_owned(), port: 6379 }
}

/// Checks that an address for the resolver and the log is short and printable.
fn assert_plain(endpoint: &Endpoint) {
    let Endpoint { host, port } = endpoint;
    assert!(*port > 0 && (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic()));
}

/// Checks that an error line is no redirection, or one that can be written and read back.
pub(crate) fn redirect(data: &[u8]) {
    let line = |text: &[u8]| ErrorReply::new(Bytes::copy_from_slice(text));
    let Some(read) = Redirect::parse(&line(data), &asked()) else { return };
    assert_plain(&read.to);
    assert!(read.slot.index() < HashSlot::COUNT);
    let word = match read.way {
        RedirectKind::Moved => "MOVED",
        RedirectKind::Ask => "ASK",
    };
    let again = format!("{word} {} {}:{}", read.slot.index(), read.to.host, read.to.port);
    assert_eq!(Redirect::parse(&line(again.as_bytes()), &asked()), Some(read));
}

/// Returns the frames of a stream, up to its end or its first error.
fn frames(wire: &[u8]) -> Vec<Frame> {
    let mut inbox = Inbox::new();
    inbox.room().extend_from_slice(wire);
    std::iter::from_fn(|| inbox.frame().ok().flatten()).collect()
}

/// Checks that a reply is no slot map, or one in which each slot belongs to a shard that claims it,
/// or to none.
pub(crate) fn cluster_map(data: &[u8]) {
    for frame in frames(data) {
        let Frame::Reply(reply) = frame else { continue };
        let readings = [
            shards(&reply, &asked(), Encryption::Plain),
            shards(&reply, &asked(), Encryption::Tls),
            slots(&reply, &asked()),
        ];
        for shards in readings.into_iter().flatten() {
            shards.iter().for_each(|shard| {
                std::iter::once(&shard.master).chain(&shard.replicas).for_each(assert_plain)
            });
            let Ok(mut map) = SlotMap::new(shards) else { continue };
            for slot in (0..HashSlot::COUNT as u64).step_by(97).filter_map(HashSlot::new) {
                let claimed =
                    |place: &usize| map.shards()[*place].slots.iter().any(|range| range.contains(&slot));
                let last = (0..map.shards().len()).rfind(claimed);
                assert_eq!(map.owner(slot), last);
            }
            let slot = HashSlot::of(data);
            for place in [0, map.shards().len()] {
                let before = map.owner(slot);
                map.assign(slot, place);
                assert_eq!(map.owner(slot), if place == 0 { Some(0) } else { before });
            }
        }
    }
}

/// Checks that any reply of a sentinel or a server parses without a panic, and that its addresses
/// can be dialled.
pub(crate) fn sentinel(data: &[u8]) {
    for frame in frames(data) {
        match frame {
            Frame::Push(message) | Frame::Reply(Reply::Array(message)) => {
                if let Some(switched) = switch(&message) {
                    assert_plain(&switched.to);
                }
                let reply = Reply::Array(message);
                let _ = (role(&reply), replicas(&reply));
                if let Ok(master) = master_address(&reply) {
                    assert_plain(&master);
                }
            }
            Frame::Reply(reply) => {
                assert!(
                    role(&reply).is_err() && master_address(&reply).is_err(),
                    "a reply other than an array is accepted"
                );
            }
        }
    }
}
