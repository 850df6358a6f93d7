//! The characters of a frame, and its blocks and tables.
//!
//! Each character is one column wide: [`super::reading`] replaces foreign text that is not ASCII.
//! Text beyond the area that it is for is cut, so a frame has a form in every size of terminal.

/// How a terminal shows a character. Colours have no part in it, so `NO_COLOR` changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellStyle {
    Plain,
    Strong,
    Faint,
    Alert,
}

impl CellStyle {
    /// Returns the control sequence that ends the last style and begins this one (ECMA-48
    /// §8.3.117).
    fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Strong => "\x1b[0;1m",
            Self::Faint => "\x1b[0;2m",
            Self::Alert => "\x1b[0;7m",
        }
    }
}

/// A rectangle of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameArea {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl FrameArea {
    /// Returns the lines of this area up to `lines`, and those behind them.
    pub(super) fn split_lines(self, lines: usize) -> (Self, Self) {
        let lines = lines.min(self.lines);
        let rest = Self { top: self.top + lines, lines: self.lines - lines, ..self };
        (Self { lines, ..self }, rest)
    }

    /// Returns the columns of this area up to `columns`, and those behind them.
    pub(super) fn split_columns(self, columns: usize) -> (Self, Self) {
        let columns = columns.min(self.columns);
        let rest = Self { left: self.left + columns, columns: self.columns - columns, ..self };
        (Self { columns, ..self }, rest)
    }
}

/// A frame of characters with their styles.
#[derive(Debug)]
pub(super) struct FrameGrid {
    columns: usize,
    cells: Vec<(char, CellStyle)>,
}

impl FrameGrid {
    pub(super) fn new(columns: usize, lines: usize) -> Self {
        Self { columns, cells: vec![(' ', CellStyle::Plain); columns.saturating_mul(lines)] }
    }

    /// Returns the whole frame.
    pub(super) fn area(&self) -> FrameArea {
        let lines = self.cells.len().checked_div(self.columns).unwrap_or_default();
        FrameArea { left: 0, top: 0, columns: self.columns, lines }
    }

    /// Writes a text into a line of an area, from a column on. Replaces control characters, which a
    /// terminal would obey.
    pub(super) fn write(
        &mut self,
        area: FrameArea,
        (line, column): (usize, usize),
        text: &str,
        style: CellStyle,
    ) {
        if line >= area.lines {
            return;
        }
        let first = (area.top + line) * self.columns + area.left + column;
        let room = area.columns.saturating_sub(column);
        for (cell, letter) in self.cells.iter_mut().skip(first).zip(text.chars()).take(room) {
            *cell = (if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }, style);
        }
    }

    /// Draws a border around an area, with a title. Returns the area within.
    pub(super) fn border(&mut self, area: FrameArea, title: &str) -> FrameArea {
        let inner = FrameArea {
            left: area.left + 1,
            top: area.top + 1,
            columns: area.columns.saturating_sub(2),
            lines: area.lines.saturating_sub(2),
        };
        let horizontal = "─".repeat(inner.columns);
        self.write(area, (0, 0), &format!("┌{horizontal}┐"), CellStyle::Plain);
        self.write(area.split_columns(inner.columns + 1).0, (0, 1), title, CellStyle::Plain);
        for line in 1..area.lines {
            self.write(area, (line, 0), "│", CellStyle::Plain);
            self.write(area, (line, inner.columns + 1), "│", CellStyle::Plain);
        }
        let last = area.lines.saturating_sub(1);
        if last > 0 {
            self.write(area, (last, 0), &format!("└{horizontal}┘"), CellStyle::Plain);
        }
        inner
    }

    /// Draws rows below each other. The columns behind the first have fixed widths and are aligned
    /// to the right; the first has the rest of the area.
    pub(super) fn rows<const N: usize>(
        &mut self,
        area: FrameArea,
        widths: [usize; N],
        rows: impl IntoIterator<Item = (String, [String; N])>,
        style: CellStyle,
    ) {
        // One column is free between two.
        let fixed = widths.iter().map(|width| width + 1).sum();
        let first = area.columns.saturating_sub(fixed);
        for (line, (name, values)) in rows.into_iter().enumerate() {
            let (of_name, mut rest) = area.split_columns(first);
            self.write(of_name, (line, 0), &name, style);
            for (width, value) in widths.iter().zip(values) {
                let (cell, behind) = rest.split_columns(width + 1);
                let free = cell.columns.saturating_sub(value.chars().count());
                self.write(cell, (line, free), &value, style);
                rest = behind;
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[(char, CellStyle)]> {
        self.cells.chunks(self.columns.max(1))
    }

    /// Returns the lines without styles.
    pub(super) fn text(&self) -> Vec<String> {
        self.lines().map(|cells| cells.iter().map(|(letter, _)| letter).collect()).collect()
    }

    /// Returns the bytes that show the frame on a terminal.
    pub(super) fn sequences(&self) -> String {
        let mut sequences = String::with_capacity(self.cells.len() * 2);
        for (number, line) in self.lines().enumerate() {
            sequences.push_str(&format!("\x1b[{};1H", number + 1));
            let mut last = None;
            for (letter, style) in line {
                if last.replace(*style) != Some(*style) {
                    sequences.push_str(style.sequence());
                }
                sequences.push(*letter);
            }
        }
        sequences.push_str(CellStyle::Plain.sequence());
        sequences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_area_and_has_no_control_characters() {
        let mut grid = FrameGrid::new(6, 2);
        let area = FrameArea { left: 1, top: 1, columns: 3, lines: 1 };
        grid.write(area, (0, 1), "a\x1b[2J", CellStyle::Plain);
        grid.write(area, (1, 0), "below", CellStyle::Plain);
        assert_eq!(grid.text(), ["      ", "  a\u{fffd}  "]);
    }

    #[test]
    fn a_terminal_receives_each_line_at_its_place_and_each_style_once() {
        let mut grid = FrameGrid::new(3, 2);
        grid.write(grid.area(), (0, 1), "ab", CellStyle::Strong);
        assert_eq!(grid.sequences(), "\x1b[1;1H\x1b[0m \x1b[0;1mab\x1b[2;1H\x1b[0m   \x1b[0m");
    }

    #[test]
    fn the_first_column_gives_way_to_the_figures() {
        let mut grid = FrameGrid::new(8, 2);
        let rows = [("requests".to_owned(), ["7".to_owned()]), ("a".to_owned(), ["1234".to_owned()])];
        grid.rows(grid.area(), [4], rows, CellStyle::Plain);
        assert_eq!(grid.text(), ["req    7", "a   1234"]);
    }
}
