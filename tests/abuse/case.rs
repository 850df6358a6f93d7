//! One case: a file with a head of `name: value` lines, and sections of bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The contents of a case's file.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The folder and the file name, as in `client/te-and-cl`.
    pub(crate) name: String,
    path: PathBuf,
    head: BTreeMap<String, String>,
    /// The sections in escaped form, as in the file.
    sections: BTreeMap<String, String>,
}

/// The setting of all cases: each request has an id of its own, and a case states every byte.
/// `tests/scenarios/request_ids.rs` checks the id.
pub(crate) const NO_REQUEST_ID: (&str, &str) = ("request_id_header", "off");

/// The names that a case's head may have.
const NAMES: &[&str] = &["about", "lesson", "fate", "base", "warm", "ask", "stored", "upstream", "closes"];

impl Case {
    /// Returns all cases of a folder, in the order of their names.
    pub(crate) fn all(folder: &str) -> Vec<Self> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/abuse").join(folder);
        let mut files: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "case"))
            .collect();
        files.sort();
        files.into_iter().map(|path| Self::read(folder, path)).collect()
    }

    fn read(folder: &str, path: PathBuf) -> Self {
        let name = format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let mut parts = text.split("\n--- ");
        let mut head = BTreeMap::new();
        for line in parts.next().unwrap().lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line:?}"));
            assert!(NAMES.contains(&key), "{name}: unknown name {key:?}");
            assert!(head.insert(key.to_owned(), value.to_owned()).is_none(), "{name}: {key:?} twice");
        }
        let sections = parts.map(|part| {
            let (title, bytes) = part.split_once('\n').unwrap_or_else(|| panic!("{name}: {part:?}"));
            (title.to_owned(), bytes.trim_end_matches('\n').to_owned())
        });
        let sections = sections.collect();
        let case = Self { name, path, head, sections };
        for name in ["about", "lesson", "fate"] {
            assert!(case.says(name).is_some(), "{} has no {name}", case.name);
        }
        case
    }

    /// Returns the value of a name in the head.
    pub(crate) fn says(&self, name: &str) -> Option<&str> {
        self.head.get(name).map(String::as_str)
    }

    /// Returns the bytes of a section.
    pub(crate) fn bytes(&self, section: &str) -> Vec<u8> {
        let text = self.sections.get(section).unwrap_or_else(|| panic!("{} has no {section:?}", self.name));
        unescape(text)
    }

    /// Returns the text of a section.
    pub(crate) fn text(&self, section: &str) -> &str {
        self.sections.get(section).unwrap_or_else(|| panic!("{} has no {section:?}", self.name))
    }

    /// Compares bytes with a section; with `UPDATE_GOLDEN`, writes them there.
    #[expect(clippy::disallowed_methods, reason = "this is not a setting of the product")]
    pub(crate) fn expect(&mut self, section: &str, got: &[u8]) {
        let got = escape(got);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            self.sections.insert(section.to_owned(), got);
            return self.write();
        }
        let want = self.sections.get(section).map(String::as_str).unwrap_or_default();
        assert_eq!(got, want, "\n{}: {section}\n--- got\n{got}\n--- want\n{want}\n", self.name);
    }

    fn write(&self) {
        let mut text = String::new();
        for name in NAMES {
            if let Some(value) = self.head.get(*name) {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        // The input comes first in the file.
        let mut sections: Vec<_> = self.sections.iter().collect();
        sections.sort_by_key(|(title, _)| title.starts_with("the "));
        for (title, bytes) in sections {
            text.push_str(&format!("\n--- {title}\n{bytes}\n"));
        }
        fs::write(&self.path, text.trim_end_matches('\n').to_owned() + "\n").unwrap();
    }
}

/// Converts escaped text to bytes. Line breaks of the file are ignored.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => {}
            '\\' => match rest.next().expect("something behind a backslash") {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                's' => bytes.push(b' '),
                '\\' => bytes.push(b'\\'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                '(' => {
                    let inside: String = rest.by_ref().take_while(|&c| c != ')').collect();
                    let (times, what) = inside.split_once(' ').expect("a number and what is repeated");
                    bytes.extend(unescape(what).repeat(times.parse().expect("a number")));
                }
                other => panic!("no escape: \\{other}"),
            },
            c => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

/// Longer runs of one byte are written as a repetition.
const RUN_MAX: usize = 40;

/// Converts bytes to escaped text, with one line for each line.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        let one = match run[0] {
            b'\r' => "\\r".to_owned(),
            b'\n' => "\\n\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            b'\\' => "\\\\".to_owned(),
            printable @ b' '..=b'~' => char::from(printable).to_string(),
            other => format!("\\x{other:02x}"),
        };
        if run.len() > RUN_MAX {
            text.push_str(&format!("\\({} {one})", run.len()));
        } else {
            text.push_str(&one.repeat(run.len()));
        }
    }
    text.trim_end_matches('\n').to_owned()
}

#[test]
fn escaped_bytes_read_back() {
    let bytes: Vec<u8> = (0..=255).chain([b'x'; 100]).collect();
    assert_eq!(unescape(&escape(&bytes)), bytes);
    assert_eq!(unescape("a\nb\\(3 \\r\\n)\\s"), b"ab\r\n\r\n\r\n ");
}
