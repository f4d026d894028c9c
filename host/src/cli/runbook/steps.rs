//! The steps of a runbook: the first shell block of the task, cut into complete commands. bash itself says what is
//! complete, so here documents, loops, quotes and continued lines stay whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More lines are refused: each is looked at by bash once.
const LINES: usize = 2000;
/// More steps are refused.
const STEPS: usize = 500;

/// One complete command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// `step-1` and so on.
    pub(super) id: String,
    /// As it stands in the block.
    pub(super) command: String,
}

/// The block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) steps: Vec<Step>,
    /// Whether all steps are to be declared before the first one runs.
    pub(super) is_plan: bool,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum StepsError {
    #[error("the task has no shell block: a runbook task holds its commands between ```sh and ```")]
    NoBlock,
    #[error("the shell block is not closed: end it with ```")]
    NotClosed,
    #[error("the shell block is empty")]
    Empty,
    #[error("the shell block has more than {0}: split the task")]
    TooLong(String),
    #[error("the shell block is not valid: {0}; nothing of it ran")]
    Syntax(String),
    #[error("bash cannot be run: {0}")]
    Bash(String),
}

/// Finds the block and cuts it.
pub(super) fn read(prompt: &str) -> Result<Block, StepsError> {
    let (lines, is_plan) = find(task_of(prompt))?;
    if lines.len() > LINES {
        return Err(StepsError::TooLong(format!("{LINES} lines")));
    }
    let steps = cut(&lines)?;
    match steps.len() {
        0 => Err(StepsError::Empty),
        n if n > STEPS => Err(StepsError::TooLong(format!("{STEPS} steps"))),
        _ => Ok(Block { steps, is_plan }),
    }
}

/// The submitter's words: between `TASK BOUNDARY:` and `END TASK BOUNDARY`, where the envelope names a boundary.
fn task_of(prompt: &str) -> &str {
    let boundary = prompt.lines().find_map(|line| line.strip_prefix("boundary: ")).unwrap_or_default().trim();
    let (begin, end) = match boundary {
        "" => ("\nTASK:\n".to_owned(), "\nCAPABILITIES:\n".to_owned()),
        _ => (format!("\nTASK {boundary}:\n"), format!("\nEND TASK {boundary}\n")),
    };
    let rest = prompt.split_once(&begin).map_or(prompt, |(_, rest)| rest);
    rest.split_once(&end).map_or(rest, |(task, _)| task)
}

fn find(task: &str) -> Result<(Vec<&str>, bool), StepsError> {
    let mut lines = task.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = Fence::open(line) else { continue };
        let mut content = Vec::new();
        let closed = lines.by_ref().any(|line| {
            let closes = fence.is_closed_by(line);
            if !closes {
                content.push(line);
            }
            closes
        });
        if fence.is_shell {
            return if closed { Ok((content, fence.is_plan)) } else { Err(StepsError::NotClosed) };
        }
    }
    Err(StepsError::NoBlock)
}

struct Fence {
    mark: char,
    length: usize,
    is_shell: bool,
    is_plan: bool,
}

impl Fence {
    fn open(line: &str) -> Option<Self> {
        let line = line.trim();
        let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let length = line.chars().take_while(|c| *c == mark).count();
        let mut words = line[length..].split_ascii_whitespace();
        let language = words.next().unwrap_or_default();
        (length >= 3 && !line[length..].contains(mark)).then(|| Self {
            mark,
            length,
            is_shell: matches!(language, "sh" | "bash" | "shell"),
            is_plan: words.any(|word| word == "plan"),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.chars().count() >= self.length && line.chars().all(|c| c == self.mark)
    }
}

fn cut(lines: &[&str]) -> Result<Vec<Step>, StepsError> {
    // The whole first: nothing runs of a block that does not end well.
    match look(&lines.join("\n"))? {
        Form::Complete => {}
        Form::Incomplete => return Err(StepsError::Syntax("its last command is not complete".into())),
        Form::Wrong(why) => return Err(StepsError::Syntax(why)),
    }
    let mut steps = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for line in lines {
        let is_idle = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if open.is_empty() && is_idle(line) {
            continue;
        }
        open.push(line);
        let command = open.join("\n");
        match look(&command)? {
            Form::Complete => {
                steps.push(Step { id: format!("step-{}", steps.len() + 1), command });
                open.clear();
            }
            Form::Incomplete => {}
            Form::Wrong(why) => return Err(StepsError::Syntax(why)),
        }
    }
    match open.is_empty() {
        true => Ok(steps),
        false => Err(StepsError::Syntax("its last command is not complete".into())),
    }
}

enum Form {
    Complete,
    Incomplete,
    Wrong(String),
}

/// Asks bash, which reads and runs nothing (`-n`).
fn look(command: &str) -> Result<Form, StepsError> {
    if command.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
        return Ok(Form::Incomplete);
    }
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-n", "-c", command, "block"])
        .env("LC_ALL", "C")
        .env_remove("BASH_ENV")
        .stdin(Stdio::null());
    let output = bash.output().map_err(|e| StepsError::Bash(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let at_end = ["unexpected end of file", "unexpected EOF", "delimited by end-of-file"];
    if at_end.iter().any(|words| said.contains(words)) {
        return Ok(Form::Incomplete);
    }
    if output.status.success() {
        return Ok(Form::Complete);
    }
    let first = said.lines().next().unwrap_or("bash gives no reason");
    Ok(Form::Wrong(first.trim_start_matches("block: ").chars().take(300).collect()))
}

/// Where each step would run, as far as plain `cd DIR` steps tell.
pub(super) fn directories<'a>(steps: &'a [Step], start: &Path) -> Vec<(&'a Step, PathBuf)> {
    let mut at = start.to_owned();
    let place = |step: &'a Step| {
        let here = at.clone();
        if let Some(dir) = plain_cd(&step.command) {
            at = normal(&at.join(dir));
        }
        (step, here)
    };
    steps.iter().map(place).collect()
}

fn plain_cd(command: &str) -> Option<&str> {
    let dir = command.trim().strip_prefix("cd ")?.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    (!dir.is_empty() && !dir.starts_with('-') && dir.chars().all(is_plain)).then_some(dir)
}

/// Without `.` and `..`, as a shell shows it.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(block: &str) -> Vec<String> {
        let prompt = format!("---CODA-TASK---\nboundary: abc\n\nTASK abc:\nDo this:\n```sh\n{block}\n```\nEND TASK abc\n");
        read(&prompt).expect("a block").steps.into_iter().map(|s| s.command).collect()
    }

    #[test]
    fn commands_stay_whole() {
        let block = "# first\necho one\n\nfor i in 1 2; do\n  echo $i\ndone\ncat <<EOF > f\necho not a step\nEOF\necho a \\\n  b\necho 'two\nlines' &&\n  true\nf() {\n  x\n}\necho \\\\\necho end | cat";
        let expected = [
            "echo one",
            "for i in 1 2; do\n  echo $i\ndone",
            "cat <<EOF > f\necho not a step\nEOF",
            "echo a \\\n  b",
            "echo 'two\nlines' &&\n  true",
            "f() {\n  x\n}",
            "echo \\\\",
            "echo end | cat",
        ];
        assert_eq!(commands(block), expected);
    }

    #[test]
    fn only_the_tasks_first_shell_block_counts() {
        let prompt = "boundary: abc\nCONTEXT abc:\n```sh\necho context\n```\nEND CONTEXT abc\n\nTASK abc:\n```python\nimport sh\n```\n~~~bash plan\necho yes\n```\necho also\n~~~\n```sh\nno\n```\nEND TASK abc\n```sh\nnever\n```\n";
        let error = read(prompt).expect_err("three backquotes open a command substitution");
        assert!(matches!(error, StepsError::Syntax(_)), "{error}");
        let block = read(&prompt.replace("yes\n```\n", "yes\n")).expect("a block");
        assert!(block.is_plan);
        assert_eq!(block.steps.iter().map(|s| s.command.as_str()).collect::<Vec<_>>(), ["echo yes", "echo also"]);
        assert_eq!(read("\nTASK:\nno block\n"), Err(StepsError::NoBlock));
        assert_eq!(read("\nTASK:\n```sh\n# nothing\n```\n"), Err(StepsError::Empty));
        assert_eq!(read("\nTASK:\n```sh\necho\n"), Err(StepsError::NotClosed));
    }

    #[test]
    fn nothing_runs_of_a_block_that_is_wrong() {
        for (block, expected) in
            [("echo ok\necho )", "syntax error"), ("echo ok\nif true; then", "not complete"), ("cat <<EOF\nx", "not complete")]
        {
            let error = read(&format!("\nTASK:\n```sh\n{block}\n```\n")).expect_err("wrong").to_string();
            assert!(error.contains(expected) && error.contains("nothing of it ran"), "{error}");
        }
    }

    #[test]
    fn plain_cd_steps_tell_where_the_rest_runs() {
        let steps: Vec<Step> =
            ["cd sub/x", "ls", "cd ..", "cd $HOME", "ls"].map(|c| Step { id: c.into(), command: c.into() }).into();
        let places: Vec<String> = directories(&steps, Path::new("/w")).iter().map(|(_, p)| p.display().to_string()).collect();
        assert_eq!(places, ["/w", "/w/sub/x", "/w/sub/x", "/w/sub", "/w/sub"]);
    }
}
