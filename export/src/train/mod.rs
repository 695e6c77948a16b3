//! Training with libtorch.
//!
//! - [`net`]: the backend that runs a [`crate::nets::graph::Graph`] in libtorch, forwards and backwards
//! - [`mining`], [`triplet`]: which triplets of a batch to learn from, and the loss over them
//! - [`adam`], [`schedule`]: how a gradient becomes a step
//! - [`samples`]: faces as a network takes them; [`batches`]: what a step sees, made ahead of it
//! - [`course`]: epochs, progress, the log, early stopping, checkpoints; and going on after a kill
//! - [`fit`], [`distil`], [`head`]: the three things that are trained
//! - [`speed`]: how fast that goes

pub mod about;
pub mod adam;
pub mod batches;
pub mod checkpoint;
pub mod course;
pub mod device;
pub mod distil;
pub mod fit;
pub mod head;
mod layout;
pub mod mining;
pub mod net;
pub mod samples;
pub mod schedule;
pub mod served;
pub mod speed;
pub mod triplet;
