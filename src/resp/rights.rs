//! The rights that a Redis user needs, and the commands that try them.
//!
//! A user with few rights has no right to read its own rights (`ACL GETUSER`, `ACL DRYRUN`). Redis
//! checks them before it executes a command, so a command without effect shows them too.
//!
//! **Always:** a trial changes nothing: its key does not exist, and its channel has no subscriber.

use std::fmt;

use super::reply::{ErrorKind, ErrorReply, Reply};

/// Replaced by the name of the trial.
const NAME: &[u8] = b"";

/// Every command that CacheWarp sends about keys and channels, itself or in a script, with
/// arguments that have no effect.
const TRIALS: &[(&str, &[&[u8]])] = &[
    ("PING", &[]),
    ("GET", &[NAME]),
    ("GETRANGE", &[NAME, b"0", b"0"]),
    ("SET", &[NAME, b"0", b"XX", b"PX", b"1"]),
    // The negative offset fails in the command, after the check of the rights.
    ("SETRANGE", &[NAME, b"-1", b"0"]),
    ("PTTL", &[NAME]),
    ("PEXPIRE", &[NAME, b"1"]),
    ("DEL", &[NAME]),
    ("UNLINK", &[NAME]),
    ("EVAL", &[b"return 0", b"1", NAME]),
    ("EVALSHA", &[b"0000000000000000000000000000000000000000", b"1", NAME]),
    ("PUBLISH", &[NAME, b"0"]),
    ("TIME", &[]),
];

/// Returns the trials with this name as key and channel.
pub fn rights_trials(name: &[u8]) -> Vec<(&'static str, Vec<&[u8]>)> {
    let words = |words: &'static [&'static [u8]]| {
        words.iter().map(|&word| if word == NAME { name } else { word }).collect()
    };
    TRIALS.iter().map(|&(command, arguments)| (command, words(arguments))).collect()
}

/// The rights that a user lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingRights {
    commands: Vec<&'static str>,
    keys: bool,
    channels: bool,
}

impl MissingRights {
    /// Adds the right that this reply to a command shows to be missing, if it shows one.
    pub fn note(&mut self, command: &'static str, reply: &Reply) {
        let Reply::Error(error) = reply else { return };
        let is_forbidden = error.kind == ErrorKind::NoPerm;
        if is_forbidden && mentions(error, b" channel") {
            self.channels = true;
        } else if is_forbidden && mentions(error, b" key") {
            self.keys = true;
        } else if is_forbidden || error.kind == ErrorKind::UnknownCommand {
            self.commands.push(command);
        }
    }

    /// Adds others.
    pub fn add(&mut self, others: Self) {
        self.commands.extend(others.commands);
        self.keys |= others.keys;
        self.channels |= others.channels;
    }

    /// Returns whether no right is missing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && !self.keys && !self.channels
    }
}

impl fmt::Display for MissingRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("keys", self.keys), ("channels", self.channels)];
        let kinds = kinds.iter().filter(|(_, is_missing)| *is_missing).map(|(kind, _)| *kind);
        let words: Vec<_> = self.commands.iter().copied().chain(kinds).collect();
        f.write_str(&words.join(", "))
    }
}

/// Returns whether the error's text contains these words.
fn mentions(error: &ErrorReply, words: &[u8]) -> bool {
    error.text.windows(words.len()).any(|part| part == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &'static str) -> Reply {
        Reply::Error(ErrorReply::new(text.into()))
    }

    #[test]
    fn refusals_name_the_missing_right() {
        let rows = [
            ("NOPERM this user has no permissions to run the 'x' command or its subcommand", "X"),
            ("NOPERM User app has no permissions to run the 'x' command", "X"),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", "keys"),
            ("NOPERM No permissions to access a key", "keys"),
            (
                "NOPERM this user has no permissions to access one of the channels used as arguments",
                "channels",
            ),
            ("NOPERM No permissions to access a channel", "channels"),
            ("ERR unknown command 'X'", "X"),
            ("NOSCRIPT No matching script.", ""),
            ("OOM command not allowed", ""),
            ("MOVED 1 127.0.0.1:1", ""),
        ];
        for (text, expected) in rows {
            let mut missing = MissingRights::default();
            missing.note("X", &error(text));
            assert_eq!(missing.to_string(), expected, "{text}");
            assert_eq!(missing.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn missing_rights_add_up() {
        let mut missing = MissingRights::default();
        missing.note("EVAL", &error("NOPERM no"));
        let mut others = MissingRights::default();
        others.note("GET", &error("NOPERM No permissions to access a key"));
        others.note("PUBLISH", &error("NOPERM No permissions to access a channel"));
        others.note("DEL", &Reply::Integer(0));
        missing.add(others);
        assert_eq!(missing.to_string(), "EVAL, keys, channels");
    }
}
