use std::io::{self, Cursor};

use http::HeaderName;

use super::*;
use crate::limits::{
    SURVEY_BYTES_MAX, SURVEY_FIELDS_MAX, SURVEY_LINE_BYTES_MAX, SURVEY_NAME_BYTES_MAX, SURVEY_NAMES_MAX,
};
use crate::request_fields::RequestFields;

fn heads(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut reader = HeadReader::new(Cursor::new(text.as_bytes()));
    let mut found = Vec::new();
    while let Some(head) = reader.next_head().map_err(|error| error.to_string())? {
        let names = head.names.iter().map(ToString::to_string).collect();
        found.push((head.method.to_string(), names));
    }
    Ok(found)
}

fn head(method: &str, names: &[&str]) -> (String, Vec<String>) {
    (method.to_owned(), names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn plain_heads_are_read_in_every_spelling() {
    for (text, expected) in [
        ("GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n", vec![head("GET", &["host", "x-a"])]),
        ("# curl\nGET /a HTTP/1.1\nHost: a", vec![head("GET", &["host"])]),
        ("\u{feff}GET /a HTTP/1.1\nHost: a\n", vec![head("GET", &["host"])]),
        (
            "\n\nGET /a HTTP/1.1\nHost: a\n\n\n# b\nHEAD /b HTTP/2\nhost: b\n\n",
            vec![head("GET", &["host"]), head("HEAD", &["host"])],
        ),
        ("GET /a HTTP/1.1\nA: 1\nPOST /b HTTP/1.1\nB: 1\n", vec![head("GET", &["a"]), head("POST", &["b"])]),
        ("Host: a\nAccept: b\n", vec![head("GET", &["host", "accept"])]),
        (":method: HEAD\n:path: /a\nhost: a\n", vec![head("HEAD", &["host"])]),
        ("GET /a HTTP/1.1\nX-A: 1\n  folded\n\tagain\nX-B:2\n", vec![head("GET", &["x-a", "x-b"])]),
        ("GET /a HTTP/1.1\n\n", vec![head("GET", &[])]),
        ("GET /with a space HTTP/1.1\nA:\n", vec![head("GET", &["a"])]),
    ] {
        assert_eq!(heads(text), Ok(expected), "{text:?}");
    }
}

#[test]
fn requests_are_read_from_the_output_of_curl() {
    let text = "\
*   Trying 127.0.0.1:80...
* Connected to a (127.0.0.1) port 80 (#0)
> GET /a HTTP/1.1
> Host: a
> Accept: */*
>\u{20}
< HTTP/1.1 200 OK
< X-Not: this
<\u{20}
{\"headers\":{\"not\":\"this\"}}
* Connection #0 to host a left intact
> HEAD /b HTTP/2
> host: b
* Request completely sent off
> GET /c HTTP/1.1
> host: c
";
    assert_eq!(
        heads(text),
        Ok(vec![head("GET", &["host", "accept"]), head("HEAD", &["host"]), head("GET", &["host"])])
    );
    let behind_progress = format!("  % Total    % Received\n{text}");
    assert_eq!(heads(&behind_progress), heads(text));
}

#[test]
fn header_names_are_read_from_json_lines() {
    let one = |line: &str, method: &str, names: &[&str]| {
        assert_eq!(heads(line), Ok(vec![head(method, names)]), "{line}");
    };
    one(r#"{"headers":{"Host":"a","X-A":"1"}}"#, "GET", &["host", "x-a"]);
    one(r#"{"method":"HEAD","request_headers":{"Host":"a"}}"#, "HEAD", &["host"]);
    one(r#"{"requestHeaders":["Host","X-A"],"httpMethod":"GET"}"#, "GET", &["host", "x-a"]);
    one(r#"{"headers":[["Host","a"],["X-A","1"]]}"#, "GET", &["host", "x-a"]);
    // Caddy, HAR, ECS, pino.
    one(r#"{"request":{"method":"POST","headers":{"Accept":["a","b"]}}}"#, "POST", &["accept"]);
    one(r#"{"request":{"headers":[{"name":"Accept","value":"a"}]}}"#, "GET", &["accept"]);
    one(
        r#"{"http":{"request":{"method":"GET","headers":{"a":"1"}},"response":{"headers":{"b":"1"}}}}"#,
        "GET",
        &["a"],
    );
    one(r#"{"req":{"method":"GET","headers":{"a":"1"}},"res":{"headers":{"b":"1"}}}"#, "GET", &["a"]);
    one(r#"{"headers":{":method":"HEAD",":path":"/a","a":"1"}}"#, "HEAD", &["a"]);
    one("{\"headers\":{}}\r\n", "GET", &[]);
    let log =
        "{\"headers\":{\"a\":\"1\"}}\n\n{\"msg\":\"serving\"}\n{\"headers\":null}\n{\"headers\":[\"b\"]}\n";
    let mut reader = HeadReader::new(Cursor::new(log));
    assert_eq!(reader.next_head().unwrap().unwrap().names, [HeaderName::from_static("a")]);
    assert_eq!(reader.next_head().unwrap().unwrap().names, [HeaderName::from_static("b")]);
    assert_eq!((reader.next_head().unwrap(), reader.lines_left_out()), (None, 2));
}

#[test]
fn bad_input_names_the_line_and_repeats_nothing_of_it() {
    let long_line = format!("GET /a HTTP/1.1\nX-A: {}\n", "secret".repeat(SURVEY_LINE_BYTES_MAX / 6 + 1));
    let long_name = format!("GET /a HTTP/1.1\n{}: 1\n", "s".repeat(SURVEY_NAME_BYTES_MAX + 1));
    let many = format!("GET /a HTTP/1.1\n{}", "secret: 1\n".repeat(SURVEY_FIELDS_MAX + 1));
    for (text, expected) in [
        ("GET /a HTTP/1.1\nsecret\n", "line 2: neither a request line nor `Name: value`"),
        ("GET /a HTTP/1.1\nse cret: 1\n", "line 2: neither a request line nor `Name: value`"),
        ("GET /a HTTP/1.1\n: secret\n", "line 2: neither a request line nor `Name: value`"),
        ("secret\n", "line 1: neither a request line nor `Name: value`"),
        (" secret: 1\n", "line 1: neither a request line nor `Name: value`"),
        (
            "GET /a HTTP/1.1\nHost: a\n\nHTTP/1.1 200 secret\n",
            "line 4: the head of a response; only request heads are read",
        ),
        ("{\"headers\":{}}\nGET /secret HTTP/1.1\n", "line 2: not a JSON object, or nested too deeply"),
        ("{\"secret\":\n", "line 1: not a JSON object, or nested too deeply"),
        ("{\"headers\":{}}\n[]\n", "line 2: not a JSON object, or nested too deeply"),
        ("{\"headers\":{\"sec ret\":1}}\n", "line 1: a header name that is no HTTP field name"),
        ("{\"headers\":[1]}\n", "line 1: a header name that is no HTTP field name"),
        (&long_line, "line 2: longer than 262144 bytes"),
        (&long_name, "line 2: a field name longer than 256 bytes"),
        (&many, "line 1002: more than 1000 fields in one head"),
    ] {
        let error = heads(text).unwrap_err();
        assert_eq!(error, expected, "{:?}", text.lines().next());
    }
    for text in ["", "\n# secret\n", "{\"msg\":\"secret\"}\n", "* secret\n"] {
        let error = survey("-", text.as_bytes(), &RequestFields::default()).unwrap_err().to_string();
        assert!(error.starts_with("no request head found"), "{error}");
    }
}

#[test]
fn a_file_longer_than_its_bound_is_refused() {
    let mut reader = lines::SurveyLines::new(io::BufReader::new(io::repeat(b'\n')));
    reader.skip_to(SURVEY_BYTES_MAX - 1);
    assert!(reader.next_line().is_ok_and(|line| line == Some(b"")));
    assert!(matches!(reader.next_line(), Err(SurveyError::Line { problem: LineError::InputLength, .. })));
}

fn report(text: &str, fields: &RequestFields) -> String {
    survey("access.log", text.as_bytes(), fields).unwrap().to_string()
}

/// Returns a log in which several requests have a field of each class.
fn log() -> String {
    let mut text = String::new();
    for (times, names) in [
        (700, "Host: a\nAccept: b\nUser-Agent: c\n"),
        (200, "Host: a\nAccept: b\ntraceparent: c\n"),
        (60, "Host: a\nX-Tenant-Id: hunter2\n"),
        (30, "Host: a\nX-Tenant-Id: hunter2\nAuthorization: hunter2\n"),
        (8, "Host: a\nCookie: hunter2\nX-Request-Tag: 1\nX-Api-Version: 2\n"),
        (1, "Host: a\nx_api_key: hunter2\nRange: bytes=0-\n"),
    ] {
        text.push_str(&format!("GET /a HTTP/1.1\n{names}\n").repeat(times));
    }
    text + "POST /a HTTP/1.1\nX-Only-Posts: 1\n"
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the test decides whether to rewrite a golden file"
)]
fn the_report_equals_the_golden_file() {
    let fields = RequestFields::new(
        &[HeaderName::from_static("x-api-key")],
        &[HeaderName::from_static("x-api-version")],
        &[],
    );
    let report = report(&log(), &fields);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/explain_headers.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &report).unwrap();
    }
    assert_eq!(report, std::fs::read_to_string(golden).unwrap());
    assert!(!report.contains("hunter2"), "values are never printed");
}

#[test]
fn a_report_of_any_input_fits_the_terminal() {
    let mut text = String::new();
    for number in 0..SURVEY_NAMES_MAX + 20 {
        let name = format!("x-{number}-{}", "long-".repeat(number % 50));
        text.push_str(&format!("GET /a HTTP/1.1\n{name}: hunter2\nsec-ch-{number}: 1\n\n"));
    }
    let source = "a/long/way/".repeat(30) + "\u{1b}[31m";
    let survey = survey(&source, text.as_bytes(), &RequestFields::default()).unwrap();
    let report = survey.to_string();
    for line in report.lines() {
        assert!(line.chars().count() <= 100 && !line.contains('\u{1b}'), "{line}");
    }
    assert!(report.lines().count() < 150 && report.contains("More than 1000 names"), "{report}");
    let end = source.chars().rev().take(49).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    let end = end.replace('\u{1b}', "\u{fffd}");
    assert!(report.starts_with(&format!("1,020 requests with GET or HEAD in …{end}\n")), "{report}");
}

#[test]
fn requests_without_a_preventing_field_need_no_advice() {
    let report = report("GET /a HTTP/1.1\nHost: a\nAccept: b\n", &RequestFields::default());
    assert!(report.starts_with("1 request with GET or HEAD in access.log\n"), "{report}");
    assert!(
        !report.contains("To cache these requests") && !report.contains("Fields that prevent it"),
        "{report}"
    );
    let posts = self::report("POST /a HTTP/1.1\nX-A: b\n", &RequestFields::default());
    assert!(posts.contains("not counted: 1 with other methods"), "{posts}");
}
