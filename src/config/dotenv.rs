//! The file `.env`: names, values, and the line of each, for the person who has to correct it.
//!
//! dotenvy parses; the process' own environment is not changed. Three of its ways are not for
//! settings and are kept away from them. It counts no lines, so it is fed one line at a time. It
//! takes spaces at the very end for an unfinished value, so the text is ended. It replaces `$NAME`
//! outside of single quotes by whatever the environment holds, and a password by half of itself, so
//! a value that would be so treated is marked.

use std::cell::Cell;
use std::io::{self, Read};

use super::faults::{ErrorLocation, LocatedError};
use super::wrong::ConfigError;

/// What Windows' editors put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What stands in the file.
#[derive(Debug, Default)]
pub(super) struct DotenvFile {
    pub(super) pairs: Vec<DotenvPair>,
    pub(super) faults: Vec<LocatedError>,
}

/// `NAME=value`
#[derive(Debug)]
pub(super) struct DotenvPair {
    pub(super) name: String,
    pub(super) text: String,
    /// Where it ends, counted from 1.
    pub(super) line: usize,
    /// Whether `text` depends on something else than the file.
    pub(super) substitutes: bool,
}

/// Reads what reading the file gave. A file that does not exist says nothing.
pub(super) fn read(file: io::Result<Vec<u8>>) -> DotenvFile {
    let whole = |wrong| DotenvFile {
        pairs: Vec::new(),
        faults: vec![LocatedError { place: ErrorLocation::Dotenv, wrong }],
    };
    let text = match file.map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return whole(ConfigError::NotUtf8),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return DotenvFile::default(),
        Err(error) => return whole(ConfigError::DotenvUnreadable(error.kind())),
    };
    parse(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text))
}

fn parse(text: &str) -> DotenvFile {
    let text = format!("{text}\n");
    let line = Cell::new(0);
    let mut read = DotenvFile::default();
    for pair in dotenvy::Iter::new(LineReader { rest: text.as_bytes(), line: &line }) {
        match pair {
            Ok((name, value)) => {
                let raw = text.lines().nth(line.get().saturating_sub(1)).unwrap_or_default();
                read.pairs.push(DotenvPair {
                    name,
                    text: value,
                    line: line.get(),
                    substitutes: substitutes(raw),
                });
            }
            Err(error) => {
                // Only the number of the line is said: there may be a password in it.
                let lines_before_last = if let dotenvy::Error::LineParse(parsed, _) = error {
                    parsed.strip_suffix('\n').unwrap_or(&parsed).matches('\n').count()
                } else {
                    0
                };
                let place = ErrorLocation::DotenvLine(line.get().saturating_sub(lines_before_last));
                read.faults.push(LocatedError { place, wrong: ConfigError::DotenvSyntax });
            }
        }
    }
    read
}

/// Gives out at most one line at each reading, and counts them.
struct LineReader<'a> {
    rest: &'a [u8],
    line: &'a Cell<usize>,
}

impl Read for LineReader<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        let mut piece = line.get(..room.len()).unwrap_or(line);
        if piece.ends_with(b"\n") {
            self.line.set(self.line.get() + 1);
        }
        let read = piece.read(room)?;
        self.rest = self.rest.get(read..).unwrap_or_default();
        Ok(read)
    }
}

/// Whether a `$` stands where it means something else than itself.
fn substitutes(line: &str) -> bool {
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => return true,
            '\\' => {
                letters.next();
            }
            '\'' => {
                letters.find(|&letter| letter == '\'');
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let file = read(Ok(text.into()));
        assert!(file.faults.is_empty(), "{:?}", file.faults);
        file.pairs.into_iter().map(|pair| (pair.name, pair.text, pair.line)).collect()
    }

    fn broken(text: &str) -> Vec<String> {
        read(Ok(text.into())).faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pairs_have_lines() {
        let text =
            "\u{feff}A=1\r\n\n# a comment with 'quotes\nexport B = \"2 3\" # and more\nC='$x'\nD=\nE=4  ";
        let want = [("A", "1", 1), ("B", "2 3", 4), ("C", "$x", 5), ("D", "", 6), ("E", "4", 7)];
        assert_eq!(pairs(text), want.map(|(name, text, line)| (name.to_owned(), text.to_owned(), line)));
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("A=\"1\n2\"\nB=3"), [("A".into(), "1\n2".into(), 2), ("B".into(), "3".into(), 3)]);
    }

    #[test]
    fn a_line_longer_than_any_buffer_is_one_line() {
        let long = "x".repeat(100_000);
        let read = pairs(&format!("A={long}\nB=1\n"));
        assert_eq!((read[0].1.len(), read[0].2, read[1].2), (100_000, 1, 2));
    }

    #[test]
    fn every_broken_line_is_a_fault_with_its_number() {
        let hint = "is not `NAME=value`; a value with spaces, quotes or `#` stands between quotes, and a quote is closed";
        for (text, lines) in [
            ("nonsense", &[1][..]),
            ("A=1\n1=2\nB=2\n=3\n", &[2, 4]),
            ("A=1 2\n", &[1]),
            ("\nA=\"1\nB=2\n", &[2]),
            ("A='1\n2' x\n", &[1]),
            ("A=1\\q\n", &[1]),
            ("A=it's\n", &[1]),
        ] {
            let want: Vec<String> = lines.iter().map(|line| format!(".env line {line}: {hint}")).collect();
            assert_eq!(broken(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_text() {
        let file = read(Ok(vec![0xff, 0xfe, b'A', 0, b'=', 0]));
        assert_eq!(file.faults[0].to_string(), ".env: is not UTF-8; save it as UTF-8");
    }

    #[test]
    fn where_a_dollar_substitutes() {
        for line in ["A=$B", "A=\"$B\"", "A=b$", "A=${B}", "A='x'$B", "A=\\\\$B"] {
            assert!(substitutes(line), "{line}");
        }
        for line in ["A=b", "A='$B'", "A=\\$B", "A=\"\\$B\""] {
            assert!(!substitutes(line), "{line}");
        }
    }
}
