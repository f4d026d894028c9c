//! The gateway inside a task's own network: the same routes, for this task and no other. Its token is worth nothing on the
//! port that tasks share, and theirs are worth nothing here.

use std::sync::Arc;

use super::egress::way::Ways;
use super::session::Sessions;
use super::{Access, Shared, server};

impl Access {
    /// From now on the task is served here, and only here, until its guard is dropped.
    pub fn move_inside(&mut self, listener: std::net::TcpListener) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let everywhere = &self.guard.shared;
        let gone = || std::io::Error::other("the task's access is closed");
        let session = everywhere.sessions.take(&self.guard.key).ok_or_else(gone)?;
        let closed = session.closed.clone();
        let sessions = Sessions::default();
        sessions.insert(self.guard.key, session);
        let ways = Ways::default();
        if let Some((key, way)) = self.guard.way.and_then(|key| Some((key, everywhere.ways.take(&key)?))) {
            ways.insert(key, way);
        }
        let here = Arc::new(Shared {
            settings: everywhere.settings.clone(),
            gates: Arc::clone(&everywhere.gates),
            sessions,
            ways,
            client: Arc::clone(&everywhere.client),
            forwarded: everywhere.forwarded.clone(),
            port: everywhere.port,
        });
        self.guard.shared = Arc::clone(&here);
        // It ends with the access, which the guard closes.
        tokio::spawn(async move {
            if let Err(e) = server::serve(listener, here, closed.cancelled_owned()).await {
                tracing::error!(error = %e, "a task's own gateway ended");
            }
        });
        Ok(())
    }
}
