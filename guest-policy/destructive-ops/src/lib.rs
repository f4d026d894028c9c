//! The bundled guard.
use coda_policy::prelude::*;
/// The policy.
#[derive(Debug)]
pub struct DestructiveOps;
impl Policy for DestructiveOps {
    type Settings = serde_json::Value;
    fn describe() -> Description {
        Description::new("destructive-ops", "0.1.0")
            .rule("shell.rm", Severity::High, Effect::Delete, "files are deleted")
            .gate(Gate::Prompt)
            .gate(Gate::ToolCall)
    }
    fn configure(_: serde_json::Value, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}
impl Guard for DestructiveOps {
    fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
        let Some(text) = event.shell() else { return Ok(allow()) };
        let text = text.trim();
        if text.starts_with("rm ") || text.contains("databricks") && text.contains("delete") {
            return Ok(ask(
                "files would be deleted",
                vec![Finding::new("shell.rm", Effect::Delete, "Files would be deleted. Move them aside instead.")],
            )
            .by("approver", 1)
            .into());
        }
        let parser = brush_parser::Parser::new(text.as_bytes(), &brush_parser::ParserOptions::default()).parse_program();
        let sql = sqlparser::parser::Parser::parse_sql(&sqlparser::dialect::DatabricksDialect {}, text);
        if parser.is_err() && sql.is_err() {
            return Ok(ask("the text does not parse", vec![]).into());
        }
        Ok(allow())
    }
}
coda_policy::policy!(DestructiveOps: guard);
