//! A screen in a form that tests can compare.

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::Flags;

use super::Screen;

impl Screen {
    /// Text and looks of each cell; a wide character's second cell is empty.
    pub(in crate::executor) fn cells(&self) -> Vec<Vec<(String, String)>> {
        let grid = self.model.term.grid();
        let rows = (0..grid.screen_lines()).map(|row| &grid[Line(i32::try_from(row).expect("a screen is small"))]);
        rows.map(|row| {
            let cells = (0..grid.columns()).map(|column| &row[Column(column)]);
            cells
                .map(|cell| {
                    let looks = cell.flags - (Flags::WRAPLINE | Flags::LEADING_WIDE_CHAR_SPACER | Flags::WIDE_CHAR);
                    let link = cell.hyperlink().map(|link| link.uri().to_owned());
                    let looks = format!("{:?} {:?} {looks:?} {:?} {link:?}", cell.fg, cell.bg, cell.underline_color());
                    if cell.flags.contains(Flags::WIDE_CHAR_SPACER) {
                        return (String::new(), looks);
                    }
                    (std::iter::once(cell.c).chain(cell.zerowidth().into_iter().flatten().copied()).collect(), looks)
                })
                .collect()
        })
        .collect()
    }

    /// All that is no cell and makes a difference to what comes next.
    pub(in crate::executor) fn state(&self) -> String {
        let (model, grid) = (&self.model, self.model.term.grid());
        let cursors = [&grid.cursor, &grid.saved_cursor, &model.behind].map(|c| {
            format!(
                "{:?} {} {:?} {:?}",
                c.point,
                c.input_needs_wrap,
                c.charsets,
                (c.template.fg, c.template.bg, c.template.flags)
            )
        });
        let style = model.term.cursor_style();
        format!("{cursors:?} {:?} {:?} {:?} {:?} {style:?}", model.term.mode(), model.region, model.tabs, model.charset)
    }
}
