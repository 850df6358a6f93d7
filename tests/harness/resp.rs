//! The part of RESP that tests need.

use std::io::{self, BufRead};

/// A reply of RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A status, `+`.
    Simple(String),
    /// An error, `-`.
    Error(String),
    /// A number, `:`.
    Integer(i64),
    /// A bulk string, `$`.
    Bulk(Vec<u8>),
    /// An array, `*`, or a RESP3 map, set or push (`%`, `~`, `>`), flattened.
    Array(Vec<Value>),
    /// A null: `$-1`, `*-1` or `_`.
    Null,
}

impl Value {
    /// Returns a bulk reply as text.
    pub(crate) fn text(&self) -> String {
        let Self::Bulk(bytes) = self else { panic!("{self:?} where text was expected") };
        String::from_utf8(bytes.clone()).unwrap()
    }

    /// Returns an array of bulk replies as texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        let Self::Array(values) = self else { panic!("{self:?} where an array was expected") };
        values.iter().map(Self::text).collect()
    }

    /// Returns an integer reply.
    pub(crate) fn number(&self) -> i64 {
        let Self::Integer(number) = self else { panic!("{self:?} where a number was expected") };
        *number
    }
}

/// Encodes a command as an array of bulk strings.
pub(crate) fn command(arguments: &[&str]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        wire.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    wire.into_bytes()
}

/// Reads one value, or `None` at a clean end.
pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Value>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end();
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not RESP: {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(invalid)?;
    let number = || rest.parse::<i64>().map_err(|_| invalid());
    Ok(Some(match kind {
        "+" => Value::Simple(rest.to_owned()),
        "-" => Value::Error(rest.to_owned()),
        ":" => Value::Integer(number()?),
        "_" => Value::Null,
        "$" | "*" | "%" | "~" | ">" => match usize::try_from(number()?) {
            Err(_) => Value::Null,
            Ok(length) if kind == "$" => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Value::Bulk(bytes)
            }
            Ok(length) => {
                let count = if kind == "%" { 2 * length } else { length };
                let values = (0..count).map(|_| read(from)?.ok_or_else(invalid));
                Value::Array(values.collect::<io::Result<_>>()?)
            }
        },
        _ => return Err(invalid()),
    }))
}
