//! Statements by their leading words.

use super::keyword::{KINDS, KNOWN};
use super::piece::{Piece, Statement};
use super::{MAX_DEPTH, judge_into};
use crate::hit::Hit;

pub(super) fn judge_statement(pieces: &[Piece], depth: usize, hits: &mut Vec<Hit>) {
    let statement = Statement { pieces };
    let mut at = 0;
    while matches!(pieces.get(at), Some(Piece::Open | Piece::Other)) {
        at += 1;
    }
    // Words that only introduce a statement.
    loop {
        match statement.word(at) {
            "EXPLAIN" | "DESCRIBE" | "DESC" if !statement.has("ANALYZE") && !statement.has("ANALYSE") => return,
            "EXPLAIN" => at += 1,
            "ANALYZE" | "VERBOSE" | "EXTENDED" | "FORMATTED" if at > 0 => at += 1,
            "BEGIN" | "THEN" | "ELSE" | "DO" | "LOOP" | "ATOMIC" if at + 1 < pieces.len() => at += 1,
            "PREPARE" | "IF" => match (at..pieces.len())
                .find(|i| matches!(statement.word(*i), "AS" | "THEN" | "BEGIN" | "FROM" | "DROP" | "DELETE" | "TRUNCATE"))
            {
                Some(next) if matches!(statement.word(next), "DROP" | "DELETE" | "TRUNCATE") => at = next,
                Some(next) => at = next + 1,
                None => break,
            },
            _ => break,
        }
        if at >= pieces.len() {
            break;
        }
    }
    leading(&statement, at, depth, hits);
}

fn leading(s: &Statement<'_>, at: usize, depth: usize, hits: &mut Vec<Hit>) {
    let second = s.word(at + 1).to_owned();
    let mut hit = |code: &'static str, kind: &str, name: String| {
        let partial = name.is_empty() || name.contains('?');
        hits.push(Hit { partial, ..Hit::new(code, kind, if name.is_empty() { "an object" } else { &name }) });
    };
    match s.word(at) {
        "DROP" => {
            let named = (at + 1..s.pieces.len()).find(|i| KINDS.contains(&s.word(*i))).unwrap_or(at + 1);
            if second == "TEMPORARY" || second == "TEMP" {
                return;
            }
            hit("sql.drop", &s.word(named).to_lowercase(), s.name(named + 1));
        }
        "UNDROP" => {}
        "TRUNCATE" => hit("sql.truncate", "table", s.name(at + 1)),
        "DELETE" => {
            let filtered = s.find(at, "WHERE").is_some_and(|from| !always_true(&s.pieces[from + 1..]));
            let from = s.find(at, "FROM").filter(|from| *from < at + 4).unwrap_or(at);
            hit(if filtered { "sql.delete-where" } else { "sql.delete-all" }, "table", s.name(from + 1));
        }
        "UPDATE" => {
            let filtered = s.find(at, "WHERE").is_some_and(|from| !always_true(&s.pieces[from + 1..]));
            if !filtered && s.has("SET") && !s.has("STATISTICS") {
                hit("sql.update-all", "table", s.name(at + 1));
            }
        }
        "MERGE" => {
            if s.find(at, "DELETE").is_some() {
                hit("sql.merge-delete", "table", s.name(at + 1));
            }
        }
        "ALTER" => alter(s, at, &mut hit),
        "GRANT" | "REVOKE" | "DENY" | "REASSIGN" => {
            let on = s.find(at, "ON").map_or_else(
                || s.name(at + 1),
                |on| {
                    let kind = usize::from(KINDS.contains(&s.word(on + 1)));
                    s.name(on + 1 + kind)
                },
            );
            hit("sql.permission", "object", on);
        }
        "CREATE" => create(s, at, depth, &mut hit),
        "REPLACE" => hit("sql.overwrite", "table", s.name(at + 1)),
        "INSERT" if second == "OVERWRITE" => hit("sql.overwrite", "table", s.name(at + 2)),
        "INSERT" if second == "OR" && s.word(at + 2) == "REPLACE" => hit("sql.overwrite", "table", s.name(at + 3)),
        "INSERT" if s.find(at, "REPLACE").is_some_and(|next| matches!(s.word(next + 1), "WHERE" | "USING" | "ON")) => {
            hit("sql.overwrite", "table", s.name(at + 1))
        }
        "VACUUM" if s.has("RETAIN") || s.has("FULL") => hit("sql.purge", "table", s.name(at + 1)),
        "PURGE" | "EXPIRE" => hit("sql.purge", "table", s.name(at + 1)),
        "RESTORE" | "FLASHBACK" => hit("sql.overwrite", "table", s.name(at + 1)),
        "DETACH" if s.has("PERMANENTLY") => hit("sql.drop", "table", s.name(at + 1)),
        "UNSET" | "UNCACHE" | "UNLOAD" | "UNLISTEN" | "UNLOCK" => {}
        "KILL" | "SHUTDOWN" => hit("shell.process", "session", s.name(at + 1)),
        "WITH" => with(s, at, depth, hits),
        "EXECUTE" | "EXEC" => {
            let immediate = s.pieces[at..].iter().find_map(|piece| match piece {
                Piece::Text(text) => Some(text.clone()),
                _ => None,
            });
            match immediate {
                Some(text) if second == "IMMEDIATE" || second.is_empty() || second.starts_with("SP_EXECUTESQL") => {
                    judge_into(&text, depth + 1, hits)
                }
                _ if second.starts_with("XP_CMDSHELL") || second == "IMMEDIATE" => hit("sql.unknown", "statement", second),
                _ => {}
            }
        }
        "DO" | "DECLARE" | "CALL" => {
            for piece in &s.pieces[at..] {
                if let Piece::Text(text) = piece
                    && text.contains(' ')
                {
                    body(text, depth, hits);
                }
            }
        }
        "SELECT" | "VALUES" | "TABLE" => select(s, at, depth, hits),
        _ => embedded(s, at + 1, hits),
    }
}

/// `WHERE TRUE`, `WHERE 1=1`: a condition that keeps nothing out.
fn always_true(condition: &[Piece]) -> bool {
    matches!(condition, [Piece::Word(word, _)] if word == "TRUE")
        || condition.len() <= 3
            && !condition.is_empty()
            && condition.iter().all(|piece| *piece == Piece::Other || matches!(piece, Piece::Text(_)))
}

fn alter(s: &Statement<'_>, at: usize, hit: &mut impl FnMut(&'static str, &str, String)) {
    let kind = s.word(at + 1).to_owned();
    let named = (at + 1..s.pieces.len()).find(|i| KINDS.contains(&s.word(*i))).unwrap_or(at + 1);
    let name = s.name(named + 1);
    let kind_word = s.word(named).to_lowercase();
    if s.find(at + 2, "DROP").is_some_and(|drop| !matches!(s.word(drop + 1), "NOT" | "DEFAULT" | "IDENTITY" | "EXPRESSION"))
        || s.find(at + 2, "TRUNCATE").is_some()
        || s.find(at + 2, "PURGE").is_some()
    {
        hit("sql.alter-drop", &kind_word, name);
    } else if s.find(at + 2, "OWNER").is_some()
        || s.find(at + 2, "AUTHORIZATION").is_some()
        || matches!(kind.as_str(), "ROLE" | "USER" | "LOGIN" | "GROUP")
        || kind == "DEFAULT" && s.has("PRIVILEGES")
    {
        hit("sql.permission", &kind_word, name);
    } else if s.find(at + 2, "SWAP").is_some() || s.find(at + 2, "REPLACE").is_some() && s.has("COLUMNS") {
        hit("sql.overwrite", &kind_word, name);
    }
}

fn create(s: &Statement<'_>, at: usize, depth: usize, hit: &mut impl FnMut(&'static str, &str, String)) {
    let replace = s.word(at + 1) == "OR" && s.word(at + 2) == "REPLACE";
    let named = (at + 1..s.pieces.len().min(at + 8)).find(|i| KINDS.contains(&s.word(*i)));
    let kind = named.map_or("", |named| s.word(named)).to_owned();
    let name = named.map(|named| s.name(named + 1)).unwrap_or_default();
    let _ = depth;
    if replace && !s.has("TEMPORARY") && !s.has("TEMP") {
        // Replacing a table replaces its rows; a view or function holds none.
        hit(
            if kind == "TABLE" || kind == "SCHEMA" || kind == "DATABASE" { "sql.overwrite" } else { "sql.replace" },
            &kind.to_lowercase(),
            name,
        );
    } else if matches!(kind.as_str(), "USER" | "ROLE" | "LOGIN") {
        hit("sql.permission", &kind.to_lowercase(), name);
    }
}

/// `WITH x AS (…) DELETE`, and writing statements inside the parentheses.
fn with(s: &Statement<'_>, at: usize, depth: usize, hits: &mut Vec<Hit>) {
    let mut level = 0_usize;
    for (index, piece) in s.pieces.iter().enumerate().skip(at) {
        match piece {
            Piece::Open => {
                level += 1;
                if matches!(s.word(index + 1), "DELETE" | "UPDATE" | "TRUNCATE" | "DROP") {
                    leading(&Statement { pieces: &s.pieces[index + 1..] }, 0, depth, hits);
                }
            }
            Piece::Close => level = level.saturating_sub(1),
            Piece::Word(word, _)
                if level == 0 && matches!(word.as_str(), "DELETE" | "UPDATE" | "MERGE" | "INSERT" | "TRUNCATE") =>
            {
                leading(&Statement { pieces: &s.pieces[index..] }, 0, depth, hits);
                return;
            }
            _ => {}
        }
    }
}

/// Functions that do more than read.
fn select(s: &Statement<'_>, at: usize, depth: usize, hits: &mut Vec<Hit>) {
    for (index, piece) in s.pieces.iter().enumerate().skip(at) {
        let Piece::Word(word, _) = piece else { continue };
        if s.pieces.get(index + 1) != Some(&Piece::Open) {
            continue;
        }
        match word.as_str() {
            "PG_TERMINATE_BACKEND" | "PG_CANCEL_BACKEND" => hits.push(Hit::new("shell.process", "session", word)),
            "LO_UNLINK" | "PG_DROP_REPLICATION_SLOT" | "DROP_CHUNKS" | "PG_FILE_UNLINK" | "DROP_HYPERTABLE" => {
                hits.push(Hit::new("sql.drop", "object", word))
            }
            "DBLINK_EXEC" | "DBLINK" | "QUERY_TO_XML" => {
                for text in
                    s.pieces[index..].iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text) } else { None })
                {
                    judge_into(text, depth + 1, hits);
                }
            }
            _ => {}
        }
    }
    if s.word(at) != "SELECT" {
        embedded(s, at + 1, hits);
    }
}

/// The body of a block in a string: its statements, past the words that open it.
fn body(text: &str, depth: usize, hits: &mut Vec<Hit>) {
    if depth >= MAX_DEPTH {
        return;
    }
    judge_into(text, depth + 1, hits);
}

/// A statement whose first word is not known: destructive words in it are asked about.
fn embedded(s: &Statement<'_>, from: usize, hits: &mut Vec<Hit>) {
    let first = s.word(from - 1);
    if KNOWN.contains(&first) {
        return;
    }
    let word = (from - 1..s.pieces.len())
        .find(|at| matches!(s.word(*at), "DROP" | "DELETE" | "TRUNCATE" | "ALTER" | "GRANT" | "REVOKE"));
    if let Some(at) = word {
        hits.push(Hit { partial: true, ..Hit::new("sql.unknown", "statement", &s.name(at)) });
    }
}
