//! Every plain setting of coda.toml, once: section, name, type, default and meaning. The structs, their defaults, the
//! file's form, the environment names and the reference that `coda config show` prints all come from this list.
//!
//! INVARIANT: durations end in `_s` or `_ms`, sizes in `_bytes`, and every bound of coda's that can be set stands here.

use super::layer::{Layers, Problem};
use super::value::SettingValue as _;
use crate::usage::Usd;

macro_rules! sections {
    ($($(#[doc = $about:literal])+ $section:ident => $name:ident / $raw:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr;)+
    })+) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name { $($(#[doc = $doc])+ pub $key: $type,)+ }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($key: $default,)+ }
                }
            }

            #[derive(Debug, Default, serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $raw { $(#[serde(default)] $key: Option<$type>,)+ }

            impl $raw {
                /// Takes each value from the highest layer that has it.
                fn resolve(self, layers: &mut Layers<'_>) -> $name {
                    let default = $name::default();
                    $name { $($key: layers.take(stringify!($section), stringify!($key), self.$key, default.$key),)+ }
                }
            }
        )+

        /// The sections of plain settings, as the file has them.
        #[derive(Debug, Default)]
        pub(super) struct RawSections { $(pub(super) $section: $raw,)+ }

        /// The sections of plain settings, every value decided.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Sections { $($(#[doc = $about])+ pub $section: $name,)+ }

        impl RawSections {
            pub(super) fn resolve(self, layers: &mut Layers<'_>) -> Sections {
                Sections { $($section: self.$section.resolve(layers),)+ }
            }
        }

        /// All plain settings, in the order of the reference.
        #[must_use]
        pub fn reference() -> Vec<Setting> {
            let mut all = Vec::new();
            $({
                let default = $name::default();
                $(all.push(Setting {
                    section: stringify!($section),
                    key: stringify!($key),
                    default: default.$key.show(),
                    meaning: concat!($($doc),+).trim(),
                });)+
            })+
            all
        }
    };
}

/// One plain setting, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Table in coda.toml.
    pub section: &'static str,
    /// Key in that table.
    pub key: &'static str,
    /// Its default as TOML; empty where it is unset.
    pub default: String,
    /// What it does.
    pub meaning: &'static str,
}

impl Setting {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("CODA_{}_{}", self.section.to_uppercase(), self.key.to_uppercase())
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1_024 * MIB;
const DAY_S: u64 = 86_400;

sections! {
    /// `[server]`: the listener.
    server => Server / RawServer {
        /// Address and port to listen on.
        listen: String = "127.0.0.1:8484".to_owned();
        /// Where people reach coda, such as `https://coda.example.com`; unset means the listener's own address.
        public_url: Option<String> = None;
        /// Host names that requests may carry, besides loopback names and that of public_url.
        allowed_hosts: Vec<String> = Vec::new();
        /// Origins of other sites whose scripts may call /mcp.
        allowed_origins: Vec<String> = Vec::new();
        /// Largest request body.
        body_limit_bytes: u64 = 4 * MIB;
        /// Longest wait for a request's head; also how long an idle connection stays open.
        header_timeout_s: u64 = 20;
        /// Longest time until the head of an answer.
        request_timeout_s: u64 = 120;
        /// Open connections at most; further ones wait.
        max_connections: u64 = 1_024;
        /// Viewers of live terminals at most.
        max_viewers: u64 = 128;
        /// At shutdown, how long running tasks and open connections may take to end.
        shutdown_s: u64 = 15;
    }
    /// `[identity]`: who identifies people.
    identity => Identity / RawIdentity {
        /// "local" (coda itself, for one person on loopback) or "proxy" (an identity-aware proxy in front of coda).
        mode: String = "local".to_owned();
        /// Name of the local person; unset means the operating system's user name.
        local_name: Option<String> = None;
        /// Ready-made proxy settings: "databricks-apps".
        preset: Option<String> = None;
        /// Addresses or networks whose connections may carry identity headers.
        trusted_peers: Vec<String> = Vec::new();
        /// Headers that name the person; the first that is present counts.
        headers: Vec<String> = Vec::new();
        /// Header in which the proxy forwards the person's own access token, for models with credential = { forwarded = true }; unset, the preset's.
        access_token_header: Option<String> = None;
        /// Header in which the proxy presents the shared secret.
        secret_header: Option<String> = None;
        /// File with that shared secret.
        secret_file: Option<String> = None;
        /// File that maps people and groups to roles, re-read when it changes; relative to CODA_HOME.
        roles_file: String = "roles.toml".to_owned();
        /// Roles of everybody whom the proxy names, without a mapping.
        default_roles: Vec<String> = Vec::new();
        /// How long a login holds.
        login_ttl_s: u64 = DAY_S / 2;
        /// How long a one-time login link holds.
        login_link_ttl_s: u64 = 600;
        /// How long a token holds that names no time.
        token_ttl_s: u64 = 30 * DAY_S;
        /// How long a token may hold at most.
        token_ttl_max_s: u64 = 365 * DAY_S;
        /// Usable tokens that one principal may have.
        max_tokens: u64 = 100;
        /// Failed logins per minute that are answered as such; further ones are turned away.
        failed_logins_per_minute: u64 = 30;
    }
    /// `[tasks]`: how many, how long, how much is kept.
    tasks => Tasks / RawTasks {
        /// Agent of a task that names none.
        default_agent: String = "runbook".to_owned();
        /// Tasks that run at the same time.
        max_concurrent: u64 = 5;
        /// Tasks that wait for a place at most, over all principals.
        max_queued: u64 = 1_000;
        /// Tasks that one principal may have queued or running.
        max_per_principal: u64 = 200;
        /// Held tasks whose process is kept alive at most; further ones are parked.
        max_held: u64 = 50;
        /// How long an agent whose call was parked may take to end its turn; then it is ended, and its task waits.
        parked_grace_s: u64 = 120;
        /// Running time of a task that names none.
        timeout_s: u64 = 3_600;
        /// Longest running time that a task may ask for.
        timeout_max_s: u64 = DAY_S;
        /// A task that shows no activity for this long is ended; 0 switches the rule off.
        idle_s: u64 = 0;
        /// Longest prompt.
        max_prompt_bytes: u64 = MIB;
        /// Longest context, as JSON text.
        max_context_bytes: u64 = MIB;
        /// Largest result that an agent may write.
        max_result_bytes: u64 = 4 * MIB;
        /// How far back the inbox reaches; what still waits is always in it.
        inbox_window_s: u64 = DAY_S;
        /// How long a task's folder is kept after the end: terminal transcript, diff, the agent's files.
        keep_transcripts_s: u64 = 7 * DAY_S;
        /// How long the contents of judged events are kept, for replay.
        keep_contents_s: u64 = 14 * DAY_S;
        /// How long decisions on tasks that have ended, and what models were used for by day, are kept; the audit log keeps what was decided.
        keep_decisions_s: u64 = 400 * DAY_S;
        /// How long a workspace of coda's own is kept after the last task of its chain.
        keep_workspaces_s: u64 = 30 * DAY_S;
    }
    /// `[approval]`: what waits for people.
    approval => Approval / RawApproval {
        /// How long a held call keeps its process alive where its agent bears that; then the task is parked. 600 at most.
        hold_s: u64 = 600;
        /// How long a request stays open that a policy gave no time.
        expires_s: u64 = DAY_S;
        /// Who must agree where a policy names nobody, as "role" or "role:count".
        default_requirements: Vec<String> = strings(&["approver:1"]);
    }
    /// `[budget]`: how much of their models tasks may use. Tokens are those read and written together.
    budget => Budget / RawBudget {
        /// Tokens of one task, over all attempts; 0 sets no limit.
        task_tokens: u64 = 0;
        /// Cost of one task in US dollars, by the prices of its model; 0 sets no limit.
        task_cost_usd: Usd = Usd::ZERO;
        /// Tokens of one principal's tasks in a day (UTC); 0 sets no limit.
        principal_day_tokens: u64 = 0;
        /// Cost of one principal's tasks in a day (UTC), in US dollars; 0 sets no limit.
        principal_day_cost_usd: Usd = Usd::ZERO;
        /// Tokens of one principal's tasks in a calendar month (UTC); 0 sets no limit.
        principal_month_tokens: u64 = 0;
        /// Cost of one principal's tasks in a calendar month (UTC), in US dollars; 0 sets no limit.
        principal_month_cost_usd: Usd = Usd::ZERO;
    }
    /// `[executor]`: the terminal that an agent runs in.
    executor => Executor / RawExecutor {
        /// "best-effort" (the strongest tier that this machine gives, Landlock at least), "require" (tier A, or no start), "floor" (tier B) or "off" (agents see what the server's user sees).
        sandbox: String = "best-effort".to_owned();
        /// Where agents may connect to: "gateway-only" (their model, through coda) or "open" (wherever the server may).
        network: String = "gateway-only".to_owned();
        /// Processes and threads of a task (tier A), or of the server's user (tier B); 0 sets no limit, and root has none.
        max_processes: u64 = 4_096;
        /// Open files of one process of a task; 0 sets no limit.
        max_open_files: u64 = 65_536;
        /// Largest file that a task may write; 0 sets no limit.
        max_file_bytes: u64 = 0;
        /// Address space of one process of a task; 0 sets no limit, because many runtimes reserve far more than they use.
        max_address_space_bytes: u64 = 0;
        /// Size of each of a task's private temporary folders, which live in memory (tier A).
        max_tmp_bytes: u64 = GIB;
        /// Columns of the terminal.
        columns: u64 = 120;
        /// Rows of the terminal.
        rows: u64 = 40;
        /// Time between SIGTERM and SIGKILL of a task's processes.
        grace_s: u64 = 5;
        /// How long agents wait for their own hooks, which ask coda's gates; a call that people must decide is refused before, and its task parked.
        hook_limit_s: u64 = 60;
        /// Largest transcript; what comes after is cut, and the transcript says so.
        max_transcript_bytes: u64 = 10 * MIB;
        /// Environment variables of the server that agents may see, besides PATH, LANG, LC_ALL, TERM and TZ.
        pass_environment: Vec<String> = Vec::new();
        /// Directories that agents may read though they lie in a hidden place, such as a credential folder.
        readable: Vec<String> = Vec::new();
    }
    /// `[policy]`: the engine. What is set per policy stands in policies.toml.
    policy => Policy / RawPolicy {
        /// Folder with policies.toml; relative to CODA_HOME.
        folder: String = "policies".to_owned();
        /// "auto" (what loads is promoted) or "staged" (an operator promotes).
        activation: String = "auto".to_owned();
        /// Chains judged at the same time; 0 means one per processor.
        workers: u64 = 0;
        /// How long a chain waits for a free worker before its gate denies.
        queue_timeout_ms: u64 = 5_000;
        /// Fuel of one evaluation, where policies.toml says nothing.
        default_fuel: u64 = 400_000_000;
        /// Wall time of one evaluation, where policies.toml says nothing.
        default_timeout_ms: u64 = 2_000;
        /// Memory of one instance, where policies.toml says nothing.
        default_memory_bytes: u64 = 64 * MIB;
        /// Most memory that policies.toml may ask for.
        max_memory_bytes: u64 = 256 * MIB;
        /// Wall time of one policy's configure.
        configure_timeout_ms: u64 = 30_000;
        /// Wall time of compiling one policy, in a process of its own.
        build_timeout_s: u64 = 300;
        /// Largest component.
        max_component_bytes: u64 = 64 * MIB;
        /// Largest text of an event; more is denied.
        max_event_bytes: u64 = 8 * MIB;
        /// How long the folder must be quiet before a change is loaded.
        watch_debounce_ms: u64 = 300;
        /// Sets kept for rollback.
        keep_sets: u64 = 20;
        /// Folder with NAME.wasm files that replace the bundled policies.
        guests: Option<String> = None;
        /// Folder of compiled policies, this user's alone; servers of one user may share it. Relative to CODA_HOME.
        cache: String = "cache".to_owned();
    }
    /// `[gateway]`: the listener between agents and their models.
    gateway => Gateway / RawGateway {
        /// Port on the loopback interface; 0 takes any free one.
        port: u16 = 0;
        /// Largest request of an agent.
        max_body_bytes: u64 = 64 * MIB;
        /// Largest answer of a model.
        max_response_bytes: u64 = 64 * MIB;
        /// Requests of one task at a time.
        max_requests: u64 = 32;
        /// How often one turn goes on after all its calls were refused.
        max_continuations: u64 = 8;
        /// How long a released call is let through without a new verdict when the agent's own hook asks about it; 0 judges it anew.
        hook_match_s: u64 = 600;
        /// A quiet stream gets a sign of life this often, 30 at most.
        keepalive_s: u64 = 15;
        /// "auto" (HTTP/2 where a model's server offers it over TLS, else HTTP/1.1) or "1.1".
        http_version: String = "auto".to_owned();
        /// PEM file of CAs that models' servers may have their certificates from, besides those that the system trusts; relative to CODA_HOME, read at start.
        ca_file: Option<String> = None;
        /// Time to connect to a model's server.
        connect_timeout_s: u64 = 10;
        /// Time until the first byte of a model's answer.
        first_byte_timeout_s: u64 = 300;
        /// Longest silence within a model's answer.
        idle_timeout_s: u64 = 300;
        /// An HTTP/2 connection to a model that is silent for this long while answers are open is asked for a sign of life, and given up when none comes in the same time; 0 never asks, 3600 at most.
        ping_s: u64 = 20;
        /// Repetitions of a request that got no byte of an answer.
        retries: u64 = 2;
        /// How long the output of a credential command is used again.
        credential_cache_s: u64 = 30;
        /// How long a credential command may take.
        credential_timeout_s: u64 = 30;
        /// Bytes of model traffic that are recorded per task, beside its transcript, for `coda task traffic` and `coda task replay`; 0 records none.
        record_bytes: u64 = 0;
        /// Tunnels to allowed hosts (agents.NAME.allow_hosts) that one task may have open.
        max_tunnels: u64 = 32;
        /// Tunnels that one attempt of a task may open in all; each is on record.
        max_tunnels_per_attempt: u64 = 5_000;
        /// Bytes that the tunnels of one attempt may carry, both ways and all together.
        max_tunnel_bytes: u64 = 4 * GIB;
        /// A tunnel that carries nothing for this long is closed.
        tunnel_idle_s: u64 = 300;
        /// Time to look an allowed host up and connect to it; and, after that, until the agent begins TLS.
        tunnel_connect_timeout_s: u64 = 10;
        /// Drop blank text blocks from requests.
        drop_blank_text: bool = true;
        /// Drop tool results whose call is gone.
        drop_orphaned_results: bool = true;
        /// Add a result to calls whose result is gone.
        complete_missing_results: bool = true;
        /// Give calls named databricks-tool-call the name that their arguments carry.
        unwrap_databricks_calls: bool = true;
        /// Let a message with tool calls end with the reason tool_calls.
        fix_finish_reason: bool = true;
    }
    /// `[mcp]`: the endpoint for clients.
    mcp => Mcp / RawMcp {
        /// Form of tools/list: "auto", "full" or "plain" (no output schemas, no annotations).
        tool_list: String = "auto".to_owned();
        /// Origins of Databricks workspaces whose Genie Code may call.
        genie_origins: Vec<String> = Vec::new();
        /// Largest request body; above the limit on prompts, so that a long prompt gets a telling answer.
        max_request_bytes: u64 = 4 * MIB;
    }
    /// `[audit]`: the log of decisions and changes.
    audit => Audit / RawAudit {
        /// Records in a segment before it is closed by a checkpoint.
        segment_records: u64 = 1_000;
        /// Age at which a segment is closed though it is not full.
        segment_s: u64 = 3_600;
        /// How long closed segments are kept; 0 keeps them.
        keep_s: u64 = 0;
    }
    /// `[log]`: coda's own log, on standard error.
    log => Log / RawLog {
        /// "human" or "json".
        format: String = "human".to_owned();
        /// What is logged, such as "info" or "info,coda::gateway=debug". The MCP library says several lines for each request.
        filter: String = "info,rmcp=warn".to_owned();
    }
}

/// Checks of single values that the types don't make.
pub(super) fn check(sections: &Sections, problem: &mut dyn FnMut(Problem)) {
    super::check::sections(sections, problem);
}
