//! The trainer: its backend against ONNX Runtime and against reference outputs, its courses, its commands.
#![cfg(feature = "train")]

mod parity;
