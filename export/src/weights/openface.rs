//! `OpenFace`'s weights for torch, `openface.pth`: torch's legacy format, with the names that the description of
//! NN4.small2 has.

use super::Weights;
use super::legacy_torch::{self, LegacyTorchError};

/// Reads the file. Torch counts the batches that a batch norm has seen, as `NAME.num_batches_tracked`; nothing is
/// computed with that, so those are left out.
///
/// # Errors
/// When the file is not in torch's legacy format or is damaged.
pub fn import(file: &[u8]) -> Result<Weights, LegacyTorchError> {
    let mut weights = legacy_torch::read(file)?;
    weights.retain(|name, _| !name.ends_with(".num_batches_tracked"));
    Ok(weights)
}
