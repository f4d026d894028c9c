//! Hides on the screen what is a secret there, however it came to be: by moves of the cursor, insertions, repetitions,
//! breaks into lines. What is hidden is asterisks in the model itself, so that nothing drawn from it shows it again.
//!
//! Only rows that were touched since the last look can be a part of a new secret, or have parted one: they are looked at, and
//! those around them that one may reach to.

use std::ops::Range;

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::Flags;

use super::model::{Mark, Model};
use crate::executor::mask::{Rules, is_solid};

/// So many begin and end a key's first line: one of both is whole, wherever the line wraps.
const DASHES: usize = 5;

/// What stands on some rows.
struct Text {
    /// The rows as lines: a row that wraps goes on in the next.
    bytes: Vec<u8>,
    /// The same without blanks and boxes.
    letters: Vec<char>,
}

/// Where each byte and each letter of a text stands: row and column.
#[derive(Default)]
struct Places {
    bytes: Vec<(usize, usize)>,
    letters: Vec<(usize, usize)>,
}

/// Looks at a screen on which something was hidden, until nothing more is.
const MAX_LOOKS: usize = 8;

/// Hides the secrets on the front screen that are new since the last look; returns how many there were.
pub(super) fn conceal(model: &mut Model, rules: &Rules) -> u64 {
    let mut count = conceal_touched(model, rules);
    // Asterisks stand for any letter: what is hidden may complete another secret anywhere around it.
    let mut more = count;
    for _ in 0..MAX_LOOKS {
        if more == 0 {
            break;
        }
        let rows = model.marks.len();
        (0..rows).for_each(|row| model.marks[row] = mark(model, row));
        more = conceal_rows(model, rules, 0..rows);
        count += more;
    }
    count
}

fn conceal_touched(model: &mut Model, rules: &Rules) -> u64 {
    let (mut touched, mut is_parted) = (Vec::new(), false);
    for row in 0..model.marks.len() {
        let before = model.marks[row];
        if before.touched {
            model.marks[row] = mark(model, row);
        }
        // A row whose line began on the row above, and does no more, may say something else now.
        if before.touched || is_parted {
            touched.push(row);
        }
        is_parted = before.touched && before.wraps && !model.marks[row].wraps;
    }
    let rows = model.marks.len();
    if model.marks.iter().any(|mark| mark.dashes) && !touched.is_empty() {
        // Perhaps a key's first line: what follows it may be far below.
        return conceal_rows(model, rules, 0..rows);
    }
    let (mut count, mut done) = (0, 0);
    for row in touched {
        if row >= done {
            let around = first_row(model, rules, row)..end_row(model, rules, row);
            done = around.end;
            count += conceal_rows(model, rules, around);
        }
    }
    count
}

/// What is to be known of a row.
fn mark(model: &Model, row: usize) -> Mark {
    let halves = Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER;
    let (mut mark, mut dashes) = (Mark { wraps: wraps(model, row), ..Mark::default() }, 0);
    for cell in &model.term.grid()[line_of(row)][..] {
        if is_solid(cell.c) && !cell.flags.intersects(halves) {
            mark.edges = Some((mark.edges.map_or(cell.c, |(first, _)| first), cell.c));
            mark.letters += 1;
        }
        dashes = if cell.c == '-' { dashes + 1 } else { 0 };
        mark.dashes |= dashes == DASHES;
    }
    mark
}

/// Where a secret may begin that reaches the row: it goes on from row to row where the letters on both sides are neighbours
/// in one.
fn first_row(model: &Model, rules: &Rules, row: usize) -> usize {
    let marks = &model.marks;
    let (mut start, mut between) = (row, 0);
    let mut next = marks[row..].iter().find_map(|mark| mark.edges);
    for above in (0..row).rev() {
        let edges = marks[above].edges;
        let linked = between < rules.longest() && edges.zip(next).is_some_and(|((_, last), (next, _))| rules.links(last, next));
        if linked || (start == above + 1 && wraps(model, above)) {
            start = above;
            between += marks[above].letters;
            next = edges.or(next);
        } else if edges.is_some() {
            break;
        }
    }
    start
}

/// One after where a secret may end that reaches the row.
fn end_row(model: &Model, rules: &Rules, row: usize) -> usize {
    let marks = &model.marks;
    let (mut end, mut between) = (row + 1, 0);
    let mut before = marks[..=row].iter().rev().find_map(|mark| mark.edges);
    for (below, mark) in marks.iter().enumerate().skip(row + 1) {
        let edges = mark.edges;
        let linked = between < rules.longest() && before.zip(edges).is_some_and(|((_, last), (next, _))| rules.links(last, next));
        if linked || (end == below && wraps(model, below - 1)) {
            end = below + 1;
            between += mark.letters;
            before = edges.or(before);
        } else if edges.is_some() {
            break;
        }
    }
    end
}

fn wraps(model: &Model, row: usize) -> bool {
    let grid = model.term.grid();
    grid[line_of(row)][Column(grid.columns() - 1)].flags.contains(Flags::WRAPLINE)
}

/// Hides what is a secret on these rows alone; returns how many there were.
fn conceal_rows(model: &mut Model, rules: &Rules, rows: Range<usize>) -> u64 {
    let text = read(model, rows.clone());
    let whole = rules.find(&text.bytes);
    let mut broken: Vec<Range<usize>> = Vec::new();
    for secret in rules.broken() {
        let begins = (0..text.letters.len()).filter(|at| matches!(text.letters[*at], c if c == secret[0] || c == '*'));
        let here = begins.filter(|at| is_secret(&text.letters[*at..], secret));
        broken.extend(here.map(|at| at..at + secret.len()));
    }
    if whole.is_empty() && broken.is_empty() {
        return 0;
    }
    let places = places(model, rows);
    let solid = |place: &(usize, usize)| places.letters.binary_search(place).is_ok();
    let whole = whole.into_iter().map(|range| places.bytes[range].iter().copied().filter(solid).collect());
    let found: Vec<Vec<(usize, usize)>> = whole.chain(broken.into_iter().map(|range| places.letters[range].to_vec())).collect();
    let mut count = 0;
    for cells in found {
        let hidden = cells.into_iter().filter(|(row, column)| hide(model, *row, *column)).count();
        count += u64::from(hidden > 0);
    }
    count
}

fn read(model: &Model, rows: Range<usize>) -> Text {
    let cells = rows.len() * (model.term.columns() + 1);
    let (mut bytes, mut letters) = (Vec::with_capacity(cells), Vec::with_capacity(cells));
    each(model, rows, |c, _| {
        if c.is_ascii() {
            bytes.push(c as u8);
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if is_solid(c) {
            letters.push(c);
        }
    });
    Text { bytes, letters }
}

fn places(model: &Model, rows: Range<usize>) -> Places {
    let mut places = Places::default();
    each(model, rows, |c, place| {
        places.bytes.extend(std::iter::repeat_n(place, c.len_utf8()));
        if is_solid(c) {
            places.letters.push(place);
        }
    });
    places
}

/// The characters of the rows in order, with their places, and a line end after each row that does not wrap.
fn each(model: &Model, rows: Range<usize>, mut to: impl FnMut(char, (usize, usize))) {
    let grid = model.term.grid();
    let last = grid.columns() - 1;
    for row in rows {
        let cells = &grid[line_of(row)][..];
        for (column, cell) in cells.iter().enumerate() {
            if !cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
                to(cell.c, (row, column));
            }
        }
        if !cells[last].flags.contains(Flags::WRAPLINE) {
            to('\n', (row, last));
        }
    }
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
    // What it is a part of may be more.
    model.marks[row].touched = true;
    true
}

fn line_of(row: usize) -> Line {
    Line(i32::try_from(row).unwrap_or(i32::MAX))
}
