//! Why a verb was refused.

use crate::store::StoreError;

/// Why a verb was refused. The text is for the caller; details are in the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The request is not well formed: what, and how it must be.
    #[error("{0}")]
    Invalid(String),
    /// No such thing, or none that the principal may see.
    #[error("{0} not found")]
    NotFound(String),
    /// The principal lacks a right.
    #[error("{0}")]
    Forbidden(String),
    /// The state does not allow it: what it is, and what could be done instead.
    #[error("{0}")]
    Conflict(String),
    /// A bound is reached: which, and when to try again.
    #[error("{0}")]
    Busy(String),
    /// What the principal may use of models is used up: which budget, by how much, until when.
    #[error("{0}")]
    Budget(String),
    /// coda itself failed; the log has the detail under this id.
    #[error("internal error {0}; the server's log has the detail")]
    Internal(String),
}

impl ServiceError {
    /// Stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ServiceError::Invalid(_) => "invalid",
            ServiceError::NotFound(_) => "not_found",
            ServiceError::Forbidden(_) => "forbidden",
            ServiceError::Conflict(_) => "conflict",
            ServiceError::Busy(_) => "busy",
            ServiceError::Budget(_) => "budget",
            ServiceError::Internal(_) => "internal",
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotFound { what } => Self::NotFound(what),
            StoreError::Conflict { .. } | StoreError::Ended { .. } => Self::Conflict(e.to_string()),
            StoreError::Bound { .. } => Self::Busy(e.to_string()),
            StoreError::Budget(why) => Self::Budget(why),
            StoreError::Full(_) => Self::Busy(e.to_string()),
            StoreError::NewerSchema { .. } | StoreError::Corrupt { .. } | StoreError::Database(_) => {
                let id = crate::env::hex(&crate::env::random_bytes::<4>());
                tracing::error!(error.id = id, error = %e, "the store failed");
                Self::Internal(id)
            }
        }
    }
}
