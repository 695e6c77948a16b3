//! Kith's networks: each described once ([`nets`]), filled with weights from the files that others publish
//! ([`weights`]), written as ONNX ([`onnx`]). None of that needs libtorch.
//!
//! With the feature `train`, also the trainer: photos become aligned faces (`faces`), networks are trained on them
//! with libtorch (`train`), and what came out is measured on faces that it has not seen (`measure`).

pub mod catalogue;
pub mod commands;
#[cfg(feature = "train")]
pub mod faces;
pub mod make;
#[cfg(feature = "train")]
pub mod measure;
pub mod nets;
pub mod onnx;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;
pub mod whole_file;
