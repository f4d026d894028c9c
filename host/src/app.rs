//! The composition root: wires the parts of one server and runs them.

use crate::config::Config;

/// Runs the server until it is asked to end.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let _ = config;
    anyhow::bail!("unwired")
}
