//! HTTP/1.1, read as strictly as possible: every deviation from the canonical form is an error with
//! its reason.

/// The end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// After this many bytes.
    Whole(usize),
    /// After bytes that have not arrived.
    Partial,
    /// At the end of the connection.
    AtClose,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    /// An answer, to a `HEAD` or not.
    Answer {
        bodiless: bool,
    },
}

/// The start line and fields of the first message in `bytes`.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    /// Its length in bytes, with the empty line.
    pub(crate) length: usize,
}

impl Head {
    /// Reads a head, or `None` if it is incomplete.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("no name: {line:?}"));
            }
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(format!("no value: {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
        if start.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("no start line: {start:?}"));
        }
        Ok(Some(Self { start, fields, length: end + 4 }))
    }

    /// Returns the only value of a field. Several values are an error.
    pub(crate) fn only(&self, name: &str) -> Result<Option<&str>, String> {
        let mut values = self.fields.iter().filter(|(found, _)| found == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() { Err(format!("several {name}")) } else { Ok(first) }
    }

    /// Returns a word of the start line, by its index.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }
}

/// Returns whether an answer precedes another one to its request, or a tunnel.
fn is_interim(answer: &Head) -> bool {
    answer.word(1).len() == 3 && answer.word(1).starts_with('1')
}

/// Returns the end of the first message in `bytes`.
pub(crate) fn extent(kind: Kind, bytes: &[u8]) -> Result<Extent, String> {
    let Some(head) = Head::read(bytes)? else { return Ok(Extent::Partial) };
    let length = head.only("content-length")?;
    let coding = head.only("transfer-encoding")?;
    if kind == Kind::Request && head.only("host")?.is_none() {
        return Err("no host".to_owned());
    }
    let has_none = match kind {
        Kind::Request => false,
        Kind::Answer { bodiless } => bodiless || matches!(head.word(1), "204" | "304") || is_interim(&head),
    };
    let rest = &bytes[head.length..];
    match (length, coding) {
        (Some(_), Some(_)) => Err("a length and a coding".to_owned()),
        _ if has_none => Ok(Extent::Whole(head.length)),
        (None, None) if kind == Kind::Request => Ok(Extent::Whole(head.length)),
        (None, None) => Ok(Extent::AtClose),
        (Some(length), None) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("no length: {length:?}"));
            }
            let length: usize = length.parse().map_err(|_| "a length out of range".to_owned())?;
            Ok(if rest.len() >= length { Extent::Whole(head.length + length) } else { Extent::Partial })
        }
        (None, Some("chunked")) => Ok(match chunked(rest)? {
            Some(length) => Extent::Whole(head.length + length),
            None => Extent::Partial,
        }),
        (None, Some(other)) => Err(format!("a coding of {other:?}")),
    }
}

/// Returns the length of a chunked body without extensions and trailers, which CacheWarp never
/// sends.
fn chunked(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "no chunk size".to_owned())?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("no chunk size: {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk size out of range".to_owned())?;
        at += line + 2;
        let Some(end) = bytes.get(at + size..at + size + 2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err("a chunk without its end, or a trailer".to_owned());
        }
        at += size + 2;
        if size == 0 {
            return Ok(Some(at));
        }
    }
}
