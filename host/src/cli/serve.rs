//! `coda serve`: reads the configuration, starts the log, and hands over to the composition root.

use std::collections::BTreeMap;

use clap::Args;

use super::context::{CliError, Context};
use crate::config::{Config, ConfigError, Flags};
use crate::{app, config, heap, home, telemetry};

/// Threads for what blocks: the store's verbs, files, compiling policies. None of them waits for another.
const MAX_BLOCKING_THREADS: usize = 64;

/// Settings for this start only.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda serve\n  coda serve --listen 127.0.0.1:9000\n  coda serve --log-format json 2> coda.log\n\nSIGTERM or Ctrl-C ends it in order; SIGHUP loads the policies anew."
)]
pub(super) struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8484]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where people reach it, if not at that address
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// human or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged, such as info or info,coda::gateway=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) fn run(args: ServeArgs, context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let flags = Flags::default()
        .set("server.listen", "--listen", args.listen)
        .set("server.public_url", "--public-url", args.public_url)
        .set("log.format", "--log-format", args.log_format)
        .set("log.filter", "--log", args.log);
    let config = Config::load(&context.home, environment, &flags).map_err(wrong)?;
    home::prepare(&context.home).map_err(|e| CliError::Failed(e.to_string()))?;
    telemetry::start(&config.settings.log).map_err(|e| CliError::Usage(e.to_string()))?;
    for stray in config::stray_variables(environment) {
        tracing::warn!(variable = %stray.key, "{}", stray.message);
    }
    heap::bound();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(|e| CliError::Failed(format!("cannot start: {e}")))?;
    runtime.block_on(app::serve(config)).map_err(|e| CliError::Failed(format!("{e:#}")))
}

/// A wrong configuration is a wrong argument; an unreadable one a failure.
pub(super) fn wrong(error: ConfigError) -> CliError {
    match error {
        ConfigError::Wrong { .. } | ConfigError::NoHome => CliError::Usage(error.to_string()),
        ConfigError::Unreadable { .. } => CliError::Failed(error.to_string()),
    }
}
