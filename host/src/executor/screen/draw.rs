//! Draws a model on a fresh terminal of its size: both screens, their cursors, modes, margins, tabs, colours. What follows
//! the drawn bytes finds the terminal as the model is.

use std::fmt::Write as _;

use alacritty_terminal::grid::{Cursor, Dimensions as _, Grid};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::cell::{Cell, Flags, Hyperlink};
use alacritty_terminal::vte::ansi::{CharsetIndex, Color, CursorShape, NamedColor, StandardCharset};

use super::model::{Model, default_tabs};

/// Palette entries, then the colours of text, background and cursor.
const PALETTE: usize = 256;

/// The bytes that draw `model`.
pub(super) fn draw(model: &mut Model) -> Vec<u8> {
    let mut pen = Pen::default();
    pen.colors(model);
    if model.has(TermMode::ALT_SCREEN) {
        let front = model.term.grid().clone();
        // Brings the normal screen to the front for a moment; it empties the alternate one, which is put back.
        model.term.swap_alt();
        pen.grid(model.term.grid());
        pen.cursor(model.term.grid(), &model.behind, 0);
        model.term.swap_alt();
        *model.term.grid_mut() = front;
        pen.out.push_str("\x1b[?1049h");
        pen.plain();
        pen.out.push_str("\x1b[2J");
    }
    let grid = model.term.grid();
    pen.grid(grid);
    pen.cursor(grid, &grid.saved_cursor, 0);
    pen.out.push_str("\x1b7");
    pen.tabs(model);
    pen.rest(model);
    pen.out.into_bytes()
}

/// Whether a row begins with a whole wide character.
fn begins_wide(grid: &Grid<Cell>, line: Line) -> bool {
    let has = |column, flag| grid[line][Column(column)].flags.contains(flag);
    line <= grid.bottommost_line() && has(0, Flags::WIDE_CHAR) && has(1, Flags::WIDE_CHAR_SPACER)
}

#[derive(Default)]
struct Pen {
    out: String,
    /// What the next character is drawn with.
    cell: Cell,
}

impl Pen {
    fn put(&mut self, args: std::fmt::Arguments<'_>) {
        self.out.write_fmt(args).expect("a String takes all");
    }

    /// Default attributes and ASCII.
    fn plain(&mut self) {
        self.attributes(&Cell::default());
        self.out.push_str("\x1b[m\x1b(B\x0f");
    }

    fn colors(&mut self, model: &Model) {
        let colors = model.term.colors();
        for index in 0..PALETTE + 3 {
            let Some(color) = colors[index] else { continue };
            match index.checked_sub(PALETTE) {
                None => self.put(format_args!("\x1b]4;{index};")),
                Some(special) => self.put(format_args!("\x1b]{};", 10 + special)),
            }
            self.put(format_args!("rgb:{:02x}/{:02x}/{:02x}\x1b\\", color.r, color.g, color.b));
        }
    }

    fn grid(&mut self, grid: &Grid<Cell>) {
        self.plain();
        let last = grid.columns() - 1;
        let mut goes_on = false;
        for line in (0..grid.screen_lines()).map(line_of) {
            let row = &grid[line];
            let wraps = row[Column(last)].flags.contains(Flags::WRAPLINE);
            let used = (0..=last).rev().find(|&column| row[Column(column)] != Cell::default()).map_or(0, |column| column + 1);
            let used = if wraps { last + 1 } else { used.max(usize::from(goes_on)) };
            if used > 0 && !goes_on {
                self.put(format_args!("\x1b[{};1H", line.0 + 1));
            }
            for column in 0..used {
                self.cell(grid, line, column, wraps);
            }
            goes_on = wraps;
        }
        self.plain();
    }

    fn cell(&mut self, grid: &Grid<Cell>, line: Line, column: usize, wraps: bool) {
        let row = &grid[line];
        let cell = &row[Column(column)];
        let has = |column: usize, flag| column < grid.columns() && row[Column(column)].flags.contains(flag);
        if cell.flags.contains(Flags::WIDE_CHAR_SPACER) && column > 0 && has(column - 1, Flags::WIDE_CHAR) {
            return;
        }
        // A wide character that did not fit left this cell: its own wrap makes it again, if it is still there.
        let last = wraps && column + 1 == grid.columns();
        if last && cell.flags.contains(Flags::LEADING_WIDE_CHAR_SPACER) && begins_wide(grid, line + 1) {
            return;
        }
        self.attributes(cell);
        let halved = cell.flags.contains(Flags::WIDE_CHAR) && !has(column + 1, Flags::WIDE_CHAR_SPACER);
        self.out.push(if halved || cell.c.is_control() { ' ' } else { cell.c });
        self.out.extend(cell.zerowidth().into_iter().flatten());
    }

    fn attributes(&mut self, cell: &Cell) {
        let link = |cell: &Cell| cell.hyperlink().map(|link: Hyperlink| (link.id().to_owned(), link.uri().to_owned()));
        if link(cell) != link(&self.cell) {
            match link(cell) {
                Some((id, uri)) => self.put(format_args!("\x1b]8;id={id};{uri}\x1b\\")),
                None => self.out.push_str("\x1b]8;;\x1b\\"),
            }
        }
        let seen = |cell: &Cell| (cell.fg, cell.bg, styles(cell.flags), cell.underline_color());
        if seen(cell) != seen(&self.cell) {
            self.out.push_str("\x1b[0");
            for (flag, code) in STYLES {
                if styles(cell.flags).contains(flag) {
                    self.put(format_args!(";{code}"));
                }
            }
            self.color(cell.fg, 30);
            self.color(cell.bg, 40);
            if let Some(color) = cell.underline_color() {
                self.color(color, 50);
            }
            self.out.push('m');
        }
        self.cell = cell.clone();
    }

    /// `base` is 30 for text, 40 for the background, 50 for underlines.
    fn color(&mut self, color: Color, base: u16) {
        match color {
            Color::Named(NamedColor::Foreground | NamedColor::Background) => {}
            Color::Named(name) if base < 50 && (name as usize) < 8 => self.put(format_args!(";{}", base + name as u16)),
            Color::Named(name) if base < 50 && (name as usize) < 16 => self.put(format_args!(";{}", base + 52 + name as u16)),
            Color::Named(name) => self.put(format_args!(";{};5;{}", base + 8, name as usize)),
            Color::Indexed(index) => self.put(format_args!(";{};5;{index}", base + 8)),
            Color::Spec(rgb) => self.put(format_args!(";{};2;{};{};{}", base + 8, rgb.r, rgb.g, rgb.b)),
        }
    }

    /// Brings the cursor where `cursor` is, with its attributes and character sets; lines count from `top`.
    fn cursor(&mut self, grid: &Grid<Cell>, cursor: &Cursor<Cell>, top: i32) {
        let (line, mut column) = (cursor.point.line, cursor.point.column.0);
        if cursor.input_needs_wrap && column > 0 && grid[line][Column(column)].flags.contains(Flags::WIDE_CHAR_SPACER) {
            column -= 1;
        }
        self.put(format_args!("\x1b[{};{}H", (line.0 - top).max(0) + 1, column + 1));
        if cursor.input_needs_wrap {
            // Only a character in the last column makes a terminal wait to wrap: the one that is there.
            self.cell(grid, line, column, false);
        }
        self.attributes(&cursor.template);
        for (index, name) in [(CharsetIndex::G0, '('), (CharsetIndex::G1, ')'), (CharsetIndex::G2, '*'), (CharsetIndex::G3, '+')]
        {
            let drawing = cursor.charsets[index] == StandardCharset::SpecialCharacterAndLineDrawing;
            self.put(format_args!("\x1b{name}{}", if drawing { '0' } else { 'B' }));
        }
    }

    fn tabs(&mut self, model: &Model) {
        if model.tabs == default_tabs(model.tabs.len()) {
            return;
        }
        self.out.push_str("\x1b[3g");
        for (column, _) in model.tabs.iter().enumerate().filter(|(_, stop)| **stop) {
            self.put(format_args!("\x1b[{}G\x1bH", column + 1));
        }
    }

    /// Margins, cursor, modes: in this order, because margins move the cursor and modes change what drawing does.
    fn rest(&mut self, model: &Model) {
        let grid = model.term.grid();
        let (start, end) = model.region;
        let mut top = 0;
        if (start, end) != (0, grid.screen_lines()) {
            self.put(format_args!("\x1b[{};{end}r", start + 1));
        }
        if model.has(TermMode::ORIGIN) {
            self.out.push_str("\x1b[?6h");
            top = i32::try_from(start).unwrap_or(0);
        }
        self.out.push_str("\x1b(B");
        self.cursor(grid, &grid.cursor, top);
        if model.charset == CharsetIndex::G1 {
            self.out.push('\x0e');
        }
        for (mode, on, sequence) in MODES {
            if model.has(mode) == on {
                self.out.push_str(sequence);
            }
        }
        let style = model.term.cursor_style();
        let shape = match style.shape {
            CursorShape::Underline => 4,
            CursorShape::Beam => 6,
            CursorShape::Block | CursorShape::HollowBlock | CursorShape::Hidden => 2,
        };
        if shape != 2 || style.blinking {
            self.put(format_args!("\x1b[{} q", shape - u8::from(style.blinking)));
        }
    }
}

const STYLES: [(Flags, &str); 11] = [
    (Flags::BOLD, "1"),
    (Flags::DIM, "2"),
    (Flags::ITALIC, "3"),
    (Flags::UNDERLINE, "4"),
    (Flags::DOUBLE_UNDERLINE, "4:2"),
    (Flags::UNDERCURL, "4:3"),
    (Flags::DOTTED_UNDERLINE, "4:4"),
    (Flags::DASHED_UNDERLINE, "4:5"),
    (Flags::INVERSE, "7"),
    (Flags::HIDDEN, "8"),
    (Flags::STRIKEOUT, "9"),
];

/// A mode, when it differs from a fresh terminal's, and what makes it so.
const MODES: [(TermMode, bool, &str); 15] = [
    (TermMode::APP_CURSOR, true, "\x1b[?1h"),
    (TermMode::APP_KEYPAD, true, "\x1b="),
    (TermMode::SHOW_CURSOR, false, "\x1b[?25l"),
    (TermMode::MOUSE_REPORT_CLICK, true, "\x1b[?1000h"),
    (TermMode::MOUSE_DRAG, true, "\x1b[?1002h"),
    (TermMode::MOUSE_MOTION, true, "\x1b[?1003h"),
    (TermMode::FOCUS_IN_OUT, true, "\x1b[?1004h"),
    (TermMode::UTF8_MOUSE, true, "\x1b[?1005h"),
    (TermMode::SGR_MOUSE, true, "\x1b[?1006h"),
    (TermMode::ALTERNATE_SCROLL, false, "\x1b[?1007l"),
    (TermMode::URGENCY_HINTS, false, "\x1b[?1042l"),
    (TermMode::BRACKETED_PASTE, true, "\x1b[?2004h"),
    (TermMode::LINE_FEED_NEW_LINE, true, "\x1b[20h"),
    (TermMode::LINE_WRAP, false, "\x1b[?7l"),
    (TermMode::INSERT, true, "\x1b[4h"),
];

/// The flags that are looks.
fn styles(flags: Flags) -> Flags {
    STYLES.iter().fold(Flags::empty(), |all, (flag, _)| all | *flag) & flags
}

fn line_of(row: usize) -> Line {
    Line(i32::try_from(row).unwrap_or(i32::MAX))
}
