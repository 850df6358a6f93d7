//! `cachewarp top`: a terminal display of a running CacheWarp, second by second.
//!
//! The command reads `/stats` once a second and shows the difference of two answers, so rates and
//! percentiles cover the last second. [`view`] draws on a grid, and knows neither the network nor
//! the terminal; `--once` prints one frame as text.

mod grid;
mod reading;
mod terminal;
mod view;

use std::io::{self, IsTerminal};
use std::thread;

use crate::limits::{TOP_FRAME_COLUMNS, TOP_FRAME_LINES, TOP_INTERVAL, TOP_PATHS_ON_SCREEN};
use crate::probe::{AdminClient, AdminError};
use grid::FrameGrid;
use reading::StatsSample;
use terminal::{TerminalEvent, TerminalSession};
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
    Ok(text(&TopFrame { now: &now, before: Some(&before), silent: None }))
}

/// Shows frames until the user presses `q` or Ctrl-C. Restores the terminal, also after a panic.
pub fn live(operator: &AdminClient) -> Result<(), TopError> {
    let first = read(operator)?;
    if !io::stdout().is_terminal() {
        return Err(TopError::Terminal(io::ErrorKind::Unsupported.into()));
    }
    Ok(watch(&TerminalSession::enter()?, operator, first)?)
}

fn read(operator: &AdminClient) -> Result<StatsSample, AdminError> {
    Ok(StatsSample::of(&operator.stats(TOP_PATHS_ON_SCREEN)?))
}

fn watch(terminal: &TerminalSession, operator: &AdminClient, first: StatsSample) -> io::Result<()> {
    let (mut before, mut now, mut silent) = (None, first, None);
    loop {
        let (columns, lines) = TerminalSession::size()?;
        let mut grid = FrameGrid::new(columns, lines);
        view::draw(&mut grid, &TopFrame { now: &now, before: before.as_ref(), silent: silent.as_deref() });
        TerminalSession::draw(&grid)?;
        if terminal.wait(TOP_INTERVAL)? == TerminalEvent::Quit {
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

/// Returns a frame as text, without a terminal.
fn text(shown: &TopFrame<'_>) -> String {
    let mut grid = FrameGrid::new(TOP_FRAME_COLUMNS, view::lines(shown).min(TOP_FRAME_LINES));
    view::draw(&mut grid, shown);
    let lines: Vec<String> = grid.text().iter().map(|line| line.trim_end().to_owned() + "\n").collect();
    lines.concat().trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests;
