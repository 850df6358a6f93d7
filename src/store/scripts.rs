//! The Lua scripts: changes of one key that depend on its stored value.
//!
//! Each script touches one key, so that a cluster can run it, and each may be repeated. The client
//! sends the digest of the text (`EVALSHA`), and the text only if the server does not know the
//! digest.

use bytes::Bytes;

use crate::redis::{Client, Command, CommandError, ErrorKind, Reply, ScriptName, TrackedVersion};

/// A script and the digest by which servers know it.
pub(super) struct RedisScript {
    text: &'static str,
    /// The SHA-1 digest, in hexadecimal.
    digest: &'static str,
}

/// Stores a fetched entry unless its key was purged after the fetch began: returns 1, or 0 if it
/// was.
pub(super) static STORE: RedisScript = RedisScript {
    text: include_str!("scripts/store.lua"),
    digest: "93e46e73fbaaf81efd02383d4b10a4a6cdc7572d",
};
/// Purges a key softly.
pub(super) static MARK_STALE: RedisScript = RedisScript {
    text: include_str!("scripts/mark_stale.lua"),
    digest: "b5537c466004412f16eb4c15d2427a713b1718a0",
};
/// Replaces the value of a key by a tombstone: returns 1 if no other purge of the key can have come
/// in the last [`FETCH_STORED_MAX`](crate::limits::FETCH_STORED_MAX).
pub(super) static REPLACE: RedisScript = RedisScript {
    text: include_str!("scripts/replace.lua"),
    digest: "7955d4ecec5187d52659044db263e7b91f50f5e3",
};
/// Records a purge in the purge log, or creates the log if there is none: returns its value.
pub(super) static PURGE_LOG: RedisScript = RedisScript {
    text: include_str!("scripts/purge_log.lua"),
    digest: "e0dba031731eb48443f962d8a63c202321beac33",
};
/// Records the purge of a tag.
pub(super) static PURGE_TAG: RedisScript = RedisScript {
    text: include_str!("scripts/purge_tag.lua"),
    digest: "8b6acd37824288c2ef28dbc11065f50c70588bbc",
};
/// Creates the generation of a tag if there is none: returns its remaining milliseconds.
pub(super) static ENSURE_TAG: RedisScript = RedisScript {
    text: include_str!("scripts/ensure_tag.lua"),
    digest: "a2416a84ebabe3758b97003dc730548d3baac948",
};

/// Renews or ends the lease of a fetch: returns 1, or 0 if this node has lost it.
pub(super) static LEASE: RedisScript = RedisScript {
    text: include_str!("scripts/lease.lua"),
    digest: "5e5fe92e74e54876c62148f9c9c6820416e17bcd",
};

/// Adds a variant to the list of a resource's variants.
pub(super) static LIST: RedisScript = RedisScript {
    text: include_str!("scripts/list.lua"),
    digest: "04355f7e672ad2abc5556e7b0ad7a52575452c51",
};

/// Reads or changes the registry of nodes: returns it, or 0 if it has no room.
pub(super) static REGISTER: RedisScript = RedisScript {
    text: include_str!("scripts/register.lua"),
    digest: "c1118e924315f839d705665cb20cfa0fa32ededa",
};

/// Compares the server's run (its `run_id`) with the run that Redis stores beside the purge log.
/// Returns the stored run if it is another one, and neither a fail-over nor an epoch that has begun
/// since explains the difference. Otherwise stores the server's run and returns 1.
pub(super) static SERVER_RUN: RedisScript = RedisScript {
    text: include_str!("scripts/server.lua"),
    digest: "87f8eeace1b5be6f7723deb7f4b59d8e6cd8b6cc",
};

/// Formats a number in decimal, as a script's argument.
pub(super) fn decimal(number: u64) -> Bytes {
    number.to_string().into()
}

/// Returns whether the server refuses scripts, to every client or to this user.
pub(super) fn is_refused(error: CommandError) -> bool {
    matches!(error, CommandError::Server(ErrorKind::NoPerm | ErrorKind::UnknownCommand))
}

impl RedisScript {
    /// Returns the digest.
    #[cfg(test)]
    pub(super) fn digest(&self) -> &'static str {
        self.digest
    }

    /// Returns the text.
    #[cfg(test)]
    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    /// Runs the script.
    pub(super) async fn run(
        &self,
        redis: &Client,
        key: &[u8],
        arguments: &[Bytes],
    ) -> Result<Reply, CommandError> {
        match redis.command(&self.call(ScriptName::Digest(self.digest), key, arguments)).await {
            Err(CommandError::Server(ErrorKind::NoScript)) => {
                redis.command(&self.call(ScriptName::Text(self.text), key, arguments)).await
            }
            known => known,
        }
    }

    /// Runs the script, and then a read of its result on the same connection.
    pub(super) async fn run_and_read(
        &self,
        redis: &Client,
        key: &[u8],
        arguments: &[Bytes],
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        let by_digest = self.call(ScriptName::Digest(self.digest), key, arguments);
        match redis.change_and_read(&by_digest, read).await {
            (Err(CommandError::Server(ErrorKind::NoScript)), _) => {
                redis.change_and_read(&self.call(ScriptName::Text(self.text), key, arguments), read).await
            }
            known => known,
        }
    }

    fn call<'a>(&'a self, script: ScriptName<'a>, key: &'a [u8], arguments: &'a [Bytes]) -> Command<'a> {
        Command::Script { script, key, arguments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ENTRY_VERSION;

    /// FIPS 180-4 §6.1.
    fn sha1(text: &[u8]) -> String {
        let mut hash = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        let mut message = text.to_vec();
        message.push(0x80);
        message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
        message.extend((text.len() as u64 * 8).to_be_bytes());
        for block in message.chunks(64) {
            let mut words: Vec<u32> =
                block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
            for at in 16..80 {
                words.push((words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1));
            }
            let [mut a, mut b, mut c, mut d, mut e] = hash;
            for (at, word) in words.into_iter().enumerate() {
                let (mixed, constant) = match at / 20 {
                    0 => ((b & c) | (!b & d), 0x5a82_7999),
                    1 => (b ^ c ^ d, 0x6ed9_eba1),
                    2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                    _ => (b ^ c ^ d, 0xca62_c1d6_u32),
                };
                let next = a
                    .rotate_left(5)
                    .wrapping_add(mixed)
                    .wrapping_add(e)
                    .wrapping_add(constant)
                    .wrapping_add(word);
                (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
            }
            for (part, more) in hash.iter_mut().zip([a, b, c, d, e]) {
                *part = part.wrapping_add(more);
            }
        }
        hash.iter().map(|part| format!("{part:08x}")).collect()
    }

    #[test]
    fn scripts_know_the_version_of_entries() {
        for script in [&STORE, &MARK_STALE, &REPLACE] {
            let magic = format!("'CW\\{ENTRY_VERSION}'");
            assert!(script.text.contains(&magic), "no {magic} in {}", script.text);
        }
    }

    #[test]
    fn digests_match_the_texts() {
        assert_eq!(sha1(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        for script in [
            &STORE,
            &MARK_STALE,
            &REPLACE,
            &PURGE_LOG,
            &PURGE_TAG,
            &ENSURE_TAG,
            &LEASE,
            &LIST,
            &REGISTER,
            &SERVER_RUN,
        ] {
            assert_eq!(sha1(script.text.as_bytes()), script.digest, "{}", script.text);
        }
    }
}
