//! `GET /`: the page for operators, one self-contained file without figures.
//!
//! The page reads `/stats` and `/series` as any other client does, so their access rules decide who
//! sees figures: if they answer `401`, the page asks for the token and keeps it in the memory of
//! its tab. Its policy admits its own style and script by a nonce, which each answer draws, and
//! nothing else: no other source, no frame, no form target, and no conversion of text to markup.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::problem::AdminProblem;
use super::response::{AdminResponse, document};

/// The page, with a mark for the nonce.
const PAGE: &str = include_str!("page.html");
const NONCE_MARK: &str = "{{nonce}}";
/// Random bytes of a nonce (Content Security Policy Level 3 §7.1 asks for 128 bits).
const NONCE_BYTES: usize = 16;

/// Returns the page under a new nonce.
pub(super) fn answer() -> Result<AdminResponse, AdminProblem> {
    let mut random = [0; NONCE_BYTES];
    getrandom::fill(&mut random).map_err(|_| AdminProblem::NoNonce)?;
    let nonce = URL_SAFE_NO_PAD.encode(random);
    let policy = HeaderValue::try_from(policy(&nonce)).map_err(|_| AdminProblem::NoNonce)?;
    let mut answer = document(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace(NONCE_MARK, &nonce));
    let head = answer.headers_mut();
    head.insert(CONTENT_SECURITY_POLICY, policy);
    head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        head.insert(HeaderName::from_static(name), HeaderValue::from_static("same-origin"));
    }
    Ok(answer)
}

fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_self_contained_and_makes_no_markup_from_texts() {
        assert_eq!(PAGE.matches(NONCE_MARK).count(), 2, "one style and one script");
        for absent in [
            "src=",
            "@import",
            "url(",
            "https:",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            " style=",
            " onclick",
            " onload",
            "localStorage",
            "sessionStorage",
            "cookie",
        ] {
            assert!(!PAGE.contains(absent), "{absent}");
        }
        // The only URL is the name of a namespace, which no browser requests.
        assert_eq!(PAGE.matches("http:").count(), PAGE.matches("\"http://www.w3.org/2000/svg\"").count());
    }

    #[test]
    fn each_answer_has_a_nonce_of_its_own() {
        let policies = [(); 2].map(|()| answer().unwrap().headers()[CONTENT_SECURITY_POLICY].clone());
        assert_ne!(policies[0], policies[1]);
    }
}
