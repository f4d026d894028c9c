//! Real agents in real terminals.
