//! What a walk finds: commands, files that the shell opens, and gaps.

use super::word::Arg;

/// What a text would run.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The commands, payloads followed.
    pub(crate) commands: Vec<Command>,
    /// What could not be followed.
    pub(crate) gaps: Vec<Gap>,
    /// Other languages found on the way: SQL and programs for interpreters are the rules' matter.
    pub(crate) fork_bomb: Option<Span>,
}

/// Bytes of the outermost text.
pub(crate) type Span = (usize, usize);

/// One command that would run.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Program and arguments; empty for a bare redirection.
    pub(crate) argv: Vec<Arg>,
    /// Where its output goes.
    pub(crate) redirects: Vec<Redirect>,
    /// What it reads.
    pub(crate) stdin: Stdin,
    /// Whether more arguments are added when it runs, as by xargs.
    pub(crate) open: bool,
    /// Where in the outermost text.
    pub(crate) span: Span,
    /// Through what it was reached, such as `sudo` or `sh -c`.
    pub(crate) via: Vec<String>,
}

/// A file that the shell itself opens for writing.
#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    /// How it is opened.
    pub(crate) kind: RedirectKind,
    /// Which file.
    pub(crate) target: Arg,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectKind {
    /// Its content is thrown away.
    Empty,
    /// Its content is replaced.
    Write,
    /// It is added to.
    Append,
}

/// What a command reads from its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Nothing of the text's own.
    Inherited,
    /// This text.
    Known(String),
    /// What another program writes.
    From(String),
}

/// Something that could not be followed.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// What kind.
    pub(crate) kind: GapKind,
    /// The words in question.
    pub(crate) what: String,
    /// Where in the outermost text.
    pub(crate) span: Span,
}

/// Kinds of gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapKind {
    /// The text does not parse.
    Unparsed,
    /// It is longer than what is parsed.
    TooLong,
    /// It nests deeper, or unrolls to more, than what is followed.
    TooDeep,
    /// The name of the program is known only when it runs.
    DynamicProgram,
    /// A shell or interpreter runs text that is known only when it runs.
    UnseenScript,
    /// A shell or interpreter runs text from the network.
    RemoteScript,
}

/// Whether more arguments are added when a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// By xargs or find.
    Yes,
    /// These are all.
    No,
}

impl Command {
    /// The program's name without its folder; empty for a bare redirection.
    pub(crate) fn program(&self) -> &str {
        self.argv.first().map_or("", |arg| base_name(&arg.text))
    }
}

/// `/usr/bin/rm` and `rm.exe` are `rm`.
pub(crate) fn base_name(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.strip_suffix(".exe").unwrap_or(name)
}
