//! The gateway between a scripted upstream and scripted verdicts.
