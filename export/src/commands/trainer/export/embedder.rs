//! The embedder's part of an export: its network, and threshold and confidence for the gallery.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;
use kith::model::{Accuracy, Kind, Model, Thresholds};
use kith::verification::LabelledPhoto;
use kith::verification::fit::{self, to_places};
use kith::verification::rates::AllPairs;
use tch::{Device, Tensor};

use super::parity::apart;
use super::{Args, Parcel, entry};
use crate::commands::trainer::embedder::Checkpoint;
use crate::faces::{AlignedFace, AlignedFolder};
use crate::train::net::Net;
use crate::train::samples::{self, Preprocessing};
use crate::train::served::{self, Look, Written};

/// The false accept rate of the threshold, for each comparison with an enrolled face; as `kith calibrate` has it.
const FALSE_ACCEPT_RATE: f64 = 1e-4;
/// Least distance to the runner-up; as in the shipped catalogue.
const MARGIN_COSINE: f32 = 0.05;

/// Adds the embedder.
pub(super) fn embedder(
    args: &Args,
    checkpoint: &Checkpoint,
    folder: &AlignedFolder,
    faces: &[&AlignedFace],
    accuracy: Option<&Accuracy>,
    parcel: &mut Parcel,
) -> anyhow::Result<Written> {
    let mut written = checkpoint.write(&args.name)?;
    let about = &checkpoint.state.about;
    let cuts = samples::cuts(folder, faces, about.preprocessing.alignment)?;
    let cuts: Vec<&image::RgbImage> = cuts.iter().collect();
    let net = Net::new(checkpoint.network.graph(), &checkpoint.weights, Device::Cpu)?;
    let input = input_of(&about.preprocessing, &cuts)?;
    let apart = apart(args, &net, &written.onnx, &input)?;
    parcel.apart.push((args.name.clone(), apart));
    if let Some(path) = &args.calibrate {
        calibrate(args, path, &mut written)?;
    }
    let model = &written.model;
    let mut outputs = BTreeMap::from([("embedding".to_owned(), model.embedding.clone())]);
    outputs.extend(model.features.clone().map(|features| ("features".to_owned(), features)));
    let data = &about.data;
    parcel
        .files
        .push((model.file.path.display().to_string(), written.onnx.clone()));
    parcel.models.push(Model {
        source: format!(
            "kith-export {}: {} trained on {} photos{} of {} (faces.json sha256 {})",
            about.made_by,
            about.network,
            data.photos,
            if data.people > 0 {
                format!(" of {} people", data.people)
            } else {
                String::new()
            },
            data.from,
            data.sha256.get(..8).unwrap_or_default(),
        ),
        licence: args.licence.clone(),
        input: Some(model.input.clone()),
        alignment: Some(model.alignment.clone()),
        outputs,
        embedding_space: Some(model.embedding_space.clone()),
        thresholds: model.thresholds,
        calibration: model.calibration,
        accuracy: accuracy.cloned(),
        ..entry(
            &args.name,
            Kind::Embedder,
            BTreeMap::from([("network".to_owned(), model.file.clone())]),
        )
    });
    Ok(written)
}

/// Sets threshold and confidence as `kith calibrate` does: from all pairs of photos of a folder.
fn calibrate(args: &Args, path: &Path, written: &mut Written) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(path)?;
    let people = folder.people();
    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    let mut embedder = served::open(written.clone(), &args.runtime.settings())?;
    let photos: Vec<LabelledPhoto> = faces
        .iter()
        .zip(served::embed(&mut embedder, &folder, &faces, Look::Plain)?)
        .map(|(face, embedded)| LabelledPhoto {
            person: people
                .iter()
                .position(|person| *person == face.person)
                .unwrap_or_default(),
            embedding: Some(embedded.embedding),
        })
        .collect();
    let pairs = AllPairs::of(&photos, people.len());
    ensure!(
        !pairs.same.is_empty() && pairs.different.len() as f64 * FALSE_ACCEPT_RATE >= 1.0,
        "{} has {} pairs of one person and {} of two; a threshold for a false accept rate of {FALSE_ACCEPT_RATE} needs \
         some of one, and ten thousand of two",
        path.display(),
        pairs.same.len(),
        pairs.different.len(),
    );
    #[expect(clippy::cast_possible_truncation, reason = "three decimals")]
    let cosine = to_places(f64::from(pairs.threshold_at(FALSE_ACCEPT_RATE)), 3) as f32;
    written.model.thresholds = Some(Thresholds {
        cosine,
        margin_cosine: MARGIN_COSINE,
    });
    written.model.calibration = Some(fit::calibration(&pairs));
    Ok(())
}

/// The network's input for cuts, `[N, 3, side, side]`.
fn input_of(preprocessing: &Preprocessing, cuts: &[&image::RgbImage]) -> anyhow::Result<Tensor> {
    let shape = preprocessing.shape();
    let values: usize = shape.iter().product();
    let mut planes = vec![0.0; cuts.len() * values];
    for (cut, planes) in cuts.iter().zip(planes.chunks_exact_mut(values)) {
        preprocessing.planes(&preprocessing.alignment.finish(cut), planes);
    }
    let shape = [cuts.len(), shape[0], shape[1], shape[2]].map(|length| i64::try_from(length).unwrap_or(0));
    Ok(Tensor::f_from_slice(&planes)?.f_reshape(shape)?)
}
