//! The composition root: everything is made here, once, in the order of its needs, and ended in reverse. Nobody imports
//! this module but the command line.

mod faces;
mod observe;
mod open_doors;
mod settings;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore};

use crate::audit::{Audit, Close};
use crate::config::Config;
use crate::executor::Executor;
use crate::executor::workspace::Workspaces;
use crate::gates::keeper::Gatekeeper;
use crate::gateway::Gateway;
use crate::home::{self, ServerLock};
use crate::pipeline::{self, Pipeline};
use crate::policy::Policies;
use crate::service::{self, Service};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::web::accounts::Accounts;
use crate::web::{self, WebState};

/// A server that is put together and does not serve yet.
pub struct App {
    config: Config,
    // Held as long as the server lives.
    lock: ServerLock,
    listener: std::net::TcpListener,
    url: String,
    audit: Audit,
    policies: Policies,
    gateway: Gateway,
    executor: Executor,
    pipeline: Pipeline,
    service: Service,
    accounts: Accounts,
}

/// Runs a server until it is asked to end.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.listen().context("signals")?;
    let app = App::build(config).await?;
    app.run(shutdown).await
}

impl App {
    /// Opens and wires. What was left by the last server is settled before anything is served.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let home = config.home.clone();
        home::prepare(&home)?;
        let lock = ServerLock::take(&home)?;
        let listener = home::listen(settings::listen(&config)?)?;
        let address = listener.local_addr().context("the listener has no address")?;
        let url = config.settings.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

        let store = Store::open(&home.join("coda.db"))?;
        let audit = Audit::open(store.clone(), &home.join("keys"), settings::audit(&config))?;
        let policies =
            Policies::open(settings::policy(&config), store.clone(), &home, observe::policy_hooks(audit.clone(), &config))?;
        if let Err(e) = policies.start().await {
            tracing::error!(error = %e, "the policy folder does not load");
        }
        open_doors::say(&config).await;
        let places = Arc::new(Notify::new());
        let executor = Executor::new(settings::executor(&config));
        let agents = executor.agents().clone();
        let gates = Gatekeeper::new(store.clone(), policies.clone(), agents, settings::gates(&config), places.clone());
        let gateway = Gateway::bind(settings::gateway(&config), Arc::new(gates.clone()))?;
        let pipeline = Pipeline::new(pipeline::Parts {
            store: store.clone(),
            policies: policies.clone(),
            gates: gates.clone(),
            executor: executor.clone(),
            gateway: gateway.clone(),
            workspaces: Workspaces::new(settings::workspaces(&config), &home),
            models: settings::models(&config),
            egress: config.egress.clone(),
            hosted_tools: config.hosted_tools.clone(),
            places,
            home: home.clone(),
            settings: settings::pipeline(&config),
        });
        let recovered = pipeline.recover().await?;
        if recovered > 0 {
            tracing::warn!(tasks = recovered, "tasks that were running when the last server stopped were settled");
        }
        let service = Service::new(service::Parts {
            store: store.clone(),
            policies: policies.clone(),
            gates,
            pipeline: pipeline.clone(),
            settings: settings::service(&config, &url, executor.agents()),
            home: home.clone(),
        });
        let accounts = Accounts::open(settings::accounts(&config), &home, store, observe::accounts(audit.clone()))?;
        Ok(Self { config, lock, listener, url, audit, policies, gateway, executor, pipeline, service, accounts })
    }

    /// Serves until the end is asked for, then ends everything within the configured time.
    async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let metrics = observe::metrics()?;
        let settings = Arc::new(settings::web(&self.config));
        let state = WebState {
            service: self.service.clone(),
            accounts: self.accounts.clone(),
            terminals: Arc::new(self.executor.sessions().clone()),
            viewers: Arc::new(Semaphore::new(settings.max_viewers)),
            settings: settings.clone(),
            readiness: observe::readiness(self.policies.clone(), self.accounts.clone()),
            metrics,
            shutdown: shutdown.token(),
        };
        let site = web::router(state, faces::router(&self.config, &self.service, &self.policies, &self.audit)?);
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let address = listener.local_addr()?;

        let _watch = match self.policies.watch() {
            Ok(watch) => Some(watch),
            Err(e) => {
                tracing::warn!(error = %e, "changes of policies are loaded on SIGHUP and by `coda policy load` only");
                None
            }
        };
        shutdown.spawn("audit", self.audit.clone().run(shutdown.token()));
        shutdown.spawn("policies", observe::reload(self.policies.clone(), shutdown.clone()));
        let ending = shutdown.token();
        let gateway = self.gateway.clone();
        shutdown.spawn("gateway", async move {
            if let Err(e) = gateway.run(ending.cancelled_owned()).await {
                tracing::error!(error = %e, "the gateway stopped; agents cannot reach their models");
            }
        });
        let (pipeline, ending) = (self.pipeline.clone(), shutdown.token());
        shutdown.spawn("tasks", async move { pipeline.run(ending).await });
        let ending = shutdown.token();
        shutdown.spawn("site", async move { web::server::serve(listener, site, &settings, ending).await });

        self.lock.announce(&format!("http://{address}"))?;
        announce(&self.url, &address.to_string(), &self.accounts).await;
        shutdown.token().cancelled().await;
        let cap = Duration::from_secs(self.config.settings.server.shutdown_s);
        if let Err(late) = shutdown.drain(cap).await {
            tracing::warn!(late, seconds = cap.as_secs(), "the end did not wait any longer");
        }
        self.audit.close(Close::Now).await?;
        Ok(())
    }
}

/// The lines that a person who starts the server reads.
async fn announce(url: &str, address: &str, accounts: &Accounts) {
    let mut lines = vec![format!("coda listens on http://{address}")];
    if url.trim_start_matches("http://") != address {
        lines.push(format!("people reach it at {url}"));
    }
    lines.push(format!("MCP endpoint: {url}/mcp"));
    lines.push(match accounts.mode() {
        // A link is a login: for the eyes of whoever sits there, not for a file that an agent could read.
        web::accounts::Mode::Local if !std::io::stdout().is_terminal() => {
            "log in with `coda login`: it prints a link for your browser".to_owned()
        }
        web::accounts::Mode::Local => match accounts.login_link().await {
            Ok(code) => format!("log in (once, within 10 minutes): {url}{code}"),
            Err(e) => format!("no login link: {e}"),
        },
        web::accounts::Mode::Proxy => "identities come from the trusted proxy".to_owned(),
    });
    // Whoever started it may have closed the pipe, or its disk may be full: no reason not to serve.
    let mut out = std::io::stdout().lock();
    if let Err(e) = lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
        tracing::warn!(error = %e, address, "where it listens could not be printed");
    }
}
