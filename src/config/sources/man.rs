//! The manual page, generated from the grammar of the command line and the table of settings.
//!
//! The page is in the macros of `man(7)`, one page for all commands.

use std::fmt::Write;

use clap::builder::{Arg, Command};

use crate::config::table::Name;

/// Returns the page: `cachewarp man | man -l -`.
pub(super) fn page(command: &Command, sources: &str) -> String {
    let mut page = ManualPage::default();
    let version = env!("CARGO_PKG_VERSION");
    page.line(&format!(".TH CACHEWARP 1 \"\" \"cachewarp {version}\" \"User Commands\""));
    page.heading("SH", "NAME");
    page.text("cachewarp - a caching reverse proxy for JSON APIs");
    page.heading("SH", "SYNOPSIS");
    page.line(".B cachewarp");
    page.text("[SETTING]... [COMMAND [ARGUMENT]...]");
    page.heading("SH", "DESCRIPTION");
    page.text(
        "Answers requests from memory, then from Redis, then from the API. Serves if no command is given.",
    );
    page.heading("SH", "COMMANDS");
    for command in command.get_subcommands() {
        page.command(command);
    }
    page.heading("SH", "SETTINGS");
    sources.split("\n\n").for_each(|paragraph| page.paragraph(paragraph));
    let mut group = "";
    for name in Name::ALL {
        let setting = name.setting();
        if setting.group != group {
            group = setting.group;
            page.heading("SS", group);
        }
        page.term(&format!("--{}", name.flag()), setting.form.metavar());
        page.text(setting.help);
        if !setting.default.is_empty() {
            page.text(&format!("The default is `{}`.", setting.default));
        }
    }
    page.heading("SH", "EXIT STATUS");
    for (status, meaning) in [
        ("0", "The command succeeded, or the process drained after a signal."),
        ("1", "The command failed, or a worker ended."),
        ("2", "The settings or the recorded heads are invalid; nothing was started."),
    ] {
        page.term(status, "");
        page.text(meaning);
    }
    page.heading("SH", "SIGNALS");
    page.term("SIGTERM, SIGINT", "");
    page.text("Finishes accepted requests, for `drain_timeout` at most.");
    page.term("SIGHUP", "");
    page.text("Reads routes, certificates, tokens and the log level again.");
    page.0
}

/// A page under construction.
#[derive(Default)]
struct ManualPage(String);

impl ManualPage {
    /// Adds a line with a macro.
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn heading(&mut self, level: &str, title: &str) {
        self.line(&format!(".{level} {}", escaped(title)));
    }

    /// Adds the term of a list, and the placeholder of its value.
    fn term(&mut self, term: &str, value: &str) {
        self.line(".TP");
        let value = if value.is_empty() { String::new() } else { format!(" \\fI{}\\fR", escaped(value)) };
        self.line(&format!("\\fB{}\\fR{value}", escaped(term)));
    }

    fn command(&mut self, command: &Command) {
        let arguments = command.get_positionals().map(value_of).collect::<Vec<_>>();
        self.term(command.get_name(), &arguments.join(" "));
        self.text(&command.get_about().map(ToString::to_string).unwrap_or_default());
        let own = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for argument in own.filter(|argument| argument.get_id() != "help") {
            self.line(".RS");
            let value = if argument.get_action().takes_values() { value_of(argument) } else { String::new() };
            match argument.get_long() {
                Some(long) => self.term(&format!("--{long}"), &value),
                None => self.term(&value, ""),
            }
            self.text(&argument.get_help().map(ToString::to_string).unwrap_or_default());
            self.line(".RE");
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.text(text);
    }

    /// Adds a line of text, with words between backticks in bold type.
    fn text(&mut self, text: &str) {
        for (index, part) in text.split('`').enumerate() {
            let part = escaped(part);
            // Writing to a string does not fail.
            let _ = match (index % 2, part.as_str()) {
                (1, part) => write!(self.0, "\\fB{part}\\fR"),
                (_, part) if index == 0 && part.starts_with(['.', '\'']) => write!(self.0, "\\&{part}"),
                (_, part) => write!(self.0, "{part}"),
            };
        }
        self.0.push('\n');
    }
}

/// Returns the placeholder of an argument's value.
fn value_of(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Returns text in which no character is markup.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        let mut page = ManualPage::default();
        page.text(".env is `a-b\\c` here");
        page.term("--x", "A|B");
        assert_eq!(page.0, "\\&.env is \\fBa\\-b\\ec\\fR here\n.TP\n\\fB\\-\\-x\\fR \\fIA|B\\fR\n");
    }
}
