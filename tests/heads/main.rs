//! Trained heads and the user's own models, from the folder that the trainer delivers to a name for a face.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

#[path = "../given/mod.rs"]
mod given;
mod heads;
#[path = "../bad_input/kith.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod kith;
mod own_models;
mod refused;
