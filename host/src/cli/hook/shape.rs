//! How each agent asks its hooks and wants to be answered. Reading and wording only; nothing is decided here but that what
//! is not plainly a permission is a refusal.

use serde_json::{Map, Value, json};

use crate::config::AgentKind;

/// Exit code by which agents with shell hooks take a refusal, whatever was written.
pub(super) const REFUSED: u8 = 2;

/// In whose form questions come and answers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `hookSpecificOutput`, and how the output of a tool is replaced: Claude Code.
    Claude,
    /// The same; a tool's output is replaced by a reason: Codex.
    Codex,
    /// The same; a tool's output stays as it is: Qwen Code.
    Qwen,
    /// `decision: deny`: Gemini CLI.
    Gemini,
    /// `decision: block` with exit code 2: Goose.
    Goose,
    /// `action: block`: Hermes Agent.
    Hermes,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the tool.
    Before,
    /// After it.
    After,
}

impl Phase {
    /// As the gateway reads it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What a hook is asked about.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) phase: Phase,
    pub(super) call_id: Option<String>,
    pub(super) tool: String,
    pub(super) arguments: Value,
    pub(super) working_directory: Option<String>,
    /// What the tool answered.
    pub(super) content: Option<String>,
}

/// What a hook says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) output: String,
    pub(super) error: String,
    pub(super) code: u8,
}

impl Shape {
    /// By the agent's word in coda.toml.
    pub(super) fn named(agent: &str) -> Option<Self> {
        match AgentKind::named(agent)? {
            AgentKind::Claude => Some(Self::Claude),
            AgentKind::Codex => Some(Self::Codex),
            AgentKind::Gemini => Some(Self::Gemini),
            AgentKind::Qwen => Some(Self::Qwen),
            AgentKind::Goose => Some(Self::Goose),
            AgentKind::Hermes => Some(Self::Hermes),
            AgentKind::Runbook | AgentKind::OpenCode | AgentKind::Pi | AgentKind::Custom => None,
        }
    }

    /// An agent's question. The keys are those of all of them.
    pub(super) fn read(self, text: &str) -> Result<Asked, String> {
        let question: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| format!("its question is no JSON object ({e})"))?;
        let word = |keys: &[&str]| keys.iter().find_map(|key| question.get(*key)?.as_str()).map(str::to_owned);
        let event = word(&["hook_event_name", "event"]).unwrap_or_default();
        let phase = match event.as_str() {
            "PostToolUse" | "PostToolUseFailure" | "AfterTool" | "post_tool_call" => Phase::After,
            // Whatever it is, a tool may run after it.
            _ => Phase::Before,
        };
        let tool = word(&["tool_name"]).filter(|tool| !tool.is_empty()).ok_or("its question names no tool")?;
        let arguments = question.get("tool_input").cloned().unwrap_or_else(|| json!({}));
        if !arguments.is_object() {
            return Err("its question holds arguments that are no object".into());
        }
        let answered = ["tool_response", "tool_output", "tool_result"].iter().find_map(|key| question.get(*key));
        let content = answered.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        Ok(Asked {
            phase,
            call_id: word(&["tool_use_id", "tool_call_id", "call_id"]),
            tool,
            arguments,
            working_directory: word(&["cwd", "working_dir"]),
            content: content.or_else(|| (phase == Phase::After).then(String::new)),
        })
    }

    /// The gateway's answer in the agent's words.
    pub(super) fn reply(self, asked: &Asked, said: &Value) -> Reply {
        let message = said["message"].as_str().unwrap_or("refused by coda: no reason was given");
        match (asked.phase, said["verdict"].as_str()) {
            (Phase::Before, Some("run")) => silence(),
            (Phase::After, Some("deliver")) => match said["content"].as_str() {
                Some(content) if Some(content) == asked.content.as_deref() => silence(),
                Some(content) => self.replaced(content),
                None => self.refusal(Phase::After, message),
            },
            (phase, _) => self.refusal(phase, message),
        }
    }

    /// No, and why.
    pub(super) fn refusal(self, phase: Phase, why: &str) -> Reply {
        match (self, phase) {
            (Self::Claude | Self::Codex | Self::Qwen, Phase::Before) => said(&json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": why,
            }})),
            (_, Phase::After) => self.replaced(why),
            (Self::Gemini, Phase::Before) => said(&json!({"decision": "deny", "reason": why})),
            (Self::Goose, Phase::Before) => {
                Reply { code: REFUSED, error: format!("{why}\n"), ..said(&json!({"decision": "block", "reason": why})) }
            }
            (Self::Hermes, Phase::Before) => said(&json!({"action": "block", "message": why})),
        }
    }

    /// What the model is to read instead of a tool's output. Where the agent has no way for it, the gateway alone sees to it.
    fn replaced(self, content: &str) -> Reply {
        match self {
            Self::Claude => said(&json!({"hookSpecificOutput": {"hookEventName": "PostToolUse", "updatedToolOutput": content}})),
            Self::Codex => said(&json!({"decision": "block", "reason": content})),
            Self::Gemini => said(&json!({"decision": "deny", "reason": content})),
            Self::Qwen | Self::Goose | Self::Hermes => silence(),
        }
    }
}

/// The answer to an agent that nobody knows: no in every shape.
pub(super) fn unknown(why: &str) -> Reply {
    let words = json!({"decision": "block", "reason": why, "action": "block", "message": why});
    Reply { code: REFUSED, error: format!("{why}\n"), ..said(&words) }
}

fn said(words: &Value) -> Reply {
    Reply { output: format!("{words}\n"), error: String::new(), code: 0 }
}

fn silence() -> Reply {
    Reply { output: String::new(), error: String::new(), code: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 6] = [Shape::Claude, Shape::Codex, Shape::Qwen, Shape::Gemini, Shape::Goose, Shape::Hermes];

    fn asked(phase: Phase) -> Asked {
        let content = (phase == Phase::After).then(|| "KEY=s3cret".to_owned());
        let arguments = json!({"command": "ls"});
        Asked { phase, call_id: None, tool: "Bash".into(), arguments, working_directory: None, content }
    }

    /// Whether an agent of this shape takes the reply for a refusal, as measured with the real ones.
    fn refuses(shape: Shape, reply: &Reply) -> bool {
        let words: Value = serde_json::from_str(&reply.output).unwrap_or_default();
        match shape {
            Shape::Claude | Shape::Codex | Shape::Qwen => words["hookSpecificOutput"]["permissionDecision"] == "deny",
            Shape::Gemini => words["decision"] == "deny",
            Shape::Goose => words["decision"] == "block" && reply.code == 2,
            Shape::Hermes => words["action"] == "block",
        }
    }

    #[test]
    fn only_a_plain_permission_is_none_of_a_refusal() {
        for shape in ALL {
            assert_eq!(shape.reply(&asked(Phase::Before), &json!({"verdict": "run"})), silence(), "{shape:?}");
            let others = [
                json!({"verdict": "refuse", "message": "no"}),
                json!({"verdict": "held", "message": "held as approval appr_1"}),
                json!({"verdict": "deliver", "content": "x"}),
                json!({"verdict": 7}),
                json!({}),
                Value::Null,
            ];
            for said in others {
                assert!(refuses(shape, &shape.reply(&asked(Phase::Before), &said)), "{shape:?} {said}");
            }
        }
        assert_eq!(unknown("no").code, REFUSED);
    }

    #[test]
    fn a_screened_result_takes_the_place_of_the_tool_s() {
        let same = json!({"verdict": "deliver", "content": "KEY=s3cret"});
        assert_eq!(Shape::Claude.reply(&asked(Phase::After), &same), silence(), "nothing was changed");
        let masked = json!({"verdict": "deliver", "content": "KEY=***"});
        let of = |shape: Shape| serde_json::from_str::<Value>(&shape.reply(&asked(Phase::After), &masked).output).expect("JSON");
        assert_eq!(of(Shape::Claude)["hookSpecificOutput"]["updatedToolOutput"], "KEY=***");
        assert_eq!(of(Shape::Codex), json!({"decision": "block", "reason": "KEY=***"}));
        assert_eq!(of(Shape::Gemini), json!({"decision": "deny", "reason": "KEY=***"}));
    }

    #[test]
    fn each_agent_s_question_is_read() {
        let qwen = r#"{"session_id":"e1","cwd":"/w","hook_event_name":"PreToolUse","permission_mode":"yolo",
            "tool_name":"run_shell_command","tool_input":{"command":"ls"},"tool_use_id":"toolu_1"}"#;
        let read = Shape::Qwen.read(qwen).expect("a question");
        assert_eq!(
            (read.phase, read.tool.as_str(), read.call_id.as_deref()),
            (Phase::Before, "run_shell_command", Some("toolu_1"))
        );
        assert_eq!(read.working_directory.as_deref(), Some("/w"));
        let goose = r#"{"event":"PreToolUse","session_id":"1","tool_call_id":"call_1_0","tool_name":"shell",
            "tool_input":{"command":"ls"},"working_dir":"/w"}"#;
        let read = Shape::Goose.read(goose).expect("a question");
        assert_eq!((read.call_id.as_deref(), read.working_directory.as_deref()), (Some("call_1_0"), Some("/w")));
        let after = r#"{"hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{},"tool_response":{"stdout":"x"}}"#;
        assert_eq!(Shape::Claude.read(after).expect("a question").content.as_deref(), Some(r#"{"stdout":"x"}"#));
    }

    #[test]
    fn what_makes_no_sense_is_no_question() {
        for text in
            ["", "[]", "{}", "null", r#"{"tool_name":""}"#, r#"{"tool_name":"Bash","tool_input":"rm -rf /"}"#, "{\"tool_name\":"]
        {
            assert!(Shape::Claude.read(text).is_err(), "{text}");
        }
    }
}
