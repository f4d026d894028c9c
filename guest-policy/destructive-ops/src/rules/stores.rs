//! Clients of databases and key-value stores: their SQL goes to the SQL judge, their commands are judged here.

use super::{has, joined_value, operands, sql, value};
use crate::hit::Hit;
use crate::shell::{Command, Stdin};

/// What a command does to a store.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let words = operands(argv, &["-h", "-p", "-a", "-n", "-u", "-U", "-H", "-P", "--host", "--port", "-d"]);
    let word = |at: usize| words.get(at).map_or("", |arg| arg.text.as_str());
    match command.program() {
        "psql" | "mysql" | "mariadb" | "sqlite3" | "sqlite" | "duckdb" | "snowsql" | "sqlcmd" | "beeline" | "hive"
        | "spark-sql" | "presto" | "trino" | "impala-shell" | "clickhouse-client" | "clickhouse" | "cockroach" | "sqlplus"
        | "usql" | "pgcli" | "mycli" | "litecli" | "cqlsh" | "ysqlsh" | "vsql" | "isql" | "dbsqlcli" | "osql"
        | "phoenix-sqlline" | "influx" | "bq" | "athena" | "databricks-sql" | "questdb" | "turso" | "wrangler-d1" | "snow"
        | "fbsql" => {
            statements(command, hits);
        }
        "dropdb" | "dropuser" => {
            hits.push(Hit::of(command, "sql.drop", "database", words.last().map_or("a database", |arg| arg.text.as_str())))
        }
        "mysqladmin" => {
            if let Some(at) = words.iter().position(|arg| arg.text == "drop") {
                hits.push(Hit::of(command, "sql.drop", "database", word(at + 1)));
            }
        }
        "pg_restore" | "mongorestore" | "pg_dumpall" | "pg_dump" => {
            let clean = has(argv, &["--clean", "--drop"]) || command.program() == "pg_restore" && has(argv, &["-c"]);
            if clean && command.program().ends_with("restore") {
                hits.push(Hit::of(command, "sql.drop", "database", "the restored objects"));
            }
        }
        "redis-cli" | "valkey-cli" | "keydb-cli" => {
            redis(command, &words.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>(), hits);
            if let Stdin::Known(text) = &command.stdin {
                for line in text.lines() {
                    redis(command, &line.split_whitespace().collect::<Vec<_>>(), hits);
                }
            }
        }
        "mongo" | "mongosh" => {
            let inline = value(argv, &["--eval"]).map(|arg| arg.text.as_str()).or_else(|| joined_value(argv, &["--eval"]));
            let piped = match &command.stdin {
                Stdin::Known(text) => Some(text.as_str()),
                Stdin::Inherited | Stdin::From(_) => None,
            };
            for text in inline.into_iter().chain(piped) {
                for call in [
                    "dropDatabase",
                    "dropUser",
                    "dropRole",
                    "dropIndex",
                    ".drop(",
                    "deleteMany",
                    "deleteOne",
                    ".remove(",
                    "findOneAndDelete",
                    "bulkWrite",
                    "dropAllUsers",
                    "renameCollection",
                ] {
                    if text.contains(call) {
                        hits.push(Hit::of(command, "data.flush", "collection", call.trim_matches(['.', '('])));
                    }
                }
                for call in ["grantRoles", "revokeRoles", "createUser", "updateUser", "grantPrivileges", "revokePrivileges"] {
                    if text.contains(call) {
                        hits.push(Hit::of(command, "sql.permission", "database", call));
                    }
                }
            }
        }
        "hdfs" | "hadoop" => {
            if let Some(at) = argv.iter().position(|arg| {
                matches!(
                    arg.text.trim_start_matches('-'),
                    "rm" | "rmr" | "rmdir" | "expunge" | "truncate" | "deleteSnapshot" | "format"
                )
            }) {
                hits.push(Hit::of(
                    command,
                    "shell.rm",
                    "file",
                    argv.last().filter(|_| at + 1 < argv.len()).map_or("", |arg| arg.text.as_str()),
                ));
            } else if argv.iter().any(|arg| matches!(arg.text.as_str(), "-chmod" | "-chown" | "-chgrp" | "-setfacl")) {
                hits.push(Hit::of(command, "shell.permission", "file", argv.last().map_or("", |arg| arg.text.as_str())));
            }
        }
        "memcached" | "nc" | "ncat" | "telnet" => {
            if let Stdin::Known(text) = &command.stdin
                && text.to_ascii_lowercase().contains("flush_all")
            {
                hits.push(Hit::of(command, "data.flush", "store", "the cache"));
            }
        }
        _ => {}
    }
}

fn statements(command: &Command, hits: &mut Vec<Hit>) {
    const OPTIONS: &[&str] = &[
        "-c",
        "-e",
        "-q",
        "-Q",
        "-r",
        "--command",
        "--execute",
        "--query",
        "-query",
        "--sql",
        "-cmd",
        "-exec",
        "--statement",
        "--query-string",
    ];
    let argv = &command.argv;
    let dynamic = |hits: &mut Vec<Hit>, text: &str| {
        hits.push(Hit { partial: true, ..Hit::of(command, "sql.unknown", "statement", text) });
    };
    let mut seen = false;
    for (at, arg) in argv.iter().enumerate().skip(1) {
        let inline = OPTIONS.contains(&arg.text.as_str()).then(|| argv.get(at + 1)).flatten();
        let joined = arg.text.split_once('=').filter(|(name, _)| OPTIONS.contains(name)).map(|(_, text)| text);
        // `mysql -e'DROP …'`: the value may stick to the option.
        let stuck = arg.text.strip_prefix("-e").or_else(|| arg.text.strip_prefix("-c")).filter(|text| text.contains(' '));
        let bare = (!arg.text.starts_with('-') && arg.text.contains(' ')).then_some(arg.text.as_str());
        if let Some(inline) = inline {
            seen = true;
            let before = hits.len();
            sql(command, &inline.text, hits);
            if !inline.known && hits.len() == before && inline.text.trim_start().starts_with('$') {
                dynamic(hits, &inline.text);
            }
        } else if let Some(text) = joined.or(stuck).or(bare)
            && !argv.get(at.wrapping_sub(1)).is_some_and(|before| OPTIONS.contains(&before.text.as_str()))
        {
            seen = true;
            sql(command, text, hits);
        }
    }
    match &command.stdin {
        Stdin::Known(text) => sql(command, text, hits),
        // A dump or a script from a file or another program; only its name can be seen.
        Stdin::From(program) if !seen && matches!(program.as_str(), "echo" | "printf") => dynamic(hits, program),
        Stdin::From(_) | Stdin::Inherited => {}
    }
}

fn redis(command: &Command, words: &[&str], hits: &mut Vec<Hit>) {
    let Some((verb, rest)) = words.split_first() else { return };
    let code = match verb.to_ascii_uppercase().as_str() {
        "FLUSHALL" | "FLUSHDB" | "DEL" | "UNLINK" | "GETDEL" | "XTRIM" | "LTRIM" | "HDEL" | "SREM" | "ZREM" | "XDEL" | "LREM"
        | "SPOP" | "ZREMRANGEBYRANK" | "ZREMRANGEBYSCORE" | "ZREMRANGEBYLEX" | "SWAPDB" => "data.flush",
        "CONFIG"
            if rest.first().is_some_and(|word| word.eq_ignore_ascii_case("set") || word.eq_ignore_ascii_case("resetstat")) =>
        {
            "cloud.overwrite"
        }
        "SCRIPT" | "FUNCTION"
            if rest.first().is_some_and(|word| word.eq_ignore_ascii_case("flush") || word.eq_ignore_ascii_case("delete")) =>
        {
            "data.flush"
        }
        "CLUSTER"
            if rest.first().is_some_and(|word| {
                word.eq_ignore_ascii_case("reset")
                    || word.eq_ignore_ascii_case("forget")
                    || word.eq_ignore_ascii_case("flushslots")
            }) =>
        {
            "data.flush"
        }
        "ACL"
            if rest.first().is_some_and(|word| word.eq_ignore_ascii_case("deluser") || word.eq_ignore_ascii_case("setuser")) =>
        {
            "cloud.permission"
        }
        "SHUTDOWN" | "DEBUG" => "shell.process",
        "EVAL"
            if rest
                .iter()
                .any(|word| word.to_ascii_lowercase().contains("'del'") || word.to_ascii_lowercase().contains("flush")) =>
        {
            "data.flush"
        }
        _ => return,
    };
    hits.push(Hit::of(command, code, "key", &rest.join(" ")));
}
