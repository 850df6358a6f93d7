//! The terminal: a screen of its own, keys without a line, and its old state at the end.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::panic;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use rustix::time::Timespec;

use super::grid::FrameGrid;
use crate::limits::TOP_RESIZE_INTERVAL;
use crate::time;

/// Shows the alternate screen without a cursor; lines do not wrap.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
const CONTROL_C: u8 = 3;
const ESCAPE: u8 = 0x1b;

/// The end of a wait for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TerminalEvent {
    /// The time is over, or the terminal has another size.
    Redraw,
    /// The user quits, or the terminal is gone.
    Quit,
}

/// A terminal that shows frames. Restores its state when it is dropped, and before the message of a
/// panic.
#[derive(Debug)]
pub(super) struct TerminalSession {
    keys: File,
    before: Termios,
}

impl TerminalSession {
    /// Takes over the terminal of standard output.
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let keys = if stdin.is_terminal() {
            File::from(stdin.as_fd().try_clone_to_owned()?)
        } else {
            File::open("/dev/tty")?
        };
        let before = tcgetattr(&keys)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&keys, OptionalActions::Now, &raw)?;
        let session = Self { keys, before };
        session.restore_before_panic_message()?;
        show(ENTER)?;
        Ok(session)
    }

    fn restore_before_panic_message(&self) -> io::Result<()> {
        let (keys, before, print) = (self.keys.try_clone()?, self.before.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |panicked| {
            restore(&keys, &before);
            print(panicked);
        }));
        Ok(())
    }

    /// Returns the columns and lines of the terminal.
    pub(super) fn size() -> io::Result<(usize, usize)> {
        let size = tcgetwinsize(io::stdout())?;
        Ok((usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    pub(super) fn draw(grid: &FrameGrid) -> io::Result<()> {
        show(&grid.sequences())
    }

    /// Waits for this long, or until the user quits or changes the size of the terminal.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<TerminalEvent> {
        let (begun, size) = (time::instant(), Self::size()?);
        while let Some(left) = timeout.checked_sub(begun.elapsed()) {
            let wait = Timespec::try_from(left.min(TOP_RESIZE_INTERVAL)).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.keys, PollFlags::IN)], Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if Self::size()? != size => break,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    let mut typed = [0; 64];
                    let length = (&self.keys).read(&mut typed)?;
                    if quits(typed.get(..length).unwrap_or_default()) {
                        return Ok(TerminalEvent::Quit);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(TerminalEvent::Redraw)
    }
}

impl Drop for TerminalSession {
    fn drop(&mut self) {
        restore(&self.keys, &self.before);
    }
}

/// Returns whether the user quits: by `q`, Ctrl-C, the Escape key, or the end of the terminal.
/// Other keys send more bytes behind an Escape.
fn quits(typed: &[u8]) -> bool {
    match typed {
        [] | [ESCAPE] => true,
        [ESCAPE, ..] => false,
        keys => keys.iter().any(|key| matches!(*key, b'q' | CONTROL_C)),
    }
}

/// Restores the terminal as far as possible: it may be gone.
fn restore(keys: &File, before: &Termios) {
    let _gone = show(LEAVE);
    let _gone = tcsetattr(keys, OptionalActions::Now, before);
}

fn show(sequences: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(sequences.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_control_c_and_a_closed_terminal_quit() {
        for typed in [&b"q"[..], b"xq", b"\x03", b"\x1b", b""] {
            assert!(quits(typed), "{typed:?}");
        }
        for typed in [&b"x"[..], b"\x1b[A", b"\x1b[17~", b"\x1bq", b"Q"] {
            assert!(!quits(typed), "{typed:?}");
        }
    }
}
