//! The catalogue: what each model is, what it takes and gives, and the sha256 that its file must have.

mod catalogue;
mod entry;
mod error;

pub use catalogue::{Catalogue, FILE_NAME, sha256_hex};
pub use entry::{
    Accuracy, Calibration, Channels, EmbedderModel, HalfPrecision, HeadModel, Input, Kind, Model, ModelFile, Output,
    Reads, Rejection, Thresholds,
};
pub use error::CatalogueError;
