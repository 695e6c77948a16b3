//! `kith detect`: faces in photos, for measuring.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Common;
use super::photos::{FaceLine, PhotoLine, collect, decode_ahead, tell_failed, write_json};
use crate::networks::Networks;

/// The arguments of `kith detect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kith detect --json --min-face 40 holiday/ me.jpg")]
pub struct Args {
    /// Photos, or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// Height of the smallest face to look for, in pixels
    #[arg(long, default_value_t = 20, value_name = "PX", value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face: u32,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

/// Runs `kith detect`. Exit code 1 when a photo could not be read.
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
        let faces = networks.detector.detect(&picture, args.min_face)?;
        if args.json {
            let faces = faces.iter().map(FaceLine::from).collect();
            let (width, height) = picture.dimensions();
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
            let noun = if faces.len() == 1 { "face" } else { "faces" };
            writeln!(out, "{}: {} {noun}", image.display(), faces.len())?;
            for face in &faces {
                let b = face.box_in_frame;
                let (width, height) = (b.width(), b.height());
                let percent = face.probability * 100.0;
                writeln!(
                    out,
                    "  {width:.0}x{height:.0} px at {:.0},{:.0}, {percent:.1} %",
                    b.left, b.top
                )?;
            }
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(code)
}
