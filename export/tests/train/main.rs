//! The trainer: its backend against ONNX Runtime and against reference outputs, its courses, its commands.
#![cfg(feature = "train")]

mod bad_input;
mod end_to_end;
mod faces;
mod full_disk;
mod parity;
mod resume;
mod running;
