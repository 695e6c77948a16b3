//! The trainer: its backend against ONNX Runtime and against reference outputs, its courses, its commands.
#![cfg(feature = "train")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod bad_input;
mod end_to_end;
mod exporting;
mod faces;
mod full_disk;
mod parity;
mod resume;
mod running;
