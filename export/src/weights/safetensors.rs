//! Our checkpoint format: safetensors, with values of 32-bit floats. Eight bytes of the header's length, the header
//! (JSON: for each tensor its type, shape and place, and texts under `__metadata__`), the values, all little-endian.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::Value;

use super::{Tensor, Weights};

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// The tensors.
    pub weights: Weights,
    /// What the writer said of them.
    pub metadata: BTreeMap<String, String>,
}

/// Why a safetensors file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("not a readable safetensors file: {0}")]
pub struct SafetensorsError(Reason);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("its length is not what its header says; it is cut off or damaged")]
    Length,
    #[error("{0}")]
    Format(SafeTensorError),
    #[error("tensor {name:?} is of type {dtype:?}, and only F32 is read")]
    Type { name: String, dtype: Dtype },
}

impl From<SafeTensorError> for Reason {
    fn from(error: SafeTensorError) -> Self {
        match error {
            SafeTensorError::HeaderTooSmall
            | SafeTensorError::InvalidHeaderLength
            | SafeTensorError::MetadataIncompleteBuffer => Self::Length,
            other => Self::Format(other),
        }
    }
}

/// Whether the file looks like this format: a header of less than 4 GiB that begins as JSON. No other format that is
/// read here begins so.
pub fn is_safetensors(file: &[u8]) -> bool {
    file.get(4..9).is_some_and(|bytes| bytes == b"\0\0\0\0{")
}

/// Reads all tensors and the metadata. Memory and time are bounded by a small multiple of the file's length.
///
/// # Errors
/// When the file is not in this format, is damaged, or holds values that are not 32-bit floats.
pub fn read(file: &[u8]) -> Result<Contents, SafetensorsError> {
    read_contents(file).map_err(SafetensorsError)
}

fn read_contents(file: &[u8]) -> Result<Contents, Reason> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    let metadata = header.metadata().iter().flatten();
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut weights = Weights::new();
    for (name, view) in SafeTensors::deserialize(file)?.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(Reason::Type {
                name: name.to_owned(),
                dtype: view.dtype(),
            });
        }
        let (values, _) = view.data().as_chunks::<4>();
        let tensor = Tensor {
            shape: view.shape().to_vec(),
            values: values.iter().map(|&value| f32::from_le_bytes(value)).collect(),
        };
        weights.insert(name.to_owned(), tensor);
    }
    Ok(Contents { weights, metadata })
}

/// Writes tensors and metadata. The same contents give the same bytes, which the crate's own writer doesn't promise:
/// it takes the metadata as a map without an order.
pub fn write(weights: &Weights, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let quoted = |text: &str| Value::from(text).to_string();
    let entries = metadata
        .iter()
        .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)));
    let mut header = format!("{{\"__metadata__\":{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut start = 0;
    for (name, tensor) in weights {
        let end = start + tensor.values.len() * size_of::<f32>();
        // Writing to a String never fails.
        let _ = write!(
            header,
            ",{}:{{\"dtype\":\"F32\",\"shape\":{:?},\"data_offsets\":[{start},{end}]}}",
            quoted(name),
            tensor.shape
        );
        start = end;
    }
    header.push('}');
    // The values shall begin at a multiple of eight bytes, so that they can be used where the file is mapped.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = Vec::with_capacity(8 + header.len() + start);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header.bytes());
    for tensor in weights.values() {
        file.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}
