//! The report of a survey, for a terminal of 100 columns.

use std::cmp::Reverse;
use std::fmt;

use crate::label::Label;
use crate::limits::SURVEY_NAMES_MAX;
use crate::request_fields::FieldClass;

use super::tally::{FieldEffect, FieldTally, NameCount};

/// The width of the column of names; a longer name is cut.
const NAME_COLUMNS_MAX: usize = 40;
/// The width of the file's name.
const SOURCE_COLUMNS_MAX: usize = 50;
/// The width of a line with a list of names.
const LIST_COLUMNS: usize = 92;
/// The most names in the list of fields that allow default freshness.
const HARMLESS_ROWS_MAX: usize = 40;
/// The most names in the list of fields that prevent it.
const PREVENTING_ROWS_MAX: usize = 60;

/// The report of a survey.
#[derive(Debug)]
pub struct SurveyReport {
    source: String,
    tally: FieldTally,
    lines_left_out: u64,
}

/// A field name with its counts.
type CountedName<'a> = (&'a str, NameCount);

impl SurveyReport {
    pub(super) fn new(source: &str, tally: FieldTally, lines_left_out: u64) -> Self {
        let source = source.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter });
        let mut source: Vec<char> = source.collect();
        // The end of a path identifies a file better than its beginning.
        if let Some(surplus) = source.len().checked_sub(SOURCE_COLUMNS_MAX) {
            source.splice(..=surplus, ['…']);
        }
        Self { source: source.into_iter().collect(), tally, lines_left_out }
    }

    /// Returns the names of fields with this effect, the most frequent first.
    fn rows(&self, effect: FieldEffect) -> Vec<CountedName<'_>> {
        let counted = self.tally.names.iter().map(|(name, count)| (name.as_str(), *count));
        let mut rows: Vec<_> = counted.filter(|(_, count)| FieldEffect::of(count.class) == effect).collect();
        rows.sort_by_key(|(_, count)| Reverse((count.requests, count.alone)));
        rows
    }

    fn totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, tally, lines_left_out } = self;
        let noun = if tally.requests == 1 { "request" } else { "requests" };
        writeln!(f, "{} {noun} with GET or HEAD in {source}", grouped(tally.requests))?;
        if tally.other_methods > 0 {
            writeln!(f, "  not counted: {} with other methods", grouped(tally.other_methods))?;
        }
        if *lines_left_out > 0 {
            writeln!(f, "  not counted: {} log lines without headers", grouped(*lines_left_out))?;
        }
        let can = tally.requests - tally.prevented;
        writeln!(f, "Default freshness (cache_default_ttl):")?;
        writeln!(f, "  {:>11}  {:>7}  can be answered from the cache", grouped(can), self.share(can))?;
        let prevented = tally.prevented;
        writeln!(f, "  {:>11}  {:>7}  cannot, because of a field", grouped(prevented), self.share(prevented))
    }

    fn share(&self, requests: u64) -> String {
        percent(requests, self.tally.requests)
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, rows: &[CountedName<'_>], rows_max: usize) -> fmt::Result {
        let shown = rows.get(..rows_max).unwrap_or(rows);
        let preventing = shown.iter().any(|(_, count)| FieldEffect::of(count.class) == FieldEffect::Prevents);
        let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let width = width.clamp("field".len(), NAME_COLUMNS_MAX);
        let last = if preventing { "  this one alone" } else { "" };
        writeln!(f, "  {:width$}  {:10}  {:>11}  {:>7}{last}", "field", "class", "requests", "share")?;
        for (name, count) in shown {
            let (class, share) = (count.class.word(), self.share(count.requests));
            let requests = grouped(count.requests);
            write!(f, "  {:width$}  {class:10}  {requests:>11}  {share:>7}", cut(name, NAME_COLUMNS_MAX))?;
            if preventing {
                write!(f, "  {:>14}", grouped(count.alone))?;
            }
            writeln!(f)?;
        }
        match rows.len() - shown.len() {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more, each in fewer requests"),
        }
    }
}

impl fmt::Display for SurveyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.totals(f)?;
        let (preventing, others) = (self.rows(FieldEffect::Prevents), self.rows(FieldEffect::Allows));
        if !preventing.is_empty() {
            writeln!(f, "\nFields that prevent it:\n")?;
            self.table(f, &preventing, PREVENTING_ROWS_MAX)?;
            advice(f, &preventing)?;
        }
        if !others.is_empty() {
            writeln!(f, "\nFields that allow it:\n")?;
            self.table(f, &others, HARMLESS_ROWS_MAX)?;
        }
        writeln!(f, "\nHEADERS.md explains the classes, and lists the names of each with its reason.")?;
        if self.tally.beyond_names > 0 {
            writeln!(
                f,
                "\nMore than {SURVEY_NAMES_MAX} names: the later ones are in the totals and not listed."
            )?;
        }
        Ok(())
    }
}

/// Writes the settings and the response fields that allow the requests to be cached.
fn advice(f: &mut fmt::Formatter<'_>, preventing: &[CountedName<'_>]) -> fmt::Result {
    let of = |class| {
        let rows = preventing.iter().filter(move |(_, count)| count.class == class);
        rows.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let (unlisted, credentials) = (of(FieldClass::Unlisted), of(FieldClass::Credential));
    writeln!(f, "\nTo cache these requests:\n")?;
    if !unlisted.is_empty() {
        writeln!(f, "  unlisted: CacheWarp does not know these fields, so each may identify the caller.")?;
        writeln!(f, "    key_headers={}", listed(&unlisted))?;
        writeln!(f, "      is always safe: CacheWarp stores an answer for every value of the field.")?;
        writeln!(f, "    harmless_headers=<names>")?;
        writeln!(f, "      is for fields that never change an answer. The origin does not receive them if")?;
        writeln!(f, "      its answer can be shared.")?;
        writeln!(f, "    Or the origin states freshness (Cache-Control: max-age=60) and names in Vary the")?;
        writeln!(f, "      fields that its answer depends on.")?;
    }
    if !credentials.is_empty() {
        writeln!(f, "  credential: these fields identify the caller, so the answer may be for one caller.")?;
        writeln!(
            f,
            "    If it is for all callers, the origin states it: Cache-Control: public, max-age=60."
        )?;
    }
    let harmless: Vec<_> = credentials.iter().copied().filter(|name| may_be_harmless(name)).collect();
    if !harmless.is_empty() {
        writeln!(f, "    harmless_headers={}", listed(&harmless))?;
        writeln!(f, "      if they change no answer: X-Forwarded-* of proxies, baggage of tracing.")?;
    }
    if credentials.contains(&"cookie") {
        writeln!(f, "    Cookies that change no answer (analytics, consent) go into ignored_cookies.")?;
    }
    Ok(())
}

/// Returns whether `harmless_headers` may name this credential: proxies and tracers add some of
/// them without reference to a caller.
fn may_be_harmless(name: &str) -> bool {
    let is_forwarded = name.starts_with("x-forwarded-") && name != "x-forwarded-client-cert";
    is_forwarded || ["baggage", "correlation-context"].contains(&name)
}

/// Returns a comma-separated list of the names that fit on a line.
fn listed(names: &[&str]) -> String {
    let mut list = String::new();
    for name in names {
        if list.len() + name.len() + ",…".len() > LIST_COLUMNS - "    key_headers=".len() {
            list.push_str(if list.is_empty() { "<names>" } else { ",…" });
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(name);
    }
    list
}

/// Cuts a text to a number of columns, with `…` at its end.
fn cut(text: &str, columns_max: usize) -> String {
    match text.char_indices().nth(columns_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(columns_max - 1).chain(['…']).collect(),
    }
}

/// Formats a whole number with a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a part of a whole in percent, with one decimal. Only the whole is 100 %, and only zero
/// is 0 %.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    let thousandths = match (part * 2000 + whole) / (whole * 2) {
        0 if part > 0 => return "<0.1 %".to_owned(),
        1000 if part < whole => 999,
        thousandths => thousandths,
    };
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}
