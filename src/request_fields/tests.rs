//! Tests of the classes, and of the generated document.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::label::Label;

fn name(text: &str) -> HeaderName {
    HeaderName::from_bytes(text.as_bytes()).unwrap()
}

fn names(texts: &[&str]) -> Vec<HeaderName> {
    texts.iter().map(|text| name(text)).collect()
}

/// Returns the classes with operator's names in `credential_headers`, `key_headers` and
/// `harmless_headers`.
fn fields() -> RequestFields {
    RequestFields::new(
        &names(&["x-api-key", "my_token", "origin"]),
        &names(&["x-tenant", "my_key", "accept-language", "x-forwarded-prefix"]),
        &names(&["x-app-version", "x-forwarded-server", "via"]),
    )
}

#[test]
fn each_name_has_one_class() {
    use FieldClass::{Connection, Credential, Dropped, Key, Sent, Unlisted, Withheld};
    let rows = [
        (
            Sent,
            "accept user-agent referer sec-fetch-site sec-fetch-anything sec-ch-ua-arch cache-control dnt",
        ),
        (Withheld, "traceparent x-b3-traceid x-b3-new x-datadog-new x-request-id x-real-ip forwarded cf-ray"),
        (Withheld, "x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-amzn-trace-id"),
        (Withheld, "x_request_id x_forwarded_for x_b3_new"),
        (Dropped, "range if-none-match x-host x-original-url x-original-anything x-rewrite-target"),
        (Dropped, "x-http-method-override x-http-anything-override x_original_user x_http_method_override"),
        (Dropped, "accept_encoding sec_ch_ua user_agent"),
        (
            Credential,
            "authorization cookie baggage sec-token-binding sec_token_binding x_goog_iap_jwt_assertion",
        ),
        (
            Credential,
            "x-forwarded-user x-forwarded-access-token x-forwarded-client-cert x_forwarded_user client-cert client_cert client-cert-chain",
        ),
        (Credential, "x-amzn-oidc-data x-goog-authenticated-user-email cf-access-jwt-assertion"),
        (Unlisted, "x-auth-token apikey private-token x-session-id x-tenant-id remote-user dpop"),
        (
            Unlisted,
            "x_auth_token sec-ch sec-fetch x-b3 x-envoy-new x-amz-new cf-new x-azure-new x-http-override-x",
        ),
        (Connection, "host content-length connection te expect transfer_encoding http2-settings"),
        // The names that the operator configures.
        (Credential, "x-api-key x_api_key x-api_key my-token my_token origin"),
        (Key, "x-tenant my_key accept-language x-forwarded-prefix"),
        (Dropped, "x_tenant my-key accept_language x_forwarded_prefix"),
        (Withheld, "x-app-version x-forwarded-server via x_app_version"),
        (Unlisted, "x-api-keys xapikey x.api.key x-tenants"),
    ];
    for (class, texts) in rows {
        for text in texts.split(' ') {
            assert_eq!(fields().class(&name(text)), class, "{text}");
        }
    }
}

#[test]
fn fields_that_state_the_clients_address_are_recognised() {
    for text in [
        "forwarded",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-user",
        "x_forwarded_user",
        "x_real_ip",
        "client-cert",
        "client_cert_chain",
    ] {
        assert!(is_forwarding_field(&name(text)), "{text}");
    }
    for text in ["forward", "x-forwarded", "x-real-ips", "x-request-id", "f", "x"] {
        assert!(!is_forwarding_field(&name(text)), "{text}");
    }
}

/// The cache admission and the head for the origin agree on the fields of the connection.
#[test]
fn hop_by_hop_fields_belong_to_the_connection() {
    for group in TABLE {
        for text in group.names {
            let is_the_connections = group.class == FieldClass::Connection;
            let is_written_anew = ["host", "content-length", "expect", "http2-settings"].contains(text);
            assert_eq!(crate::hop::is_hop_by_hop(text) || is_written_anew, is_the_connections, "{text}");
        }
    }
}

#[test]
fn the_table_lists_each_name_once_in_lower_case() {
    let listed: Vec<_> = TABLE.iter().flat_map(|group| group.names).collect();
    for (at, text) in listed.iter().enumerate() {
        assert_eq!(name(text).as_str(), **text, "in lower case");
        assert!(!listed.get(..at).unwrap().contains(text), "{text} is listed twice");
        assert!(!text.contains('_'), "{text}");
    }
    let harmless = [FieldClass::Sent, FieldClass::Withheld];
    let prefixes = PREFIXES.iter().filter(|(_, class)| harmless.contains(class)).map(|(text, _)| *text);
    assert!(
        prefixes.eq(["sec-fetch-", "sec-ch-", "x-b3-", "x-datadog-"]),
        "a harmless prefix is reviewed here"
    );
}

/// Each slot holds few names, so finding the class of a field costs one comparison.
#[test]
fn names_are_spread_over_the_slots() {
    let RequestFields(classes) = RequestFields::default();
    let usual = "host user-agent accept accept-encoding accept-language referer origin cookie authorization \
                 cache-control pragma sec-fetch-dest sec-fetch-mode sec-fetch-site sec-ch-ua sec-ch-ua-mobile \
                 sec-ch-ua-platform x-forwarded-for x-forwarded-proto x-forwarded-port x-amzn-trace-id traceparent \
                 upgrade-insecure-requests priority x-request-id connection";
    for text in usual.split_whitespace() {
        let slot = slot(text.as_bytes());
        let range = usize::from(classes.starts[slot])..usize::from(classes.starts[slot + 1]);
        let first = &classes.names[range][0].0;
        assert_eq!(&**first, text.as_bytes(), "{text} is the first name of its slot");
    }
}

/// Compares `HEADERS.md` with the table; `UPDATE_GOLDEN=1 cargo test --lib request_fields` rewrites
/// it.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the test decides whether to rewrite a golden file"
)]
fn the_document_is_generated_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("HEADERS.md");
    let made = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "HEADERS.md differs: UPDATE_GOLDEN=1 cargo test --lib request_fields");
}

fn document() -> String {
    let mut text = include_str!("headers.md").to_owned();
    for group in TABLE {
        let listed: Vec<_> = group.names.iter().map(|name| format!("`{name}`")).collect();
        let lines = wrapped(&listed.join(", "));
        let reason = wrapped(&format!("**{}.** {}", group.class.word(), group.reason));
        write!(text, "\n## {}\n\n{reason}\n\n{lines}\n", group.title).unwrap();
    }
    text.push_str("\n## Prefixes of names\n\n| prefix of the name | class |\n| --- | --- |\n");
    for (beginning, class) in PREFIXES {
        writeln!(text, "| `{beginning}` | {} |", class.word()).unwrap();
    }
    text.push_str("| `x-http-`, with the ending `-override` | dropped |\n");
    text.push_str(include_str!("clients.md"));
    text
}

/// Wraps text at 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if lines.last().unwrap().len() + 1 + word.len() > 100 {
            lines.push(String::new());
        }
        let line = lines.last_mut().unwrap();
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n")
}
