//! Programs given to an interpreter on its command line or input. Their text is not parsed: calls that delete and
//! calls that run a shell or SQL are looked for by name, and the string literals beside them are judged.

use super::{has, joined_value, sql, value};
use crate::hit::Hit;
use crate::shell::{Arg, Command, Stdin};

/// Calls whose name says that files or directories go.
const DELETING: &[&str] = &[
    "rmtree(",
    "os.remove(",
    "os.unlink(",
    "os.rmdir(",
    "os.removedirs(",
    ".unlink(",
    ".rmdir(",
    "unlinkSync(",
    "rmSync(",
    "rmdirSync(",
    "fs.rm(",
    "fs.unlink(",
    "fs.rmdir(",
    "rimraf",
    "File.delete",
    "FileUtils.rm",
    "Dir.rmdir",
    "Dir.delete",
    "File.unlink",
    "rm_rf",
    "rm_r(",
    "remove_tree",
    "unlink ",
    "unlink(",
    "rmdir(",
    "rmdir ",
    "Deno.remove",
    "removeSync(",
    "os.truncate(",
    "truncateSync(",
    "send2trash",
    "Files.delete",
    "os.RemoveAll",
    "os.Remove(",
    "remove_dir_all",
    "dbutils.fs.rm",
    "os.remove ",
    "io.remove",
    "FSO.Delete",
    "DeleteFile",
    "DeleteFolder",
    "os.execute",
    "emptyDirSync",
    "deltree",
];

/// Calls that hand a text to a shell or to a database.
const RUNNING: &[&str] = &[
    "system(",
    "system ",
    "popen(",
    "subprocess.",
    "check_output(",
    "check_call(",
    "Popen(",
    "exec(",
    "execSync(",
    "execFileSync(",
    "spawn(",
    "spawnSync(",
    "spawnlp(",
    "shell_exec(",
    "passthru(",
    "qx(",
    "qx{",
    "qx/",
    "`",
    "%x(",
    "Open3",
    "IO.popen",
    "os.execute(",
    "run(",
    "call(",
    "execl",
    "execv",
    "execute(",
    ".sql(",
    "executescript(",
    "read_sql(",
    "query(",
    "sh(",
    "os.exec",
];

/// Builders of text that hides what runs.
const HIDING: &[&str] = &[
    "b64decode",
    "base64_decode",
    "fromCharCode",
    "codecs.decode",
    "unhexlify",
    "fromhex",
    "decode64",
    "unpack(",
    "frombase64string",
    "atob(",
    "pack(\"H",
    "pack('H",
    "Buffer.from(",
    "zlib.decompress",
    "marshal.loads",
    "chr(",
];

/// What a program on the command line does.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let program = command.program();
    let options: &[&str] = match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "python" | "pypy" | "ipython" | "Rscript" | "R" | "hy" | "bpython" => &["-c", "-e"],
        "perl" | "ruby" | "lua" | "luajit" | "julia" | "elixir" | "scala" | "groovy" | "osascript" | "raku" | "swift"
        | "crystal" => &["-e", "-E", "-l", "-pe", "-ne", "-le", "-ane", "-nle", "-i"],
        "node" | "nodejs" | "bun" | "tsx" | "ts-node" => &["-e", "-p", "--eval", "--print", "-pe"],
        "deno" => &["eval"],
        "php" => &["-r"],
        "pwsh" | "powershell" => &["-c", "-Command", "-command", "-C"],
        "cmd" => &["/c", "/C", "/k", "/K"],
        "awk" | "gawk" | "mawk" | "nawk" => &[],
        _ => return,
    };
    if matches!(program, "awk" | "gawk" | "mawk" | "nawk") {
        if let Some(text) =
            argv.iter().skip(1).find(|arg| arg.text.contains("system(") || arg.text.contains("| \"") || arg.text.contains("|\""))
        {
            literals(&text.text).iter().for_each(|inner| shell(command, inner, hits));
        }
        return;
    }
    if matches!(program, "pwsh" | "powershell" | "cmd") {
        windows(command, options, hits);
        return;
    }
    let inline = value(argv, options).map(|arg| arg.text.clone());
    let inline = inline.or_else(|| joined_value(argv, options).map(str::to_owned)).or_else(|| bundled(argv, options));
    let stuck = argv
        .get(1)
        .filter(|arg| options.iter().any(|option| option.len() == 2 && arg.text.len() > 2 && arg.text.starts_with(option)))
        .map(|arg| arg.text[2..].to_owned());
    let script = argv.iter().skip(1).any(|arg| !arg.text.starts_with('-'));
    let dynamic = value(argv, options).is_some_and(|arg| !arg.known && arg.text.trim_start().starts_with('$'));
    let piped = match &command.stdin {
        Stdin::Known(text) if inline.is_none() && (!script || argv.iter().any(|arg| arg.text == "-")) => Some(text.clone()),
        Stdin::From(source) if inline.is_none() && !script && !argv.iter().any(|arg| arg.text.starts_with("--")) => {
            let remote = matches!(source.as_str(), "curl" | "wget");
            let code = if remote { "shell.remote-script" } else { "code.dynamic" };
            if !source.contains('.') && !has(argv, &["-V"]) {
                hits.push(Hit { partial: !remote, ..Hit::of(command, code, "program", &format!("{source} | {program}")) });
            }
            None
        }
        Stdin::Known(_) | Stdin::From(_) | Stdin::Inherited => None,
    };
    if dynamic {
        hits.push(Hit { partial: true, ..Hit::of(command, "code.dynamic", "program", program) });
    }
    for text in inline.or(stuck).into_iter().chain(piped) {
        read(command, &text, hits);
    }
}

/// `perl -we '…'`, `python -uc '…'`: the option that takes the program is the last of a bundle.
fn bundled(argv: &[Arg], options: &[&str]) -> Option<String> {
    const LONGEST: usize = 5;
    let bundle = |text: &str| {
        let letters = text.strip_prefix('-').filter(|rest| (2..LONGEST).contains(&rest.len()))?;
        let last = letters.chars().last().filter(|_| letters.bytes().all(|b| b.is_ascii_alphabetic()))?;
        options.contains(&format!("-{last}").as_str()).then_some(())
    };
    let at = argv.iter().skip(1).position(|arg| bundle(&arg.text).is_some())? + 1;
    argv.get(at + 1).map(|arg| arg.text.clone())
}

fn read(command: &Command, text: &str, hits: &mut Vec<Hit>) {
    if let Some(call) = DELETING.iter().find(|call| called(text, call)) {
        hits.push(Hit::of(command, "code.delete", "file", call.trim_end_matches(['(', ' '])));
    }
    let runs = RUNNING.iter().any(|call| text.contains(call));
    if let Some(verb) = platform_call(text) {
        hits.push(Hit::of(command, "cloud.delete", "resource", &verb));
    }
    let strings = literals(text);
    if runs {
        let before = hits.len();
        for string in &strings {
            shell(command, string, hits);
            sql_like(command, string, hits);
        }
        // subprocess.run(["rm", "-rf", "x"]): the words of a list make one command.
        if hits.len() == before {
            shell(command, &strings.join(" "), hits);
        }
    }
    let hidden = HIDING.iter().find(|call| text.contains(*call));
    if let Some(call) = hidden.filter(|_| runs || text.contains("eval(") || text.contains("eval ") || text.contains("exec ")) {
        let decoded: Vec<String> = strings.iter().filter_map(|string| crate::shell_decode(string)).collect();
        decoded.iter().for_each(|inner| shell(command, inner, hits));
        hits.push(Hit { partial: true, ..Hit::of(command, "code.dynamic", "program", call.trim_end_matches('(')) });
    } else if text.contains("__import__") || text.contains("getattr(os") {
        hits.push(Hit { partial: true, ..Hit::of(command, "code.dynamic", "program", "__import__") });
    }
}

/// A call by its name: not the tail of a longer name, and not inside a string of its own.
fn called(text: &str, call: &str) -> bool {
    text.match_indices(call)
        .any(|(at, _)| call.starts_with('.') || !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// `client.delete_bucket(`, `w.clusters.permanent_delete(`: SDKs of platforms name their calls by verb.
fn platform_call(text: &str) -> Option<String> {
    let sdk = [
        "boto3",
        "WorkspaceClient",
        "google.cloud",
        "azure.",
        "kubernetes",
        "@aws-sdk",
        "databricks",
        "client.",
        "requests.delete",
    ]
    .iter()
    .any(|name| text.contains(name));
    if !sdk {
        return None;
    }
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).find_map(|name| {
        let last = name.rsplit('.').next().unwrap_or(name);
        let verb = name.contains('.')
            && ["delete", "terminate", "permanent_delete", "destroy", "purge", "drop", "deregister"]
                .iter()
                .any(|verb| last.starts_with(verb));
        verb.then(|| name.to_owned())
    })
}

fn shell(command: &Command, text: &str, hits: &mut Vec<Hit>) {
    // A single word runs nothing worth asking about, and most string literals are single words.
    if !text.trim().contains([' ', '\t', '\n']) || text.len() > 4096 {
        return;
    }
    let inner = crate::shell::walk(text);
    let found = super::judge(&crate::shell::Walk { gaps: Vec::new(), ..inner });
    hits.extend(found.into_iter().map(|hit| Hit { span: command.span, via: vec![command.program().to_owned()], ..hit }));
}

fn sql_like(command: &Command, text: &str, hits: &mut Vec<Hit>) {
    let first = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if matches!(first.as_str(), "DROP" | "DELETE" | "TRUNCATE" | "ALTER" | "UPDATE" | "MERGE" | "GRANT" | "REVOKE" | "VACUUM") {
        sql(command, text, hits);
    }
}

/// The string literals of a program, in most languages' quotes.
fn literals(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if !matches!(c, '"' | '\'' | '`') {
            continue;
        }
        let mut string = String::new();
        while let Some(next) = chars.next() {
            match next {
                '\\' => string.extend(chars.next()),
                _ if next == c => break,
                _ => string.push(next),
            }
        }
        if !string.is_empty() {
            out.push(string);
        }
    }
    out
}

fn windows(command: &Command, options: &[&str], hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    if argv.iter().any(|arg| {
        let text = arg.text.to_ascii_lowercase();
        text.len() > 1 && ("-encodedcommand".starts_with(&text) && text.starts_with("-e") && text != "-ex")
    }) {
        hits.push(Hit { partial: true, ..Hit::of(command, "code.dynamic", "program", "an encoded command") });
    }
    let Some(at) = argv.iter().position(|arg| options.iter().any(|option| option.eq_ignore_ascii_case(&arg.text))) else {
        return;
    };
    let text = argv[at + 1..].iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
    for part in text.split([';', '|', '&', '\n']) {
        shell(command, part.trim(), hits);
    }
}
