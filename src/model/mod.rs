//! The catalogue: what each model is, what it takes and gives, and the sha256 that its file must have.

mod catalogue;

pub use catalogue::{
    Accuracy, Calibration, Catalogue, CatalogueError, Channels, EmbedderModel, Input, Kind, Model, ModelFile, Output,
    Thresholds,
};
