//! A trained network as it will be served: written as ONNX and opened in ONNX Runtime, with its catalogue entry. What is
//! measured is this, not the network in libtorch.

use std::collections::BTreeMap;

use anyhow::Context;
use image::RgbImage;
use kith::embed::{Embedded, Embedder};
use kith::model::{EmbedderModel, ModelFile, Output};
use kith::networks::{self, EMBEDDER, embedder_file};
use kith::runtime::{Runtime, RuntimeSettings};
use rayon::prelude::*;

use super::about::About;
use super::batches::{random_of, seed_of};
use crate::faces::{AlignedFace, AlignedFolder, Augmentation, augmented};
use crate::make::sha256;
use crate::nets::Network;
use crate::weights::{Weights, safetensors};

/// An embedder as an ONNX file, with what the catalogue says of it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file.
    pub onnx: Vec<u8>,
    /// The entry, with `file` of the given name.
    pub model: EmbedderModel,
}

/// Writes an embedder as ONNX. `name` becomes its name in the catalogue and its file's.
///
/// # Errors
/// When the weights are another network's.
pub fn write(name: &str, network: Network, weights: &Weights, about: &About) -> anyhow::Result<Written> {
    let graph = network.graph();
    let preprocessing = &about.preprocessing;
    // Of the weights alone: the same numbers are the same space, whatever is said about them.
    let weights_sha256 = sha256(&safetensors::write(weights, &BTreeMap::new()));
    let metadata = [
        ("source", format!("kith-export {}", about.made_by)),
        ("weights_sha256", weights_sha256.clone()),
        ("channels", "rgb".to_owned()),
        ("mean", preprocessing.input.mean.to_string()),
        ("scale", preprocessing.input.scale.to_string()),
        ("alignment", preprocessing.alignment.name().to_owned()),
    ];
    let onnx = crate::onnx::write(&graph, weights, &metadata)?;
    let output = |name: &str| {
        let output = graph.outputs.iter().find(|output| output.name == name)?;
        Some(Output {
            name: name.to_owned(),
            values: output.axes.first().copied().flatten()?,
        })
    };
    let digits = weights_sha256.get(..8).unwrap_or(&weights_sha256);
    Ok(Written {
        model: EmbedderModel {
            name: name.to_owned(),
            file: ModelFile {
                path: format!("{name}.onnx").into(),
                sha256: sha256(&onnx),
            },
            input: preprocessing.input.clone(),
            alignment: preprocessing.alignment.name().to_owned(),
            embedding: output("embedding").with_context(|| format!("{} is no embedder", graph.name))?,
            features: output("features"),
            embedding_space: format!("{}-{digits}-{}", graph.name, preprocessing.alignment.name()),
            thresholds: None,
            calibration: None,
            half_precision: false,
        },
        onnx,
    })
}

/// Opens a written embedder in ONNX Runtime.
///
/// # Errors
/// When there is no runtime library, or it can't run the network.
pub fn open(written: Written, settings: &RuntimeSettings) -> anyhow::Result<Embedder> {
    let runtime = Runtime::load(settings)?;
    let ([network], _) = runtime.open(settings, [embedder_file(&written.onnx, &written.model)])?;
    Embedder::new(network, written.model)
}

/// Opens an embedder of the catalogue, the usual one where none is named.
///
/// # Errors
/// When the catalogue has no such embedder, or it can't be run.
pub fn open_from_catalogue(settings: &RuntimeSettings) -> anyhow::Result<Embedder> {
    let catalogue = networks::catalogue(settings)?;
    let model = catalogue.embedder(settings.embedder.as_deref().unwrap_or(EMBEDDER))?;
    let onnx = catalogue.read_file(&model.file)?;
    open(Written { onnx, model }, settings)
}

/// The form in which a face is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// In the mirror.
    Mirrored,
    /// Changed by chance, strongly; another number gives other changes.
    Changed(u64),
}

/// The forms beside the plain one in which a head learns a face.
pub const LOOKS_TO_LEARN: [Look; 5] = [
    Look::Mirrored,
    Look::Changed(1),
    Look::Changed(2),
    Look::Changed(3),
    Look::Changed(4),
];

/// Embeds faces.
///
/// # Errors
/// When a crop can't be read, or the network can't be run.
pub fn embed(
    embedder: &mut Embedder,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    look: Look,
) -> anyhow::Result<Vec<Embedded>> {
    const AT_ONCE: usize = 64;
    let alignment = embedder.alignment();
    let strong = Augmentation::strong();
    let mut all = Vec::with_capacity(faces.len());
    for faces in faces.chunks(AT_ONCE) {
        let crops: Vec<RgbImage> = super::samples::cuts(folder, faces, alignment)?
            .par_iter()
            .zip(faces)
            .map(|(cut, face)| match look {
                Look::Plain => alignment.finish(cut),
                Look::Mirrored => image::imageops::flip_horizontal(&alignment.finish(cut)),
                Look::Changed(number) => {
                    // By the photo, so that neither order nor company matters.
                    let photo = face
                        .file
                        .bytes()
                        .fold(number, |state, byte| seed_of(&[state, byte.into()]));
                    augmented(cut, alignment, &strong, &mut random_of(&[photo]))
                }
            })
            .collect();
        all.extend(embedder.embed_all(&crops)?);
    }
    Ok(all)
}
