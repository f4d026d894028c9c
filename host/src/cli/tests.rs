use clap::CommandFactory as _;

use super::*;

/// Every command, with its path.
fn commands(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name());
        visit(&path, sub);
        commands(sub, &path, visit);
    }
}

/// The words of a shell line up to its first operator; quotes are understood as far as examples use them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            '|' | '>' | '&' if quote.is_none() => break,
            ' ' if quote.is_none() => words.push(String::new()),
            _ => words.last_mut().expect("begins with one").push(c),
        }
    }
    words.retain(|w| !w.is_empty() && w != "2");
    words
}

#[test]
fn the_commands_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_a_line_and_every_leaf_an_example() {
    let mut leaves = 0;
    commands(&Cli::command(), "coda", &mut |path, command| {
        assert!(command.get_about().is_some(), "{path} has no line");
        if command.has_subcommands() || command.is_subcommand_required_set() {
            return;
        }
        leaves += 1;
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:") || path == "coda task list", "{path} has no example");
    });
    assert!(leaves > 15, "{leaves}");
}

#[test]
fn examples_are_commands_that_exist() {
    commands(&Cli::command(), "coda", &mut |path, command| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in help.lines().filter_map(|l| l.trim().strip_prefix("coda ")) {
            let words = std::iter::once("coda".to_owned()).chain(words(example));
            if let Err(e) = Cli::try_parse_from(words) {
                panic!("{path}: `coda {example}`: {e}");
            }
        }
    });
}

#[test]
fn exit_codes_follow_from_what_went_wrong() {
    let refused = |code: &str| CliError::Refused { code: code.into(), message: String::new() };
    let cases = [
        (CliError::Failed(String::new()), 1),
        (CliError::Usage(String::new()), 2),
        (CliError::Unreachable(String::new()), 3),
        (refused("forbidden"), 4),
        (refused("unauthenticated"), 4),
        (refused("not_found"), 5),
        (refused("conflict"), 1),
        (CliError::NotCompleted(String::new()), 6),
        (CliError::Waits(String::new()), 7),
    ];
    for (error, code) in cases {
        assert_eq!(exit_code(&error), code, "{error:?}");
    }
}
