//! `cachewarp top`: a terminal display of a running CacheWarp, second by second.
//!
//! The command reads `/stats` once a second and shows the difference of two answers, so rates and
//! percentiles cover the last second. [`view`] draws, and knows neither the network nor the
//! terminal; `--once` prints one frame as text.

mod reading;
mod view;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};

use crate::limits::{TOP_FRAME_COLUMNS, TOP_FRAME_LINES, TOP_INTERVAL, TOP_PATHS_ON_SCREEN};
use crate::probe::{AdminClient, AdminError};
use crate::time;
use reading::StatsSample;
use view::TopFrame;

/// A failure to read or to draw.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The admin listener gave no usable answer.
    #[error(transparent)]
    Untold(#[from] AdminError),
    /// Standard output is not a terminal, or the terminal failed.
    #[error("standard output is not a terminal; use `--once` to print text: {0}")]
    Terminal(#[from] io::Error),
}

/// Returns one frame as text, of the activity within one second.
pub fn once(operator: &AdminClient) -> Result<String, TopError> {
    let before = read(operator)?;
    thread::sleep(TOP_INTERVAL);
    let now = read(operator)?;
    Ok(text(&TopFrame { now: &now, before: Some(&before), silent: None })?)
}

/// Shows frames until the user presses `q` or Ctrl-C. Restores the terminal, also after a panic.
pub fn live(operator: &AdminClient) -> Result<(), TopError> {
    let first = read(operator)?;
    if !io::stdout().is_terminal() {
        return Err(TopError::Terminal(io::ErrorKind::Unsupported.into()));
    }
    let mut terminal = ratatui::try_init()?;
    let end = watch(&mut terminal, operator, first);
    ratatui::try_restore()?;
    Ok(end?)
}

fn read(operator: &AdminClient) -> Result<StatsSample, AdminError> {
    Ok(StatsSample::of(&operator.stats(TOP_PATHS_ON_SCREEN)?))
}

fn watch(terminal: &mut DefaultTerminal, operator: &AdminClient, first: StatsSample) -> io::Result<()> {
    let (mut before, mut now, mut silent) = (None, first, None);
    loop {
        terminal.draw(|frame| {
            view::draw(frame, &TopFrame { now: &now, before: before.as_ref(), silent: silent.as_deref() })
        })?;
        if wants_to_leave(TOP_INTERVAL)? {
            return Ok(());
        }
        match read(operator) {
            Ok(reading) => {
                before = Some(std::mem::replace(&mut now, reading));
                silent = None;
            }
            // CacheWarp may be restarting, so the last values stay on the screen.
            Err(undone) => silent = Some(undone.to_string()),
        }
    }
}

/// Waits for this long, or until the user quits. Returns whether the user quits.
fn wants_to_leave(timeout: Duration) -> io::Result<bool> {
    let begun = time::instant();
    while let Some(left) = timeout.checked_sub(begun.elapsed()) {
        if !event::poll(left)? {
            break;
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let control_c =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            // The next frame has the new size.
            Event::Resize(..) => break,
            Event::Key(_) | Event::Mouse(_) | Event::Paste(_) | Event::FocusGained | Event::FocusLost => {}
        }
    }
    Ok(false)
}

/// Returns a frame as text, without a terminal.
fn text(shown: &TopFrame<'_>) -> io::Result<String> {
    let lines = view::lines(shown).min(TOP_FRAME_LINES);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(TOP_FRAME_COLUMNS, lines));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, shown));
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    };
    let text: String = cells.chunks(usize::from(TOP_FRAME_COLUMNS)).map(line).collect();
    Ok(text.trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests;
