//! How well a network tells people apart, always on faces that it was not trained on.

pub mod log;
