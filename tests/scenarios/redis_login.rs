//! Authentication to Redis: certificates, users, and passwords that change at run time.

use std::fs;

use tempfile::NamedTempFile;

use crate::harness::redis_load::{flags, hits_in_redis, origin_of_one};
use crate::harness::{Authority, Program, Redis, Start, until};

fn start(arguments: &[String]) -> Program {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

#[test]
fn a_client_certificate_is_sent_if_redis_requires_it() {
    let (origin, authority) = (origin_of_one(), Authority::new());
    let ([cert, key], ca) = (authority.issue("localhost"), authority.ca_file());
    let redis = Redis::start_with_tls(&[
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ]);
    let url = format!("rediss://localhost:{}", redis.addr().port());
    let [own_cert, own_key] = authority.issue("cachewarp");
    let mut known = flags(&origin.url(), &url).to_vec();
    known.push(format!("--redis-ca-file={ca}"));
    let stranger = start(&known);
    stranger.await_line("cannot connect to Redis");
    assert!(!hits_in_redis(stranger.await_addr(), "/a"), "no node has stored it");

    known.push(format!("--redis-client-cert-file={own_cert}"));
    known.push(format!("--redis-client-key-file={own_key}"));
    let program = start(&known);
    program.await_line("connected to Redis");
    let addr = program.await_addr();
    until("a hit in Redis", || hits_in_redis(addr, "/a"));
    assert!(!hits_in_redis(stranger.await_addr(), "/a"), "a node without a valid certificate must not hit");
}

#[test]
fn a_client_certificate_is_replaced_without_a_restart() {
    let (origin, authority, other) = (origin_of_one(), Authority::new(), Authority::new());
    let ([cert, key], ca) = (authority.issue("localhost"), authority.ca_file());
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Redis::start_with_tls(&files);
    // Issued by an authority that the server does not trust.
    let [own_cert, own_key] = other.issue("cachewarp");
    let url = format!("rediss://localhost:{}", redis.addr().port());
    let mut arguments = flags(&origin.url(), &url).to_vec();
    arguments.push(format!("--redis-ca-file={ca}"));
    arguments.push(format!("--redis-client-cert-file={own_cert}"));
    arguments.push(format!("--redis-client-key-file={own_key}"));
    let program = start(&arguments);
    let addr = program.await_addr();
    program.await_line("cannot connect to Redis");
    assert!(!hits_in_redis(addr, "/a"));

    for (new, used) in authority.issue("cachewarp").iter().zip([own_cert, own_key]) {
        fs::copy(new, used).unwrap();
    }
    until("a hit in Redis", || hits_in_redis(addr, "/a"));
}

#[test]
fn a_password_is_rotated_without_a_restart() {
    let passwords = ["hunter-one", "hunter-two", "hunter-three"];
    let origin = origin_of_one();
    let redis = Redis::start_with(&["--user", "app", "on", ">hunter-one", "~*", "+@all"]);
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "hunter-one\n").unwrap();
    let url = format!("redis://app@{}", redis.addr());
    let mut arguments = flags(&origin.url(), &url).to_vec();
    arguments.push(format!("--redis-password-file={}", file.path().display()));
    arguments.push("--log-level=cachewarp=trace".to_owned());
    let program = start(&arguments);
    let addr = program.await_addr();
    until("a hit in Redis", || hits_in_redis(addr, "/a"));

    // Open connections remain.
    let rotate =
        |password: &str| redis.command(&["ACL", "SETUSER", "app", "resetpass", &format!(">{password}")]);
    rotate(passwords[1]);
    until("hits to go on", || hits_in_redis(addr, "/a"));
    // New connections use the new password.
    fs::write(file.path(), passwords[1]).unwrap();
    redis.command(&["CLIENT", "KILL", "USER", "app"]);
    program.await_line("lost the last connection to Redis");
    until("a hit with the new password", || hits_in_redis(addr, "/a"));

    // The server's password changes first, then the file's: the client retries until both match.
    rotate(passwords[2]);
    redis.command(&["CLIENT", "KILL", "USER", "app"]);
    program.await_line("wrong-pass");
    fs::write(file.path(), passwords[2]).unwrap();
    until("a hit with the last password", || hits_in_redis(addr, "/a"));

    program.signal("TERM");
    let ended = program.end();
    for password in passwords {
        assert!(!ended.stderr.contains(password), "{}", ended.stderr);
    }
}

#[test]
fn resp2_only_servers_are_discovered_and_used() {
    let origin = origin_of_one();
    let redis = Redis::start_with(&["--rename-command", "HELLO", "", "--requirepass", "hunter"]);
    let program = start(&flags(&origin.url(), &format!("redis://:hunter@{}", redis.addr())));
    let addr = program.await_addr();
    until("a hit in Redis", || hits_in_redis(addr, "/a"));
}
