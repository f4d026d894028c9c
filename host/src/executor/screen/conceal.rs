//! Hides on the screen what is a secret there, however it came to be: by moves of the cursor, insertions, repetitions,
//! breaks into lines. What is hidden is asterisks in the model itself, so that nothing drawn from it shows it again.

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::Flags;

use super::model::Model;
use crate::executor::mask::{Rules, is_solid};

/// Text and the cell that each byte stands in.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    cells: Vec<(usize, usize)>,
}

impl Text {
    fn push(&mut self, c: char, cell: (usize, usize)) {
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.cells.resize(self.bytes.len(), cell);
    }

    /// What is text of a part, without blanks and boxes.
    fn solid(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (char, (usize, usize))> {
        let start = range.start;
        let text = std::str::from_utf8(&self.bytes[range]).unwrap_or_default();
        text.char_indices().filter(|(_, c)| is_solid(*c)).map(move |(at, c)| (c, self.cells[start + at]))
    }
}

/// Hides the secrets on the front screen; returns how many there were.
pub(super) fn conceal(model: &mut Model, rules: &Rules) -> u64 {
    let text = read(model);
    let whole = rules.find(&text.bytes).into_iter().map(|range| (range.start, range.end));
    let mut found: Vec<Vec<(usize, usize)>> =
        whole.map(|(start, end)| text.solid(start..end).map(|(_, cell)| cell).collect()).collect();
    let (letters, places): (Vec<char>, Vec<(usize, usize)>) = text.solid(0..text.bytes.len()).unzip();
    for secret in rules.broken() {
        let begins = (0..letters.len()).filter(|at| letters[*at] == secret[0] || letters[*at] == '*');
        let here = begins.filter(|at| is_secret(&letters[*at..], secret));
        found.extend(here.map(|at| places[at..at + secret.len()].to_vec()));
    }
    let mut count = 0;
    for cells in found {
        let hidden = cells.into_iter().filter(|(row, column)| hide(model, *row, *column)).count();
        count += u64::from(hidden > 0);
    }
    count
}

/// The rows as lines: a row that wraps goes on in the next.
fn read(model: &Model) -> Text {
    let grid = model.term.grid();
    let mut text = Text::default();
    for row in 0..grid.screen_lines() {
        let cells = &grid[line_of(row)];
        for column in 0..grid.columns() {
            let cell = &cells[Column(column)];
            if !cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
                text.push(cell.c, (row, column));
            }
        }
        let last = grid.columns() - 1;
        if !cells[Column(last)].flags.contains(Flags::WRAPLINE) {
            text.push('\n', (row, last));
        }
    }
    text
}

/// Whether text begins with the secret; a part of it may be asterisks already, because that part was masked when it was
/// written.
fn is_secret(text: &[char], secret: &[char]) -> bool {
    if text.len() < secret.len() {
        return false;
    }
    let mut open = 0;
    for (seen, own) in text.iter().zip(secret) {
        if seen == own {
            open += usize::from(*own != '*');
        } else if *seen != '*' {
            return false;
        }
    }
    open * 3 >= secret.len()
}

/// False where nothing was to be hidden any more.
fn hide(model: &mut Model, row: usize, column: usize) -> bool {
    let line = &mut model.term.grid_mut()[line_of(row)];
    if line[Column(column)].c == '*' {
        return false;
    }
    let wide = line[Column(column)].flags.contains(Flags::WIDE_CHAR);
    for cell in column..=column + usize::from(wide) {
        let cell = &mut line[Column(cell)];
        cell.clear_wide();
        cell.flags.remove(Flags::WIDE_CHAR_SPACER);
        cell.c = '*';
    }
    true
}

fn line_of(row: usize) -> Line {
    Line(i32::try_from(row).unwrap_or(i32::MAX))
}
