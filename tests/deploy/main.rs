//! What is in `deploy/systemd/`: how systemd judges the unit, and the real daemon under the same limits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

#[allow(dead_code, reason = "the harness of tests/run, of which each test uses a part")]
#[path = "../run/broker.rs"]
mod broker;
#[path = "../run/clip.rs"]
mod clip;
#[allow(dead_code, reason = "as above")]
#[path = "../run/daemon.rs"]
mod daemon;
mod filter;
#[path = "../given/mod.rs"]
mod given;
mod limits;
mod probe;
mod restricted;
mod scores;
#[allow(dead_code, reason = "as above")]
#[path = "../run/supervisor.rs"]
mod supervisor;
mod unit;

use std::time::Duration;

/// No event is waited for longer than this. Far more than it takes, since the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
