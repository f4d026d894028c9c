//! What a text sets and calls by name: variables, positional parameters, functions.

use super::command::Stdin;
use super::walk::Walker;
use super::word::Arg;

impl Walker<'_> {
    /// Sets a variable. In a branch that may not be taken, another value than before makes it unknown.
    pub(super) fn set(&mut self, name: &str, values: Option<Vec<String>>) {
        const RUN_BY_OTHERS: &[&str] = &[
            "GIT_SSH_COMMAND",
            "GIT_EDITOR",
            "GIT_PAGER",
            "GIT_PROXY_COMMAND",
            "GIT_SEQUENCE_EDITOR",
            "PROMPT_COMMAND",
            "PAGER",
            "EDITOR",
            "VISUAL",
            "BROWSER",
            "LESSOPEN",
        ];
        if let Some(command) = values.as_ref().and_then(|values| values.first()).filter(|_| RUN_BY_OTHERS.contains(&name)) {
            self.nested(&command.clone(), name);
        }
        let unsure = self.conditional > 0 && self.variables.get(name).is_some_and(|before| *before != values);
        self.variables.insert(name.to_owned(), if unsure { None } else { values });
    }

    pub(super) fn set_positional(&mut self, values: Option<Vec<String>>) {
        self.positional = values;
    }

    pub(super) fn variable(&self, name: &str) -> Option<Vec<String>> {
        if let Some(value) = self.variables.get(name) {
            return value.as_ref().map(|values| vec![values.first().cloned().unwrap_or_default()]);
        }
        let fixed = match name {
            "HOME" => "~",
            "PWD" => ".",
            "IFS" => " \t\n",
            "SHELL" | "BASH" => "/bin/bash",
            _ => return None,
        };
        Some(vec![fixed.to_owned()])
    }

    pub(super) fn array(&self, name: &str) -> Option<Vec<String>> {
        self.variables.get(name).cloned().flatten()
    }

    pub(super) fn positional(&self) -> Option<Vec<String>> {
        self.positional.clone()
    }

    /// Calls a function of the text.
    pub(super) fn call(&mut self, name: &str, argv: &[Arg], stdin: Stdin) -> Option<Option<String>> {
        let body = self.functions.get(name)?.clone();
        let known = argv.iter().all(|arg| arg.known);
        let arguments = known.then(|| argv.iter().map(|arg| arg.text.clone()).collect());
        let before = std::mem::replace(&mut self.positional, arguments);
        self.via.push(format!("{name}()"));
        let output = self.body(&body, stdin);
        self.via.pop();
        self.positional = before;
        Some(output)
    }
}
