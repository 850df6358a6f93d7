//! The context of a trace: the field `traceparent` (W3C Trace Context §3.2).

/// The context that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace; not zero.
    pub trace: [u8; 16],
    /// The id of the span that the request belongs to; not zero.
    pub span: [u8; 8],
    /// Whether the sender samples the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`, or returns `None` if it is malformed. A later version may have
    /// further parts.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|&byte| byte == b'-');
        let [version] = digits(parts.next()?)?;
        let (trace, span) = (digits(parts.next()?)?, digits(parts.next()?)?);
        let [flags] = digits(parts.next()?)?;
        let is_excess = version == 0 && parts.next().is_some();
        let is_zero = trace == [0; 16] || span == [0; 8];
        (version != u8::MAX && !is_excess && !is_zero).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// Returns the text of the field.
    pub fn to_text(self) -> String {
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", hex(&self.trace), hex(&self.span))
    }
}

/// Returns the lower-case hexadecimal digits of an id.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads exactly as many bytes as the id has, in lower-case hexadecimal digits.
fn digits<const COUNT: usize>(text: &[u8]) -> Option<[u8; COUNT]> {
    if text.len() != 2 * COUNT {
        return None;
    }
    let mut id = [0; COUNT];
    for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(id)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_and_written() {
        let context = TraceContext::parse(TEXT.as_bytes()).unwrap();
        assert_eq!((context.trace[0], context.span[7], context.sampled), (0x0a, 0x31, true));
        assert_eq!(context.to_text(), TEXT);
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", TEXT.strip_suffix("01").unwrap());
            assert_eq!(TraceContext::parse(text.as_bytes()).unwrap().sampled, sampled, "{flags}");
        }
        let later = format!("{}-more", TEXT.replacen("00-", "cc-", 1));
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(context));
    }

    #[test]
    fn a_malformed_context_is_none() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for text in [
            String::new(),
            "-".repeat(55),
            TEXT.to_uppercase(),
            format!("{TEXT}-more"),
            TEXT.replacen("00-", "ff-", 1),
            format!(" {TEXT}"),
            format!("00-{id}-b7ad6b7169203331"),
            format!("00-{id}-b7ad6b7169203331-1"),
            format!("00-{id}-b7ad6b716920333g-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{id}0-b7ad6b7169203331-01"),
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }
}
