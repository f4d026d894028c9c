//! The pseudo-terminal: opens one, starts a program on it, reads and writes. On Linux a terminal that nobody holds open
//! any more reads as EIO: here that is the end of the stream.

use std::process::Stdio;

use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// The host's end of a terminal.
pub(super) struct Terminal {
    /// What the program writes.
    pub(super) reader: Reader,
    /// What the terminal answers.
    pub(super) writer: Writer,
}

/// What the program writes.
pub(super) struct Reader(OwnedReadPty);

/// What the terminal answers.
pub(super) struct Writer(OwnedWritePty);

/// Starts `command` as leader of a session of its own, with the terminal as its controlling one and as its standard
/// output; standard input is a pipe from us, and standard error is `errors`.
pub(super) fn start(command: Command, errors: Stdio, columns: u16, rows: u16) -> Result<(Terminal, Child), pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    pty.resize(Size::new(rows, columns))?;
    let command = pty_process::Command::from(command).stdin(Stdio::piped()).stderr(errors);
    let child = command.spawn(pts)?;
    let (reader, writer) = pty.into_split();
    Ok((Terminal { reader: Reader(reader), writer: Writer(writer) }, child))
}

impl Reader {
    /// Reads what is there; 0 at the end. Safe to drop while it waits.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer).await {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            other => other,
        }
    }
}

impl Writer {
    /// Writes all of it; waits while the program does not read.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }
}
