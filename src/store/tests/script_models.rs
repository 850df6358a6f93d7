//! The scripts of `store/scripts/` in Rust, for the in-process Redis. `differential.rs` compares
//! each with its text on a real server.

use super::keyspace::{OutOfMemory, ServerKeys};
use crate::store::scripts::{
    ENSURE_TAG, LEASE, LIST, MARK_STALE, PURGE_LOG, PURGE_TAG, REGISTER, REPLACE, RedisScript, SERVER_RUN,
    STORE,
};

/// The reply of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScriptReply {
    Integer(i64),
    Bulk(Vec<u8>),
}

/// A call of a script.
pub(super) struct ScriptCall<'a> {
    pub(super) data: &'a mut ServerKeys,
    pub(super) key: &'a [u8],
    pub(super) arguments: &'a [Vec<u8>],
    /// The time of the server in milliseconds.
    pub(super) now: u64,
}

type ScriptModel = fn(&mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory>;

/// Each script and its model.
pub(super) const MODELS: [(&RedisScript, ScriptModel); 10] = [
    (&STORE, store),
    (&MARK_STALE, mark_stale),
    (&PURGE_LOG, super::log_script::purge_log),
    (&PURGE_TAG, purge_tag),
    (&ENSURE_TAG, ensure_tag),
    (&LEASE, lease),
    (&LIST, list),
    (&REGISTER, super::registry_script::register),
    (&SERVER_RUN, server_run),
    (&REPLACE, replace),
];

impl ScriptCall<'_> {
    pub(super) fn argument(&self, number: usize) -> &[u8] {
        self.arguments.get(number - 1).map_or(&[], Vec::as_slice)
    }

    pub(super) fn number(&self, number: usize) -> u64 {
        parsed(self.argument(number))
    }

    pub(super) fn get(&mut self) -> Option<Vec<u8>> {
        self.data.get(self.key, self.now)
    }

    pub(super) fn set(&mut self, value: Vec<u8>, keep: u64) -> Result<(), OutOfMemory> {
        self.data.set(self.key, value, Some(keep), self.now)
    }

    pub(super) fn keep_for(&mut self, keep: u64) {
        self.data.keep_for(self.key, keep, self.now);
    }

    pub(super) fn time_to_live(&mut self) -> i64 {
        self.data.time_to_live(self.key, self.now)
    }

    /// Returns the longer of a time and the remaining time of the key.
    fn at_least(&mut self, keep: u64) -> u64 {
        keep.max(u64::try_from(self.time_to_live()).unwrap_or(0))
    }

    /// Returns the first twelve bytes of an entry or a tombstone.
    fn entry_head(&mut self) -> Option<Vec<u8>> {
        let head = self.get()?.get(..12)?.to_vec();
        head.starts_with(b"CW\x04").then_some(head)
    }
}

pub(super) fn parsed(digits: &[u8]) -> u64 {
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// Returns the words of a text that a pattern of words and single spaces matches.
pub(super) fn words<const COUNT: usize>(text: &[u8]) -> Option<[&[u8]; COUNT]> {
    let words: Vec<_> = text.splitn(COUNT, |byte| *byte == b' ').collect();
    words.try_into().ok()
}

pub(super) fn is_hexadecimal(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_hexdigit)
}

pub(super) fn is_decimal(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

fn store(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let mut keep = call.number(3);
    if let Some(head) = call.entry_head() {
        if head[4..] != *call.argument(1) {
            return Ok(ScriptReply::Integer(0));
        }
        if head[4..] != [0; 8] {
            let left = call.time_to_live().min(i64::try_from(call.number(4)).unwrap());
            keep = keep.max(u64::try_from(left).unwrap_or(0));
        }
    }
    call.set(call.argument(2).to_vec(), keep)?;
    Ok(ScriptReply::Integer(1))
}

fn mark_stale(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let keep = call.number(4);
    if call.entry_head().is_some_and(|head| head[3] != 3) {
        let mark = [call.argument(1), call.argument(2)].concat();
        call.data.overwrite(call.key, 4, &mark)?;
        if call.time_to_live() < i64::try_from(keep).unwrap() {
            call.keep_for(keep);
        }
        return Ok(ScriptReply::Integer(1));
    }
    call.set(call.argument(3).to_vec(), keep)?;
    Ok(ScriptReply::Integer(0))
}

fn replace(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let value = call.get().unwrap_or_default();
    call.set(call.argument(1).to_vec(), call.number(2))?;
    let is_unpurged = value.is_empty() || (value.starts_with(b"CW\x04") && value.get(4..12) == Some(&[0; 8]));
    Ok(ScriptReply::Integer(i64::from(is_unpurged)))
}

fn purge_tag(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let value = call.get();
    let known = value.as_deref().and_then(words::<4>).filter(|[epoch, rest @ ..]| {
        is_hexadecimal(epoch) && rest.iter().all(|word| is_decimal(word)) && *epoch == call.argument(1)
    });
    let [hard, soft, at] = match known {
        None => [call.argument(2), b"0", b"0"],
        Some([_, hard, soft, at]) => {
            let count = call.number(2);
            match call.argument(3) {
                b"h" if parsed(hard) < count => [call.argument(2), soft, at],
                b"h" => [hard, soft, at],
                _ if parsed(soft) < count => [hard, call.argument(2), call.argument(4)],
                _ => [hard, soft, at],
            }
        }
    };
    let value = [call.argument(1), hard, soft, at].join(&b' ');
    let keep = call.at_least(call.number(5));
    call.set(value, keep)?;
    Ok(ScriptReply::Integer(1))
}

fn ensure_tag(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let keep = call.number(4);
    let kept = Ok(ScriptReply::Integer(i64::try_from(keep).unwrap()));
    let is_of_epoch = |value: Vec<u8>| {
        let digits = value.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        digits > 0 && value[..digits] == *call.arguments[0]
    };
    let known = call.data.get(call.key, call.now).map(is_of_epoch);
    // The server refuses the first SET, whether or not the key exists.
    if known != Some(true) || call.data.is_full {
        call.set(call.argument(2).to_vec(), keep)?;
        return kept;
    }
    let left = call.time_to_live();
    if left < i64::try_from(call.number(3)).unwrap() {
        call.keep_for(keep);
        return kept;
    }
    Ok(ScriptReply::Integer(left))
}

fn lease(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    if call.get().as_deref() != Some(call.argument(1)) {
        return Ok(ScriptReply::Integer(0));
    }
    if call.argument(2) == b"0" {
        call.data.remove(call.key, call.now);
    } else {
        call.keep_for(call.number(2));
    }
    Ok(ScriptReply::Integer(1))
}

fn list(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let (header, digest) = (call.argument(1).to_vec(), call.argument(2).to_vec());
    let value = call.get().unwrap_or_default();
    let listed = value.strip_prefix(&header[..]).unwrap_or_default();
    let mut kept: Vec<_> = listed.chunks(digest.len()).filter(|known| **known != digest).collect();
    while kept.len() >= usize::try_from(call.number(4)).unwrap() {
        kept.remove(0);
    }
    kept.push(&digest);
    let keep = call.at_least(call.number(3));
    call.set([&header[..], &kept.concat()].concat(), keep)?;
    Ok(ScriptReply::Integer(1))
}

fn server_run(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let known = call.get();
    let keep = call.number(4);
    if known.as_deref() == Some(call.argument(1)) {
        call.keep_for(keep);
        return Ok(ScriptReply::Integer(1));
    }
    match known {
        Some(known) if known != call.argument(2) && known != call.argument(3) => Ok(ScriptReply::Bulk(known)),
        Some(_) | None => {
            // The script ignores the refusal.
            let _ = call.set(call.argument(1).to_vec(), keep);
            Ok(ScriptReply::Integer(1))
        }
    }
}
