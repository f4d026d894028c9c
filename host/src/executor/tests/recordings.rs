//! What real programs wrote, and what chance writes: two terminal models agree on the screen, and whoever joins late sees
//! what they see who were there from the start. `tests/recordings` says where the recordings come from.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use crate::executor::mask::{Mask, Masked, Rules};
use crate::executor::screen::{Screen, Snapshot};
use crate::executor::session::{Frame, Live, Session, Sessions};
use crate::executor::strip::{Piece, Strip};
use crate::id::TaskId;

/// What a program wrote at one moment, or the terminal's new size.
enum Event {
    Output(Vec<u8>),
    Resize(u16, u16),
}

const NAMES: [&str; 5] = ["hermes", "codex", "claude", "opencode", "pi"];

fn recording(name: &str) -> (u16, u16, Vec<Event>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/recordings/{name}.cast"));
    let text = std::fs::read_to_string(path).expect("the recording is in the repository");
    let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let header = lines.next().expect("a header");
    let size = |value: &serde_json::Value| u16::try_from(value.as_u64().expect("a number")).expect("small");
    let events = lines.map(|event| {
        let data = event[2].as_str().expect("text");
        match event[1].as_str() {
            Some("r") => {
                let (columns, rows) = data.split_once('x').expect("COLUMNSxROWS");
                Event::Resize(columns.parse().expect("a number"), rows.parse().expect("a number"))
            }
            _ => Event::Output(data.as_bytes().to_vec()),
        }
    });
    (size(&header["width"]), size(&header["height"]), events.collect())
}

/// The recording in parts of one size each: coda's terminals keep theirs.
fn parts(name: &str) -> Vec<(u16, u16, Vec<Vec<u8>>)> {
    let (columns, rows, events) = recording(name);
    let mut parts = vec![(columns, rows, Vec::new())];
    for event in events {
        match event {
            Event::Output(bytes) => parts.last_mut().expect("there is a first").2.push(bytes),
            Event::Resize(columns, rows) => parts.push((columns, rows, Vec::new())),
        }
    }
    parts
}

/// A stream's way to the model.
struct Way {
    strip: Strip,
    mask: Mask,
}

impl Way {
    fn new() -> Self {
        Self { strip: Strip::new(), mask: Mask::new(Arc::new(Rules::new([]))) }
    }

    /// What is whole by now; nothing waits because it may be a secret.
    fn through(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Masked::default();
        self.strip.feed(bytes, &mut |piece| self.mask.feed(piece, &mut out));
        self.mask.flush(&mut out);
        out.model
    }
}

struct Ours {
    way: Way,
    screen: Screen,
}

impl Ours {
    fn new(columns: u16, rows: u16) -> Self {
        Self { way: Way::new(), screen: Screen::new(columns, rows) }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bytes = self.way.through(bytes);
        self.screen.feed(&bytes);
        bytes
    }
}

fn same_as_vt100(ours: &Screen, theirs: &vt100::Screen, place: &str) {
    let (rows, columns) = theirs.size();
    let cells = ours.looks();
    for row in 0..rows.get() {
        for column in 0..columns.get() {
            let cell = theirs.cell(row, column).expect("inside");
            let text = if cell.contents().is_empty() && !cell.is_wide_continuation() { " " } else { cell.contents() };
            let (c, o) = (cell, &cells[usize::from(row)][usize::from(column)]);
            assert_eq!(o.text, text, "{place}: text at {row},{column}\n{}\n---\n{}", ours.text(), theirs.contents());
            let looks = (c.fgcolor(), c.bgcolor(), c.bold() || c.dim(), c.italic(), c.underline(), c.inverse());
            let looks = format!("{looks:?}");
            // Of an empty cell only the background shows.
            // The second half of a wide character has the looks of the first.
            let seen = if o.text.is_empty() {
                true
            } else if o.text.trim().is_empty() {
                format!("{:?}", c.bgcolor()) == format!("{:?}", o.background)
            } else {
                looks == o.looks()
            };
            assert!(seen, "{place}: looks at {row},{column} ({text:?}): vt100 {looks}, ours {}", o.looks());
        }
    }
    let (row, column) = theirs.cursor_position();
    assert_eq!(ours.cursor(), (row, column.min(columns.get() - 1)), "{place}: cursor");
}

#[test]
fn two_models_show_the_same_screen_of_five_real_programs() {
    for name in NAMES {
        for (part, (columns, rows, events)) in parts(name).into_iter().enumerate() {
            let bytes = events.concat();
            let size = |n: u16| std::num::NonZeroU16::new(n).expect("a size");
            for chunk in [1, 7, 64, 4096, usize::MAX] {
                let mut ours = Ours::new(columns, rows);
                let mut theirs = vt100::Parser::new(size(rows), size(columns), 0);
                let mut way = Way::new();
                let pieces: Vec<&[u8]> =
                    if chunk == usize::MAX { events.iter().map(Vec::as_slice).collect() } else { bytes.chunks(chunk).collect() };
                for (at, piece) in pieces.iter().enumerate() {
                    ours.feed(piece);
                    // It widens a character for a variation selector; xterm and what viewers use do not.
                    theirs.process(String::from_utf8_lossy(&way.through(piece)).replace('\u{fe0f}', "").as_bytes());
                    if chunk >= 4096 || at + 1 == pieces.len() {
                        same_as_vt100(
                            &ours.screen,
                            theirs.screen(),
                            &format!("{name}, part {part}, chunks of {chunk}, chunk {at}"),
                        );
                    }
                }
            }
        }
    }
}

fn drawn(snapshot: &Snapshot) -> Screen {
    let mut copy = Screen::new(snapshot.columns, snapshot.rows);
    copy.feed(&snapshot.bytes);
    copy
}

fn assert_same(copy: &Screen, original: &Screen, place: &str) {
    if !copy.shows_the_same(original) {
        assert_eq!(
            copy.cells(),
            original.cells(),
            "{place}: cells
{}
---
{}",
            copy.text(),
            original.text()
        );
    }
    assert_eq!(copy.state(), original.state(), "{place}: state");
}

#[test]
fn who_joins_at_any_event_sees_what_the_others_see() {
    for name in NAMES {
        for (part, (columns, rows, events)) in parts(name).into_iter().enumerate() {
            let mut ours = Ours::new(columns, rows);
            let mut late: Vec<Screen> = Vec::new();
            for (at, event) in events.iter().enumerate() {
                let bytes = ours.feed(event);
                late.iter_mut().for_each(|screen| screen.feed(&bytes));
                let copy = drawn(&ours.screen.snapshot(0));
                assert_same(&copy, &ours.screen, &format!("{name}, part {part}, event {at}"));
                if at % 16 == 0 {
                    late.push(copy);
                }
            }
            for (at, copy) in late.iter().enumerate() {
                assert_same(copy, &ours.screen, &format!("{name}, part {part}, at the end, joined at event {}", at * 16));
            }
        }
    }
}

/// Draws what is there by now.
fn watch(live: &mut Live, screen: &mut Screen) {
    while let Some(frame) = live.next().now_or_never() {
        match frame {
            Frame::Snapshot(snapshot) => *screen = drawn(&snapshot),
            Frame::Output(delta) => screen.feed(&delta.bytes),
            Frame::Display(_) => {}
            Frame::End => return,
        }
    }
}

#[test]
fn a_session_gives_a_late_viewer_the_same_screen() {
    for name in NAMES {
        let (columns, rows, events) = parts(name).remove(0);
        let (sessions, task) = (Sessions::default(), TaskId::new());
        let session = sessions.open(&task, Session::new(columns, rows, &["never-on-any-screen".into()]));
        let mut record = Vec::new();
        let mut viewers = Vec::new();
        // Cut where nothing is whole.
        for (at, chunk) in events.concat().chunks(997).enumerate() {
            if at % 8 == 0 {
                viewers.push((sessions.subscribe(&task).expect("it is live"), Screen::new(columns, rows)));
            }
            session.feed(chunk);
            record.extend(session.send());
            viewers.iter_mut().for_each(|(live, screen)| watch(live, screen));
        }
        session.finish();
        record.extend(session.send());
        let mut recorded = Screen::new(columns, rows);
        recorded.feed(&record);
        let last = drawn(&sessions.snapshot(&task).expect("it is live"));
        assert_same(&recorded, &last, &format!("{name}, the transcript"));
        for (at, (live, screen)) in viewers.iter_mut().enumerate() {
            watch(live, screen);
            assert_same(screen, &last, &format!("{name}, viewer {at}"));
        }
    }
}

/// One step of a random stream.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\x08",
        "\t",
        "\x0e",
        "\x0f",
        "\x1b7",
        "\x1b8",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1bH",
        "\x1b(0",
        "\x1b(B",
        "\x1b)0",
        "\x1b#8",
        "\x1bc",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[?47h",
        "\x1b[?47l",
        "\x1b[?7l",
        "\x1b[?7h",
        "\x1b[?6h",
        "\x1b[?6l",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[20h",
        "\x1b[20l",
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[?1h",
        "\x1b[?2004h",
        "\x1b[?1006h",
        "\x1b=",
        "\x1b[4 q",
        "\x1b[1;31m",
        "\x1b[m",
        "\x1b[38;5;200;48;2;1;2;3m",
        "\x1b[4:3;58;5;9m",
        "\x1b[7;9;3m",
        "\x1b[102m",
        "\x1b[s",
        "\x1b[u",
        "\x1b[3g",
        "\x1b[g",
        "\x1b]8;;https://example.org\x1b\\",
        "\x1b]8;;\x1b\\",
        "\x1b]4;1;rgb:10/20/30\x1b\\",
        "\x1b]2;t\x07",
        "\x1b[2J",
        "\x1b[1J",
        "\x1b[J",
        "\x1b[K",
        "\x1b[1K",
        "\x1b[2K",
        "\x1b[r",
        "漢",
        "é",
        "e\u{301}",
        "🎉",
        "\u{200b}",
        "\x1b[2;4r",
        "\x1b[3;5r",
    ]);
    let text = "[a-z ]{1,14}".prop_map(String::into_bytes);
    let csi = ("[A-HILMPSTXZ@`abdef]", 0..9u8, 0..15u8).prop_map(|(end, a, b)| match end.as_str() {
        "H" | "f" => format!("\x1b[{a};{b}{end}").into_bytes(),
        _ => format!("\x1b[{a}{end}").into_bytes(),
    });
    prop_oneof![2 => text, 3 => fixed.prop_map(|s| s.as_bytes().to_vec()), 3 => csi]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn who_joins_at_any_byte_of_any_stream_sees_the_same(steps in prop::collection::vec(step(), 1..24)) {
        let bytes = steps.concat();
        let mut ours = Ours::new(12, 5);
        let mut late: Vec<Screen> = Vec::new();
        for byte in &bytes {
            let new = ours.feed(&[*byte]);
            late.iter_mut().for_each(|screen| screen.feed(&new));
            let copy = drawn(&ours.screen.snapshot(0));
            assert_same(&copy, &ours.screen, &format!("{:?}", String::from_utf8_lossy(&bytes)));
            if !new.is_empty() {
                late.push(copy);
            }
        }
        for copy in &mut late {
            assert_same(copy, &ours.screen, "at the end");
        }
        // And on the screen behind.
        ours.screen.feed(b"\x1b[?1049l");
        for copy in &mut late {
            copy.feed(b"\x1b[?1049l");
            assert_same(copy, &ours.screen, "behind");
        }
    }
}

/// A stream as the model gets it, without a mask.
fn stripped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Strip::new().feed(bytes, &mut |piece| match piece {
        Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
        Piece::Sequence(bytes) => out.extend_from_slice(bytes),
        Piece::Osc(osc, _) => out.extend([b"\x1b]", osc, b"\x1b\\"].concat()),
    });
    out
}

/// Parts of secrets, and of what looks like one.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec![
        "hunter22-and-more",
        "hunter22",
        "hunter22-",
        "and-more",
        "22-and",
        "h",
        "e",
        "*",
        "\r\n",
        " | ",
        "aHVudGVyMjIt",
        "YW5kLW1vcmU",
        "ghp_",
        "0123456789abcdefghijklmnopqrstuvwxyz",
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADAN\r\n",
        "\x1b[H",
        "\x1b[4;9H",
    ];
    prop::sample::select(parts).prop_map(|part| part.as_bytes().to_vec())
}

/// Feeds two screens the same, one of which is looked at as a whole after each step.
fn look_at_what_changed(steps: &[&[u8]]) {
    let rules = Rules::new(["hunter22-and-more"]);
    let (mut ours, mut all) = (Screen::new(24, 6), Screen::new(24, 6));
    for (at, step) in steps.iter().enumerate() {
        let bytes = stripped(step);
        ours.feed(&bytes);
        all.feed(&bytes);
        all.forget_looks();
        let place = || format!("after step {at} of {:?}", String::from_utf8_lossy(&steps.concat()));
        let counts = (ours.conceal(&rules), all.conceal(&rules));
        assert_same(&ours, &all, &place());
        assert_eq!(counts.0 > 0, counts.1 > 0, "{}", place());
    }
}

#[test]
fn a_line_whose_begin_scrolls_away_is_looked_at_again() {
    let word: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let (secret, part): (&[u8], &[u8]) = (b"hunter22-and-more", b"hunter22");
    look_at_what_changed(&[secret, part, secret, b"\x1b[0M", b"ghp_", word, word, word, b"\r\n"]);
}

#[test]
fn a_line_whose_begin_is_erased_is_looked_at_again() {
    let word: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let (secret, part): (&[u8], &[u8]) = (b"hunter22-and-more", b"hunter22");
    look_at_what_changed(&[secret, part, part, b"\x1b[H", b"\r\n", b"ghp_", word, b"\x1b[H", b"\x1b[2K"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn text_that_is_written_at_once_is_as_if_written_by_letters(steps in prop::collection::vec(step(), 1..40)) {
        let bytes = stripped(&steps.concat());
        let (mut whole, mut letters) = (Screen::new(12, 5), Screen::new(12, 5));
        whole.feed(&bytes);
        bytes.iter().for_each(|byte| letters.feed(&[*byte]));
        assert_same(&whole, &letters, &format!("{:?}", String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn looking_at_what_changed_finds_what_looking_at_all_finds(
        steps in prop::collection::vec(prop_oneof![2 => part(), 1 => step()], 1..40),
    ) {
        look_at_what_changed(&steps.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}
