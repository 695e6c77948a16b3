//! The head's part of an export.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use kith::embed::Embedding;
use kith::model::{Accuracy, EmbedderModel, Kind, Model, ModelFile, Reads, Rejection};
use kith::verification::fit::to_places;
use tch::{Device, Tensor};

use super::parity::apart;
use super::{Args, Parcel, entry};
use crate::commands::trainer::head::HeadAbout;
use crate::faces::{AlignedFace, AlignedFolder};
use crate::make::sha256;
use crate::nets;
use crate::train::net::Net;
use crate::train::served::{self, Look, Written};
use crate::weights::Weights;

/// Adds the head, which reads `embedder`.
#[expect(clippy::too_many_arguments, reason = "the head, its embedder, and where both go")]
pub(super) fn head(
    args: &Args,
    weights: &Weights,
    about: &HeadAbout,
    embedder: Written,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    accuracy: Option<Accuracy>,
    parcel: &mut Parcel,
) -> anyhow::Result<()> {
    let model: EmbedderModel = embedder.model.clone();
    ensure!(
        about.embedding_space == model.embedding_space,
        "the head was trained on {}, but the embedder {} gives {}; train the head on it, or name the embedder that it \
         was trained on with --checkpoint or --model",
        about.embedding_space,
        model.name,
        model.embedding_space
    );
    let reads = match about.reads.as_str() {
        "embedding" => Reads::Embedding,
        "features" => Reads::Features,
        other => bail!("the head reads {other:?}, which no embedder gives"),
    };
    let mut opened = served::open(embedder, &args.runtime.settings())?;
    let inputs: Vec<f32> = served::embed(&mut opened, folder, faces, Look::Plain)?
        .into_iter()
        .flat_map(|embedded| match (reads, embedded.features) {
            (Reads::Features, Some(features)) => features,
            _ => Embedding::as_slice(&embedded.embedding).to_vec(),
        })
        .collect();
    let values = inputs.len() / faces.len();
    let mut cooled = weights.clone();
    #[expect(clippy::cast_possible_truncation, reason = "weights")]
    for value in cooled.values_mut().flat_map(|tensor| &mut tensor.values) {
        *value = (f64::from(*value) / about.temperature) as f32;
    }
    let graph = nets::head(values, about.classes.len());
    let metadata = [
        ("source", "kith-export head".to_owned()),
        ("embedding_space", about.embedding_space.clone()),
        ("reads", about.reads.clone()),
    ];
    let onnx = crate::onnx::write(&graph, &cooled, &metadata)?;
    let net = Net::new(graph, &cooled, Device::Cpu)?;
    let input = Tensor::f_from_slice(&inputs)?.f_reshape([i64::try_from(faces.len())?, i64::try_from(values)?])?;
    let apart = apart(args, &net, &onnx, &input)?;
    parcel.apart.push((format!("{} (head)", args.name), apart));
    let path = format!("{}-head.onnx", args.name);
    let file = ModelFile {
        path: path.clone().into(),
        sha256: sha256(&onnx),
    };
    parcel.files.push((path, onnx));
    let figures = BTreeMap::from([("held_out".to_owned(), about.accuracy_held_out)]);
    parcel.models.push(Model {
        source: format!(
            "kith-export head: {} photos of {} people of {} (faces.json sha256 {})",
            about.data.photos,
            about.data.people,
            about.data.from,
            about.data.sha256.get(..8).unwrap_or_default()
        ),
        licence: args.licence.clone(),
        embedding_space: Some(about.embedding_space.clone()),
        embedder: Some(model.name),
        reads: Some(reads),
        classes: about.classes.clone(),
        rejection: Some(Rejection {
            probability: to_places(about.rejection_probability, 4),
            false_accept_rate: about.false_accept_rate,
        }),
        accuracy: Some(accuracy.unwrap_or(Accuracy {
            how: "share of photos that heads without their fold named rightly".to_owned(),
            figures,
        })),
        ..entry(&args.name, Kind::Head, BTreeMap::from([("network".to_owned(), file)]))
    });
    Ok(())
}
