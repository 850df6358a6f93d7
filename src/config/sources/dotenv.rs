//! The file `.env`: names, values, and the line of each, so that error messages can name it.
//!
//! dotenvy parses the text; the process' own environment does not change. Three properties of
//! dotenvy do not suit settings. It counts no lines, so it gets one line at a time. It takes
//! trailing spaces at the end of the file for an unfinished value, so a line end is appended. It
//! replaces `$NAME` outside single quotes by a variable of the environment, which would cut a
//! password short, so such a value is marked.

use std::cell::Cell;
use std::io::{self, Read};

use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::{ErrorLocation, LocatedError};

/// The mark that editors on Windows write before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The content of the file.
#[derive(Debug, Default)]
pub(in crate::config) struct DotenvFile {
    pub(in crate::config) pairs: Vec<DotenvPair>,
    pub(in crate::config) errors: Vec<LocatedError>,
}

/// A line `NAME=value`.
#[derive(Debug)]
pub(in crate::config) struct DotenvPair {
    pub(in crate::config) name: String,
    pub(in crate::config) text: String,
    /// The line on which it ends, counted from 1.
    pub(in crate::config) line: usize,
    /// True if dotenvy substitutes a variable in the value.
    pub(in crate::config) substitutes: bool,
}

/// Parses the content of the file. A missing file counts as empty.
pub(in crate::config) fn read(file: io::Result<Vec<u8>>) -> DotenvFile {
    let whole = |error| DotenvFile {
        pairs: Vec::new(),
        errors: vec![LocatedError { location: ErrorLocation::Dotenv, error }],
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
                // The error names the number of the line only: the line may hold a password.
                let lines_before_last = if let dotenvy::Error::LineParse(parsed, _) = error {
                    parsed.strip_suffix('\n').unwrap_or(&parsed).matches('\n').count()
                } else {
                    0
                };
                let location = ErrorLocation::DotenvLine(line.get().saturating_sub(lines_before_last));
                read.errors.push(LocatedError { location, error: ConfigError::DotenvSyntax });
            }
        }
    }
    read
}

/// A reader that returns at most one line per call, and counts the lines.
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

/// Tells whether a line has a `$` that dotenvy substitutes.
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
        assert!(file.errors.is_empty(), "{:?}", file.errors);
        file.pairs.into_iter().map(|pair| (pair.name, pair.text, pair.line)).collect()
    }

    fn broken(text: &str) -> Vec<String> {
        read(Ok(text.into())).errors.iter().map(ToString::to_string).collect()
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
    fn every_malformed_line_is_an_error_with_its_number() {
        let hint = "is not `NAME=value`; quote a value that has spaces, quotes or `#`, and close the quotes";
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
    fn a_file_that_is_not_utf8_is_an_error() {
        let file = read(Ok(vec![0xff, 0xfe, b'A', 0, b'=', 0]));
        assert_eq!(file.errors[0].to_string(), ".env: is not UTF-8; save it as UTF-8");
    }

    #[test]
    fn a_dollar_outside_single_quotes_substitutes() {
        for line in ["A=$B", "A=\"$B\"", "A=b$", "A=${B}", "A='x'$B", "A=\\\\$B"] {
            assert!(substitutes(line), "{line}");
        }
        for line in ["A=b", "A='$B'", "A=\\$B", "A=\"\\$B\""] {
            assert!(!substitutes(line), "{line}");
        }
    }
}
