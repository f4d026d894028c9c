//! Terminal bytes: what reaches a viewer holds nothing that acts on the viewer's terminal, wherever the stream is cut;
//! what is kept is bounded; a snapshot draws the screen that it was taken from.

use super::screen::Screen;
use super::session::Session;
use crate::fuzzing::Input;

/// A secret of the task.
const SECRET: &str = "hunter22-secret";
/// Most bytes of answers that may wait.
const REPLY_BYTES: usize = 16 * 1024;
/// Most bytes that draw a cell, and what else a screen is drawn with.
const CELL_BYTES: usize = 128;
const SCREEN_BYTES: usize = 16 * 1024;
/// Longest OSC string that a viewer gets.
const OSC_BYTES: usize = 4096;

/// A byte for the size of the screen, one for the length of the pieces, and what an agent writes.
pub fn terminal(data: &[u8]) {
    let mut input = Input::new(data);
    let (columns, rows) = input.pick(&[(40, 6), (80, 24), (2, 1), (2, 3), (7, 2), (120, 40), (3, 1)]);
    let cut = usize::from(input.byte());
    let bytes = input.rest();

    let (whole, pieces) = (session(columns, rows), session(columns, rows));
    assert!(whole.feed(bytes).len() <= REPLY_BYTES, "answers are bounded");
    for piece in bytes.chunks(cut.max(1)) {
        assert!(pieces.feed(piece).len() <= REPLY_BYTES, "answers are bounded");
    }
    // A byte that is no character becomes U+FFFD, and a secret that is hidden has the screen drawn anew.
    let redrawn = if whole.masked() > 0 { usize::from(columns) * usize::from(rows) * CELL_BYTES + SCREEN_BYTES } else { 0 };
    assert!(whole.waiting().0 <= 3 * bytes.len() + redrawn, "no more is kept than came");
    whole.finish();
    pieces.finish();
    let (view, other) = (whole.send(), pieces.send());
    // A secret that only the screen shows is hidden where a piece ends, and what could be the begin of one where nothing
    // follows for now: what is masked may depend on the cuts, and nothing else.
    let stars = |text: &[u8]| text.iter().filter(|b| **b == b'*').count();
    if stars(&view) == stars(bytes) && stars(&other) == stars(bytes) {
        assert_eq!(shown(&view), shown(&other), "what is shown does not depend on where the stream is cut");
    }
    harmless(&view);
    if !bytes.iter().any(|b| matches!(b, 0x1b | 0xc2)) {
        let secret = view.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!secret, "a secret is shown: {}", shown(&view));
    }
    keyframe(columns, rows, &view);
}

fn session(columns: u16, rows: u16) -> Session {
    Session::new(columns, rows, &[SECRET.to_owned()])
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Reads a viewer's bytes as a terminal does, by another way than the filter: no strings but harmless OSC, no C1.
fn harmless(view: &[u8]) {
    let why = || shown(view);
    let mut at = 0;
    while let Some(found) = view[at..].iter().position(|b| matches!(b, 0x1b | 0xc2)) {
        at += found;
        let next = view.get(at + 1).copied();
        if view[at] == 0xc2 {
            assert!(!matches!(next, Some(0x80..=0x9f)), "a C1 control: {}", why());
            at += 1;
            continue;
        }
        // A terminal looks past controls and what is no ASCII for the begin of a string.
        assert!(matches!(next, Some(b' '..=b'~')), "a sequence that begins with a control: {}", why());
        assert!(!matches!(next, Some(b'P' | b'X' | b'^' | b'_' | b'%')), "a string or another encoding begins: {}", why());
        at += 1;
        if next != Some(b']') {
            continue;
        }
        let body = &view[at + 1..];
        let length = body.windows(2).position(|end| end == b"\x1b\\").unwrap_or_else(|| panic!("an open OSC: {}", why()));
        let osc = &body[..length];
        assert!(length <= OSC_BYTES && !osc.iter().any(u8::is_ascii_control), "a control in an OSC: {}", why());
        let number = osc.split(|b| *b == b';').next().unwrap_or_default();
        let known: [&[u8]; 12] = [b"0", b"1", b"2", b"4", b"8", b"10", b"11", b"12", b"104", b"110", b"111", b"112"];
        assert!(known.contains(&number), "an OSC that a viewer must not get: {}", why());
        at += 1 + length;
    }
}

/// Whoever comes later sees the same.
fn keyframe(columns: u16, rows: u16, view: &[u8]) {
    let mut screen = Screen::new(columns, rows);
    screen.feed(view);
    let snapshot = screen.snapshot(1);
    assert_eq!((snapshot.columns, snapshot.rows), (columns, rows));
    let mut copy = Screen::new(columns, rows);
    copy.feed(&snapshot.bytes);
    assert_eq!((copy.cells(), copy.state()), (screen.cells(), screen.state()), "a snapshot draws the same screen");
    assert!(screen.display().title.chars().count() <= 192 && screen.display().message.chars().count() <= 512);
}
