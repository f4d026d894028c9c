//! A file of rows, plain or gzip, line by line: what is kept of it in memory is one line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::row::{BadRow, Row};
use crate::env;

/// The longest line that is read; longer ones are skipped and named.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;
/// Bytes that a file may unpack to.
const MAX_FILE_BYTES: u64 = 1 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 64 << 10;

/// A file, after it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// As given.
    pub path: String,
    /// Lines, empty ones included.
    pub lines: u64,
    /// SHA-256 of the text, unpacked.
    pub sha256: String,
    /// Why it was not read to its end.
    pub problem: Option<String>,
}

/// Reads a file and hands every line over that is not empty.
pub(super) fn read(path: &Path, take: &mut dyn FnMut(u64, Result<Row, BadRow>)) -> FileReport {
    let mut report = FileReport { path: path.display().to_string(), lines: 0, sha256: String::new(), problem: None };
    let mut hash = Sha256::new();
    if let Err(problem) = open(path).and_then(|text| each_line(text, MAX_FILE_BYTES, &mut hash, &mut report.lines, take)) {
        report.problem = Some(problem);
    }
    report.sha256 = env::hex(&hash.finalize());
    report
}

/// Plain or gzip, told by the first bytes and not by the name.
fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err("it is a folder".into());
    }
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let packed = file.fill_buf().map_err(|error| error.to_string())?.starts_with(&GZIP_MAGIC);
    Ok(if packed { Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(file))) } else { Box::new(file) })
}

fn each_line(
    text: impl BufRead,
    most: u64,
    hash: &mut Sha256,
    lines: &mut u64,
    take: &mut dyn FnMut(u64, Result<Row, BadRow>),
) -> Result<(), String> {
    let mut text = text.take(most + 1);
    let mut line = Vec::new();
    loop {
        line.clear();
        let ended = next_line(&mut text, hash, &mut line).map_err(|error| format!("after line {lines}: {error}"))?;
        if text.limit() == 0 {
            return Err(format!("after line {lines}: it holds more than {most} bytes; split it"));
        }
        if ended == Ended::Nothing {
            return Ok(());
        }
        *lines += 1;
        if ended == Ended::TooLong {
            take(*lines, Err(BadRow::TooLong(MAX_LINE_BYTES)));
        } else if !line.trim_ascii().is_empty() {
            take(*lines, Row::parse(&line));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Line,
    TooLong,
    Nothing,
}

/// The next line, of which no more is kept than a line may be long.
fn next_line(text: &mut impl BufRead, hash: &mut Sha256, line: &mut Vec<u8>) -> std::io::Result<Ended> {
    let mut read_any = false;
    let mut too_long = false;
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        read_any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        too_long |= line.len() + part.len() > MAX_LINE_BYTES;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        hash.update(&buffer[..used]);
        text.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (read_any, too_long) {
        (false, _) => Ended::Nothing,
        (true, true) => Ended::TooLong,
        (true, false) => Ended::Line,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read_bytes(bytes: &[u8]) -> (FileReport, Vec<(u64, String)>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut got = Vec::new();
        let report = read(file.path(), &mut |line, row| got.push((line, row.map_or_else(|bad| bad.to_string(), |row| row.id))));
        (report, got)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    const ROW: &str = r#"{"id":"a","kind":"sql","text":"SELECT 1","label":"benign"}"#;

    #[test]
    fn plain_and_packed_files_read_alike_and_bad_lines_keep_their_numbers() {
        let text = format!("{ROW}\n\nnonsense\n{ROW}");
        let (plain, rows) = read_bytes(text.as_bytes());
        assert_eq!((plain.lines, plain.problem.as_deref()), (4, None));
        assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
        assert!(rows[1].1.contains("no row"), "{}", rows[1].1);
        let (unpacked, same) = read_bytes(&packed(text.as_bytes()));
        assert_eq!((unpacked.sha256, same), (plain.sha256, rows));
    }

    #[test]
    fn a_line_too_long_is_named_and_the_next_one_read() {
        let text = format!("{}\n{ROW}\n", "x".repeat(MAX_LINE_BYTES + 1));
        let (_, rows) = read_bytes(text.as_bytes());
        assert!(rows[0].1.contains("longer than"), "{}", rows[0].1);
        assert_eq!(rows[1], (2, "a".to_owned()));
    }

    #[test]
    fn a_file_that_ends_in_the_middle_keeps_the_rows_before() {
        let mut bytes = packed(format!("{ROW}\n").repeat(100).as_bytes());
        bytes.truncate(bytes.len() - 6);
        let (report, rows) = read_bytes(&bytes);
        assert!(report.problem.is_some() && !rows.is_empty(), "{report:?}");
    }

    #[test]
    fn what_unpacks_without_end_is_stopped() {
        let most = 4096;
        let (mut lines, mut hash) = (0, Sha256::new());
        let endless = BufReader::new(std::io::repeat(b'x'));
        let stopped = each_line(endless, most, &mut hash, &mut lines, &mut |_, _| {});
        assert!(stopped.unwrap_err().contains("more than 4096 bytes"));
        let short = format!("{ROW}\n");
        each_line(short.as_bytes(), most, &mut hash, &mut lines, &mut |_, _| {}).unwrap();
        assert_eq!(lines, 1);
    }
}
