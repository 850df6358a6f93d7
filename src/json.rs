//! A little JSON: objects written by hand, and read back to be shown.
//!
//! What is written is ASCII without control characters, so it may stand in a header field, and each text in it has a
//! bound. What is read is foreign: it is well-formed and not nested too deeply, or it is [`Malformed`]. Numbers are
//! kept as they are written. Bodies are never read here; whether they are JSON is for `entry` to say.

use std::fmt::{Display, Write};
use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

use crate::limits::JSON_DEPTH_MAX;

/// What is put behind a text that was cut.
const CUT: &str = "\\u2026";

/// An object that is being written, member by member.
pub struct Object<'a> {
    text: &'a mut String,
    /// What stands before the next member.
    before: char,
}

/// Writes an object.
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = String::new();
    put_object(&mut text, fill);
    text
}

impl Object<'_> {
    /// A text. Of one that is longer than `bytes_max` in its escaped form, the beginning and `…`.
    pub fn text(&mut self, name: &str, value: &str, bytes_max: usize) {
        self.name(name, bytes_max);
        put_text(self.text, value, bytes_max);
    }

    /// One of our own words.
    pub fn word(&mut self, name: &str, word: &'static str) {
        self.text(name, word, usize::MAX);
    }

    /// Seconds, to the millisecond.
    pub fn seconds(&mut self, name: &str, duration: Duration) {
        self.plain(name, format_args!("{}.{:03}", duration.as_secs(), duration.subsec_millis()));
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.plain(name, number);
    }

    /// A number with a part, to four digits behind the point; what is no number is nothing.
    pub fn ratio(&mut self, name: &str, ratio: f64) {
        if ratio.is_finite() {
            self.plain(name, format_args!("{ratio:.4}"));
        } else {
            self.plain(name, "null");
        }
    }

    /// `true`.
    pub fn set(&mut self, name: &str) {
        self.plain(name, true);
    }

    /// Nothing.
    pub fn null(&mut self, name: &str, bytes_max: usize) {
        self.name(name, bytes_max);
        self.text.push_str("null");
    }

    /// An object.
    pub fn object(&mut self, name: &str, bytes_max: usize, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name, bytes_max);
        put_object(self.text, fill);
    }

    /// A list of our own words.
    pub fn words(&mut self, name: &str, words: impl Iterator<Item = &'static str>) {
        self.list(name, words, |text, word| put_text(text, word, usize::MAX));
    }

    /// A list of texts, each with the bound of [`Object::text`].
    pub fn texts<'t>(&mut self, name: &str, texts: impl Iterator<Item = &'t str>, bytes_max: usize) {
        self.list(name, texts, |text, item| put_text(text, item, bytes_max));
    }

    /// A list of whole numbers.
    pub fn numbers(&mut self, name: &str, numbers: impl Iterator<Item = u64>) {
        self.list(name, numbers, put);
    }

    /// A list of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
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

fn put_object(text: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object { text, before: '{' };
    fill(&mut object);
    if object.before == '{' {
        text.push('{');
    }
    text.push('}');
}

/// The one escaper: between quotes, ASCII, no control character (RFC 8259 §7).
fn put_text(text: &mut String, value: &str, bytes_max: usize) {
    text.push('"');
    let begin = text.len();
    // Up to here, the mark of a cut has room behind it.
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
    // Writing to a String does not fail.
    let _ = write!(text, "{value}");
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, `true`, `false` or `null`, as it was written.
    Plain(String),
    /// A list.
    List(Vec<Value>),
    /// An object: its members in their order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// A member of an object, by its name: the first, if there are several.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => {
                members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
            }
            Self::Text(_) | Self::Plain(_) | Self::List(_) => None,
        }
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            Self::Text(_) | Self::Plain(_) | Self::List(_) => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Text(_) | Self::Plain(_) | Self::Object(_) => &[],
        }
    }

    /// A text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Plain(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// A number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Plain(plain) => plain.parse().ok(),
            Self::Text(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

/// Not JSON, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON")]
pub struct Malformed;

/// Reads one value, and nothing behind it.
pub fn read(text: &str) -> Result<Value, Malformed> {
    let mut reader = Reader(text.chars().peekable());
    let value = reader.value(0)?;
    reader.space();
    reader.0.next().map_or(Ok(value), |_| Err(Malformed))
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > JSON_DEPTH_MAX {
            return Err(Malformed);
        }
        self.space();
        match self.0.peek() {
            Some('"') => self.text().map(Value::Text),
            Some('[') => self.members('[', ']', |reader| reader.value(depth + 1)).map(Value::List),
            Some('{') => self.members('{', '}', |reader| reader.member(depth + 1)).map(Value::Object),
            Some(_) => self.plain().map(Value::Plain),
            None => Err(Malformed),
        }
    }

    fn member(&mut self, depth: usize) -> Result<(String, Value), Malformed> {
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
        one: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
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
                Some(_) | None => return Err(Malformed),
            }
        }
    }

    fn plain(&mut self) -> Result<String, Malformed> {
        let mut plain = String::new();
        while let Some(letter) =
            self.0.next_if(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(*letter))
        {
            plain.push(letter);
        }
        let known = matches!(plain.as_str(), "true" | "false" | "null");
        let number = plain.parse::<f64>().is_ok_and(f64::is_finite);
        if known || number { Ok(plain) } else { Err(Malformed) }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        self.expect('"')?;
        let mut units = Vec::new();
        loop {
            match self.0.next().ok_or(Malformed)? {
                '"' => return String::from_utf16(&units).map_err(|_| Malformed),
                '\\' => units.push(self.escaped()?),
                control if control < ' ' => return Err(Malformed),
                letter => units.extend_from_slice(letter.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escaped(&mut self) -> Result<u16, Malformed> {
        let letter = match self.0.next().ok_or(Malformed)? {
            'u' => return self.unit(),
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            letter @ ('"' | '\\' | '/') => letter,
            _ => return Err(Malformed),
        };
        u16::try_from(u32::from(letter)).map_err(|_| Malformed)
    }

    fn unit(&mut self) -> Result<u16, Malformed> {
        (0..4).try_fold(0, |unit: u16, _| {
            let digit = self.0.next().and_then(|letter| letter.to_digit(16)).ok_or(Malformed)?;
            Ok(unit << 4 | u16::try_from(digit).map_err(|_| Malformed)?)
        })
    }

    fn expect(&mut self, letter: char) -> Result<(), Malformed> {
        self.0.next_if_eq(&letter).map_or(Err(Malformed), |_| Ok(()))
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
    fn an_object_of_each_kind() {
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
        let Ok(Value::Object(members)) = read(&written) else { panic!("no object") };
        assert_eq!(members.len(), 13);
        assert_eq!(members[1], ("seconds".to_owned(), Value::Plain("12.034".to_owned())));
        assert_eq!(read(&object(|_| {})), Ok(Value::Object(Vec::new())));
    }

    #[test]
    fn a_value_is_what_it_is_and_nothing_else() {
        let value = read(r#"{"text":"a","number":1.5,"list":[1,"b"],"text":"c"}"#).unwrap();
        assert_eq!(value.members().len(), 4);
        let member = |name| value.member(name).unwrap();
        assert_eq!((member("text").as_text(), member("text").as_number()), (Some("a"), None));
        assert_eq!((member("number").as_number(), member("number").as_text()), (Some(1.5), None));
        assert_eq!((member("list").items().len(), member("list").members().len()), (2, 0));
        assert_eq!((value.member("none"), value.items().len(), member("list").member("a")), (None, 0, None));
    }

    #[test]
    fn whatever_is_written_is_fit_for_a_header_and_comes_back() {
        for value in ["", "a b", "\"\\/", "\u{0}\n\r\t\u{7f}", "§ 5.2 \u{e9}\u{20ac}", "\u{1f980}\u{ffff}"] {
            let written = text(value, 1000);
            assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{written}");
            let want = vec![("a".to_owned(), Value::Text(value.to_owned()))];
            assert_eq!(read(&written), Ok(Value::Object(want)));
        }
    }

    #[test]
    fn a_text_is_cut_between_two_letters_and_shows_it() {
        let long = "\u{1f980}\"".repeat(100);
        for bytes_max in CUT.len()..200 {
            let written = text(&long, bytes_max);
            assert!(written.len() <= r#"{"a":""}"#.len() + bytes_max, "{bytes_max}");
            let Ok(Value::Object(members)) = read(&written) else { panic!("{written}") };
            let Value::Text(value) = &members[0].1 else { panic!("{written}") };
            assert!(long.starts_with(value.strip_suffix('\u{2026}').unwrap()), "{written}");
        }
        assert_eq!(text("abcdefg", 7), r#"{"a":"abcdefg"}"#);
        assert_eq!(text("abcdefgh", 7), r#"{"a":"a\u2026"}"#);
    }

    #[test]
    fn nothing_but_json_is_read() {
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
            assert_eq!(read(text), Err(Malformed), "{text}");
        }
        for text in
            [" [ ] ", "{ \"a\" : [ true , false , null , -1.5e3 ] }", "\"\\b\\f\\n\\r\\t\\/\\ud83e\\udd80\""]
        {
            assert!(read(text).is_ok(), "{text}");
            for cut in 0..text.trim_end().len() {
                assert_eq!(read(text.get(..cut).unwrap()), Err(Malformed), "{text} cut at {cut}");
            }
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(JSON_DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(JSON_DEPTH_MAX + 2)), Err(Malformed));
        assert_eq!(read(&nested(1_000_000)), Err(Malformed));
    }
}
