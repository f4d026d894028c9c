//! stub
use crate::id::TaskId;
/// stub
#[derive(Clone)]
pub struct Gateway;
/// stub
pub struct Access {
    /// x
    pub token: String,
}
impl Access {
    /// x
    pub fn token(&self) -> &str {
        &self.token
    }
}
impl Gateway {
    /// x
    pub fn url(&self) -> &str {
        ""
    }
    /// x
    pub fn open(&self, _task: &TaskId, _agent: &str) -> Result<Access, String> {
        Err(String::new())
    }
}
