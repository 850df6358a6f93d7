//! The routes file: TOML with one `[[route]]` for each route.
//!
//! Reading goes on after an error, so that a report has every error of the file with its line.

use std::ops::Range;

use http::Method;
use toml::de::{DeTable, DeValue};

use crate::label::OTHER;
use crate::limits::{ROUTE_NAME_BYTES_MAX, ROUTES_FILE_BYTES_MAX, ROUTES_MAX};

use crate::routes::digest::rules_digest;
use crate::routes::error::{RouteError, RouteFault};
use crate::routes::member::MEMBERS;
use crate::routes::pattern::{HostPattern, PathPattern, PatternError};
use crate::routes::references::DraftRoute;
use crate::routes::references::check_references;
use crate::routes::route::{OnWrite, Route, RouteMembers, WriteWait};
use crate::routes::table::RouteTable;
use crate::routes::value::{FileReader, Item, Member, shortened};

/// The members of `on_write`.
const WRITE_MEMBERS: [&str; 4] = ["purge", "purge_tags", "wait", "hold"];

impl RouteTable {
    /// Reads a routes file, and returns its routes or every error.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<RouteError>> {
        let of_file = |line: usize, fault: RouteFault, hint: &str| {
            vec![RouteError { line, column: 1, route: None, fault, hint: Some(hint.to_owned()) }]
        };
        if bytes.len() > ROUTES_FILE_BYTES_MAX {
            return Err(of_file(1, RouteFault::TooLarge, "match more paths with one pattern"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            of_file(line, RouteFault::NotUtf8, "save it as UTF-8")
        })?;
        if text.starts_with('\u{feff}') {
            return Err(of_file(1, RouteFault::ByteOrderMark, "save it as UTF-8 without a byte order mark"));
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut reader = FileReader::of(text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            reader.note(&span, RouteFault::Syntax(error.message().replace('\n', ", ")));
        }
        // A file that is no TOML is read no further: a half-written route would be at fault twice.
        if reader.errors.is_empty()
            && let Some(routes) = reader.document(document.get_ref())
        {
            return Ok(Self::of(routes));
        }
        let mut errors = reader.errors;
        errors.sort_by_key(|error| (error.line, error.column));
        Err(errors)
    }
}

impl FileReader<'_> {
    /// Reads the document. Returns the routes if there is no error.
    fn document<'d>(&mut self, document: &'d DeTable<'d>) -> Option<Vec<Route>> {
        let mut drafts: Vec<DraftRoute<'d>> = Vec::new();
        for member in self.members(document, &["route"]) {
            self.routes(member, &mut drafts);
        }
        if drafts.is_empty() && self.errors.is_empty() {
            self.note(&(0..0), RouteFault::NoRoutes);
        }
        check_references(self, &mut drafts);
        if !self.errors.is_empty() {
            return None;
        }
        let mut routes: Vec<_> = drafts.into_iter().map(|draft| draft.route).collect();
        for route in &mut routes {
            route.rules_digest = rules_digest(route);
        }
        Some(routes)
    }

    fn routes<'d>(&mut self, member: Member<'d>, drafts: &mut Vec<DraftRoute<'d>>) {
        let Some(list) = member.value.get_ref().as_array() else {
            let fault = RouteFault::Type { member: "route", expected: "a list of tables; write `[[route]]`" };
            return self.note(&member.value.span(), fault);
        };
        if list.len() > ROUTES_MAX {
            return self.note(&member.value.span(), RouteFault::TooManyRoutes);
        }
        for value in list.iter() {
            if let DeValue::Table(table) = value.get_ref() {
                drafts.extend(self.route(value.span(), table));
            } else {
                let fault = RouteFault::Type { member: "route", expected: "a list of tables" };
                self.note(&value.span(), fault);
            }
            self.route = None;
        }
    }

    /// Reads one route. Returns none if it has no name or no path.
    fn route<'d>(&mut self, span: Range<usize>, table: &'d DeTable<'d>) -> Option<DraftRoute<'d>> {
        // Every error of the route has its name, if the route has one.
        let name = table.iter().find(|(name, _)| name.get_ref() == "name");
        let name = name.and_then(|(_, value)| value.get_ref().as_str()).filter(|name| is_name(name));
        self.route = name.map(Into::into);
        let members = self.members(table, &MEMBERS);
        let member = |name: &str| members.iter().find(|member| member.name == name).copied();
        let name = member("name").map(|member| self.name(member));
        for (missing, member) in [("name", member("name")), ("path", member("path"))] {
            if member.is_none() {
                self.note(&span, RouteFault::Missing(missing));
            }
        }
        let methods = match member("methods") {
            Some(member) => self.methods(member),
            None => vec![Method::GET, Method::HEAD],
        };
        let host = member("host").and_then(|member| self.host(member));
        let path = member("path").and_then(|member| self.path(member));
        let mut rules = RouteMembers::default();
        let mut purged = Vec::new();
        for &member in &members {
            match member.name {
                "on_write" => {
                    if let Some((on_write, routes)) = self.on_write(member) {
                        rules.on_write = Some(on_write);
                        purged = routes;
                    }
                }
                _ => self.rule(member, &mut rules),
            }
        }
        let (line, _) = self.place(span.start);
        let members = members.iter().map(|member| (member.name, member.value.span())).collect();
        let route =
            Route { name: name??, line, methods, host, path: path?, members: rules, rules_digest: [0; 8] };
        Some(DraftRoute { route, span, purged, members })
    }

    fn name(&mut self, member: Member<'_>) -> Option<Box<str>> {
        let name = self.string(member)?;
        if name == OTHER {
            self.note(&member.value.span(), RouteFault::ReservedName);
            return None;
        }
        if is_name(name) {
            return Some(name.into());
        }
        let plain: String = name.to_lowercase().replace(['_', ' ', '.', '/'], "-");
        let hint = Some(plain).filter(|plain| is_name(plain)).map(|plain| format!("did you mean `{plain}`?"));
        self.note_with(&member.value.span(), RouteFault::Name, hint);
        None
    }

    fn host(&mut self, member: Member<'_>) -> Option<HostPattern> {
        let text = self.string(member)?;
        let read = HostPattern::parse(text);
        let lower = text.to_ascii_lowercase();
        let hint = || HostPattern::parse(&lower).is_ok().then(|| format!("did you mean `{lower}`?"));
        read.map_err(|error| self.note_with(&member.value.span(), RouteFault::Host(error), hint())).ok()
    }

    fn path(&mut self, member: Member<'_>) -> Option<PathPattern> {
        let text = self.string(member)?;
        let hint = |error: &PatternError| match error {
            PatternError::NoSlash => Some(format!("did you mean `/{}`?", shortened(text))),
            PatternError::CaptureName => Some("use `{id}`, or `{*rest}` for the remainder".to_owned()),
            PatternError::NotInPaths('?' | '#') => {
                Some("a route matches the path without its query".to_owned())
            }
            PatternError::TooLong
            | PatternError::Segments
            | PatternError::Captures
            | PatternError::EmptySegment
            | PatternError::DotSegment
            | PatternError::Ambiguous(_)
            | PatternError::NotInPaths(_)
            | PatternError::Percent
            | PatternError::PartOfSegment
            | PatternError::RepeatedCapture
            | PatternError::BehindRest
            | PatternError::Host => None,
        };
        let read = PathPattern::parse(text);
        read.map_err(|error| self.note_with(&member.value.span(), RouteFault::Path(error), hint(&error))).ok()
    }

    /// Reads `on_write`. The names of the purged routes are resolved when all routes are read.
    fn on_write<'d>(&mut self, member: Member<'d>) -> Option<(OnWrite, Vec<Item<'d>>)> {
        let table = self.table(member)?;
        let mut purged = Vec::new();
        let mut on_write =
            OnWrite { purge: Vec::new(), purge_tags: Vec::new(), wait: WriteWait::None, hold: None };
        let members = self.members(table, &WRITE_MEMBERS);
        let has = |name: &str| members.iter().any(|member| member.name == name);
        if !has("purge") && !has("purge_tags") {
            self.note(&member.value.span(), RouteFault::EmptyWrite);
        }
        for member in members {
            match member.name {
                "purge" => purged = self.strings(member),
                "purge_tags" => on_write.purge_tags = self.tags(member),
                "wait" => {
                    if self.boolean(member) == Some(true) {
                        on_write.wait = WriteWait::Confirmed;
                    }
                }
                _ => on_write.hold = self.hold(member),
            }
        }
        if on_write.hold.is_some() && on_write.wait == WriteWait::None {
            self.note(&member.value.span(), RouteFault::HoldWithoutWait);
        }
        Some((on_write, purged))
    }
}

fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=ROUTE_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_name)
}
