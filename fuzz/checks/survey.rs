//! Recorded request heads: files that operators have from anywhere.

use std::sync::LazyLock;

use cachewarp::request_fields::RequestFields;
use cachewarp::survey::{HeadReader, RecordedHead, SurveyError, survey};

/// The classes of the listed names: built once, for they are the same for every input.
static FIELDS: LazyLock<RequestFields> = LazyLock::new(RequestFields::default);

/// Any bytes are heads, or an error that names one of their lines. The line ends do not matter,
/// heads that are written anew are read as the same, and the report fits a terminal.
pub(crate) fn recorded_heads(data: &[u8]) {
    let (heads, problem) = read(data);
    let lines = data.iter().filter(|&&byte| byte == b'\n').count() + 1;
    assert!(problem.is_none_or(|line| (1..=lines as u64).contains(&line)), "{problem:?} of {lines} lines");
    if !data.contains(&b'\r') {
        let with_returns: Vec<u8> = data
            .iter()
            .flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] })
            .collect();
        assert_eq!(read(&with_returns), (heads.clone(), problem), "CR LF ends a line as LF does");
    }
    let writable: Vec<_> = heads.into_iter().filter(is_writable).collect();
    let written: String = writable.iter().map(written).collect();
    assert_eq!(read(written.as_bytes()), (writable, None), "what is written is read");
    if let Ok(report) = survey("seed", data, &FIELDS) {
        let report = report.to_string();
        assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
        assert!(report.chars().all(|letter| letter == '\n' || !letter.is_control()), "{report}");
    }
}

/// The heads before the first problem, and its line.
fn read(data: &[u8]) -> (Vec<RecordedHead>, Option<u64>) {
    let mut reader = HeadReader::new(data);
    let mut heads = Vec::new();
    loop {
        match reader.next_head() {
            Ok(Some(head)) => heads.push(head),
            Ok(None) => return (heads, None),
            Err(SurveyError::Line { line, .. }) => return (heads, Some(line)),
            Err(other) => panic!("reading from memory does not fail: {other}"),
        }
    }
}

/// Whether no line of a head would be a comment, or curl's, where it is written as it was sent.
fn is_writable(head: &RecordedHead) -> bool {
    let is_plain = |text: &str| text.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    is_plain(head.method.as_str()) && head.names.iter().all(|name| is_plain(name.as_str()))
}

fn written(head: &RecordedHead) -> String {
    let fields: String = head.names.iter().map(|name| format!("{name}: 1\n")).collect();
    format!("{} /a HTTP/1.1\n{fields}\n", head.method)
}
