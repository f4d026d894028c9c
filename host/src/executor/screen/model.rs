//! alacritty_terminal's model, with what it keeps to itself kept here too (scroll region, tab stops, character set), and
//! with its few differences from xterm mended: what a viewer's terminal does with the same bytes is the measure.

use alacritty_terminal::Term;
use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::{Cursor, Dimensions};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::term::{Config, Osc52, TermMode};
use alacritty_terminal::vte::ansi::{CharsetIndex, StandardCharset, Timeout};

/// Combining characters kept on one cell.
const COMBINING_CHARS: usize = 8;
/// Most bytes of answers that wait to be written; a program that asks without reading gets no more.
const REPLY_BYTES: usize = 16 * 1024;
const TAB_COLUMNS: usize = 8;

/// Synchronized updates are shown as they come: nothing is buffered, no clock is read.
#[derive(Default)]
pub(super) struct AtOnce;

impl Timeout for AtOnce {
    fn set_timeout(&mut self, _: std::time::Duration) {}
    fn clear_timeout(&mut self) {}
    fn pending_timeout(&self) -> bool {
        false
    }
}

struct Size {
    columns: usize,
    rows: usize,
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }
    fn screen_lines(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.columns
    }
}

/// What is known of a row since it was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    /// Whether it may have changed: the rest is as it was at the last look then.
    pub(super) touched: bool,
    /// Its first and its last letter.
    pub(super) edges: Option<(char, char)>,
    /// How many it has.
    pub(super) letters: usize,
    /// Whether it may hold a key's first line.
    pub(super) dashes: bool,
    /// Whether its line goes on in the next row.
    pub(super) wraps: bool,
}

/// The terminal's state.
pub(super) struct Model {
    pub(super) term: Term<VoidListener>,
    /// First line of the scroll region, and the one after its last.
    pub(super) region: (usize, usize),
    pub(super) tabs: Vec<bool>,
    pub(super) charset: CharsetIndex,
    /// The normal screen's saved cursor while the alternate one is in front.
    pub(super) behind: Cursor<Cell>,
    pub(super) replies: Vec<u8>,
    /// One of each row.
    pub(super) marks: Vec<Mark>,
}

impl Model {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let config = Config { scrolling_history: 0, osc52: Osc52::Disabled, ..Config::default() };
        let term = Term::new(config, &Size { columns, rows }, VoidListener);
        let (behind, tabs) = (Cursor::default(), default_tabs(columns));
        Self {
            term,
            region: (0, rows),
            tabs,
            charset: CharsetIndex::G0,
            behind,
            replies: Vec::new(),
            marks: vec![Mark::default(); rows],
        }
    }

    pub(super) fn reply(&mut self, text: &str) {
        if self.replies.len() + text.len() <= REPLY_BYTES {
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    /// Line and column of the cursor, counted from 1, as a terminal reports them.
    pub(super) fn cursor(&self) -> (usize, usize) {
        let point = self.term.grid().cursor.point;
        let line = usize::try_from(point.line.0).unwrap_or(0);
        let top = if self.has(TermMode::ORIGIN) { self.region.0 } else { 0 };
        (line.saturating_sub(top) + 1, point.column.0 + 1)
    }

    pub(super) fn has(&self, mode: TermMode) -> bool {
        self.term.mode().contains(mode)
    }

    pub(super) fn settle_wrap(&mut self) {
        self.term.grid_mut().cursor.input_needs_wrap = false;
    }

    /// Marks the cursor's row.
    pub(super) fn touch(&mut self) {
        let line = usize::try_from(self.term.grid().cursor.point.line.0).unwrap_or(0);
        self.marks[line].touched = true;
    }

    /// Marks all rows: they may have moved.
    pub(super) fn touch_all(&mut self) {
        self.marks.iter_mut().for_each(|mark| mark.touched = true);
    }

    /// Before a line feed: where it scrolls the whole screen, the marks go with their rows.
    pub(super) fn touch_by_line_feed(&mut self) {
        let next = usize::try_from(self.term.grid().cursor.point.line.0).unwrap_or(0) + 1;
        if next != self.region.1 {
            return;
        }
        if self.region == (0, self.term.screen_lines()) {
            let grid = self.term.grid();
            let wraps = grid[Line(0)][Column(grid.columns() - 1)].flags.contains(Flags::WRAPLINE);
            self.marks.rotate_left(1);
            self.marks[next - 1].touched = true;
            // Its text began on the row that goes: without that, it may be another.
            self.marks[0].touched |= wraps;
        } else {
            self.touch_all();
        }
    }

    /// Writes printable ASCII up to the last column, at once; returns how many characters. Where each is a matter of its
    /// own (a mode, a character set, a link, half of a wide character in the way) it writes none.
    pub(super) fn print(&mut self, text: &[u8]) -> usize {
        let last = self.term.last_column().0;
        let charset = self.charset;
        let inserts = self.has(TermMode::INSERT);
        let grid = self.term.grid_mut();
        let cursor = &grid.cursor;
        let (line, from) = (cursor.point.line, cursor.point.column.0);
        let count = text.len().min(last.saturating_sub(from));
        let own = inserts || cursor.input_needs_wrap || cursor.template.extra.is_some();
        if count == 0 || own || cursor.charsets[charset] != StandardCharset::Ascii {
            return 0;
        }
        let (fg, bg, flags) = (cursor.template.fg, cursor.template.bg, cursor.template.flags);
        let cells = &mut grid[line][Column(from)..Column(from + count)];
        if cells.iter().any(|cell| cell.flags.intersects(Flags::WIDE_CHAR | Flags::WIDE_CHAR_SPACER)) {
            return 0;
        }
        for (cell, byte) in cells.iter_mut().zip(text) {
            (cell.c, cell.fg, cell.bg, cell.flags, cell.extra) = (char::from(*byte), fg, bg, flags, None);
        }
        grid.cursor.point.column = Column(from + count);
        self.touch();
        count
    }

    /// Whether the cell that a combining character would join has its share already.
    pub(super) fn is_full_of_combining(&self) -> bool {
        let grid = self.term.grid();
        let row = &grid[grid.cursor.point.line];
        let mut column = grid.cursor.point.column;
        if !grid.cursor.input_needs_wrap {
            column = Column(column.0.saturating_sub(1));
        }
        if row[column].flags.contains(Flags::WIDE_CHAR_SPACER) {
            column = Column(column.0.saturating_sub(1));
        }
        row[column].zerowidth().is_some_and(|chars| chars.len() >= COMBINING_CHARS)
    }

    /// Brings the alternate screen to the front; the normal one keeps `saved` as its saved cursor.
    pub(super) fn enter(&mut self, saved: Cursor<Cell>) {
        self.behind = saved;
        self.touch_all();
        self.term.swap_alt();
    }

    /// Brings the normal screen back; the cursor stays where it is.
    pub(super) fn leave(&mut self) {
        if self.has(TermMode::ALT_SCREEN) {
            self.touch_all();
            let cursor = self.term.grid().cursor.clone();
            self.term.swap_alt();
            let grid = self.term.grid_mut();
            (grid.cursor, grid.saved_cursor) = (cursor, std::mem::take(&mut self.behind));
        }
    }

    /// Moves the cursor to another line; the margins stop it where it is inside them.
    pub(super) fn move_lines(&mut self, delta: isize) {
        self.settle_wrap();
        let (start, end) = self.region;
        let rows = self.term.screen_lines();
        let point = &mut self.term.grid_mut().cursor.point;
        let line = usize::try_from(point.line.0).unwrap_or(0);
        let first = if line >= start { start } else { 0 };
        let last = if line < end { end - 1 } else { rows - 1 };
        let to = line.saturating_add_signed(delta).clamp(first.min(line), last.max(line));
        point.line = Line(i32::try_from(to).unwrap_or(0));
    }

    /// After a change of the cursor's row: half of a wide character is a blank.
    pub(super) fn mend_line(&mut self) {
        self.touch();
        let columns = self.term.columns();
        let grid = self.term.grid_mut();
        let line = grid.cursor.point.line;
        let row = &mut grid[line];
        let mut wide_before = false;
        for column in 0..columns {
            let flags = row[Column(column)].flags;
            let second = column + 1 < columns && row[Column(column + 1)].flags.contains(Flags::WIDE_CHAR_SPACER);
            let cell = &mut row[Column(column)];
            if flags.contains(Flags::WIDE_CHAR) && !second {
                cell.clear_wide();
            }
            if flags.contains(Flags::WIDE_CHAR_SPACER) && !wide_before {
                cell.flags.remove(Flags::WIDE_CHAR_SPACER);
            }
            wide_before = flags.contains(Flags::WIDE_CHAR);
        }
    }

    /// Whether the cursor is between the margins.
    pub(super) fn is_inside(&self) -> bool {
        let line = usize::try_from(self.term.grid().cursor.point.line.0).unwrap_or(0);
        (self.region.0..self.region.1).contains(&line)
    }

    /// With the origin at the margins the cursor can't be outside of them.
    pub(super) fn keep_inside(&mut self) {
        if self.has(TermMode::ORIGIN) {
            let (start, end) = self.region;
            let line = |n: usize| Line(i32::try_from(n).unwrap_or(0));
            let point = &mut self.term.grid_mut().cursor.point;
            point.line = point.line.clamp(line(start), line(end - 1));
        }
    }
}

pub(super) fn delta(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

pub(super) fn default_tabs(columns: usize) -> Vec<bool> {
    (0..columns).map(|column| column % TAB_COLUMNS == 0).collect()
}
