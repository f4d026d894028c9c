//! Ways in which a program may write a secret so that its bytes are not the secret's, and what is seen of it: by a viewer, in
//! the transcript, on a screen drawn for who comes late. Published in docs/security.md, row by row: it can get neither
//! worse nor better unnoticed.

use futures_util::FutureExt as _;

use crate::executor::screen::Screen;
use crate::executor::session::{Frame, Session, Sessions};
use crate::id::TaskId;

const SECRET: &str = "correct-horse-battery";
const REPEATING: &str = "pass-oooooooooooo-word";
const COLUMNS: u16 = 40;
const ROWS: u16 = 8;

/// What is written at once, and then the stream rests.
type Writes = Vec<String>;

fn at_once(text: impl Into<String>) -> Writes {
    vec![text.into()]
}

/// What is written, and what of it is looked for.
fn ways() -> Vec<(&'static str, Writes, &'static str)> {
    let letters = |between: &str| SECRET.chars().map(|c| format!("{c}{between}")).collect::<String>();
    let reversed = "\x1b[1;9Hhorse-battery\x1b[1;1Hcorrect-";
    let fullwidth: String = SECRET.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("a letter")).collect();
    let one = |name, text: &str| (name, at_once(text), SECRET);
    vec![
        one("as it is", "pw correct-horse-battery."),
        ("in two writes", vec!["pw correct-ho".into(), "rse-battery.".into()], SECRET),
        ("letter by letter, with rests", SECRET.chars().map(String::from).collect(), SECRET),
        one("colours inside", "\x1b[31mcorrect-\x1b[1;32mhorse\x1b[0m-battery"),
        one("a title, a link or a question inside", "correct-\x1b]2;t\x07ho\x1b]8;;https://e.org\x07rse\x1b[6n-battery"),
        one("a DCS or APC string inside", "correct-\x1bPq\x1b\\horse\x1b_x\x1b\\-battery"),
        one("characters without a width inside", &letters("\u{200b}")),
        one("cursor left and right inside", "correct-\x1b[3D\x1b[3Chorse-battery"),
        one("second half first, by absolute moves", reversed),
        ("the same, in two writes with a rest", vec!["\x1b[1;9Hhorse-battery".into(), "\x1b[1;1Hcorrect-".into()], SECRET),
        one("a wrong letter, backspace", "correctX\x08-horse-battery"),
        one("carriage return, first half over something else", "xxxxxxx-horse-battery\rcorrect"),
        one("a tab to the second half, then the first", "\thorse-battery\rcorrect-"),
        one("wrapped at the right margin", &format!("{}{SECRET}", "x ".repeat(16))),
        one("broken into two lines", "the password is correct-hor\r\nse-battery"),
        one("broken into two lines, in a box", "│ the password is correct-hor │\r\n│ se-battery                  │"),
        one("broken in one of two columns side by side", "is correct-hor │ other\r\nse-battery     │ text"),
        one("inserted characters (ICH)", "corr-horse-battery\x1b[1;5H\x1b[3@ect"),
        one("insert mode (IRM)", "corr-horse-battery\x1b[1;5H\x1b[4hect\x1b[4l"),
        one("deleted characters (DCH)", "corrXXXect-horse-battery\x1b[1;5H\x1b[3P"),
        ("a repeated character (REP)", at_once("pass-o\x1b[11b-word"), REPEATING),
        one("by moves, then scrolled away", &format!("\x1b[8;9Hhorse-battery\x1b[8;1Hcorrect-{}", "\r\n".repeat(20))),
        one(
            "by moves in a scroll region, then scrolled away",
            &format!("\x1b[2;5r\x1b[5;9Hhorse-battery\x1b[5;1Hcorrect-{}", "\n".repeat(20)),
        ),
        one("by moves, then erased", &format!("{reversed}\x1b[2K")),
        one("by moves, then overwritten", &format!("{reversed}\r{}", "x".repeat(30))),
        one("by moves on the alternate screen, then left", &format!("\x1b[?1049h{reversed}\x1b[?1049l")),
        one("in a title", "\x1b]2;pw correct-horse-battery\x07"),
        one("in a link's target", "\x1b]8;;https://e.org/correct-horse-battery\x07x\x1b]8;;\x07"),
        one("in a status message (OSC 7501)", "\x1b]7501;state=working:msg=Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5\x1b\\"),
        one("in a DCS string", "\x1bPcorrect-horse-battery\x1b\\"),
        ("each redraw shows one letter more", (1..=SECRET.len()).map(|n| format!("\r> {}", &SECRET[..n])).collect(), SECRET),
        one("all but its last letters", "correct-horse-batt…"),
        one("all but its last letters, then a move", "correct-horse-batt\x1b[5;1H"),
        one("a blank after each letter", &letters(" ")),
        one("each letter on a line of its own", &letters("\r\n")),
        ("full-width letters", at_once(fullwidth.clone()), SECRET),
        one("upper case", "CORRECT-HORSE-BATTERY"),
        one("backwards", "yrettab-esroh-tcerroc"),
        one("base64", "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"),
        one("hexadecimal", "636f72726563742d686f7273652d62617474657279"),
    ]
}

/// The text in the forms that people read: with full-width letters as others, without blanks and boxes, decoded.
fn readings(text: &str) -> Vec<String> {
    let narrow = |c: char| char::from_u32(u32::from(c).wrapping_sub(0xfee0)).filter(char::is_ascii_graphic).unwrap_or(c);
    let solid: String = text.chars().filter(|c| !c.is_whitespace() && *c != '│').map(narrow).collect();
    let columns: String = text.lines().filter_map(|line| line.split('│').next()).map(str::trim).collect();
    let decoded =
        solid.replace("Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", SECRET).replace("636f72726563742d686f7273652d62617474657279", SECRET);
    vec![decoded.to_lowercase(), solid.chars().rev().collect(), columns, solid]
}

/// How much of the secret can be read, in characters.
fn readable(text: &str, secret: &str) -> usize {
    let texts = readings(text);
    let parts = (1..=secret.len()).rev().flat_map(|n| (0..=secret.len() - n).map(move |at| &secret[at..at + n]));
    parts.into_iter().find(|part| texts.iter().any(|text| text.contains(*part))).map_or(0, str::len)
}

/// The most that stands on a screen that is drawn byte by byte, and in the titles and links on the way.
struct Reader {
    screen: Screen,
    most: usize,
    secret: &'static str,
}

impl Reader {
    fn new(secret: &'static str) -> Self {
        Self { screen: Screen::new(COLUMNS, ROWS), most: 0, secret }
    }

    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.screen.feed(&[*byte]);
            self.look(&self.screen.text());
        }
        for osc in String::from_utf8_lossy(bytes).split("\x1b]").skip(1) {
            self.look(osc.split('\x1b').next().unwrap_or_default());
        }
    }

    fn look(&mut self, text: &str) {
        self.most = self.most.max(readable(text, self.secret));
    }
}

/// What viewer, transcript and late screens show at most.
fn play(writes: &Writes, secret: &'static str) -> [usize; 3] {
    let (sessions, task) = (Sessions::default(), TaskId::new());
    let session = sessions.open(&task, Session::new(COLUMNS, ROWS, &[secret.to_owned()]));
    let mut live = sessions.subscribe(&task).expect("it is live");
    let mut readers = [(); 3].map(|()| Reader::new(secret));
    for step in 0..=writes.len() {
        match writes.get(step) {
            Some(text) => drop(session.feed(text.as_bytes())),
            None => session.finish(),
        }
        session.rest();
        readers[1].read(&session.send());
        while let Some(frame) = live.next().now_or_never() {
            match frame {
                Frame::Snapshot(snapshot) => readers[0].read(&snapshot.bytes),
                Frame::Output(delta) => readers[0].read(&delta.bytes),
                Frame::Display(display) => readers[0].look(&format!("{}\n{}", display.title, display.message)),
                Frame::End => break,
            }
        }
        let snapshot = sessions.snapshot(&task).expect("it is live");
        readers[2].look(&format!("{}\n{}", snapshot.display.title, snapshot.display.message));
        let mut late = Screen::new(COLUMNS, ROWS);
        late.feed(&snapshot.bytes);
        readers[2].look(&late.text());
    }
    readers.map(|reader| reader.most)
}

/// A few letters stand in any text.
fn word(most: usize, secret: &str) -> String {
    match most {
        0..=3 => "masked".into(),
        most if most == secret.len() => "**shown**".into(),
        most => format!("{most} of {} characters", secret.len()),
    }
}

fn table() -> String {
    let head = "| how the secret is written | live viewer | transcript | screen of who comes late |\n|---|---|---|---|\n";
    let rows = ways().into_iter().map(|(name, writes, secret)| {
        let [viewer, transcript, late] = play(&writes, secret).map(|most| word(most, secret));
        format!("| {name} | {viewer} | {transcript} | {late} |\n")
    });
    head.to_owned() + &rows.collect::<String>()
}

#[test]
fn what_the_masking_catches_is_what_the_documentation_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let document = std::fs::read_to_string(path).expect("the document is in the repository");
    let table = table();
    assert!(document.contains(&table), "docs/security.md should hold this table, if it is what should be:\n{table}");
}
