//! JSON objects written by hand, and a small reader for displaying them.
//!
//! The writer emits ASCII without control characters, so that a header field can carry the text,
//! and bounds each string. The reader accepts foreign text: it returns [`JsonError`] unless the
//! text is well-formed and not nested too deeply. Numbers keep their spelling. This module never
//! reads bodies; `entry` checks that they are JSON.

use std::fmt::{Display, Write};
use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

use crate::limits::JSON_DEPTH_MAX;

/// The mark behind a text that was cut.
const CUT: &str = "\\u2026";

/// An object that is being written, member by member.
pub struct JsonObject<'a> {
    text: &'a mut String,
    /// The character before the next member.
    before: char,
}

/// Writes an object.
pub fn object(fill: impl FnOnce(&mut JsonObject<'_>)) -> String {
    let mut text = String::new();
    put_object(&mut text, fill);
    text
}

impl JsonObject<'_> {
    /// Adds a text. If its escaped form is longer than `bytes_max`, adds its beginning and `…`.
    pub fn text(&mut self, name: &str, value: &str, bytes_max: usize) {
        self.name(name, bytes_max);
        put_text(self.text, value, bytes_max);
    }

    /// Adds one of CacheWarp's own words.
    pub fn word(&mut self, name: &str, word: &'static str) {
        self.text(name, word, usize::MAX);
    }

    /// Adds seconds, with milliseconds.
    pub fn seconds(&mut self, name: &str, duration: Duration) {
        self.plain(name, format_args!("{}.{:03}", duration.as_secs(), duration.subsec_millis()));
    }

    /// Adds a whole number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.plain(name, number);
    }

    /// Adds a number with four decimal digits, or `null` if it is not finite.
    pub fn ratio(&mut self, name: &str, ratio: f64) {
        if ratio.is_finite() {
            self.plain(name, format_args!("{ratio:.4}"));
        } else {
            self.plain(name, "null");
        }
    }

    /// Adds `true`.
    pub fn set(&mut self, name: &str) {
        self.plain(name, true);
    }

    /// Adds `null`.
    pub fn null(&mut self, name: &str, bytes_max: usize) {
        self.name(name, bytes_max);
        self.text.push_str("null");
    }

    /// Adds an object.
    pub fn object(&mut self, name: &str, bytes_max: usize, fill: impl FnOnce(&mut JsonObject<'_>)) {
        self.name(name, bytes_max);
        put_object(self.text, fill);
    }

    /// Adds a list of CacheWarp's own words.
    pub fn words(&mut self, name: &str, words: impl Iterator<Item = &'static str>) {
        self.list(name, words, |text, word| put_text(text, word, usize::MAX));
    }

    /// Adds a list of texts, each with the bound of [`JsonObject::text`].
    pub fn texts<'t>(&mut self, name: &str, texts: impl Iterator<Item = &'t str>, bytes_max: usize) {
        self.list(name, texts, |text, item| put_text(text, item, bytes_max));
    }

    /// Adds a list of whole numbers.
    pub fn numbers(&mut self, name: &str, numbers: impl Iterator<Item = u64>) {
        self.list(name, numbers, put);
    }

    /// Adds a list of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        mut fill: impl FnMut(&mut JsonObject<'_>, T),
    ) {
        self.list(name, items, |text, item| put_object(text, |object| fill(object, item)));
    }

    fn list<T>(&mut self, name: &str, items: impl Iterator<Item = T>, mut put: impl FnMut(&mut String, T)) {
        self.name(name, usize::MAX);
        self.text.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            put(self.text, item);
        }
        self.text.push(']');
    }

    fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name, usize::MAX);
        put(self.text, value);
    }

    fn name(&mut self, name: &str, bytes_max: usize) {
        self.text.push(self.before);
        self.before = ',';
        put_text(self.text, name, bytes_max);
        self.text.push(':');
    }
}

fn put_object(text: &mut String, fill: impl FnOnce(&mut JsonObject<'_>)) {
    let mut object = JsonObject { text, before: '{' };
    fill(&mut object);
    if object.before == '{' {
        text.push('{');
    }
    text.push('}');
}

/// Writes a quoted string as ASCII without control characters (RFC 8259 §7). The only escaper.
fn put_text(text: &mut String, value: &str, bytes_max: usize) {
    text.push('"');
    let begin = text.len();
    // Up to this length, the mark of a cut still fits.
    let mut room = begin;
    for letter in value.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    put(text, format_args!("\\u{unit:04x}"));
                }
            }
        }
        let bytes = text.len() - begin;
        if bytes > bytes_max {
            text.truncate(room);
            text.push_str(CUT);
            break;
        }
        if bytes + CUT.len() <= bytes_max {
            room = text.len();
        }
    }
    text.push('"');
}

fn put(text: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonValue {
    /// A string.
    Text(String),
    /// A number, `true`, `false` or `null`, in its original spelling.
    Plain(String),
    /// A list.
    List(Vec<JsonValue>),
    /// An object: its members in their order.
    Object(Vec<(String, JsonValue)>),
}

impl JsonValue {
    /// Returns a member of an object, by its name: the first, if there are several.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => {
                members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
            }
            Self::Text(_) | Self::Plain(_) | Self::List(_) => None,
        }
    }

    /// Returns the members of an object; none of any other value.
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            Self::Text(_) | Self::Plain(_) | Self::List(_) => &[],
        }
    }

    /// Returns the items of a list; none of any other value.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Text(_) | Self::Plain(_) | Self::Object(_) => &[],
        }
    }

    /// Returns the text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Plain(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// Returns the value of a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Plain(plain) => plain.parse().ok(),
            Self::Text(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

/// An error for text that is not JSON, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON")]
pub struct JsonError;

/// Reads one value, without anything behind it.
pub fn read(text: &str) -> Result<JsonValue, JsonError> {
    let mut reader = JsonReader(text.chars().peekable());
    let value = reader.value(0)?;
    reader.space();
    reader.0.next().map_or(Ok(value), |_| Err(JsonError))
}

struct JsonReader<'a>(Peekable<Chars<'a>>);

impl JsonReader<'_> {
    fn value(&mut self, depth: usize) -> Result<JsonValue, JsonError> {
        if depth > JSON_DEPTH_MAX {
            return Err(JsonError);
        }
        self.space();
        match self.0.peek() {
            Some('"') => self.text().map(JsonValue::Text),
            Some('[') => self.members('[', ']', |reader| reader.value(depth + 1)).map(JsonValue::List),
            Some('{') => self.members('{', '}', |reader| reader.member(depth + 1)).map(JsonValue::Object),
            Some(_) => self.plain().map(JsonValue::Plain),
            None => Err(JsonError),
        }
    }

    fn member(&mut self, depth: usize) -> Result<(String, JsonValue), JsonError> {
        self.space();
        let name = self.text()?;
        self.space();
        self.expect(':')?;
        Ok((name, self.value(depth)?))
    }

    fn members<T>(
        &mut self,
        open: char,
        close: char,
        one: impl Fn(&mut Self) -> Result<T, JsonError>,
    ) -> Result<Vec<T>, JsonError> {
        let mut all = Vec::new();
        self.expect(open)?;
        self.space();
        if self.0.next_if_eq(&close).is_some() {
            return Ok(all);
        }
        loop {
            all.push(one(self)?);
            self.space();
            match self.0.next() {
                Some(',') => {}
                Some(end) if end == close => return Ok(all),
                Some(_) | None => return Err(JsonError),
            }
        }
    }

    fn plain(&mut self) -> Result<String, JsonError> {
        let mut plain = String::new();
        while let Some(letter) =
            self.0.next_if(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(*letter))
        {
            plain.push(letter);
        }
        let known = matches!(plain.as_str(), "true" | "false" | "null");
        let number = plain.parse::<f64>().is_ok_and(f64::is_finite);
        if known || number { Ok(plain) } else { Err(JsonError) }
    }

    fn text(&mut self) -> Result<String, JsonError> {
        self.expect('"')?;
        let mut units = Vec::new();
        loop {
            match self.0.next().ok_or(JsonError)? {
                '"' => return String::from_utf16(&units).map_err(|_| JsonError),
                '\\' => units.push(self.escaped()?),
                control if control < ' ' => return Err(JsonError),
                letter => units.extend_from_slice(letter.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escaped(&mut self) -> Result<u16, JsonError> {
        let letter = match self.0.next().ok_or(JsonError)? {
            'u' => return self.unit(),
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            letter @ ('"' | '\\' | '/') => letter,
            _ => return Err(JsonError),
        };
        u16::try_from(u32::from(letter)).map_err(|_| JsonError)
    }

    fn unit(&mut self) -> Result<u16, JsonError> {
        (0..4).try_fold(0, |unit: u16, _| {
            let digit = self.0.next().and_then(|letter| letter.to_digit(16)).ok_or(JsonError)?;
            Ok(unit << 4 | u16::try_from(digit).map_err(|_| JsonError)?)
        })
    }

    fn expect(&mut self, letter: char) -> Result<(), JsonError> {
        self.0.next_if_eq(&letter).map_or(Err(JsonError), |_| Ok(()))
    }

    fn space(&mut self) {
        while self.0.next_if(|letter| " \t\r\n".contains(*letter)).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str, bytes_max: usize) -> String {
        object(|object| object.text("a", value, bytes_max))
    }

    #[test]
    fn an_object_with_every_kind_of_member() {
        let written = object(|object| {
            object.word("word", "yes");
            object.seconds("seconds", Duration::from_micros(12_034_900));
            object.null("none", 10);
            object.words("words", ["a", "b"].into_iter());
            object.object("empty", 10, |_| {});
            object.number("number", 7);
            object.ratio("ratio", 1.0 / 3.0);
            object.ratio("no_ratio", f64::NAN);
            object.set("set");
            object.texts("texts", ["a", "b\""].into_iter(), 9);
            object.numbers("numbers", [1, u64::MAX].into_iter());
            object.objects("list", 1..3_u64, |item, number| item.seconds("s", Duration::from_secs(number)));
            object.words("nothing", [].into_iter());
        });
        assert_eq!(
            written,
            r#"{"word":"yes","seconds":12.034,"none":null,"words":["a","b"],"empty":{},"number":7,"ratio":0.3333,"no_ratio":null,"set":true,"texts":["a","b\""],"numbers":[1,18446744073709551615],"list":[{"s":1.000},{"s":2.000}],"nothing":[]}"#
        );
        let Ok(JsonValue::Object(members)) = read(&written) else { panic!("no object") };
        assert_eq!(members.len(), 13);
        assert_eq!(members[1], ("seconds".to_owned(), JsonValue::Plain("12.034".to_owned())));
        assert_eq!(read(&object(|_| {})), Ok(JsonValue::Object(Vec::new())));
    }

    #[test]
    fn a_value_has_exactly_one_kind() {
        let value = read(r#"{"text":"a","number":1.5,"list":[1,"b"],"text":"c"}"#).unwrap();
        assert_eq!(value.members().len(), 4);
        let member = |name| value.member(name).unwrap();
        assert_eq!((member("text").as_text(), member("text").as_number()), (Some("a"), None));
        assert_eq!((member("number").as_number(), member("number").as_text()), (Some(1.5), None));
        assert_eq!((member("list").items().len(), member("list").members().len()), (2, 0));
        assert_eq!((value.member("none"), value.items().len(), member("list").member("a")), (None, 0, None));
    }

    #[test]
    fn written_text_fits_a_header_and_reads_back() {
        for value in ["", "a b", "\"\\/", "\u{0}\n\r\t\u{7f}", "§ 5.2 \u{e9}\u{20ac}", "\u{1f980}\u{ffff}"] {
            let written = text(value, 1000);
            assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{written}");
            let want = vec![("a".to_owned(), JsonValue::Text(value.to_owned()))];
            assert_eq!(read(&written), Ok(JsonValue::Object(want)));
        }
    }

    #[test]
    fn a_cut_text_ends_at_a_character_with_a_mark() {
        let long = "\u{1f980}\"".repeat(100);
        for bytes_max in CUT.len()..200 {
            let written = text(&long, bytes_max);
            assert!(written.len() <= r#"{"a":""}"#.len() + bytes_max, "{bytes_max}");
            let Ok(JsonValue::Object(members)) = read(&written) else { panic!("{written}") };
            let JsonValue::Text(value) = &members[0].1 else { panic!("{written}") };
            assert!(long.starts_with(value.strip_suffix('\u{2026}').unwrap()), "{written}");
        }
        assert_eq!(text("abcdefg", 7), r#"{"a":"abcdefg"}"#);
        assert_eq!(text("abcdefgh", 7), r#"{"a":"a\u2026"}"#);
    }

    #[test]
    fn malformed_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "1 2",
            "nil",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud83e\"",
            "inf",
            "NaN",
            "-",
            "+",
            "\"a",
            "[1]]",
        ] {
            assert_eq!(read(text), Err(JsonError), "{text}");
        }
        for text in
            [" [ ] ", "{ \"a\" : [ true , false , null , -1.5e3 ] }", "\"\\b\\f\\n\\r\\t\\/\\ud83e\\udd80\""]
        {
            assert!(read(text).is_ok(), "{text}");
            for cut in 0..text.trim_end().len() {
                assert_eq!(read(text.get(..cut).unwrap()), Err(JsonError), "{text} cut at {cut}");
            }
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(JSON_DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(JSON_DEPTH_MAX + 2)), Err(JsonError));
        assert_eq!(read(&nested(1_000_000)), Err(JsonError));
    }
}
