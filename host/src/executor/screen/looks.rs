//! A screen as another model may see it too.

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{Color, NamedColor};

use super::Screen;

/// One cell as another model may see it too.
pub(in crate::executor) struct Look {
    pub(in crate::executor) text: String,
    pub(in crate::executor) background: vt100::Color,
    foreground: vt100::Color,
    flags: Flags,
}

impl Look {
    /// Colours, bold or dim (vt100 keeps one of them), italic, underlined, inverse.
    pub(in crate::executor) fn looks(&self) -> String {
        let has = |flag| self.flags.intersects(flag);
        let underlined = has(Flags::ALL_UNDERLINES);
        let weight = has(Flags::BOLD | Flags::DIM);
        format!("{:?}", (self.foreground, self.background, weight, has(Flags::ITALIC), underlined, has(Flags::INVERSE)))
    }
}

impl Screen {
    /// As if nobody had looked at any row.
    pub(in crate::executor) fn forget_looks(&mut self) {
        self.model.touch_all();
    }

    /// Whether the cells are those of `other`, without the words for them.
    pub(in crate::executor) fn shows_the_same(&self, other: &Screen) -> bool {
        let rows = |screen: &Screen| (screen.model.term.screen_lines(), screen.model.term.columns());
        let seen = |cell: &Cell| {
            let link = cell.hyperlink().map(|link| link.uri().to_owned());
            let flags = cell.flags - (Flags::WRAPLINE | Flags::LEADING_WIDE_CHAR_SPACER | Flags::WIDE_CHAR);
            (cell.c, cell.fg, cell.bg, flags, cell.underline_color(), cell.zerowidth().unwrap_or_default().to_vec(), link)
        };
        let (a, b) = (self.model.term.grid(), other.model.term.grid());
        let lines = (0..a.screen_lines()).map(|row| Line(i32::try_from(row).expect("a screen is small")));
        rows(self) == rows(other)
            && lines.into_iter().all(|line| {
                (0..a.columns()).all(|column| {
                    let (one, two) = (&a[line][Column(column)], &b[line][Column(column)]);
                    one == two || seen(one) == seen(two)
                })
            })
    }

    /// Line and column of the cursor.
    pub(in crate::executor) fn cursor(&self) -> (u16, u16) {
        let point = self.model.term.grid().cursor.point;
        let small = |n: usize| u16::try_from(n).expect("a screen is small");
        (small(usize::try_from(point.line.0).expect("on the screen")), small(point.column.0))
    }

    /// The cells with what vt100 knows of them.
    pub(in crate::executor) fn looks(&self) -> Vec<Vec<Look>> {
        let grid = self.model.term.grid();
        let texts = self.cells();
        let look = |row: usize, column: usize| {
            let cell = &grid[Line(i32::try_from(row).expect("small"))][Column(column)];
            let text = texts[row][column].0.replace('\u{fe0f}', "");
            Look { text, background: color(cell.bg), foreground: color(cell.fg), flags: cell.flags }
        };
        (0..grid.screen_lines()).map(|row| (0..grid.columns()).map(|column| look(row, column)).collect()).collect()
    }
}

fn color(color: Color) -> vt100::Color {
    match color {
        Color::Named(NamedColor::Foreground | NamedColor::Background) => vt100::Color::Default,
        Color::Named(name) => vt100::Color::Idx(u8::try_from(name as usize).expect("one of the 16")),
        Color::Indexed(index) => vt100::Color::Idx(index),
        Color::Spec(rgb) => vt100::Color::Rgb(rgb.r, rgb.g, rgb.b),
    }
}
