//! `scripts/purge_log.lua` in Rust.

use super::keyspace::OutOfMemory;
use super::script_models::{ScriptCall, ScriptReply, is_decimal, is_hexadecimal, parsed, words};

/// The first line of the log, and the rest.
struct LogText {
    epoch: Vec<u8>,
    count: Vec<u8>,
    soft: Vec<u8>,
    at: Vec<u8>,
    rest: Vec<u8>,
}

/// One purge by prefix.
struct PrefixLine {
    is_hard: bool,
    prefix: Vec<u8>,
    text: Vec<u8>,
}

impl LogText {
    fn new(epoch: &[u8]) -> Self {
        let zero = b"0".to_vec();
        Self { epoch: epoch.to_vec(), count: zero.clone(), soft: zero.clone(), at: zero, rest: Vec::new() }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let [version, epoch, numbers @ ..] = words::<5>(&value[..end])?;
        if version != b"1" || !is_hexadecimal(epoch) || !numbers.iter().all(|word| is_decimal(word)) {
            return None;
        }
        let [count, soft, at] = numbers.map(<[u8]>::to_vec);
        Some(Self { epoch: epoch.to_vec(), count, soft, at, rest: value[end + 1..].to_vec() })
    }

    fn text(&self) -> Vec<u8> {
        let Self { epoch, count, soft, at, rest } = self;
        let first = [b"1", &epoch[..], count, soft, at].join(&b' ');
        [&first[..], b"\n", rest].concat()
    }
}

pub(super) fn purge_log(call: &mut ScriptCall<'_>) -> Result<ScriptReply, OutOfMemory> {
    let value = call.get();
    let known = value.as_deref().and_then(LogText::parse);
    let keep = call.number(2);
    let mut what = call.argument(3).to_vec();
    if let (b"look", Some(value), Some(_)) = (&what[..], &value, &known) {
        // The script compares with three quarters of the time.
        if call.time_to_live() * 4 < i64::try_from(keep * 3).unwrap() {
            call.keep_for(keep);
        }
        return Ok(ScriptReply::Bulk(value.clone()));
    }
    let mut log = known.unwrap_or_else(|| LogText::new(call.argument(1)));
    if what != b"look" {
        log.count = (parsed(&log.count) + 1).to_string().into_bytes();
    }
    if what == b"prefix" {
        record_prefix(call, &mut log, &mut what);
    }
    if what == b"all" && call.argument(4) == b"h" {
        log = LogText::new(call.argument(1));
    } else if what == b"all" {
        (log.soft, log.at) = (log.count.clone(), call.argument(5).to_vec());
    }
    let text = log.text();
    call.set(text.clone(), keep)?;
    Ok(ScriptReply::Bulk(text))
}

fn record_prefix(call: &ScriptCall<'_>, log: &mut LogText, what: &mut Vec<u8>) {
    let (strength, new) = (call.argument(4), call.argument(6));
    let line = |is_hard: bool, prefix: &[u8]| {
        let strength: &[u8] = if is_hard { b"h" } else { b"s" };
        let text = [&log.count[..], strength, call.argument(5), prefix].join(&b' ');
        PrefixLine { is_hard, prefix: prefix.to_vec(), text }
    };
    let mut kept = Vec::new();
    for text in log.rest.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        let [_, known, at, prefix] = words::<4>(text).unwrap();
        let is_replaced = prefix.starts_with(new) && (strength == b"h" || known == b"s");
        if !is_replaced && parsed(at) >= call.number(7) {
            kept.push(PrefixLine { is_hard: known == b"h", prefix: prefix.to_vec(), text: text.to_vec() });
        }
    }
    kept.push(line(strength == b"h", new));
    let mut common = Vec::new();
    if kept.len() > usize::try_from(call.number(8)).unwrap() {
        common = closest(&kept);
        if common.is_empty() {
            *what = b"all".to_vec();
            kept.pop();
        }
    }
    let is_under = |one: &PrefixLine| !common.is_empty() && one.prefix.starts_with(&common);
    let coarser = (!common.is_empty())
        .then(|| line(kept.iter().filter(|one| is_under(one)).any(|one| one.is_hard), &common));
    let texts: Vec<_> =
        kept.iter().filter(|one| !is_under(one)).chain(&coarser).map(|one| &one.text[..]).collect();
    log.rest = [&texts.join(&b'\n')[..], b"\n"].concat();
}

/// Returns the longest common prefix of any two purges, at least their origin.
fn closest(purges: &[PrefixLine]) -> Vec<u8> {
    let mut sorted: Vec<_> = purges.iter().map(|purge| &purge.prefix[..]).collect();
    sorted.sort_unstable();
    let mut found: &[u8] = b"";
    for pair in sorted.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        let mut low = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let byte = |low: usize| one.get(low).or(other.get(low)).copied().unwrap_or(0);
        while (128..192).contains(&byte(low)) {
            low -= 1;
        }
        if origin_bytes(one).is_some_and(|origin| low >= origin) && low > found.len() {
            found = &one[..low];
        }
    }
    found.to_vec()
}

/// Returns the length of `scheme://authority/` at the start of a prefix.
fn origin_bytes(prefix: &[u8]) -> Option<usize> {
    let scheme = prefix.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let rest = prefix.get(scheme..)?.strip_prefix(b"://")?;
    let authority = rest.iter().position(|byte| *byte == b'/')?;
    (scheme > 0 && authority > 0).then_some(scheme + 3 + authority + 1)
}
