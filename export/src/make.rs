//! From a weight file to an ONNX file: reading it in the format that it has, fitting it to the network, writing.

use std::path::Path;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::nets::Network;
use crate::weights::{Weights, legacy_torch, openface, safetensors, tflite};

/// Bytes of a weight file, at most. The largest of those that are known here has 15 million.
const MAX_WEIGHT_FILE_BYTES: u64 = 1 << 30;

/// Where weights come from, as it is written into the model.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Package and version, or the file's name.
    pub package: &'a str,
    /// Its licence, as an SPDX identifier; empty if it isn't known.
    pub licence: &'a str,
}

/// A network as an ONNX file.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub onnx: Vec<u8>,
    /// sha256 of `onnx`, in lower-case hexadecimal digits.
    pub sha256: String,
    /// sha256 of the weight file.
    pub weights_sha256: String,
}

/// Reads `weight_file` and makes the network from it.
///
/// # Errors
/// When the file can't be read, or does not hold exactly the weights of `network`. Names the file.
pub fn make(network: Network, weight_file: &Path, source: Source<'_>) -> anyhow::Result<Made> {
    let file = read_weight_file(weight_file)?;
    from_bytes(network, &file, source).with_context(|| format!("can't use {}", weight_file.display()))
}

/// Reads a weight file's bytes.
///
/// # Errors
/// When it can't be read or is far too large; names it.
pub fn read_weight_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let length = std::fs::metadata(path)
        .with_context(|| format!("can't read {shown}"))?
        .len();
    ensure!(
        length <= MAX_WEIGHT_FILE_BYTES,
        "{shown} has {length} bytes; no weight file is larger than 1 GiB"
    );
    std::fs::read(path).with_context(|| format!("can't read {shown}"))
}

/// The weights in a file of any format that is read for `network`. They may still not fit it.
///
/// # Errors
/// When the file is in none of these formats.
pub fn weights_of(network: Network, file: &[u8]) -> anyhow::Result<Weights> {
    Ok(match network {
        _ if safetensors::is_safetensors(file) => safetensors::read(file)?.weights,
        Network::MtcnnPnet | Network::MtcnnRnet | Network::MtcnnOnet => legacy_torch::read(file)?,
        Network::Nn4Small2 => openface::import(file)?,
        Network::MobileFaceNet => tflite::import(&tflite::Model::read(file)?, &network.graph())?,
    })
}

/// Makes the network from the bytes of a weight file.
///
/// # Errors
/// When they don't hold exactly the weights of `network`.
pub fn from_bytes(network: Network, file: &[u8], source: Source<'_>) -> anyhow::Result<Made> {
    let graph = network.graph();
    let weights = weights_of(network, file)?;
    let weights_sha256 = sha256(file);
    let mut metadata = vec![("source", source.package.to_owned())];
    if !source.licence.is_empty() {
        metadata.push(("licence", source.licence.to_owned()));
    }
    metadata.push(("weights_sha256", weights_sha256.clone()));
    metadata.push(("channels", "rgb".to_owned()));
    let (mean, scale) = network.mean_and_scale();
    metadata.push(("mean", mean.to_string()));
    metadata.push(("scale", scale.to_string()));
    if network == Network::MobileFaceNet {
        metadata.push(("alignment", "five-point-112-v1".to_owned()));
    }
    let onnx = crate::onnx::write(&graph, &weights, &metadata)?;
    Ok(Made {
        sha256: sha256(&onnx),
        onnx,
        weights_sha256,
    })
}

/// sha256 in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String never fails.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
