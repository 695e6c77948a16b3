//! `kith-export distil`: a network learns another one's embedding from faces without names.

use std::path::PathBuf;

use anyhow::ensure;
use image::RgbImage;
use indicatif::ProgressBar;
use kith::align::Alignment;
use kith::networks::Networks;
use kith::runtime::RuntimeSettings;
use rand::seq::SliceRandom;
use tch::Tensor;

use super::training::{TrainingArgs, tell_outcome};
use crate::faces::{AlignedFace, AlignedFolder};
use crate::nets::Network;
use crate::train::about::{About, Data, name_of};
use crate::train::batches::random_of;
use crate::train::course;
use crate::train::distil::{Distil, Lesson, targets};
use crate::train::samples::{Pictures, cuts, unit_rows};

/// Arguments of `distil`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kith-export align crowd crowd-faces\n  \
    kith-export distil crowd-faces --student nn4-small2 --out runs/nn4\n\n\
    The faces need no names. The teacher is an embedder of the catalogue.")]
pub struct Args {
    /// Aligned faces, from `align`
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// The network that learns
    #[arg(long, value_enum, value_name = "NAME")]
    pub student: Network,
    /// The embedder that it learns from, by its name in the catalogue
    #[arg(long, value_name = "NAME", default_value = "mobilefacenet")]
    pub teacher: String,
    /// Folder with the catalogue models.toml [default: where kith finds it]
    #[arg(long, value_name = "DIR", env = "KITH_MODELS")]
    pub models: Option<PathBuf>,
    /// Faces in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..))]
    pub batch: u16,
    /// Share of the faces that is held out, to know when to stop
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub hold_out: f64,
    /// Weight of the similarities between faces beside the embeddings themselves
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    pub relations_weight: f64,
    /// Training.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// Runs `distil`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(&args.faces)?;
    let preprocessing = args.training.preprocessing(args.student)?;
    let (mut net, started_from) = args.training.network(args.student)?;
    let mut faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    faces.shuffle(&mut random_of(&[args.training.seed, 0x0d15_7111]));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number of photos"
    )]
    let held_out = (faces.len() as f64 * args.hold_out.clamp(0.0, 0.5)).ceil() as usize;
    ensure!(
        faces.len() > held_out + usize::from(args.batch),
        "{} has {} faces; a batch of {} and {held_out} held out need more",
        args.faces.display(),
        faces.len(),
        args.batch
    );
    let teacher = teach(args, &folder, &faces)?;
    let values = net
        .graph()
        .outputs
        .iter()
        .find(|output| output.name == "embedding")
        .and_then(|output| output.axes.first().copied().flatten())
        .unwrap_or_default();
    let students = cuts(&folder, &faces, preprocessing.alignment)?;
    let augmentation = args.training.augmentation.augmentation();
    let lesson = Lesson {
        batch: args.batch.into(),
        relations_weight: args.relations_weight,
    };
    let (changed, unchanged) = students.split_at(students.len() - held_out);
    let objective = Distil {
        pictures: Pictures {
            preprocessing: &preprocessing,
            augmentation: &augmentation,
            changed: changed.iter().collect(),
            unchanged: unchanged.iter().collect(),
        },
        lesson: &lesson,
        seed: args.training.seed,
        targets: targets(&teacher, values)?.to_device(net.device()),
    };
    let about = About {
        network: name_of(args.student),
        preprocessing: preprocessing.clone(),
        made_by: "distil".to_owned(),
        data: Data::of(&folder, faces.len() - held_out, 0)?,
        started_from,
        settings: serde_json::json!({
            "teacher": args.teacher, "lesson": lesson, "augmentation": augmentation, "freeze": args.training.freeze,
            "bfloat16": args.training.bfloat16,
        }),
    };
    let course = args.training.course(1e-3);
    let outcome = course::run(
        &mut net,
        &objective,
        &course,
        &about,
        &args.training.out,
        args.training.resume,
    )?;
    tell_outcome(&args.training.out, &outcome, args.training.json)
}

/// The teacher's unit embeddings of the faces, `[N, values]`: the mean of each face and its mirror picture, which is
/// nearer to the person than either.
fn teach(args: &Args, folder: &AlignedFolder, faces: &[&AlignedFace]) -> anyhow::Result<Tensor> {
    const AT_ONCE: usize = 64;
    let settings = RuntimeSettings {
        models: args.models.clone(),
        ..RuntimeSettings::default()
    };
    let mut networks = Networks::open(&settings)?;
    let bar = ProgressBar::new(faces.len() as u64).with_message("the teacher looks at the faces");
    let mut rows = Vec::with_capacity(faces.len());
    for faces in faces.chunks(AT_ONCE) {
        let mut crops: Vec<RgbImage> = cuts(folder, faces, Alignment::FivePoint112)?;
        crops.extend(crops.clone().iter().map(image::imageops::flip_horizontal));
        let embeddings = networks.embedder.embed(&crops)?;
        let (straight, mirrored) = embeddings.split_at(faces.len());
        rows.extend(straight.iter().zip(mirrored).map(|(one, other)| -> Vec<f32> {
            one.as_slice()
                .iter()
                .zip(other.as_slice())
                .map(|(a, b)| a + b)
                .collect()
        }));
        bar.inc(faces.len() as u64);
    }
    bar.finish_and_clear();
    let values = rows.first().map_or(0, Vec::len);
    let flat: Vec<f32> = rows.into_iter().flatten().collect();
    let shape = [i64::try_from(faces.len())?, i64::try_from(values)?];
    Ok(unit_rows(&Tensor::f_from_slice(&flat)?.f_reshape(shape)?)?)
}
