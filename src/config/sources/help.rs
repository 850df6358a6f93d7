//! The short help, `cachewarp -h`: one screen, with the commands and the settings to begin with.

use std::fmt::Write;

use crate::config::table::Name;

/// Every command, and its purpose in one line.
pub(super) const SUMMARIES: [(&str, &str); 11] = [
    ("check", "prints every setting with its source, or every error"),
    ("completions", "prints the completions of a shell"),
    ("demo", "starts a sample API with CacheWarp in front of it"),
    ("explain", "requests a URL, and explains the response"),
    ("health", "exits with 0 if a running CacheWarp is healthy"),
    ("inspect", "shows the stored responses of a URL"),
    ("man", "prints the manual page"),
    ("purge", "purges stored responses on every node"),
    ("reload", "reads routes, certificates, tokens and the log level again"),
    ("routes", "shows the route that a request matches"),
    ("top", "shows rates, hit ratios and latencies on the terminal"),
];

/// The settings that a first configuration needs.
const FIRST_SETTINGS: [Name; 6] = [
    Name::OriginUrl,
    Name::RedisUrl,
    Name::ListenAddr,
    Name::AdminAddr,
    Name::RoutesFile,
    Name::CacheDefaultTtl,
];

/// Returns the short help.
pub(super) fn short() -> String {
    let mut text = String::from(
        "A caching reverse proxy for JSON APIs. Serves if no command is given.\n\n\
         Usage: cachewarp [SETTING]... [COMMAND]\n\n",
    );
    for (command, summary) in SUMMARIES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {command:<12}{summary}");
    }
    text.push_str("\nSettings to begin with, and their defaults:\n");
    for name in FIRST_SETTINGS {
        let setting = name.setting();
        let flag = format!("--{} {}", name.flag(), setting.form.metavar());
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let _ = writeln!(text, "  {flag:<30}{default}");
    }
    text.push_str("\n`cachewarp --help` lists all settings, `cachewarp COMMAND -h` its arguments.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_one_screen() {
        let text = short();
        assert!(text.lines().count() <= 26, "{} lines", text.lines().count());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for name in FIRST_SETTINGS {
            assert!(text.contains(&format!("--{} ", name.flag())), "{name}");
        }
    }
}
