//! `scripts/register.lua` in Rust.

use super::keyspace::OutOfMemory;
use super::script_models::{ScriptCall, ScriptReply, is_decimal, is_hexadecimal, parsed, words};

/// One registered node.
struct NodeLine {
    id: Vec<u8>,
    expires: u64,
    silent: Vec<u8>,
    workers: Vec<u8>,
    name: Vec<u8>,
}

impl NodeLine {
    fn parse(line: &[u8]) -> Option<Self> {
        let [id, expires, silent, workers, name] = words::<5>(line)?;
        let is_valid = is_hexadecimal(id) && [expires, silent, workers].into_iter().all(is_decimal);
        is_valid.then(|| Self {
            id: id.to_vec(),
            expires: parsed(expires),
            silent: silent.to_vec(),
            workers: workers.to_vec(),
            name: name.to_vec(),
        })
    }

    fn text(&self) -> Vec<u8> {
        let Self { id, expires, silent, workers, name } = self;
        let expires = expires.to_string();
        [[&id[..], expires.as_bytes(), silent, workers, name].join(&b' '), b"\n".to_vec()].concat()
    }
}

/// Returns the birth, the revision and the lines of a registry.
fn parse(value: &[u8]) -> Option<(Vec<u8>, u64, Vec<NodeLine>)> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let [version, birth, revision] = words::<3>(&value[..end])?;
    if version != b"1" || !is_hexadecimal(birth) || !is_decimal(revision) {
        return None;
    }
    let lines = value[end + 1..].split(|byte| *byte == b'\n').filter_map(NodeLine::parse).collect();
    Some((birth.to_vec(), parsed(revision), lines))
}

pub(super) fn register(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let now = call.now;
    let value = call.get();
    let (birth, mut revision, mut nodes) =
        value.as_deref().and_then(parse).unwrap_or_else(|| (call.argument(3).to_vec(), 0, Vec::new()));
    let (what, kept) = (call.argument(1).to_vec(), call.number(4));
    let ids = call.argument(2);
    for node in &mut nodes {
        if !ids.windows(node.id.len()).any(|id| id == node.id) {
            continue;
        }
        match &what[..] {
            b"leave" => (node.expires, node.workers) = (node.expires.min(now), b"0".to_vec()),
            b"silent" => node.silent = (parsed(&node.silent) + 1).to_string().into_bytes(),
            b"renew" => node.expires = 0,
            _ => {}
        }
    }
    nodes.retain(|node| node.expires + kept > now);
    if what == b"renew" {
        let nodes_max = usize::try_from(call.number(5)).unwrap();
        while nodes.len() >= nodes_max && nodes[0].expires <= now {
            nodes.remove(0);
        }
        if nodes.len() >= nodes_max {
            return Ok(ScriptReply::Integer(0));
        }
        nodes.push(NodeLine {
            id: ids.to_vec(),
            expires: now + call.number(6),
            silent: b"0".to_vec(),
            workers: call.argument(7).to_vec(),
            name: call.argument(8).to_vec(),
        });
    }
    if what != b"look" {
        revision += 1;
    }
    let lines: Vec<u8> = nodes.iter().flat_map(NodeLine::text).collect();
    let first = format!(" {revision}\n");
    let value = [b"1 ", &birth[..], first.as_bytes(), &lines].concat();
    if what != b"look" {
        let latest = nodes.iter().map(|node| node.expires).fold(now, u64::max);
        call.set(value.clone(), latest - now + kept)?;
    }
    Ok(ScriptReply::Bulk([format!("{now}\n").as_bytes(), &value].concat()))
}
