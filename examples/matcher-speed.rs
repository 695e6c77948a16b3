//! How long the gallery's matcher takes for one face, by the number of enrolled ones.
//!
//! ```text
//! cargo run --release --example matcher-speed
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use kith::embed::Embedding;
use kith::gallery::{Name, Person, Vectors};
use kith::identify::GalleryMatcher;
use kith::model::{Calibration, Thresholds};
use ulid::Ulid;

const VALUES: u64 = 192;
const FACES_EACH: u64 = 5;
const CALLS: usize = 501;

fn main() -> anyhow::Result<()> {
    let thresholds = Thresholds {
        cosine: 0.4,
        margin_cosine: 0.05,
    };
    let calibration = Calibration {
        lr_intercept: -10.0,
        lr_slope: 30.0,
        same_mean: 0.7,
        same_sd: 0.1,
        different_mean: 0.0,
        different_sd: 0.1,
        cosine_range: [-1.0, 1.0],
        prior_known: 0.5,
    };
    println!("| faces of {VALUES} values | median | 95 % |\n| --- | --- | --- |");
    for faces in [100, 1_000, 10_000] {
        let everybody = (0..faces / FACES_EACH)
            .map(|number| {
                let name = Name::parse(&format!("P{number}"))?;
                Ok(Vectors {
                    person: Person::new(format!("p{number}"), Ulid::from(u128::from(number)), name),
                    negatives: Vec::new(),
                    faces: (0..FACES_EACH)
                        .filter_map(|face| vector(number * FACES_EACH + face))
                        .collect(),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let matcher = GalleryMatcher::new(everybody, thresholds, calibration);
        let Some(probe) = vector(faces + 1) else {
            anyhow::bail!("a vector without direction")
        };
        let mut times: Vec<Duration> = (0..CALLS)
            .map(|_| {
                let started = Instant::now();
                black_box(matcher.identify(black_box(&probe)));
                started.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "| {faces} | {:.1?} | {:.1?} |",
            times[CALLS / 2],
            times[CALLS * 95 / 100]
        );
    }
    Ok(())
}

/// The same numbers on every run, without a pattern that the caches could use.
fn vector(seed: u64) -> Option<Embedding> {
    let raw: Vec<f32> = (0..VALUES)
        .map(|i| {
            let mixed = (seed * VALUES + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Embedding::from_raw(&raw)
}
