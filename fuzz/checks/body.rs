//! The check of a body that claims to be JSON, coded or not: only JSON passes.

use cachewarp::entry::{JsonCheck, JsonCheckError};

const CODINGS: [Option<&[u8]>; 6] =
    [None, Some(b"gzip"), Some(b"deflate"), Some(b"br"), Some(b"zstd"), Some(b"gzip, br")];
const DECODED_BYTES_MAX: usize = 1 << 20;

/// Brackets from which a text may be nested too deep.
const BRACKETS_MAX: usize = 16 * 1024;

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
        let is_grammatical = Grammar { text: body, at: 0 }.reads();
        let brackets = body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
        match verdict {
            Ok(_) => assert!(is_grammatical),
            Err(JsonCheckError::Invalid) => assert!(!is_grammatical || brackets > BRACKETS_MAX),
            Err(other) => panic!("a body without a coding is {other}"),
        }
    }
    if let Some(at_once) = check.check_at_once(body, coding, DECODED_BYTES_MAX) {
        assert_eq!(at_once, verdict, "the check at once differs");
    }
}

/// A reader of RFC 8259, byte by byte, without recursion.
struct Grammar<'a> {
    text: &'a [u8],
    at: usize,
}

impl Grammar<'_> {
    fn reads(mut self) -> bool {
        self.document().is_some() && self.at == self.text.len()
    }

    fn document(&mut self) -> Option<()> {
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
                        self.name()?;
                        continue 'value;
                    }
                }
                b'[' => {
                    self.blank();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(b']');
                        continue 'value;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => {
                    self.at -= 1;
                    self.number()?;
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
                        self.name()?;
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
    fn name(&mut self) -> Option<()> {
        self.blank();
        self.word(b"\"")?;
        self.string()?;
        self.blank();
        self.word(b":")
    }

    /// Reads the rest of a string.
    fn string(&mut self) -> Option<()> {
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
                        self.at += 4;
                    }
                    _ => return None,
                },
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
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
            (self.digits() > 0).then_some(())?;
        }
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
