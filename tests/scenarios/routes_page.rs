//! ROUTES.md, as its reader follows it: each block is added to a routes file, and the program shows
//! the promised effect.

use std::fs;

use tempfile::TempDir;

use crate::harness::{Answer, Client, Ended, Origin, Program, Response, Start, until};

const PAGE: &str = include_str!("../../ROUTES.md");

/// Returns the blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    PAGE.split(begin.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn is_hit(answer: &Response) -> bool {
    answer.cache_status().starts_with("CacheWarp; hit")
}

#[test]
fn each_block_of_the_page_has_its_effect() {
    let [rates, update, query, me] = blocks("toml")[..] else { panic!("{:?}", blocks("toml")) };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("routes.toml");
    let file_name = file.to_str().unwrap();
    // The table of the query belongs to the route before it.
    let whole = [rates, query, update, me].join("\n");
    fs::write(&file, &whole).unwrap();

    let [commands] = blocks("sh")[..] else { panic!("{:?}", blocks("sh")) };
    let [check, routes, start] = commands.lines().collect::<Vec<_>>()[..] else { panic!("{commands}") };
    let arguments = |line: &'static str| -> Vec<&str> {
        let words = line.split(' ').skip(1);
        words.map(|word| if word == "routes.toml" { file_name } else { word }).collect()
    };
    for (line, words) in [(check, "route rates"), (routes, "matches route rates")] {
        let Ended { code, stdout, stderr } = Program::run(&arguments(line));
        assert_eq!(code, Some(0), "{line}: {stdout} {stderr}");
        assert!(stdout.contains(words), "{line}: {stdout}");
    }

    let origin = Origin::start();
    for path in ["/rates/EURUSD", "/rates/me", "/rates//me", "/rates/ME", "/rates/me;x", "/rates%2Fme"] {
        origin.answer(path, Answer::json("{}"));
    }
    let own = ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--cache-default-ttl=0"];
    let origin_url = format!("--origin-url={}", origin.url());
    let flags = arguments(start);
    let flags = flags.into_iter().filter(|word| !word.contains("localhost:8080") && *word != "--origin-url");
    let flags: Vec<&str> = flags.chain(own).chain([origin_url.as_str()]).collect();
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let mut client = Client::connect(program.await_addr());

    assert!(!is_hit(&client.get("/rates/EURUSD")));
    until("the response to be stored", || is_hit(&client.get("/rates/EURUSD")));
    assert!(is_hit(&client.get("/rates/EURUSD?utm_source=x")));
    let written = client.request("PUT", "/rates/EURUSD", &[("Content-Length", "0")]);
    assert_eq!((written.status, written.field("cache-status")), (200, None));
    assert!(!is_hit(&client.get("/rates/EURUSD")));
    for path in ["/rates/me", "/rates//me", "/rates/ME", "/rates/me;x", "/rates%2Fme"] {
        let answers = [client.get(path), client.get(path)];
        for answer in answers {
            assert!(answer.cache_status().starts_with("CacheWarp; fwd=bypass"), "{path}: {answer:?}");
        }
    }
    let named = client.get("/rates/me");
    assert_eq!(named.cache_status(), "CacheWarp; fwd=bypass; detail=route/me");
}
