//! The export crate from outside: both weight readers, the ONNX writer, the commands.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is a failed test, with its line"
)]

mod commands;
mod legacy_torch;
mod nn4_small2;
mod onnx;
mod operations;
mod packages;
mod running;
mod safetensors;
mod tflite;
