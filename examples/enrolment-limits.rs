//! Measures what a small or blurred photo does to recognition, for the limits of `kith::enrolment`: enrols one photo of
//! each pair of `lfw-dev`, shrunk or blurred, and compares it with the other, untouched one. Prints the tables of
//! `docs/design/enrolment.md`.
//!
//! ```text
//! KITH_DATA=… cargo run --release --example enrolment-limits
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RgbImage;
use image::imageops::{self, FilterType};
use kith::detect::{Face, most_prominent};
use kith::embed::Embedding;
use kith::networks::Networks;
use kith::photo;
use kith::quality::Quality;
use kith::runtime::RuntimeSettings;

/// What is done to the photo that is enrolled.
#[derive(Clone, Copy)]
enum Damage {
    None,
    /// Shrunk until the face has this height, in pixels.
    Height(f32),
    /// Blurred with this standard deviation, in pixels of a face 112 px high.
    Blur(f32),
}

struct Pair {
    first: PathBuf,
    second: PathBuf,
    is_same: bool,
}

fn main() -> anyhow::Result<()> {
    let data = PathBuf::from(std::env::var_os("KITH_DATA").context("KITH_DATA names the folder of the data")?);
    let pairs = pairs(&data.join("lfw-dev"))?;
    let mut networks = Networks::open(&RuntimeSettings::default())?;
    let mut whole: HashMap<PathBuf, Option<(Embedding, Quality, Face)>> = HashMap::new();
    for pair in &pairs {
        for path in [&pair.first, &pair.second] {
            if !whole.contains_key(path) {
                let found = measure(&mut networks, &photo::read(path)?)?;
                whole.insert(path.clone(), found);
            }
        }
    }
    let compared =
        |enrolled: &Embedding, pair: &Pair| whole[&pair.second].as_ref().map(|(probe, ..)| enrolled.cosine(probe));
    let threshold = networks
        .embedder
        .model()
        .thresholds
        .context("the catalogue has no threshold; cargo xtask calibrate")?
        .cosine;
    println!("threshold {threshold}\n");
    println!(
        "| enrolled photo | not found | height px, median | sharpness, 5 % / median / 95 % | accepted, same | accepted, different | similarity, same |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let heights = [80.0, 60.0, 50.0, 40.0, 30.0].map(|px| (format!("{px} px high"), Damage::Height(px)));
    let blurs = [1.0, 1.5, 2.0, 2.5, 3.0].map(|sigma| (format!("blur {sigma}"), Damage::Blur(sigma)));
    for (name, damage) in [("untouched".to_string(), Damage::None)]
        .into_iter()
        .chain(heights)
        .chain(blurs)
    {
        let (mut same, mut different) = (Vec::new(), Vec::new());
        let (mut sharpness, mut size, mut lost) = (Vec::new(), Vec::new(), 0);
        for pair in &pairs {
            let Some((_, _, face)) = &whole[&pair.first] else {
                continue;
            };
            let damaged = damage.apply(&photo::read(&pair.first)?, face);
            let Some((enrolled, quality, _)) = measure(&mut networks, &damaged)? else {
                lost += 1;
                continue;
            };
            sharpness.push(quality.sharpness);
            size.push(quality.size_px);
            let Some(similarity) = compared(&enrolled, pair) else {
                continue;
            };
            if pair.is_same {
                same.push(similarity);
            } else {
                different.push(similarity);
            }
        }
        let share = |of: &[f32]| of.iter().filter(|s| **s >= threshold).count() as f64 / of.len().max(1) as f64;
        println!(
            "| {name} | {lost} | {:.0} | {:.2} / {:.2} / {:.2} | {:.3} | {:.3} | {:.3} |",
            percentile(&mut size, 0.5),
            percentile(&mut sharpness, 0.05),
            percentile(&mut sharpness, 0.5),
            percentile(&mut sharpness, 0.95),
            share(&same),
            share(&different),
            same.iter().sum::<f32>() / same.len().max(1) as f32,
        );
    }
    println!("\n| photos | faces | sharpness, 1 % / 5 % / median / 95 % |\n| --- | --- | --- |");
    for folder in ["lfw-dev/images", "avengers", "enrol"] {
        let mut sharpness = Vec::new();
        for path in kith::commands::photos::collect(&[data.join(folder)]) {
            if let Ok(picture) = photo::read(&path)
                && let Some((_, quality, _)) = measure(&mut networks, &picture)?
            {
                sharpness.push(quality.sharpness);
            }
        }
        let [low, five, median, high] = [0.01, 0.05, 0.5, 0.95].map(|share| percentile(&mut sharpness, share));
        println!(
            "| {folder} | {} | {low:.2} / {five:.2} / {median:.2} / {high:.2} |",
            sharpness.len()
        );
    }
    Ok(())
}

impl Damage {
    fn apply(self, picture: &RgbImage, face: &Face) -> RgbImage {
        let height_px = face.box_in_frame.height();
        match self {
            Self::None => picture.clone(),
            Self::Blur(sigma) => imageops::blur(picture, sigma * height_px / 112.0),
            Self::Height(px) => {
                let scaled = |side: u32| ((side as f32 * px / height_px).round() as u32).max(1);
                imageops::resize(
                    picture,
                    scaled(picture.width()),
                    scaled(picture.height()),
                    FilterType::Triangle,
                )
            }
        }
    }
}

fn measure(networks: &mut Networks, picture: &RgbImage) -> anyhow::Result<Option<(Embedding, Quality, Face)>> {
    let faces = networks.detector.detect(picture, 20)?;
    let Some(face) = most_prominent(&faces, picture.width(), picture.height()) else {
        return Ok(None);
    };
    let Some((quality, aligned)) = Quality::with_aligned(picture, &face, networks.embedder.alignment()) else {
        return Ok(None);
    };
    Ok(networks
        .embedder
        .embed(&[aligned])?
        .pop()
        .map(|embedding| (embedding, quality, face)))
}

/// The value below which `share` of them lie.
fn percentile(values: &mut [f32], share: f64) -> f32 {
    values.sort_by(f32::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f32::NAN)
}

/// `pairsDevTest.txt`: a count, then as many same pairs (name, two numbers) and as many different ones (name, number,
/// name, number).
fn pairs(folder: &Path) -> anyhow::Result<Vec<Pair>> {
    let path = folder.join("pairsDevTest.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let photo = |name: &str, number: &str| {
        let file = format!("{name}_{:0>4}.jpg", number);
        [
            folder.join("images").join(name).join(&file),
            folder.join("images").join(&file),
        ]
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("no photo {file}"))
    };
    text.lines()
        .skip(1)
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, a, b] => Ok(Pair {
                first: photo(name, a)?,
                second: photo(name, b)?,
                is_same: true,
            }),
            [name, a, other, b] => Ok(Pair {
                first: photo(name, a)?,
                second: photo(other, b)?,
                is_same: false,
            }),
            _ => anyhow::bail!("{}: odd line {line:?}", path.display()),
        })
        .collect()
}
