//! The files below `docker/`: each name in them is one that the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const METRICS: &str = include_str!("../../METRICS.md");
const SETTINGS: &str = include_str!("../../SETTINGS.md");
const SECURITY: &str = include_str!("../../SECURITY.md");
/// The metric that exists only with `tls_cert_file`, which the program of METRICS.md does not have.
const OF_TLS: &str = "cachewarp_tls_certificate_expiry_seconds";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(path)).unwrap()
}

/// Returns the names in a text that begin with one of these words.
fn names<'a>(text: &'a str, begins: &[&str]) -> BTreeSet<&'a str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| begins.iter().any(|begin| word.starts_with(begin))).collect()
}

/// Returns whether METRICS.md has the metric of a series.
fn is_documented(name: &str) -> bool {
    let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let has = |name: &str| METRICS.contains(&format!("| `{name}` |"));
    has(name) || family.is_some_and(has) || name == OF_TLS
}

#[test]
fn every_metric_of_the_board_and_the_alerts_exists() {
    for (path, least) in [("observe/alerts.yml", 12), ("observe/grafana/dashboards/cachewarp.json", 30)] {
        let text = read(path);
        let named = names(&text, &["cachewarp_", "process_"]);
        let unknown: Vec<_> = named.iter().filter(|name| !is_documented(name)).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
        assert!(named.len() >= least, "{path} names {named:?}");
    }
    let autoscaler = read("kubernetes/autoscaler.yaml");
    let scaled = autoscaler.lines().find_map(|line| line.trim().strip_prefix("name: cachewarp_")).unwrap();
    assert!(is_documented(&format!("cachewarp_{scaled}")), "{scaled}");
    assert!(!is_documented("cachewarp_requests") && !is_documented("cachewarp_requests_bucket"));
}

#[test]
fn the_board_is_a_board_with_its_source() {
    let board: serde_json::Value =
        serde_json::from_str(&read("observe/grafana/dashboards/cachewarp.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let source = read("observe/grafana/provisioning/datasources/prometheus.yml");
    let mut numbers = BTreeSet::new();
    for panel in panels {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] != "row" {
            let uid = panel["datasource"]["uid"].as_str().unwrap();
            assert!(source.contains(&format!("uid: {uid}\n")), "{panel}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        }
    }
}

/// Each variable that the manifests, the unit and the recipes set is a setting.
#[test]
fn every_setting_of_the_manifests_exists() {
    let is_setting = |name: &str| SETTINGS.contains(&format!("`{}`", name.to_ascii_lowercase()));
    let kustomization = read("kubernetes/kustomization.yaml");
    let literals = kustomization.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once('='));
    let literals: Vec<_> = literals.map(|(name, _)| name).collect();
    assert!(literals.len() >= 7, "{literals:?}");
    let deployment = read("kubernetes/deployment.yaml");
    let variables = deployment.lines().filter_map(|line| line.trim().strip_prefix("- name: "));
    let variables =
        variables.filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    for name in literals.into_iter().chain(variables) {
        assert!(is_setting(name), "{name} is no setting");
    }
    for recipe in ["nginx.md", "alb.md"] {
        let text = read(&format!("recipes/{recipe}"));
        let table = text.split_once("| setting of CacheWarp |").unwrap().1;
        let rows: Vec<_> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert!(rows.len() >= 4, "{recipe}: {rows:?}");
        for name in rows {
            assert!(is_setting(name), "{recipe}: {name} is no setting");
        }
    }
}

/// The access string of the managed services is that of SECURITY.md.
#[test]
fn the_rights_in_the_recipe_are_those_of_the_document() {
    let line = SECURITY.lines().find_map(|line| line.strip_prefix("ACL SETUSER cachewarp on >PASSWORD "));
    let (keys, rights) = line.and_then(|line| line.split_once(" +")).unwrap();
    let recipe = read("recipes/redis-providers.md");
    assert!(recipe.lines().any(|line| line == format!("on {keys} -@all +{rights}")), "{rights}");
}
