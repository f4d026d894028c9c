//! The command line. Client verbs talk to a running server over its REST API; `serve`, `init`, `config` and `doctor`
//! work on CODA_HOME themselves.
//!
//! Human output by default, one JSON document with `--json`; results on standard output, progress and errors on standard
//! error. Exit codes are in [`exit_code`] and docs/operations.md.

mod agent;
mod agent_conversation;
mod approval;
pub mod audit;
mod config;
pub mod context;
mod doctor;
mod hook;
mod http;
mod init;
mod login;
pub mod policy;
pub mod print;
mod run;
pub mod runbook;
pub mod sandbox_init;
mod serve;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod traffic;
mod usage;
mod watch;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;

use self::context::{CliError, Context, Format};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the arguments or the configuration are wrong
  3  the server does not answer
  4  not allowed
  5  not found
  6  the task ended otherwise than completed
  7  the task waits for an approval or an answer, or still runs

Examples:
  coda init
  coda serve
  coda run --watch 'list the files'
  coda inbox";

/// Runs coding agents in terminals that people can watch, behind policies that nothing passes unjudged
#[derive(Debug, Parser)]
#[command(name = "coda", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Cli {
    /// Directory of coda's own [default: ~/.coda]
    #[arg(long, global = true, env = "CODA_HOME", value_name = "DIR", hide_env_values = true, help_heading = "Everywhere")]
    home: Option<PathBuf>,
    /// Address of the server [default: the one that runs on CODA_HOME]
    #[arg(long, global = true, env = "CODA_SERVER", value_name = "URL", hide_env_values = true, help_heading = "Everywhere")]
    server: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Make CODA_HOME: a commented coda.toml, the default policies, private directories
    Init(init::InitArgs),
    /// Hand a task over
    Run(run::RunArgs),
    /// Your tasks, newest first
    Inbox(task::InboxArgs),
    /// The result of a task
    Result(task::ResultArgs),
    /// Answer a task that asks
    Answer(task::AnswerArgs),
    /// List, show, follow and cancel tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Decide what waits for people
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
    /// Look at policies and change them while the server runs
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Make, list and revoke tokens for MCP clients and CI
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// What models were used for, by day
    Usage(usage::UsageArgs),
    /// The agents that tasks may choose
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Show and check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check that this machine and CODA_HOME are fit to run coda
    #[command(after_help = "Examples:\n  coda doctor\n  coda doctor --json")]
    Doctor,
    /// Print a one-time link that logs a browser in
    #[command(after_help = "Examples:\n  coda login")]
    Login,
    /// Ask coda's gates about a tool call: what an agent's own hooks run inside a task
    Hook(hook::HookArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  coda completions bash > ~/.local/share/bash-completion/completions/coda")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// coda's own agent, started inside a task's terminal
    #[command(name = "agent-runbook", hide = true)]
    AgentRunbook,
    /// What an agent that goes on in its conversation is executed by
    #[command(name = "agent-conversation", hide = true)]
    AgentConversation {
        /// As the executor words them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// The process that compiles a policy
    #[command(name = "policy-build", hide = true)]
    PolicyBuild,
    /// The process between server and agent
    #[command(name = "sandbox-init", hide = true)]
    SandboxInit {
        /// As the executor words them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        // Before anything else: these must find a process of one thread.
        Command::AgentRunbook => runbook::run(),
        Command::Hook(args) => hook::run(&args),
        Command::AgentConversation { words } => agent_conversation::run(&words),
        Command::SandboxInit { words } => sandbox_init::run(&words),
        Command::PolicyBuild => ExitCode::from(crate::policy::build::main()),
        command => {
            let format = if cli.json { Format::Json } else { Format::Human };
            match dispatch(command, cli.home, cli.server, format) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => report(&error, format),
            }
        }
    }
}

fn dispatch(command: Command, home: Option<PathBuf>, server: Option<String>, format: Format) -> Result<(), CliError> {
    let environment = crate::config::environment();
    let home = crate::config::home(home, &environment).map_err(|e| CliError::Usage(e.to_string()))?;
    let server = server.filter(|s| !s.is_empty()).or_else(|| elsewhere(&home, &environment));
    let context = Context { home, format, server, token: environment.get("CODA_TOKEN").filter(|t| !t.is_empty()).cloned() };
    match command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "coda", &mut std::io::stdout());
            Ok(())
        }
        Command::Serve(args) => serve::run(args, &context, &environment),
        Command::Init(args) => init::run(args, &context, &environment),
        Command::Config(command) => config::run(command, &context, &environment),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| CliError::Failed(format!("cannot start: {e}")))?;
            runtime.block_on(talk(command, &context, &environment))
        }
    }
}

/// The server that clients of the original CoDA were pointed at; counts only where none runs on CODA_HOME.
fn elsewhere(home: &std::path::Path, environment: &std::collections::BTreeMap<String, String>) -> Option<String> {
    let url = environment.get("CODA_MCP_URL").filter(|url| !url.is_empty())?;
    crate::home::running(home).is_none().then(|| url.clone())
}

/// The commands that talk to a server or to other programs.
async fn talk(
    command: Command,
    context: &Context,
    environment: &std::collections::BTreeMap<String, String>,
) -> Result<(), CliError> {
    match command {
        Command::Run(args) => run::run(args, context).await,
        Command::Inbox(args) => task::inbox(args, context).await,
        Command::Result(args) => task::result(args, context).await,
        Command::Answer(args) => task::answer(args, context).await,
        Command::Task(command) => task::run(command, context).await,
        Command::Approval(command) => approval::run(command, context).await,
        Command::Policy(command) => policy::run(command, context).await,
        Command::Audit(command) => audit::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Usage(args) => usage::run(args, context).await,
        Command::Agent(command) => agent::run(command, context, environment).await,
        Command::Doctor => doctor::run(context, environment).await,
        Command::Login => login::run(context).await,
        Command::Serve(_)
        | Command::Init(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Hook(_)
        | Command::AgentRunbook
        | Command::AgentConversation { .. }
        | Command::PolicyBuild
        | Command::SandboxInit { .. } => Err(CliError::Failed("this command does not talk to a server".into())),
    }
}

/// The exit code that an error stands for.
#[must_use]
pub fn exit_code(error: &CliError) -> u8 {
    match error {
        CliError::Failed(_) => 1,
        CliError::Usage(_) => 2,
        CliError::Unreachable(_) => 3,
        CliError::Refused { code, .. } => match code.as_str() {
            "forbidden" | "unauthenticated" => 4,
            "not_found" => 5,
            _ => 1,
        },
        CliError::NotCompleted(_) => 6,
        CliError::Waits(_) => 7,
    }
}

/// Says what went wrong, on standard error. A broken pipe there has nobody to tell.
fn report(error: &CliError, format: Format) -> ExitCode {
    let code = exit_code(error);
    let word = match error {
        CliError::Failed(_) => "failed",
        CliError::Usage(_) => "usage",
        CliError::Unreachable(_) => "unreachable",
        CliError::Refused { code, .. } => code,
        CliError::NotCompleted(_) => "not_completed",
        CliError::Waits(_) => "waits",
    };
    let text = match format {
        Format::Json => json!({ "error": { "code": word, "message": error.to_string(), "exit_code": code } }).to_string(),
        Format::Human => format!("coda: {}", print::clean(&error.to_string())),
    };
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
