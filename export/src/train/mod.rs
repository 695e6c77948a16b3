//! Training with libtorch.
