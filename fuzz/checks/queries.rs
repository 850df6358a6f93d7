//! The normal form of a query.

use cachewarp::key::{KeyRules, QueryFilter, QueryNames, QueryOrder, QueryRules, Target};
use http::uri::PathAndQuery;

/// Checks the normal form of a target's query against a second implementation: it has the kept
/// parameters byte for byte, in their order or sorted, it is its own normal form, and both have one
/// key.
///
/// The first byte selects the order and the filter, the first line lists names.
pub(crate) fn query_form(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let Some((listed, asked)) = text.split_once('\n') else { return };
    let Ok(path_and_query) = PathAndQuery::try_from(asked) else { return };
    let names = || QueryNames(listed.split(',').take(8).map(Into::into).collect());
    let filter = match choice / 2 % 3 {
        0 => QueryFilter::All,
        1 => QueryFilter::Ignore(names()),
        _ => QueryFilter::Only(names()),
    };
    let order = if choice % 2 == 0 { QueryOrder::AsSent } else { QueryOrder::Sorted };
    let is_kept = |parameter: &&str| {
        let name = decoded_name(parameter);
        let is_listed = names().0.iter().any(|listed| match listed.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == listed.as_bytes(),
        });
        match &filter {
            QueryFilter::All => true,
            QueryFilter::Ignore(_) => !is_listed,
            QueryFilter::Only(_) => is_listed,
        }
    };
    let mut kept: Vec<&str> =
        path_and_query.query().map(|query| query.split('&').filter(is_kept).collect()).unwrap_or_default();
    if order == QueryOrder::Sorted {
        kept.sort_by_key(|parameter| decoded_name(parameter));
    }
    let expected = kept.join("&");
    let rules = QueryRules { filter: filter.clone(), order };
    let normal = rules.normal_form(&path_and_query).unwrap_or_else(|| path_and_query.clone());
    assert_eq!(normal.path(), path_and_query.path(), "the path changes");
    assert_eq!(normal.query().unwrap_or_default(), expected, "other parameters than the kept ones");
    assert_eq!(rules.normal_form(&normal), None, "the normal form has another one");

    let Ok(mut target) = Target::of_url("http://api.test/") else { return };
    target.path_and_query = path_and_query;
    let keys = KeyRules::default().with(&[], Some(rules));
    let sent = keys.asked(target.clone());
    assert!(keys.is_asked(&sent), "the origin is asked for another target");
    assert_eq!(keys.resource(&target), keys.resource(&sent), "the key is that of another target");
    assert_eq!(sent.path_and_query, normal, "the origin is asked for another query");
}

/// Decodes the name of a parameter.
fn decoded_name(parameter: &str) -> Vec<u8> {
    let name = &parameter.as_bytes()[..parameter.find('=').unwrap_or(parameter.len())];
    let digit = |at: usize| char::from(*name.get(at)?).to_digit(16);
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < name.len() {
        match (name[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(16 * high + low).unwrap_or_default());
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}
