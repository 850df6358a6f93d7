//! Properties of matching over generated routes and paths.

use http::Method;
use proptest::prelude::*;

use crate::routes::RouteTable;
use crate::routes::tests::table;

/// Returns a route for each path.
fn routes(paths: &[String]) -> String {
    let route = |(at, path): (usize, &String)| format!("[[route]]\nname = 'r{at}'\npath = '{path}'\n");
    paths.iter().enumerate().map(route).collect()
}

/// Segments of patterns and of paths, few enough that they meet.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop_oneof![Just("a"), Just("b"), Just("accounts"), Just("long-literal-1"), Just("long-literal-2")]
            .prop_map(str::to_owned),
        2 => Just("{}".to_owned()),
    ]
}

/// Returns a pattern: its captures get names of their position.
fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 1..5), prop::bool::weighted(0.2)).prop_map(
        |(segments, ends_with_rest)| {
            let mut pattern = String::new();
            for (at, segment) in segments.iter().enumerate() {
                pattern.push('/');
                pattern += &if segment == "{}" { format!("{{x{at}}}") } else { segment.clone() };
            }
            if ends_with_rest {
                pattern += "/{*rest}";
            }
            pattern
        },
    )
}

/// Returns the rank of a pattern by a second implementation: literals before captures before
/// remainders, segment by segment. None if the path does not match.
fn rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let mut rank = Vec::new();
    for (at, segment) in pattern.iter().enumerate() {
        let given = path.get(at)?;
        if segment.starts_with("{*") {
            rank.push(2);
            return Some(rank);
        }
        match segment.starts_with('{') {
            true if given.is_empty() => return None,
            true => rank.push(1),
            false if segment == given => rank.push(0),
            false => return None,
        }
    }
    (pattern.len() == path.len()).then_some(rank)
}

/// Another spelling of a path that some origin reads as the path itself.
#[derive(Clone, Debug)]
enum Respelling {
    Encode(usize),
    EncodeTwice(usize),
    EncodedSlash(usize),
    Backslash(usize),
    DoubleSlash(usize),
    Dot(usize),
    DotDot(usize),
    EncodedDotDot(usize),
    Parameter(usize),
    EncodedParameter(usize),
    UpperCase(usize),
    FinalSlash,
    Suffix(&'static str),
}

fn respelling() -> impl Strategy<Value = Respelling> {
    let at = 0_usize..64;
    prop_oneof![
        at.clone().prop_map(Respelling::Encode),
        at.clone().prop_map(Respelling::EncodeTwice),
        at.clone().prop_map(Respelling::EncodedSlash),
        at.clone().prop_map(Respelling::Backslash),
        at.clone().prop_map(Respelling::DoubleSlash),
        at.clone().prop_map(Respelling::Dot),
        at.clone().prop_map(Respelling::DotDot),
        at.clone().prop_map(Respelling::EncodedDotDot),
        at.clone().prop_map(Respelling::Parameter),
        at.clone().prop_map(Respelling::EncodedParameter),
        at.prop_map(Respelling::UpperCase),
        Just(Respelling::FinalSlash),
        prop_oneof![Just("%00"), Just("%00.css"), Just("%0a"), Just("%3f.js"), Just("%23x"), Just(";.css")]
            .prop_map(Respelling::Suffix),
    ]
}

impl Respelling {
    fn apply(&self, path: &str) -> String {
        let slashes: Vec<_> = path.match_indices('/').map(|(at, _)| at).collect();
        let letters: Vec<_> =
            path.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_lowercase()).collect();
        let instead = |at: usize, length: usize, text: &str| {
            let (before, rest) = path.split_at(at);
            format!("{before}{text}{}", rest.split_at(length).1)
        };
        // A slash other than the first, and the end of a segment.
        let slash = |number: usize| {
            slashes.get(1..).filter(|rest| !rest.is_empty()).map(|rest| rest[number % rest.len()])
        };
        let any_slash = |number: usize| slashes[number % slashes.len()];
        let letter = |number: usize| letters.get(number % letters.len().max(1));
        match *self {
            Self::Encode(number) => {
                letter(number).map_or(path.to_owned(), |(at, byte)| instead(*at, 1, &format!("%{byte:02x}")))
            }
            Self::EncodeTwice(number) => letter(number)
                .map_or(path.to_owned(), |(at, byte)| instead(*at, 1, &format!("%25{byte:02X}"))),
            Self::EncodedSlash(number) => slash(number).map_or(path.to_owned(), |at| instead(at, 1, "%2F")),
            Self::Backslash(number) => slash(number).map_or(path.to_owned(), |at| instead(at, 1, "\\")),
            Self::DoubleSlash(number) => instead(any_slash(number), 1, "//"),
            Self::Dot(number) => instead(any_slash(number), 1, "/./"),
            Self::DotDot(number) => instead(any_slash(number), 1, "/x/../"),
            Self::EncodedDotDot(number) => instead(any_slash(number), 1, "/x/%2e%2E/"),
            Self::Parameter(number) => {
                slash(number).map_or(format!("{path};p"), |at| instead(at, 1, ";p=1/"))
            }
            Self::EncodedParameter(number) => {
                slash(number).map_or(format!("{path}%3Bp"), |at| instead(at, 1, "%3bp/"))
            }
            Self::UpperCase(number) => letter(number).map_or(path.to_owned(), |(at, byte)| {
                instead(*at, 1, &char::from(byte.to_ascii_uppercase()).to_string())
            }),
            Self::FinalSlash => format!("{path}/"),
            Self::Suffix(suffix) => format!("{path}{suffix}"),
        }
    }
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_search_of_all_patterns_finds(
        patterns in prop::collection::vec(pattern(), 1..12),
        path in prop::collection::vec(
            prop_oneof![Just("a"), Just("b"), Just("accounts"), Just("long-literal-2"), Just("c"), Just("")], 1..6),
    ) {
        let path = format!("/{}", path.join("/"));
        let mut distinct: Vec<String> = Vec::new();
        for pattern in patterns {
            // Two patterns for the paths of one are an error of the file.
            if RouteTable::parse(routes(&[&distinct[..], std::slice::from_ref(&pattern)].concat()).as_bytes()).is_ok() {
                distinct.push(pattern);
            }
        }
        let table = table(&routes(&distinct));
        let ranked = distinct.iter().enumerate().filter_map(|(at, pattern)| Some((rank(pattern, &path)?, at)));
        let want = ranked.min().map(|(_, at)| at);
        prop_assert_eq!(table.find(&Method::GET, "a", &path).index(), want, "{} in {:?}", path, distinct);
    }

    #[test]
    fn no_spelling_evades_a_route_that_forbids_storing(
        steps in prop::collection::vec(respelling(), 0..5),
        id in "[a-z0-9_-]{1,8}",
    ) {
        let table = table(
            "[[route]]\nname = 'private'\npath = '/v1/accounts/{id}'\ncache = false\n\
             [[route]]\nname = 'all'\npath = '/{*rest}'\ndefault_ttl = '1h'\n\
             [[route]]\nname = 'static'\npath = '/v1/{a}/{b}/{*rest}'\ndefault_ttl = '1h'\n",
        );
        let path = format!("/v1/accounts/{id}");
        let path = steps.iter().fold(path, |path, step| step.apply(&path));
        let found = table.find(&Method::GET, "a", &path);
        prop_assert!(found.passes_through(), "{}", path);
    }

    #[test]
    fn every_spelling_of_a_write_purges(
        steps in prop::collection::vec(respelling(), 0..3),
        id in "[a-z0-9_-]{1,8}",
    ) {
        let table = table(
            "[[route]]\nname = 'account'\npath = '/v1/accounts/{id}'\n\
             [[route]]\nname = 'pay'\npath = '/v1/accounts/{id}/payments'\nmethods = ['POST']\n\
             on_write = { purge = ['account'] }\n",
        );
        let path = steps.iter().fold(format!("/v1/accounts/{id}/payments"), |path, step| step.apply(&path));
        let stored = table.find(&Method::GET, "a", &format!("/v1/accounts/{id}")).stored_tags();
        let writes = table.find_writes(&Method::POST, "a", &path);
        let purged: Vec<_> = writes.iter().flat_map(|write| table.purged_tags(write)).collect();
        prop_assert!(stored.iter().flatten().all(|tag| purged.contains(tag)), "{} {:?} {:?}", path, stored, purged);
    }

    #[test]
    fn any_path_and_any_file_are_read(path in "\\PC*", file in prop::collection::vec(any::<u8>(), 0..200)) {
        let table = table("[[route]]\nname = 'a'\npath = '/a/{*x}'\n[[route]]\nname = 'b'\npath = '/{y}'\n");
        let found = table.find(&Method::GET, "a", &path);
        prop_assert!(!found.permits() || found.captures().count() == 1);
        prop_assert!(table.report(&Method::GET, "a", &path).lines().count() >= 2);
        prop_assert!(!RouteTable::parse(&file).is_err_and(|errors| errors.is_empty()));
    }
}
