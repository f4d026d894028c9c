//! What an agent wrote into its home in one attempt configures nothing in the next.

use super::harness::{Stage, soon};
use crate::executor::agent::{Kind, Profile};
use crate::executor::{Executor, How, Launch};
use crate::task::conversation::Conversation;

/// The first attempt edits every file of its home and puts some beside; the second one tells what is left of that.
const EDITS: &str = r#"
if [ -e "$CODA_TASK_DIR/second" ]; then
    grep -rl EVIL "$HOME"
    [ -e "$HOME/linked" ] && echo linked EVIL
    echo looked
    exit
fi
touch "$CODA_TASK_DIR/second"
find "$HOME" -type f | while read -r file; do echo '// EVIL' >> "$file"; done
find "$HOME" -type d | while read -r folder; do
    for name in settings.local.json hooks.json plugin.js config.toml added.py; do echo EVIL > "$folder/$name"; done
    mkdir -p "$folder/plugin/evil" "$folder/hooks" "$folder/rules" "$folder/extensions"
    for kind in plugin/evil hooks rules extensions; do echo EVIL > "$folder/$kind/evil.rules"; done
done
echo EVIL > "$HOME/.bashrc"
ln -s /etc "$HOME/linked"
"#;

/// An agent of this kind that is this script.
struct Agent {
    stage: Stage,
    executor: Executor,
}

impl Agent {
    fn of(kind: Kind, script: &str) -> Self {
        let mut stage = Stage::with(script);
        let command = stage.settings.agents["script"].command.clone();
        stage.settings.agents.insert("script".into(), Profile { kind, command, ..Profile::default() });
        let executor = Executor::new(stage.settings.clone());
        Self { stage, executor }
    }

    /// One attempt to its end: how its conversation began, and with which code it ended.
    async fn attempt(&self, attempt: u32) -> (Conversation, How) {
        let (task, task_dir) = (&self.stage.task, self.stage.task_dir());
        let conversation = self.executor.ready_home(task, "script", &task_dir, Conversation::Resumed).expect("ready");
        let launch = Launch { attempt, conversation, ..self.stage.launch() };
        let (progress, _lines) = tokio::sync::watch::channel(None);
        let run = soon("start", self.executor.start(launch, progress)).await.expect("starts");
        (conversation, soon("the end", run.wait()).await.how)
    }
}

const WELL: How = How::Exited { code: 0 };

#[tokio::test]
async fn nothing_that_an_agent_edits_in_its_home_is_there_in_its_next_attempt() {
    for kind in Kind::known() {
        let agent = Agent::of(kind, EDITS);
        for attempt in [1, 2] {
            assert_eq!(agent.attempt(attempt).await, (Conversation::New, WELL), "{kind:?} left none");
        }
        let shown = agent.stage.shown();
        assert!(shown.contains("looked") && !shown.contains("EVIL") && !shown.contains("/home/"), "{kind:?}: {shown}");
    }
}

/// As Goose keeps its conversations, with an extension that Goose would start.
const DATABASE: &str = r#"
import os, sqlite3, sys
path = os.environ["HOME"] + "/.local/share/goose/sessions"
os.makedirs(path, exist_ok=True)
open = sqlite3.connect(path + "/sessions.db")
if "--resume" in sys.argv:
    print(open.execute("SELECT extension_data, recipe_json, text FROM sessions, messages").fetchone(), "looked")
else:
    columns = "goose_mode, provider_name, model_config_json, recipe_json, user_recipe_values_json, schedule_id"
    open.execute(f"CREATE TABLE sessions (extension_data, {columns})")
    open.execute("CREATE TABLE messages (text)")
    open.execute("INSERT INTO sessions VALUES ('EVIL', '', 'EVIL', 'EVIL', 'EVIL', '', '')")
    open.execute("INSERT INTO messages VALUES ('what was said')")
    open.commit()
"#;

#[tokio::test]
async fn a_database_comes_along_without_the_settings_in_it() {
    let agent = Agent::of(Kind::Goose, &format!("exec python3 - \"$@\" <<'END'\n{DATABASE}\nEND"));
    assert_eq!(agent.attempt(1).await, (Conversation::New, WELL));
    assert_eq!(agent.attempt(2).await, (Conversation::Resumed, WELL), "{}", agent.stage.shown());
    // Lines of a terminal are cut where it ends.
    let shown = agent.stage.shown().replace("\r\n", "");
    assert!(shown.contains("what was said") && shown.contains("looked") && !shown.contains("EVIL"), "{shown}");
}

#[tokio::test]
async fn a_database_that_cannot_be_stripped_ends_the_start_before_the_agent() {
    let kept = "~/.local/share/goose/sessions";
    let agent = Agent::of(Kind::Goose, &format!("echo begun; mkdir -p {kept}; echo nonsense > {kept}/sessions.db"));
    assert_eq!(agent.attempt(1).await, (Conversation::New, WELL));
    assert_eq!(agent.attempt(2).await, (Conversation::Resumed, How::Exited { code: 65 }));
    assert_eq!(agent.stage.shown().matches("begun").count(), 1, "the agent was not executed");
}
