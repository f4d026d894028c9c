//! (under construction)

use super::context::{CliError, Context};

/// Verbs about the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {}

/// Runs one.
pub async fn run(command: AuditCommand, context: &Context) -> Result<(), CliError> {
    let _ = context;
    match command {}
}
