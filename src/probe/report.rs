//! The printed form of an explanation: one line a fact, one line a rule, in columns.
//!
//! The text comes from the network, so control characters are replaced: a terminal would obey them.

use std::fmt;
use std::iter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Number, Value};

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
    pub(super) fn of(status: &str, document: &Value) -> Self {
        let mut report = Self::new(status);
        report.add(document.as_object().unwrap_or(&Map::new()));
        report
    }

    /// Adds a fact.
    pub(super) fn add_fact(&mut self, name: &str, value: &str) {
        self.facts.push([printable(name), printable(value)]);
    }

    /// Adds everything in an explanation.
    pub(super) fn explain(&mut self, explanation: &str) -> serde_json::Result<()> {
        let members: Map<String, Value> = serde_json::from_str(explanation)?;
        self.add(&members);
        Ok(())
    }

    fn add(&mut self, members: &Map<String, Value>) {
        for (name, value) in members {
            match value.as_array() {
                Some(rules) if name == "rules" => self.rules.extend(rules.iter().map(rule)),
                Some(_) | None => self.facts_of(name, value),
            }
        }
    }

    /// Adds a line for each leaf, named by its path.
    fn facts_of(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(member, value)| self.facts_of(&format!("{name}.{member}"), value));
            }
            Value::Array(items) if items.is_empty() => self.add_fact(name, NONE),
            Value::Array(items) if items.iter().all(|item| matches!(item, Value::Object(_))) => {
                items.iter().for_each(|item| self.facts_of(name, item));
            }
            Value::Array(items) => {
                let words: Vec<_> = items.iter().map(|item| leaf(name, item)).collect();
                self.add_fact(name, &words.join(", "));
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
                self.add_fact(name, &leaf(name, value));
            }
        }
    }
}

/// The text for an absent value.
const NONE: &str = "(none)";

fn leaf(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => NONE.to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => quantity(name, number),
        Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// Formats a number. A value in seconds has milliseconds; a count is whole.
fn quantity(name: &str, number: &Number) -> String {
    let seconds = number.as_f64().unwrap_or_default();
    let date = if name.ends_with(".received") { date(seconds) } else { None };
    match date {
        Some(date) => date,
        None if number.is_f64() => format!("{seconds:.3} s"),
        None => number.to_string(),
    }
}

/// Formats seconds since the epoch as an HTTP date.
fn date(seconds: f64) -> Option<String> {
    let moment = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
    (moment < year_10000()).then(|| httpdate::fmt_http_date(moment))
}

/// Returns the first moment that an HTTP date cannot express: it has four digits for the year.
fn year_10000() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

fn rule(rule: &Value) -> [String; 4] {
    ["says", "rule", "because", "clause"]
        .map(|column| rule.get(column).map(|value| printable(&leaf(column, value))).unwrap_or_default())
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
            assert!(report.explain(explanation).is_err(), "{explanation}");
        }
    }
}
