//! Measures what negative examples do to names, and how well visits of strangers are grouped, on `lfw-dev` and
//! `avengers`. Prints the tables of `docs/design/confidence.md` and `docs/design/visitors.md`.
//!
//! ```text
//! KITH_DATA=… cargo run --release --example look-alikes
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kith::commands::photos::collect;
use kith::detect::{detect_in_photo, most_prominent};
use kith::embed::Embedding;
use kith::networks::Networks;
use kith::photo;
use kith::runtime::RuntimeSettings;
use kith::sightings::{Looks, group};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Photos of a person that are enrolled; the others come to the door.
const ENROLLED: usize = 3;
/// Photos of a person that take part: one actor with fifty would outweigh everybody.
const MOST_PHOTOS: usize = 12;
/// Households that are drawn for the table of groups.
const DRAWS: usize = 200;
const STRANGERS: usize = 30;
const MOST_VISITS: usize = 4;

fn main() -> anyhow::Result<()> {
    let data = PathBuf::from(std::env::var_os("KITH_DATA").context("KITH_DATA names the folder of the data")?);
    let mut networks = Networks::open(&RuntimeSettings::default())?;
    let threshold = networks
        .embedder
        .model()
        .thresholds
        .context("the catalogue has no threshold; cargo xtask calibrate")?
        .cosine;
    let mut people = Vec::new();
    for folder in ["lfw-dev/images", "avengers"] {
        for photos in by_person(&data.join(folder))? {
            let mut faces = Vec::new();
            for path in photos.iter().take(MOST_PHOTOS) {
                faces.extend(face(&mut networks, path)?);
            }
            if !faces.is_empty() {
                people.push(faces);
            }
        }
    }
    println!(
        "{} people, {} with two photos or more, {} photos; threshold {threshold}\n",
        people.len(),
        people.iter().filter(|faces| faces.len() > 1).count(),
        people.iter().map(Vec::len).sum::<usize>()
    );
    negatives(&people, threshold);
    println!();
    groups(&people);
    Ok(())
}

/// Everybody is enrolled in turn. A look-alike is somebody with a photo above the threshold; another photo of theirs is
/// the negative example.
fn negatives(people: &[Vec<Embedding>], threshold: f32) {
    println!(
        "| threshold | lead | false names without | with the negative | own photos named without | lost by the negative |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for threshold in [threshold, threshold - 0.1] {
        for lead in [-0.1_f32, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2] {
            let (mut false_names, mut still, mut own, mut lost) = (0, 0, 0, 0);
            for (number, alice) in people.iter().enumerate() {
                let enrolled = &alice[..ENROLLED.min(alice.len().div_ceil(2))];
                let likeness = |probe: &Embedding| nearest(enrolled, probe);
                for (_, other) in people.iter().enumerate().filter(|(other, _)| *other != number) {
                    for (taken, negative) in other.iter().enumerate() {
                        // Only who was named falsely gets marked.
                        if likeness(negative) < threshold {
                            continue;
                        }
                        let is_out = |probe: &Embedding| likeness(probe) < negative.cosine(probe) + lead;
                        let named = |probe: &&Embedding| likeness(probe) >= threshold;
                        let others = other.iter().enumerate().filter(|(probe, _)| *probe != taken);
                        for probe in others.map(|(_, probe)| probe).filter(named) {
                            false_names += 1;
                            still += usize::from(!is_out(probe));
                        }
                        for probe in alice[enrolled.len()..].iter().filter(named) {
                            own += 1;
                            lost += usize::from(is_out(probe));
                        }
                    }
                }
            }
            println!("| {threshold:.3} | {lead:.2} | {false_names} | {still} | {own} | {lost} |");
        }
    }
}

/// Strangers come once or several times, each visit a photo; half of them come once.
fn groups(people: &[Vec<Embedding>]) {
    println!(
        "| threshold | pairs in one line that are one person | visits of one person in one line | lines per stranger |"
    );
    println!("| --- | --- | --- | --- |");
    for step in 0..=8 {
        let threshold = 0.3 + 0.05 * step as f32;
        let mut random = StdRng::seed_from_u64(7);
        let (mut together, mut together_right, mut of_one, mut lines, mut strangers) = (0, 0, 0, 0, 0);
        for _ in 0..DRAWS {
            let mut numbers: Vec<usize> = (0..people.len()).collect();
            numbers.shuffle(&mut random);
            // Those who can come again first, so that a draw has enough of them.
            let (again, once): (Vec<usize>, Vec<usize>) =
                numbers.into_iter().partition(|number| people[*number].len() > 1);
            let mut visits: Vec<(usize, &Embedding)> = Vec::new();
            for number in again.into_iter().take(STRANGERS / 2) {
                let most = people[number].len().min(MOST_VISITS);
                let count = random.random_range(2..=most);
                visits.extend(people[number].iter().take(count).map(|face| (number, face)));
            }
            visits.extend(
                once.into_iter()
                    .take(STRANGERS / 2)
                    .map(|number| (number, &people[number][0])),
            );
            visits.shuffle(&mut random);
            let looks: Vec<Looks> = visits
                .iter()
                .filter_map(|(_, face)| Looks::of("space", [(1.0, *face)]))
                .collect();
            let groups = group(&looks, threshold);
            lines += groups.len();
            strangers += STRANGERS;
            for one in &groups {
                for (at, a) in one.iter().enumerate() {
                    for b in &one[at + 1..] {
                        together += 1;
                        together_right += usize::from(visits[*a].0 == visits[*b].0);
                    }
                }
            }
            for (at, a) in visits.iter().enumerate() {
                of_one += visits[at + 1..].iter().filter(|b| b.0 == a.0).count();
            }
        }
        println!(
            "| {threshold:.2} | {:.4} | {:.4} | {:.2} |",
            together_right as f64 / f64::from(together.max(1)),
            together_right as f64 / of_one as f64,
            lines as f64 / strangers as f64
        );
    }
}

fn nearest(faces: &[Embedding], probe: &Embedding) -> f32 {
    faces.iter().map(|face| face.cosine(probe)).fold(-1.0, f32::max)
}

/// The photos of each folder in `folder`.
fn by_person(folder: &Path) -> anyhow::Result<Vec<Vec<PathBuf>>> {
    let mut people: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let folders = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in folders {
        let person = entry?.path();
        if person.is_dir() {
            let mut photos = collect(std::slice::from_ref(&person));
            photos.sort();
            people.insert(person, photos);
        }
    }
    Ok(people.into_values().collect())
}

fn face(networks: &mut Networks, path: &Path) -> anyhow::Result<Option<Embedding>> {
    let Ok(picture) = photo::read(path) else {
        return Ok(None);
    };
    let faces = detect_in_photo(networks.detector.as_mut(), &picture, 20)?;
    let Some(face) = most_prominent(&faces, picture.width(), picture.height()) else {
        return Ok(None);
    };
    let embedded = networks.embed_faces(&picture, &[face])?;
    Ok(embedded.into_iter().flatten().next().map(|embedded| embedded.embedding))
}
