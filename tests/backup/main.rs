//! `kith backup` and `kith restore` as a person runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

#[allow(dead_code, reason = "the harness of tests/run, of which each test uses a part")]
#[path = "../run/broker.rs"]
mod broker;
#[allow(dead_code, reason = "as above")]
#[path = "../run/clip.rs"]
mod clip;
#[allow(dead_code, reason = "as above")]
#[path = "../run/daemon.rs"]
mod daemon;
mod damaged;
mod faults;
#[path = "../given/mod.rs"]
mod given;
mod house;
#[path = "../bad_input/kith.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod kith;
mod passphrase;
mod restore;
mod write;

use std::time::Duration;

/// No event is waited for longer than this. Far more than it takes, since the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
