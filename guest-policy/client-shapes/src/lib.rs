//! The bundled shape.
use coda_policy::prelude::*;
/// The policy.
#[derive(Debug)]
pub struct ClientShapes;
impl Policy for ClientShapes {
    type Settings = serde_json::Value;
    fn describe() -> Description {
        Description::new("client-shapes", "0.1.0")
    }
    fn configure(_: serde_json::Value, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}
impl Shape for ClientShapes {
    fn output(&self, _: &ShapeClient, _: &str, output: &str) -> Result<Shaped, PolicyError> {
        Ok(Shaped { text: output.to_owned(), structured: Some(output.to_owned()) })
    }
    fn tools(&self, _: &ShapeClient, tools: &str) -> Result<String, PolicyError> {
        Ok(tools.to_owned())
    }
}
coda_policy::policy!(ClientShapes: shape);
