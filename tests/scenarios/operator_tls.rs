//! The commands `health` and `explain` against a listener that speaks TLS.

use crate::harness::{Answer, Authority, Origin, Program, Proxy};

#[test]
fn health_and_explain_request_https_urls() {
    let (origin, authority) = (Origin::start(), Authority::new());
    origin.answer("/a", Answer::json("{}"));
    let [certificate, key] = authority.issue("localhost");
    let settings = [
        ("tls_cert_file", certificate.as_str()),
        ("tls_key_file", key.as_str()),
        ("explain_token", "sesame"),
    ];
    let proxy = Proxy::start(&origin.url(), &settings);
    let port = proxy.addr().port();
    let (health, resource) =
        (format!("https://localhost:{port}/health"), format!("https://localhost:{port}/a"));
    let trust = format!("--ca-file={}", authority.ca_file());

    let checked = Program::run(&["health", "--url", &health, &trust]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert!(checked.stdout.contains(r#"{"status":"ok","redis":"off"}"#), "{}", checked.stdout);
    let explained = Program::run(&["explain", &resource, "--token=sesame", &trust]);
    assert_eq!((explained.code, explained.stderr.as_str()), (Some(0), ""));
    assert!(explained.stdout.contains("fwd=uri-miss"), "{}", explained.stdout);

    // The certificate is for another name, of an unknown authority, or there is none.
    let by_address = format!("https://127.0.0.1:{port}/health");
    let other = Authority::new();
    let foreign = format!("--ca-file={}", other.ca_file());
    for arguments in [
        &["health", "--url", &by_address, &trust][..],
        &["health", "--url", &health, &foreign],
        &["explain", &resource, "--token=sesame", &foreign],
    ] {
        let refused = Program::run(arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}");
        assert!(
            refused.stderr.contains("TLS handshake failed: invalid peer certificate"),
            "{}",
            refused.stderr
        );
    }
    let missing = Program::run(&["health", "--url", &health, "--ca-file=/nowhere/ca.pem"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/nowhere/ca.pem"), "{}", missing.stderr);
}

#[test]
fn a_file_of_authorities_needs_an_https_url() {
    for (arguments, message) in [
        (&["health", "--url", "http://a", "--ca-file", "c"][..], "uses no --ca-file"),
        (&["explain", "http://a", "--token", "t", "--ca-file", "c"], "uses no --ca-file"),
        (&["health", "--ca-file", "c"], "--url"),
    ] {
        let ended = Program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}
