//! Kith's networks: each described once ([`nets`]), filled with weights from the files that others publish
//! ([`weights`]), written as ONNX ([`onnx`]). Needs no libtorch.

pub mod catalogue;
pub mod commands;
pub mod make;
pub mod nets;
pub mod onnx;
pub mod weights;
