//! The normal form of a query: the parameters that a route keeps, in the order that it sets.
//!
//! The cache key has the normal form, and so has the request to the origin: a parameter that the
//! key lacks cannot change the response that is stored under it.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// The rules for the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryRules {
    /// The parameters that are kept.
    pub filter: QueryFilter,
    /// The order of the parameters.
    pub order: QueryOrder,
}

/// The parameters of a query that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryFilter {
    /// All parameters.
    All,
    /// All parameters except these.
    Ignore(QueryNames),
    /// These parameters.
    Only(QueryNames),
}

/// Decoded names of parameters. A `*` at the end matches every name with the beginning before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryNames(pub Vec<Box<str>>);

/// The order of the parameters of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryOrder {
    /// The order of the request.
    AsSent,
    /// Sorted by the decoded name; parameters of one name keep their order.
    Sorted,
}

impl QueryNames {
    /// Returns whether a decoded name is in the list.
    pub fn contain(&self, name: &[u8]) -> bool {
        self.0.iter().any(|listed| match listed.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == listed.as_bytes(),
        })
    }
}

impl QueryRules {
    /// Returns a target's path with the normal form of its query; `None` if it has this form
    /// already. The text of a parameter never changes.
    pub fn normal_form(&self, path_and_query: &PathAndQuery) -> Option<PathAndQuery> {
        let query = path_and_query.query()?;
        if !query.is_empty() && self.is_normal(query) {
            return None;
        }
        let mut kept: Vec<&str> = query.split('&').filter(|parameter| self.keeps(parameter)).collect();
        if self.order == QueryOrder::Sorted {
            kept.sort_by_cached_key(|parameter| name(parameter).into_owned());
        }
        let (path, query) = (path_and_query.path(), kept.join("&"));
        let text = if query.is_empty() { path.to_owned() } else { [path, "?", &query].concat() };
        PathAndQuery::try_from(text).ok()
    }

    fn is_normal(&self, query: &str) -> bool {
        query.split('&').all(|parameter| self.keeps(parameter))
            && (self.order == QueryOrder::AsSent || query.split('&').map(name).is_sorted())
    }

    fn keeps(&self, parameter: &str) -> bool {
        match &self.filter {
            QueryFilter::All => true,
            QueryFilter::Ignore(names) => !names.contain(&name(parameter)),
            QueryFilter::Only(names) => names.contain(&name(parameter)),
        }
    }
}

/// Returns the decoded name of a parameter.
fn name(parameter: &str) -> Cow<'_, [u8]> {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    if !name.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(name.as_bytes());
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => *byte,
        });
    }
    Cow::Owned(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listed: &[&str]) -> QueryNames {
        QueryNames(listed.iter().map(|name| (*name).into()).collect())
    }

    fn normal(rules: &QueryRules, text: &str) -> String {
        let text: PathAndQuery = text.parse().unwrap();
        let normal = rules.normal_form(&text).unwrap_or_else(|| text.clone());
        assert_eq!(rules.normal_form(&normal), None, "{text} {normal}");
        normal.to_string()
    }

    #[test]
    fn queries_have_one_normal_form() {
        let ignore = QueryFilter::Ignore(names(&["utm_*", "fbclid"]));
        let only = QueryFilter::Only(names(&["page", "a b"]));
        let rows: &[(&QueryFilter, QueryOrder, &str, &str)] = &[
            (&ignore, QueryOrder::AsSent, "/a", "/a"),
            (&ignore, QueryOrder::AsSent, "/a?", "/a"),
            (&ignore, QueryOrder::AsSent, "/a?utm_source=x", "/a"),
            (&ignore, QueryOrder::AsSent, "/a?b=1&utm_x&c=2&fbclid=3", "/a?b=1&c=2"),
            (&ignore, QueryOrder::AsSent, "/a?%75tm_x=1&utm=2&FBCLID=3&c", "/a?utm=2&FBCLID=3&c"),
            (&ignore, QueryOrder::AsSent, "/a?b=utm_x&&c", "/a?b=utm_x&&c"),
            (&ignore, QueryOrder::AsSent, "/a?b=1;utm_x=2", "/a?b=1;utm_x=2"),
            (&only, QueryOrder::AsSent, "/a?x=1&page=2&&page=3", "/a?page=2&page=3"),
            (&only, QueryOrder::AsSent, "/a?a+b=1&a%20b=2&a%2520b=3&a%2=4", "/a?a+b=1&a%20b=2"),
            (&QueryFilter::All, QueryOrder::Sorted, "/a?b=2&a=3&b=1&%61=0", "/a?a=3&%61=0&b=2&b=1"),
            (&QueryFilter::All, QueryOrder::Sorted, "/a?b&", "/a?&b"),
            (&ignore, QueryOrder::Sorted, "/a?c=1&utm_x=2&b=3", "/a?b=3&c=1"),
        ];
        for (filter, order, text, want) in rows {
            let rules = QueryRules { filter: (*filter).clone(), order: *order };
            assert_eq!(normal(&rules, text), *want, "{text}");
        }
    }

    #[test]
    fn a_normal_query_is_not_copied() {
        let rules = QueryRules { filter: QueryFilter::Ignore(names(&["x"])), order: QueryOrder::Sorted };
        for text in ["/", "/a?a=1&b=2", "/a?a=x"] {
            assert_eq!(rules.normal_form(&text.parse().unwrap()), None, "{text}");
        }
    }
}
