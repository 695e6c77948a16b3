//! Known people and strangers come by: who is named, and who should not have been.
//!
//! Each person of the folder in turn is taken out of training and comes as a stranger; the people of a second folder
//! are strangers in every run. The searches of all runs are pooled, under one threshold: a photo of a known person
//! counts once for each run in which another person was left out, one of the person left out once for each fold, one
//! of the second folder once for each run. So with a large second folder the pooled rate is mostly about its people;
//! the rates with each kind of stranger alone stand beside it.

use std::collections::BTreeSet;

use kith::verification::Estimate;
use serde::Serialize;

use super::interval::bootstrap_by_group;
use super::rates::{CurvePoint, curve};
use super::rejection::threshold_at;
use super::{Answer, Head, LeftOutRun, Sample, ask, closed_set};

/// The false positive identification rates that are reported where there are enough strangers to tell.
const RATES: [f64; 3] = [0.1, 0.01, 0.001];

/// The searches of all runs with one kind of score.
#[derive(Debug, Default)]
pub struct Searches {
    /// Score, person, and whether the best score was that person's; photos of people who are in the gallery.
    known: Vec<(f32, usize, bool)>,
    strangers: Vec<Stranger>,
    known_files: BTreeSet<String>,
}

#[derive(Debug)]
struct Stranger {
    score: f32,
    person: usize,
    is_left_out: bool,
    file: String,
}

impl Searches {
    /// Adds a run scored by the similarity to the gallery's most similar face.
    ///
    /// # Errors
    /// When the gallery is empty or has the person who should be left out.
    pub fn add_by_distance(&mut self, run: &LeftOutRun<'_>) -> anyhow::Result<()> {
        check(run)?;
        let asked = asked(run);
        let answers = closed_set::nearest_neighbour(run.train, &asked)?;
        self.extend(run, &asked, &answers);
        Ok(())
    }

    /// Trains a head on the run's gallery and adds its answers, scored by the highest probability.
    ///
    /// # Errors
    /// What the head says, or that the gallery has the person who should be left out.
    pub fn add_by_head(&mut self, run: &LeftOutRun<'_>, head: &mut Head<'_>) -> anyhow::Result<()> {
        check(run)?;
        let asked = asked(run);
        let answers = ask(head, run.train, &asked)?;
        self.extend(run, &asked, &answers);
        Ok(())
    }

    fn extend(&mut self, run: &LeftOutRun<'_>, asked: &[&Sample], answers: &[Answer]) {
        for (index, (face, answer)) in asked.iter().zip(answers).enumerate() {
            if index < run.test.len() {
                self.known
                    .push((answer.score, face.person, answer.person == face.person));
                self.known_files.insert(face.file.clone());
            } else {
                self.strangers.push(Stranger {
                    score: answer.score,
                    person: face.person,
                    is_left_out: face.person == run.left_out,
                    file: face.file.clone(),
                });
            }
        }
    }

    /// The figures. `None` when no known person or no stranger came.
    pub fn figures(&self, seed: u64) -> Option<OpenSet> {
        let figures = |kind: StrangerKind| self.with_strangers(kind, seed);
        Some(OpenSet {
            known_photos: self.known_files.len(),
            known_searches: self.known.len(),
            all: figures(StrangerKind::All)?,
            left_out: figures(StrangerKind::LeftOut),
            second_folder: figures(StrangerKind::SecondFolder),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of photos")]
    fn with_strangers(&self, kind: StrangerKind, seed: u64) -> Option<Against> {
        let mut known = self.known.clone();
        known.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut strangers: Vec<&Stranger> = self
            .strangers
            .iter()
            .filter(|stranger| match kind {
                StrangerKind::All => true,
                StrangerKind::LeftOut => stranger.is_left_out,
                StrangerKind::SecondFolder => !stranger.is_left_out,
            })
            .collect();
        strangers.sort_by(|a, b| b.score.total_cmp(&a.score));
        if known.is_empty() || strangers.is_empty() {
            return None;
        }
        let files: BTreeSet<&str> = strangers.iter().map(|stranger| stranger.file.as_str()).collect();
        let groups = Groups::of(&known, &strangers);
        let at = RATES
            .into_iter()
            .filter(|rate| rate * files.len() as f64 >= 1.0)
            .filter_map(|rate| groups.operating_point(&known, &strangers, rate, seed))
            .collect();
        let right: Vec<f32> = known
            .iter()
            .filter(|(.., is_right)| *is_right)
            .map(|(score, ..)| *score)
            .collect();
        let scores: Vec<f32> = strangers.iter().map(|stranger| stranger.score).collect();
        Some(Against {
            people: strangers
                .iter()
                .map(|stranger| stranger.person)
                .collect::<BTreeSet<_>>()
                .len(),
            photos: files.len(),
            searches: strangers.len(),
            at,
            curve: curve(&right, known.len(), &scores),
        })
    }
}

#[derive(Clone, Copy)]
enum StrangerKind {
    All,
    LeftOut,
    SecondFolder,
}

/// Whom each search belongs to, numbered within the folder's people and within the second folder's: an interval draws
/// the two by themselves. A person left out is one of the folder's people, so known and stranger are drawn together.
struct Groups {
    sizes: [usize; 2],
    /// Group and number of each known search and of each stranger's.
    known: Vec<(usize, usize)>,
    strangers: Vec<(usize, usize)>,
}

impl Groups {
    fn of(known: &[(f32, usize, bool)], strangers: &[&Stranger]) -> Self {
        let mut people = [BTreeSet::new(), BTreeSet::new()];
        people[0].extend(known.iter().map(|(_, person, _)| *person));
        for stranger in strangers {
            people[usize::from(!stranger.is_left_out)].insert(stranger.person);
        }
        let people = people.map(|group| group.into_iter().collect::<Vec<usize>>());
        let number = |group: usize, person: usize| (group, people[group].binary_search(&person).unwrap_or(0));
        Self {
            sizes: [people[0].len(), people[1].len()],
            known: known.iter().map(|(_, person, _)| number(0, *person)).collect(),
            strangers: strangers
                .iter()
                .map(|stranger| number(usize::from(!stranger.is_left_out), stranger.person))
                .collect(),
        }
    }

    /// `known` and `strangers` are sorted downwards. In each resample the threshold is chosen anew.
    fn operating_point(
        &self,
        known: &[(f32, usize, bool)],
        strangers: &[&Stranger],
        rate: f64,
        seed: u64,
    ) -> Option<OperatingPoint> {
        let threshold = |drawn: &[Vec<u32>; 2]| {
            let weighted = strangers
                .iter()
                .zip(&self.strangers)
                .map(|(stranger, (group, number))| (stranger.score, f64::from(drawn[*group][*number])));
            threshold_at(weighted, rate)
        };
        let true_rate = |drawn: &[Vec<u32>; 2]| {
            let threshold = threshold(drawn);
            let (mut named, mut total) = (0.0, 0.0);
            for ((score, _, is_right), (group, number)) in known.iter().zip(&self.known) {
                let weight = f64::from(drawn[*group][*number]);
                total += weight;
                named += if *is_right && *score >= threshold { weight } else { 0.0 };
            }
            // A draw may have nobody known, or no stranger to choose a threshold by.
            (total > 0.0 && threshold > f32::NEG_INFINITY).then_some(named / total)
        };
        let tpir = bootstrap_by_group(self.sizes, seed, true_rate)?;
        let threshold = threshold(&self.sizes.map(|size| vec![1; size]));
        Some(OperatingPoint {
            fpir: rate,
            threshold,
            tpir,
        })
    }
}

fn asked<'a>(run: &LeftOutRun<'a>) -> Vec<&'a Sample> {
    run.test.iter().chain(run.strangers).collect()
}

fn check(run: &LeftOutRun<'_>) -> anyhow::Result<()> {
    let known: BTreeSet<usize> = run.train.iter().map(|sample| sample.person).collect();
    if let Some(stranger) = run.strangers.iter().find(|stranger| known.contains(&stranger.person)) {
        anyhow::bail!(
            "{} is a stranger in fold {} and in its gallery too",
            stranger.file,
            run.fold
        );
    }
    if let Some(face) = run.test.iter().find(|face| !known.contains(&face.person)) {
        anyhow::bail!("{} of fold {} is of nobody in the gallery", face.file, run.fold);
    }
    Ok(())
}

/// How known people fare while strangers are kept out.
#[derive(Debug, Clone, Serialize)]
pub struct OpenSet {
    /// Held-out photos of known people.
    pub known_photos: usize,
    /// Searches with them, all runs together.
    pub known_searches: usize,
    /// All strangers pooled.
    pub all: Against,
    /// Only the folder's own people, each when left out.
    pub left_out: Option<Against>,
    /// Only the people of the second folder.
    pub second_folder: Option<Against>,
}

/// Rates against one kind of stranger.
#[derive(Debug, Clone, Serialize)]
pub struct Against {
    /// Strangers.
    pub people: usize,
    /// Their photos.
    pub photos: usize,
    /// Searches with them, all runs together.
    pub searches: usize,
    /// At 10 %, 1 % and 0.1 %, as far as one photo of a stranger or more may pass.
    pub at: Vec<OperatingPoint>,
    /// Thresholds downwards; false rate is FPIR, true rate TPIR.
    pub curve: Vec<CurvePoint>,
}

/// The threshold for a stated FPIR, and what it does to known people.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OperatingPoint {
    /// The stated rate; what the threshold lets pass is that or less.
    pub fpir: f64,
    /// Scores of this and more are named.
    pub threshold: f32,
    /// With the interval by person, known people and strangers both resampled.
    pub tpir: Estimate,
}

#[cfg(test)]
#[path = "open_set_tests.rs"]
mod tests;
