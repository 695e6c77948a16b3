//! `kith embed`: faces in photos and their embeddings, for measuring.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::Common;
use super::photos::{FaceLine, PhotoLine, collect, decode_ahead, tell_failed, write_json};
use crate::detect::most_prominent;
use crate::networks::Networks;

/// The arguments of `kith embed`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kith embed --json --largest me.jpg")]
pub struct Args {
    /// Photos, or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// One JSON object a line; without it, only the number of faces embedded
    #[arg(long)]
    pub json: bool,
    /// Only the most central large face of each photo
    #[arg(long)]
    pub largest: bool,
    /// Height of the smallest face to look for, in pixels
    #[arg(long, default_value_t = 20, value_name = "PX", value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face: u32,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

#[derive(Serialize)]
struct EmbeddedFaceLine {
    #[serde(flatten)]
    face: FaceLine,
    /// `null` when the landmarks coincide, so that the face can't be aligned.
    embedding: Option<Vec<f32>>,
}

/// Runs `kith embed`. Exit code 1 when a photo could not be read.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let photos = collect(&args.images);
    let mut networks = Networks::open(&common.runtime_settings(args.threads))?;
    let mut out = BufWriter::new(stdout().lock());
    let mut code = ExitCode::SUCCESS;
    decode_ahead(&photos, |image, decoded| {
        let picture = match decoded {
            Ok(picture) => picture,
            Err(error) => {
                code = ExitCode::FAILURE;
                return tell_failed(&mut out, image, &error, args.json);
            }
        };
        let (width, height) = picture.dimensions();
        let mut faces = networks.detector.detect(&picture, args.min_face)?;
        if args.largest {
            faces = most_prominent(&faces, width, height).into_iter().collect();
        }
        let embeddings = networks.embed_faces(&picture, &faces)?;
        if args.json {
            let faces = faces
                .iter()
                .zip(embeddings)
                .map(|(face, embedding)| EmbeddedFaceLine {
                    face: face.into(),
                    embedding: embedding.map(|embedded| embedded.embedding.as_slice().to_vec()),
                })
                .collect();
            write_json(
                &mut out,
                &PhotoLine {
                    image,
                    width,
                    height,
                    faces,
                },
            )?;
        } else {
            writeln!(
                out,
                "{}: {} embedded in {}",
                image.display(),
                faces.len(),
                networks.embedder.space()
            )?;
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(code)
}
