//! What people and disks hand to Kith by mistake or on purpose: photos, models, runtime libraries, command lines. Each
//! has to end in a clear sentence, never in a panic, and must not harm what is good beside it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod command_line;
mod damage;
#[path = "../given/mod.rs"]
mod given;
mod kith;
mod models;
mod photos;
mod pictures;
mod variants;
