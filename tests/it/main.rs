//! The integration tests: the real binary, real policies in the real engine, real programs in real terminals. One file
//! per feature; `server` starts a server of its own for each test.

mod agents;
mod approval;
mod audit;
mod authorization;
mod bad_input;
mod bypass;
mod credentials;
mod egress;
mod faults;
mod genie;
mod guest;
mod hook;
mod hosted;
mod hostile;
mod identity;
mod inbox;
mod kill;
mod main_job;
mod person;
mod policy;
mod preload;
mod reading;
mod reload;
mod score;
mod server;
mod setup;
mod spending;
mod traffic;
mod trust;
mod upstream;
