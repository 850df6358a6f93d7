//! A writer of JSON objects.
//!
//! The text is ASCII without control characters, so that a header field can carry it, and each
//! string has a maximum length. serde_json reads foreign JSON; `entry` checks that bodies are JSON.

use std::fmt::{Display, Write};
use std::time::Duration;

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

    /// Adds milliseconds, with microseconds.
    pub fn milliseconds(&mut self, name: &str, duration: Duration) {
        let micros = duration.as_micros();
        self.plain(name, format_args!("{}.{:03}", micros / 1_000, micros % 1_000));
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

    /// Adds a list of texts, each with the maximum length of [`JsonObject::text`].
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;

    /// Returns the member of a written object.
    fn read(written: &str) -> String {
        let members: HashMap<String, String> = serde_json::from_str(written).unwrap();
        members.into_values().next().unwrap()
    }

    fn text(value: &str, bytes_max: usize) -> String {
        object(|object| object.text("a", value, bytes_max))
    }

    #[test]
    fn an_object_with_every_kind_of_member() {
        let written = object(|object| {
            object.word("word", "yes");
            object.seconds("seconds", Duration::from_micros(12_034_900));
            object.milliseconds("ms", Duration::from_nanos(1_414_364_999));
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
            r#"{"word":"yes","seconds":12.034,"ms":1414.364,"none":null,"words":["a","b"],"empty":{},"number":7,"ratio":0.3333,"no_ratio":null,"set":true,"texts":["a","b\""],"numbers":[1,18446744073709551615],"list":[{"s":1.000},{"s":2.000}],"nothing":[]}"#
        );
        let Value::Object(members) = serde_json::from_str(&written).unwrap() else { panic!("no object") };
        assert_eq!((members.len(), members.get("seconds")), (14, Some(&Value::from(12.034))));
        assert_eq!(object(|_| {}), "{}");
    }

    #[test]
    fn written_text_fits_a_header_and_reads_back() {
        for value in ["", "a b", "\"\\/", "\u{0}\n\r\t\u{7f}", "§ 5.2 \u{e9}\u{20ac}", "\u{1f980}\u{ffff}"] {
            let written = text(value, 1000);
            assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{written}");
            assert_eq!(read(&written), value);
        }
    }

    #[test]
    fn a_cut_text_ends_at_a_character_with_a_mark() {
        let long = "\u{1f980}\"".repeat(100);
        for bytes_max in CUT.len()..200 {
            let written = text(&long, bytes_max);
            assert!(written.len() <= r#"{"a":""}"#.len() + bytes_max, "{bytes_max}");
            assert!(long.starts_with(read(&written).strip_suffix('\u{2026}').unwrap()), "{written}");
        }
        assert_eq!(text("abcdefg", 7), r#"{"a":"abcdefg"}"#);
        assert_eq!(text("abcdefgh", 7), r#"{"a":"a\u2026"}"#);
    }
}
