//! The check of a body that claims to be JSON, coded or not: only JSON passes.

use cachewarp::entry::{JsonCheck, JsonCheckError};

const CODINGS: [Option<&[u8]>; 6] =
    [None, Some(b"gzip"), Some(b"deflate"), Some(b"br"), Some(b"zstd"), Some(b"gzip, br")];
const DECODED_BYTES_MAX: usize = 1 << 20;

/// Nesting that every JSON reader accepts.
const ORDINARY_DEPTH_MAX: usize = 1000;

/// Checks the verdict on a body; the first byte chooses a coding. Without a coding, RFC 8259
/// decides.
pub(crate) fn body(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let coding = CODINGS[usize::from(choice) % CODINGS.len()];
    let mut check = JsonCheck::new();
    let verdict = check.check(body, coding, DECODED_BYTES_MAX);
    assert_eq!(
        check.check(body, coding, DECODED_BYTES_MAX),
        verdict,
        "a second check with the same scratch differs"
    );
    if coding.is_none() {
        match (Grammar { text: body, at: 0 }.read(), verdict) {
            (Read::Text { ordinary: true }, verdict) => assert_eq!(verdict, Ok(())),
            // A number that this check cannot represent makes the body unstorable, which harms no
            // client.
            (Read::Text { ordinary: false }, verdict) => {
                assert!(matches!(verdict, Ok(()) | Err(JsonCheckError::Invalid)))
            }
            (Read::Not, verdict) => assert_eq!(verdict, Err(JsonCheckError::Invalid)),
        }
    }
}

/// The result of the grammar.
enum Read {
    /// One JSON text. It is ordinary if it is not deep, its numbers are in the range of all
    /// readers, and its strings have no lone surrogates.
    Text {
        ordinary: bool,
    },
    Not,
}

/// A reader of RFC 8259, byte by byte, without recursion.
struct Grammar<'a> {
    text: &'a [u8],
    at: usize,
}

impl Grammar<'_> {
    fn read(mut self) -> Read {
        let mut ordinary = true;
        match self.document(&mut ordinary) {
            Some(()) if self.at == self.text.len() => Read::Text { ordinary },
            _ => Read::Not,
        }
    }

    fn document(&mut self, ordinary: &mut bool) -> Option<()> {
        std::str::from_utf8(self.text).ok()?;
        // The closing bracket of each open one.
        let mut open = Vec::new();
        'value: loop {
            self.blank();
            match self.next()? {
                b'{' => {
                    self.blank();
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        open.push(b'}');
                        *ordinary &= open.len() < ORDINARY_DEPTH_MAX;
                        self.name(ordinary)?;
                        continue 'value;
                    }
                }
                b'[' => {
                    self.blank();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(b']');
                        *ordinary &= open.len() < ORDINARY_DEPTH_MAX;
                        continue 'value;
                    }
                }
                b'"' => self.string(ordinary)?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => {
                    self.at -= 1;
                    self.number(ordinary)?;
                }
                _ => return None,
            }
            loop {
                self.blank();
                let Some(close) = open.last() else { return Some(()) };
                match self.next()? {
                    byte if byte == *close => {
                        open.pop();
                    }
                    b',' if *close == b'}' => {
                        self.name(ordinary)?;
                        continue 'value;
                    }
                    b',' => continue 'value,
                    _ => return None,
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        rest.iter().all(|byte| self.next() == Some(*byte)).then_some(())
    }

    /// Reads a name and its colon.
    fn name(&mut self, ordinary: &mut bool) -> Option<()> {
        self.blank();
        self.word(b"\"")?;
        self.string(ordinary)?;
        self.blank();
        self.word(b":")
    }

    /// Reads the rest of a string.
    fn string(&mut self, ordinary: &mut bool) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                0..=0x1f => return None,
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = self.text.get(self.at..self.at + 4)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return None;
                        }
                        // A surrogate counts as unordinary, even in a pair.
                        *ordinary &= !digits[..2].eq_ignore_ascii_case(b"d8")
                            && !matches!(
                                digits[..2].to_ascii_lowercase()[..],
                                [b'd', b'8'..=b'9' | b'a'..=b'f']
                            );
                        self.at += 4;
                    }
                    _ => return None,
                },
                _ => {}
            }
        }
    }

    fn number(&mut self, ordinary: &mut bool) -> Option<()> {
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => {
                self.digits();
            }
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            (self.digits() > 0).then_some(())?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let digits = self.digits();
            (digits > 0).then_some(())?;
            *ordinary &= digits < 3;
        }
        *ordinary &= self.at - begin < 18;
        Some(())
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }
}
