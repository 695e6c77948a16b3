//! Trained weights by name, and the readers of the files that they come in. None of them needs libtorch.

pub mod legacy_torch;
pub mod openface;
mod pickle;
pub mod safetensors;
pub mod tflite;

use std::collections::BTreeMap;

use crate::nets::graph::{Graph, Weight, WeightKind};

/// A dense float tensor, last axis fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The length of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values; as many as the product of `shape`.
    pub values: Vec<f32>,
}

/// The tensors of a network by name, in alphabetical order.
pub type Weights = BTreeMap<String, Tensor>;

/// Why weights don't fit a network.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A tensor that the network needs is not there.
    #[error("the weights lack {name:?} {shape:?}, which {network} needs; is this a weight file of {network}?")]
    Missing {
        /// The network.
        network: String,
        /// The tensor.
        name: String,
        /// The shape that it should have.
        shape: Vec<usize>,
    },
    /// A tensor has another shape.
    #[error("{name:?} is {found:?} where {network} needs {wanted:?}; is this a weight file of {network}?")]
    Shape {
        /// The network.
        network: String,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the network needs.
        wanted: Vec<usize>,
    },
    /// A tensor that the network has no place for.
    #[error("the weights hold {name:?}, which {network} has no place for; is this a weight file of {network}?")]
    Unknown {
        /// The network.
        network: String,
        /// The tensor.
        name: String,
    },
    /// A value is infinite or not a number.
    #[error(
        "{name:?} holds a value that is infinite or not a number; the weight file is damaged or its training failed"
    )]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A variance below zero.
    #[error("{name:?} holds a variance below zero; the weight file is damaged")]
    NegativeVariance {
        /// The tensor.
        name: String,
    },
}

/// Checks that `weights` are exactly those that `graph` asks for, each of the right shape and finite, variances not
/// below zero.
///
/// # Errors
/// Names the first tensor that is missing, too much, of another shape or of impossible values.
pub fn check_fit(graph: &Graph, weights: &Weights) -> Result<(), FitError> {
    let wanted: BTreeMap<String, Weight> = graph.weights().collect();
    for (name, Weight { shape, kind, .. }) in &wanted {
        let Some(tensor) = weights.get(name) else {
            return Err(FitError::Missing {
                network: graph.name.to_owned(),
                name: name.clone(),
                shape: shape.clone(),
            });
        };
        if tensor.shape != *shape || tensor.values.len() != shape.iter().product::<usize>() {
            return Err(FitError::Shape {
                network: graph.name.to_owned(),
                name: name.clone(),
                found: tensor.shape.clone(),
                wanted: shape.clone(),
            });
        }
        if tensor.values.iter().any(|value| !value.is_finite()) {
            return Err(FitError::NotFinite { name: name.clone() });
        }
        if *kind == WeightKind::RunningVariance && tensor.values.iter().any(|&value| value < 0.0) {
            return Err(FitError::NegativeVariance { name: name.clone() });
        }
    }
    match weights.keys().find(|name| !wanted.contains_key(*name)) {
        Some(name) => Err(FitError::Unknown {
            network: graph.name.to_owned(),
            name: name.clone(),
        }),
        None => Ok(()),
    }
}
