//! What the model does for each control function: alacritty_terminal's own doing, but where xterm does otherwise or where
//! what it keeps to itself has to be kept here too.

use alacritty_terminal::grid::{Cursor, Dimensions as _};
use alacritty_terminal::index::Column;
use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, LineClearMode, Mode, NamedPrivateMode,
    PrivateMode, Rgb, StandardCharset, TabulationClearMode,
};
use unicode_width::UnicodeWidthChar as _;

use super::model::{Model, default_tabs, delta};

/// 1 set, 2 reset; 0 for a mode that we don't know.
fn mode_state(model: &Model, mode: PrivateMode) -> u8 {
    let known = match mode.raw() {
        1 => TermMode::APP_CURSOR,
        6 => TermMode::ORIGIN,
        7 => TermMode::LINE_WRAP,
        25 => TermMode::SHOW_CURSOR,
        47 | 1047 | 1049 => TermMode::ALT_SCREEN,
        1000 => TermMode::MOUSE_REPORT_CLICK,
        1002 => TermMode::MOUSE_DRAG,
        1003 => TermMode::MOUSE_MOTION,
        1004 => TermMode::FOCUS_IN_OUT,
        1005 => TermMode::UTF8_MOUSE,
        1006 => TermMode::SGR_MOUSE,
        2004 => TermMode::BRACKETED_PASTE,
        _ => return 0,
    };
    if model.has(known) { 1 } else { 2 }
}

/// Methods that go to the model as they are.
macro_rules! forward {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name(&mut self, $($arg: $kind),*) { self.term.$name($($arg),*); })*
    };
}

impl Handler for Model {
    forward! {
        set_cursor_style(style: Option<CursorStyle>);
        set_cursor_shape(shape: CursorShape);
        goto(line: i32, column: usize);
        goto_line(line: i32);
        move_forward(count: usize);
        move_backward(count: usize);
        backspace();
        carriage_return();
        move_forward_tabs(count: u16);
        save_cursor_position();
        terminal_attribute(attribute: Attr);
        set_mode(mode: Mode);
        unset_mode(mode: Mode);
        set_keypad_application_mode();
        unset_keypad_application_mode();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        set_color(index: usize, color: Rgb);
        reset_color(index: usize);
        set_hyperlink(link: Option<Hyperlink>);
    }

    fn input(&mut self, c: char) {
        if !c.is_ascii() && c.width() == Some(0) && self.is_full_of_combining() {
            return;
        }
        let cursor = &self.term.grid().cursor;
        if cursor.input_needs_wrap || (!c.is_ascii() && cursor.point.column == self.term.last_column()) {
            // It wraps, perhaps, and that may scroll.
            self.touch_all();
        }
        self.term.input(c);
        self.touch();
        if self.has(TermMode::INSERT) {
            self.mend_line();
        }
    }

    fn insert_blank(&mut self, count: usize) {
        self.settle_wrap();
        self.term.insert_blank(count);
        self.mend_line();
    }

    fn erase_chars(&mut self, count: usize) {
        self.settle_wrap();
        self.term.erase_chars(count);
        self.mend_line();
    }

    fn delete_chars(&mut self, count: usize) {
        self.settle_wrap();
        // With more than there are the model would clear cells before the cursor.
        let grid = self.term.grid();
        let there = grid.columns() - grid.cursor.point.column.0;
        self.term.delete_chars(count.min(there));
        self.mend_line();
    }

    fn clear_line(&mut self, mode: LineClearMode) {
        self.term.clear_line(mode);
        self.mend_line();
    }

    fn goto_col(&mut self, column: usize) {
        self.settle_wrap();
        let last = self.term.last_column();
        self.term.grid_mut().cursor.point.column = last.min(Column(column));
    }

    fn move_up(&mut self, count: usize) {
        self.move_lines(-delta(count));
    }

    fn move_down(&mut self, count: usize) {
        self.move_lines(delta(count));
    }

    fn move_up_and_cr(&mut self, count: usize) {
        self.move_lines(-delta(count));
        self.term.carriage_return();
    }

    fn move_down_and_cr(&mut self, count: usize) {
        self.move_lines(delta(count));
        self.term.carriage_return();
    }

    fn restore_cursor_position(&mut self) {
        self.term.restore_cursor_position();
        self.keep_inside();
    }

    fn put_tab(&mut self, count: u16) {
        // A tab never wraps.
        if !self.term.grid().cursor.input_needs_wrap {
            self.term.move_forward_tabs(count);
        }
    }

    fn move_backward_tabs(&mut self, count: u16) {
        let cursor = &mut self.term.grid_mut().cursor;
        if cursor.input_needs_wrap {
            return;
        }
        let stops = (0..cursor.point.column.0).rev().filter(|column| self.tabs[*column]);
        // Before the first stop is the margin.
        let to = stops.chain(std::iter::repeat(0)).take(usize::from(count)).last().unwrap_or(0);
        cursor.point.column = Column(to);
    }

    fn scroll_up(&mut self, count: usize) {
        self.touch_all();
        self.term.scroll_up(count);
    }

    fn scroll_down(&mut self, count: usize) {
        self.touch_all();
        self.term.scroll_down(count);
    }

    fn linefeed(&mut self) {
        self.settle_wrap();
        self.touch_by_line_feed();
        self.term.linefeed();
        if self.has(TermMode::LINE_FEED_NEW_LINE) {
            self.term.carriage_return();
        }
    }

    fn newline(&mut self) {
        self.settle_wrap();
        self.touch_by_line_feed();
        self.term.newline();
    }

    fn reverse_index(&mut self) {
        self.settle_wrap();
        self.touch_all();
        self.term.reverse_index();
    }

    fn insert_blank_lines(&mut self, count: usize) {
        if self.is_inside() {
            self.touch_all();
            self.term.insert_blank_lines(count);
            self.term.carriage_return();
        }
    }

    fn delete_lines(&mut self, count: usize) {
        if self.is_inside() {
            self.touch_all();
            self.term.delete_lines(count);
            self.term.carriage_return();
        }
    }

    fn clear_screen(&mut self, mode: ClearMode) {
        let point = self.term.grid().cursor.point;
        let line = usize::try_from(point.line.0).unwrap_or(0);
        let cleared = match mode {
            ClearMode::Below => line..self.marks.len(),
            ClearMode::Above => 0..line + 1,
            ClearMode::All | ClearMode::Saved => 0..self.marks.len(),
        };
        self.marks[cleared].iter_mut().for_each(|mark| mark.touched = true);
        let grid = self.term.grid_mut();
        let keeps_last = matches!(mode, ClearMode::Below) && grid.cursor.input_needs_wrap;
        let last = keeps_last.then(|| grid[point.line][point.column].clone());
        if matches!(mode, ClearMode::Above) && point.line == 1 {
            // The model leaves the first line then.
            grid.reset_region(..point.line);
        }
        self.term.clear_screen(mode);
        if let Some(last) = last {
            // The cursor is behind the last column.
            self.term.grid_mut()[point.line][point.column] = last;
        }
        self.mend_line();
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let rows = self.term.screen_lines();
        let bottom = bottom.unwrap_or(rows).min(rows);
        if top < bottom {
            self.region = (top - 1, bottom);
            self.term.set_scrolling_region(top, Some(bottom));
        }
    }

    fn set_horizontal_tabstop(&mut self) {
        let column = self.term.grid().cursor.point.column.0;
        self.tabs[column] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => self.tabs[self.term.grid().cursor.point.column.0] = false,
            TabulationClearMode::All => self.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.charset = index;
        self.term.set_active_charset(index);
    }

    fn reset_state(&mut self) {
        self.touch_all();
        self.term.reset_state();
        self.region = (0, self.term.screen_lines());
        self.tabs = default_tabs(self.term.columns());
        self.charset = CharsetIndex::G0;
        self.behind = Cursor::default();
    }

    fn decaln(&mut self) {
        self.touch_all();
        self.term.decaln();
        self.goto(0, 0);
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        let grid = self.term.grid();
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) => {
                if self.has(TermMode::ALT_SCREEN) {
                    return self.term.save_cursor_position();
                }
                self.enter(grid.cursor.clone());
            }
            PrivateMode::Unknown(47 | 1047) if !self.has(TermMode::ALT_SCREEN) => self.enter(grid.saved_cursor.clone()),
            PrivateMode::Unknown(1048) => self.term.save_cursor_position(),
            // 132 columns: terminals of today don't.
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            mode => self.term.set_private_mode(mode),
        }
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            // The saved cursor comes back even where the normal screen is in front already.
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) => {
                self.leave();
                self.restore_cursor_position();
            }
            PrivateMode::Unknown(47 | 1047) => self.leave(),
            PrivateMode::Named(NamedPrivateMode::Origin) => {
                self.term.unset_private_mode(mode);
                self.goto(0, 0);
            }
            PrivateMode::Unknown(1048) => self.restore_cursor_position(),
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            mode => self.term.unset_private_mode(mode),
        }
    }

    fn identify_terminal(&mut self, intermediate: Option<char>) {
        match intermediate {
            None => self.reply("\x1b[?62;22c"),
            Some('>') => self.reply("\x1b[>1;10;0c"),
            Some(_) => {}
        }
    }

    fn device_status(&mut self, kind: usize) {
        match kind {
            5 => self.reply("\x1b[0n"),
            6 => {
                let (line, column) = self.cursor();
                self.reply(&format!("\x1b[{line};{column}R"));
            }
            _ => {}
        }
    }

    fn report_mode(&mut self, mode: Mode) {
        self.reply(&format!("\x1b[{};0$y", mode.raw()));
    }

    fn report_private_mode(&mut self, mode: PrivateMode) {
        let state = mode_state(self, mode);
        self.reply(&format!("\x1b[?{};{state}$y", mode.raw()));
    }
}
