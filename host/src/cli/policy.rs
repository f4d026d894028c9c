//! (under construction)

use super::context::{CliError, Context};

/// Verbs about policies.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {}

/// Runs one.
pub async fn run(command: PolicyCommand, context: &Context) -> Result<(), CliError> {
    let _ = context;
    match command {}
}
