//! Values of the routes file, and the errors found so far.
//!
//! A value that cannot be read is noted with its place, and reading goes on, so that a report has
//! every error.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::limits::ROUTE_LIST_ITEMS_MAX;
use crate::quantity::{self, QuantityError, show_duration, show_size, suggested_duration, suggested_size};

use crate::routes::error::{RouteError, RouteFault};

/// A member of a table: its name in the file, and its value.
#[derive(Clone, Copy)]
pub(super) struct Member<'d> {
    pub(super) name: &'static str,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

/// An item of a list of strings, with its place.
pub(super) type Item<'d> = (Range<usize>, &'d str);

/// The text of a file, and the errors found in it.
pub(super) struct FileReader<'t> {
    text: &'t str,
    /// The name of the route that is being read.
    pub(super) route: Option<Box<str>>,
    pub(super) errors: Vec<RouteError>,
}

impl<'t> FileReader<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, route: None, errors: Vec::new() }
    }

    /// Returns the line and the column of a byte.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// Notes an error.
    pub(super) fn note(&mut self, span: &Range<usize>, fault: RouteFault) {
        self.note_with(span, fault, None);
    }

    /// Notes an error with a correction.
    pub(super) fn note_with(&mut self, span: &Range<usize>, fault: RouteFault, hint: Option<String>) {
        let (line, column) = self.place(span.start);
        self.errors.push(RouteError { line, column, route: self.route.clone(), fault, hint });
    }

    fn note_type(&mut self, member: Member<'_>, expected: &'static str) {
        self.note(&member.value.span(), RouteFault::Type { member: member.name, expected });
    }

    /// Notes a member that no table of its kind has.
    pub(super) fn note_unknown(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, known: &[&'static str]) {
        let given = name.get_ref();
        let hint = nearest(given, known).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.or_else(|| Some(format!("known members: {}", known.join(", "))));
        self.note_with(&name.span(), RouteFault::UnknownMember(shortened(given)), hint);
    }

    pub(super) fn string<'d>(&mut self, member: Member<'d>) -> Option<&'d str> {
        let text = member.value.get_ref().as_str();
        if text.is_none() {
            self.note_type(member, "a string");
        }
        text
    }

    pub(super) fn boolean(&mut self, member: Member<'_>) -> Option<bool> {
        let value = member.value.get_ref().as_bool();
        if value.is_none() {
            self.note_type(member, "true or false");
        }
        value
    }

    pub(super) fn table<'d>(&mut self, member: Member<'d>) -> Option<&'d DeTable<'d>> {
        let table = member.value.get_ref().as_table();
        if table.is_none() {
            self.note_type(member, "a table");
        }
        table
    }

    /// Reads a list of strings that has at least one item and none twice. Statuses may be numbers.
    pub(super) fn strings<'d>(&mut self, member: Member<'d>) -> Vec<Item<'d>> {
        const EXPECTED: &str = "a list of strings";
        let Some(list) = member.value.get_ref().as_array() else {
            self.note_type(member, EXPECTED);
            return Vec::new();
        };
        if list.is_empty() {
            self.note(&member.value.span(), RouteFault::EmptyList(member.name));
        }
        if list.len() > ROUTE_LIST_ITEMS_MAX {
            self.note(&member.value.span(), RouteFault::TooManyItems(member.name));
            return Vec::new();
        }
        let mut items: Vec<Item<'d>> = Vec::with_capacity(list.len());
        for value in list.iter() {
            let text = match value.get_ref() {
                DeValue::String(text) => Some(&**text),
                DeValue::Integer(number) if member.name == "statuses" => Some(number.as_str()),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => None,
            };
            match text {
                None => {
                    self.note(&value.span(), RouteFault::Type { member: member.name, expected: EXPECTED })
                }
                Some(text) if items.iter().any(|(_, known)| *known == text) => {
                    let fault = RouteFault::Repeated { member: member.name, item: shortened(text) };
                    self.note(&value.span(), fault);
                }
                Some(text) => items.push((value.span(), text)),
            }
        }
        items
    }

    /// Notes an item of a list that does not have the form of its list.
    pub(super) fn note_item(&mut self, member: Member<'_>, item: &Item<'_>, expected: &'static str) {
        let fault = RouteFault::Item { member: member.name, item: shortened(item.1), expected };
        self.note(&item.0, fault);
    }

    /// Reads a duration: text with a unit, or a number of seconds.
    pub(super) fn duration(
        &mut self,
        member: Member<'_>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.quantity_text(member, "a duration, such as \"250ms\" or \"30s\"")?;
        let value = quantity::duration(text)
            .map_err(|error| self.note_quantity(member, error, suggested_duration(text)));
        self.within(member, value.ok()?, bounds, |value| show_duration(*value))
    }

    /// Reads a size: text with a unit, or a number of bytes.
    pub(super) fn size(&mut self, member: Member<'_>, bounds: RangeInclusive<usize>) -> Option<usize> {
        let text = self.quantity_text(member, "a size, such as \"64KiB\" or \"1MiB\"")?;
        let value =
            quantity::size(text).map_err(|error| self.note_quantity(member, error, suggested_size(text)));
        self.within(member, value.ok()?, bounds, |value| show_size(*value))
    }

    fn quantity_text<'d>(&mut self, member: Member<'d>, expected: &'static str) -> Option<&'d str> {
        match member.value.get_ref() {
            DeValue::String(text) => Some(text),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.note_type(member, expected);
                None
            }
        }
    }

    fn note_quantity(&mut self, member: Member<'_>, error: QuantityError, suggestion: Option<String>) {
        let hint = suggestion.map(|suggestion| format!("did you mean `{suggestion}`?"));
        self.note_with(&member.value.span(), RouteFault::Quantity { member: member.name, error }, hint);
    }

    fn within<T: PartialOrd>(
        &mut self,
        member: Member<'_>,
        value: T,
        bounds: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let member_name = member.name;
        if value < *bounds.start() {
            let bound = show(bounds.start());
            self.note(&member.value.span(), RouteFault::Below { member: member_name, bound });
            None
        } else if value > *bounds.end() {
            let bound = show(bounds.end());
            self.note(&member.value.span(), RouteFault::Above { member: member_name, bound });
            None
        } else {
            Some(value)
        }
    }
}

/// Returns the word that a misspelt one may mean.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near_enough = 3.min(word.chars().count() / 3);
    let errors = |known: &str| strsim::osa_distance(&word.to_lowercase(), known);
    let candidates = known.iter().map(|known| (errors(known), *known));
    candidates
        .filter(|(errors, _)| *errors <= near_enough)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, known)| known)
}

/// Returns a text that fits into one line of a report.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() { format!("{shown}…") } else { shown }
}
