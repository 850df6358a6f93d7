//! The printed form of an explanation: one line a fact, one line a rule, in columns.
//!
//! The text comes from the network, so control characters are replaced: a terminal would obey them.

use std::fmt;
use std::iter;
use std::time::{Duration, UNIX_EPOCH};

use crate::json::{self, JsonError, JsonValue};

/// The facts and rules of one answer.
#[derive(Debug)]
pub struct AdminReport {
    /// Names and values.
    facts: Vec<[String; 2]>,
    /// The decision, the rule, its reason, its clause.
    rules: Vec<[String; 4]>,
}

impl AdminReport {
    pub(super) fn new(status: &str) -> Self {
        let mut report = Self { facts: Vec::new(), rules: Vec::new() };
        report.add_fact("answer", status);
        report
    }

    /// Returns the report of an answer that is one document.
    pub(super) fn of(status: &str, document: &JsonValue) -> Self {
        let mut report = Self::new(status);
        report.add(document);
        report
    }

    /// Adds a fact.
    pub(super) fn add_fact(&mut self, name: &str, value: &str) {
        self.facts.push([printable(name), printable(value)]);
    }

    /// Adds everything in an explanation.
    pub(super) fn explain(&mut self, explanation: &str) -> Result<(), JsonError> {
        let explanation = json::read(explanation)?;
        if !matches!(explanation, JsonValue::Object(_)) {
            return Err(JsonError);
        }
        self.add(&explanation);
        Ok(())
    }

    fn add(&mut self, document: &JsonValue) {
        for (name, value) in document.members() {
            if name == "rules" && matches!(value, JsonValue::List(_)) {
                self.rules.extend(value.items().iter().map(rule));
            } else {
                self.facts_of(name, value);
            }
        }
    }

    /// Adds a line for each leaf, named by its path.
    fn facts_of(&mut self, name: &str, value: &JsonValue) {
        match value {
            JsonValue::Object(members) => {
                members.iter().for_each(|(member, value)| self.facts_of(&format!("{name}.{member}"), value));
            }
            JsonValue::List(items) if items.is_empty() => self.add_fact(name, NONE),
            JsonValue::List(items) if items.iter().all(|item| matches!(item, JsonValue::Object(_))) => {
                items.iter().for_each(|item| self.facts_of(name, item));
            }
            JsonValue::List(items) => {
                let words: Vec<_> = items.iter().map(|item| leaf(name, item)).collect();
                self.add_fact(name, &words.join(", "));
            }
            JsonValue::Text(_) | JsonValue::Plain(_) => self.add_fact(name, &leaf(name, value)),
        }
    }
}

/// The text for an absent value.
const NONE: &str = "(none)";

fn leaf(name: &str, value: &JsonValue) -> String {
    match value {
        JsonValue::Text(text) => text.clone(),
        JsonValue::Plain(plain) if plain == "null" => NONE.to_owned(),
        JsonValue::Plain(number) if name.ends_with(".received") => date(number),
        // A value in seconds has milliseconds; a count is whole.
        JsonValue::Plain(number) if number.contains('.') => format!("{number} s"),
        JsonValue::Plain(plain) => plain.clone(),
        JsonValue::List(_) | JsonValue::Object(_) => String::new(),
    }
}

/// Formats seconds since the epoch as an HTTP date.
fn date(seconds: &str) -> String {
    let whole = seconds.split('.').next().and_then(|whole| whole.parse().ok());
    let moment = whole.and_then(|whole| UNIX_EPOCH.checked_add(Duration::from_secs(whole)));
    moment.filter(|moment| *moment < year_10000()).map_or_else(|| seconds.to_owned(), httpdate::fmt_http_date)
}

/// Returns the first moment that an HTTP date cannot express: it has four digits for the year.
fn year_10000() -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

fn rule(rule: &JsonValue) -> [String; 4] {
    ["says", "rule", "because", "clause"].map(|column| match rule {
        JsonValue::Object(members) => {
            let member = members.iter().find(|(name, _)| name == column);
            member.map(|(_, value)| printable(&leaf(column, value))).unwrap_or_default()
        }
        JsonValue::Text(_) | JsonValue::Plain(_) | JsonValue::List(_) => String::new(),
    })
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

impl fmt::Display for AdminReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        columns(f, &self.facts)?;
        if !self.rules.is_empty() {
            writeln!(f)?;
        }
        columns(f, &self.rules)
    }
}

/// Writes each column as wide as its widest cell, except for the last.
fn columns<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width =
        |column: usize| rows.iter().flat_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        let cells: String =
            iter::zip(row, &widths).map(|(cell, &width)| format!("{cell:width$}  ")).collect();
        writeln!(f, "{}", cells.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_fact_and_each_rule() {
        let mut report = AdminReport::new("200 OK");
        let explanation = r#"{"route":"cached","key":{"target":"/a"},"variant":{"fields":{"accept":null,"x":{"digest":"ab"}}},
            "stored":{"received":784111777.5,"age":1.500,"obligations":["shared","no-cache"]},"fetched":{"obligations":[]},
            "rules":[{"rule":"reuse","says":"no","because":"expired","clause":"RFC 9111 \u00a74.2"},
                     {"rule":"store","says":"yes","because":"storable","clause":"RFC 9111 \u00a73"}]}"#;
        report.explain(explanation).unwrap();
        assert_eq!(
            report.to_string(),
            "\
answer                   200 OK
route                    cached
key.target               /a
variant.fields.accept    (none)
variant.fields.x.digest  ab
stored.received          Sun, 06 Nov 1994 08:49:37 GMT
stored.age               1.500 s
stored.obligations       shared, no-cache
fetched.obligations      (none)

no   reuse  expired   RFC 9111 §4.2
yes  store  storable  RFC 9111 §3
"
        );
    }

    #[test]
    fn malformed_explanations_print_no_control_characters() {
        let mut report = AdminReport::new("200 \u{1b}[2J");
        for explanation in [
            r#"{"a\u001b[31m":"b\u0007","x.received":99999999999999999999,"y.received":999999999999}"#,
            r#"{"rules":[1,"a",[],{},{"says":1,"because":"\n"}]}"#,
            r#"{"rules":"none","a":[[1],{}]}"#,
        ] {
            report.explain(explanation).unwrap();
        }
        let text = report.to_string();
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
        for explanation in ["", "[]", "1", "{", "\"a\""] {
            assert_eq!(report.explain(explanation), Err(JsonError), "{explanation}");
        }
    }
}
