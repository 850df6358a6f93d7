//! A table of 200 routes, and the paths whose routes are found: shared by the criterion bench and
//! the count of instructions.

use cachewarp::routes::RouteTable;
use http::Method;

const COLLECTIONS: [&str; 10] = [
    "accounts",
    "rates",
    "payments",
    "quotes",
    "customers",
    "invoices",
    "ledgers",
    "transfers",
    "cards",
    "limits",
];

/// The name of each case, and its path.
pub(crate) const PATHS: [(&str, &str); 7] = [
    ("two-segments", "/v1/rates-5"),
    ("capture", "/v1/rates-5/EURUSD"),
    ("four-segments", "/v1/transfers-35/4711/items"),
    ("uuid", "/v1/accounts-1/8a7f0e12-1111-4222-8333-123456789abc/items/17"),
    ("encoded", "/v1/rates-5/EUR%20USD"),
    ("no-route", "/other/path"),
    ("not-plain", "/v1/accounts-1/42;x"),
];

/// Returns 200 routes of an API: 50 collections, each with four paths.
pub(crate) fn table() -> Option<RouteTable> {
    let mut text = String::new();
    for (at, name) in COLLECTIONS.iter().flat_map(|name| [name; 5]).enumerate() {
        for (index, path) in ["", "/{id}", "/{id}/items", "/{id}/items/{item}"].iter().enumerate() {
            text += &format!("[[route]]\nname = 'r{at}-{index}'\npath = '/v1/{name}-{at}{path}'\n");
        }
    }
    RouteTable::parse(text.as_bytes()).ok()
}

/// Finds the route of a `GET`, and returns a number that depends on the result.
pub(crate) fn find(table: &RouteTable, path: &str) -> usize {
    let found = table.find(&Method::GET, "api.example.com", path);
    found.index().unwrap_or_default() + usize::from(found.passes_through())
}
