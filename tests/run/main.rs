//! `kith run` and `kith check` as their users meet them: the real program, real networks, a real broker, real clips.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod admin;
mod bad_input;
#[allow(dead_code, reason = "tests/promises uses the rest")]
mod broker;
mod cameras;
mod check;
mod clip;
#[allow(dead_code, reason = "tests/promises uses the rest")]
mod daemon;
mod evaluation;
mod example;
mod exposition;
#[path = "../given/mod.rs"]
mod given;
mod heads;
mod health;
mod home_assistant;
mod http;
mod large_house;
mod log;
mod outbox;
mod overload;
mod pictures;
mod recognition;
mod requests;
mod retained;
#[allow(dead_code, reason = "tests/promises uses the rest")]
mod rtsp;
mod stopping;
mod supervisor;
mod support;
mod systemd;
mod telemetry;
mod tls;
mod visitors;

use std::time::Duration;

/// No event is waited for longer than this. Far more than it takes, since the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
