//! What the text's mask hides.

use std::sync::Arc;

use super::{Mask, Masked, Rules};
use crate::executor::strip::Strip;

struct Stream {
    strip: Strip,
    mask: Mask,
    out: Masked,
}

impl Stream {
    fn new(secrets: &[&str]) -> Self {
        let mask = Mask::new(Arc::new(Rules::new(secrets.iter().copied())));
        Self { strip: Strip::new(), mask, out: Masked::default() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.strip.feed(bytes, &mut |piece| self.mask.feed(piece, &mut self.out));
    }

    fn rest(&mut self) {
        self.mask.flush(&mut self.out);
    }

    fn shown(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out.view)).expect("text")
    }
}

fn masked(secrets: &[&str], pieces: &[&[u8]]) -> String {
    let mut stream = Stream::new(secrets);
    for piece in pieces {
        stream.feed(piece);
    }
    stream.mask.finish(&mut stream.out);
    stream.shown()
}

/// The same wherever the stream is cut into two, and byte by byte.
fn check(secrets: &[&str], text: &str, expected: &str) {
    let bytes = text.as_bytes();
    for cut in 0..=bytes.len() {
        assert_eq!(masked(secrets, &[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut} of {text:?}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(masked(secrets, &single), expected, "byte by byte");
}

#[test]
fn exact_secrets_are_masked_wherever_the_stream_is_cut() {
    check(&["hunter22"], "pw=hunter22; hunter2 hunter2hunter22\n", "pw=********; hunter2 hunter2********\n");
    check(&["abcabc", "abcabcabd"], "abcabcabd abcabcabc abcabx", "********* ********c abcabx");
    check(&["pässwörd"], "a pässwörd b", "a ******** b");
    check(&["s3"], "too short: s3", "too short: s3");
    check(&["firstline-1234\nsecondline-5678"], "firstline-1234\r\nsecondline-5678.", "**************\r\n***************.");
}

#[test]
fn token_shapes_are_masked_wherever_the_stream_is_cut() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    check(&[], &format!("token {token}\x1b[0m end"), &format!("token ghp_{}\x1b[0m end", "*".repeat(36)));
    check(&[], "ghp_short and AKIAabc and risk-averse", "ghp_short and AKIAabc and risk-averse");
    check(&[], "AKIAIOSFODNN7EXAMPLE,", "AKIA****************,");
    let key = "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\nabcd==\r\n-----END PRIVATE KEY-----";
    check(&[], key, "-----BEGIN PRIVATE KEY-----\r\n************\r\n******\r\n-----END PRIVATE KEY-----");
}

#[test]
fn what_moves_nothing_hides_nothing() {
    check(
        &["hunter22"],
        "pw=\x1b[31mhun\x1b[1;32mter\x1b]2;t\x1b\\2\u{200b}2\x1b[0m.",
        "pw=\x1b[31m***\x1b[1;32m***\x1b]2;t\x1b\\*\u{200b}*\x1b[0m.",
    );
    check(&["漢字の秘密"], "a漢字の\x1b[1m秘密b", "a******\x1b[1m****b");
    check(&["hunter22"], "\x1b]2;pw hunter22\x1b\\", "\x1b]2;pw ********\x1b\\");
    // Another place ends it, but for the most of a long one.
    check(&["hunter22-and-more"], "hunt\x1b[5;5Her22 hunter22-and-mo\x1b[Hx", "hunt\x1b[5;5Her22 ***************\x1b[Hx");
}

#[test]
fn a_secret_in_parts_or_encoded_is_one() {
    check(&["hunter22-and-more"], "is hunter22\r\n │ -and-more.", "is ********\r\n************.");
    check(&["hunter22-and-more"], "h\r\nunter2 h\r\nu x", "h\r\nunter2 h\r\nu x");
    check(
        &["hunter22-and-more"],
        "aHVudGVyMjItYW5kLW1vcmU= 68756e74657232322d616e642d6d6f7265",
        "**********************U= **********************************",
    );
    // As in `Authorization: Basic` of user:secret.
    check(&["hunter22-and-more"], "dXNlcjpodW50ZXIyMi1hbmQtbW9yZQ==", "dXNlcjp**********************Q==");
}

#[test]
fn letters_with_rests_between_are_masked_from_the_fourth() {
    let mut stream = Stream::new(&["hunter22", "hunger33"]);
    for letter in "hunger33 ghp_0123456789012345678901234567890123456 code".split_inclusive("") {
        stream.feed(letter.as_bytes());
        stream.rest();
    }
    assert_eq!(stream.shown(), format!("hun***** ghp_{} code", "*".repeat(37)));
}

#[test]
fn a_repeated_character_is_written_once_first() {
    check(&["hunter22"], "ab\x1b[3b\x1b[b hunter22\x1b[99999b", "abb\x1b[2bb *********\x1b[999b");
    check(&[], "\x1b[5b.", ".");
}

#[test]
fn what_is_held_is_bounded_and_a_rest_lets_it_out() {
    let mut stream = Stream::new(&["hunter22-long-secret"]);
    stream.feed(b"say hu");
    assert!(stream.mask.holds());
    stream.rest();
    assert_eq!(stream.shown(), "say hu");
    stream.feed(b"nter22-long-secret!");
    assert_eq!(stream.shown(), "******************!", "the rest of the secret is masked although its begin was shown");
    stream.feed(b"ghp_0123");
    stream.rest();
    stream.feed(b"45 !");
    assert_eq!(stream.shown(), "ghp_****45 !");
    // Sequences wait with the text they stand in, but not without end.
    stream.feed(format!("hunt{}", "\x1b[1m".repeat(10_000)).as_bytes());
    assert!(stream.shown().len() > 30_000);
    stream.feed(&b"ordinary text\n".repeat(1000));
    assert!(!stream.mask.holds());
}
