//! What Kith promises, tested with faults: a module for each promise, each with a short count for every test run and
//! the full count for `cargo xtask soak PROMISE`. The last results are in docs/reference/reliability.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod availability;
#[allow(dead_code, reason = "the harness of tests/run, of which each promise uses a part")]
#[path = "../run/broker.rs"]
mod broker;
#[allow(dead_code, reason = "as above")]
#[path = "../run/clip.rs"]
mod clip;
mod crowd;
#[allow(dead_code, reason = "as above")]
#[path = "../run/daemon.rs"]
mod daemon;
mod deletion;
mod enrolment;
mod events;
mod fresh;
#[path = "../given/mod.rs"]
mod given;
mod gpu;
mod hang;
mod memory;
mod proxy;
mod recorder;
#[allow(dead_code, reason = "as above")]
#[path = "../run/rtsp.rs"]
mod rtsp;
mod streams;
#[allow(dead_code, reason = "as above")]
#[path = "../run/supervisor.rs"]
mod supervisor;
#[allow(dead_code, reason = "promises differ in how they count")]
mod trials;

use std::time::Duration;

/// No event is waited for longer than this. Far more than it takes, since the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
