//! Collects folds, one at a time, so that only one fold's vectors are in memory.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, ensure};
use kith::verification::pairs_file::PhotoName;
use serde::Serialize;

use super::closed_set::{Answers, class_centre, nearest_neighbour};
use super::open_set::Searches;
use super::pairs::{self, HeldOut, Pairs};
use super::reliability::Reliability;
use super::report::{Report, VERSION};
use super::{FoldRun, Head, LeftOutRun, Sample};

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// The embedder's name, or the run that trained it.
    pub model: String,
    /// What makes its vectors comparable.
    pub embedding_space: String,
    /// What the head reads, where there is one: `embedding` or `features`.
    pub head_reads: Option<String>,
    /// Name of the folder of faces.
    pub faces: String,
    /// Name of the second folder, whose people are strangers.
    pub strangers: Option<String>,
    /// Name of the list of disputed photos that were left out.
    pub without: Option<String>,
    /// Names by person index.
    pub people: Vec<String>,
    /// Of the split, and of all resampling here.
    pub seed: u64,
}

/// A measurement under way.
#[derive(Debug)]
pub struct Measurement {
    about: About,
    folds: Vec<usize>,
    nearest: Answers,
    centre: Answers,
    head: Answers,
    held_out: HeldOut,
    open_by_distance: Searches,
    open_by_head: Searches,
    labelled_pairs: Option<Pairs>,
}

impl Measurement {
    /// Begins.
    pub fn new(about: About) -> Self {
        Self {
            about,
            folds: Vec::new(),
            nearest: Answers::default(),
            centre: Answers::default(),
            head: Answers::default(),
            held_out: HeldOut::default(),
            open_by_distance: Searches::default(),
            open_by_head: Searches::default(),
            labelled_pairs: None,
        }
    }

    /// Adds a fold: closed set by distance, by `head` where there is one, and the pairs of its held-out photos.
    ///
    /// # Errors
    /// When a photo is on both sides, a vector does not fit, or the head fails.
    pub fn fold(&mut self, run: &FoldRun<'_>, head: Option<&mut Head<'_>>) -> anyhow::Result<()> {
        ensure!(!self.folds.contains(&run.fold), "fold {} was measured twice", run.fold);
        ensure!(!run.test.is_empty(), "fold {} has no held-out photos", run.fold);
        check(run.train, run.test)?;
        let people = self.about.people.len();
        if let Some(stray) = run.train.iter().chain(run.test).find(|sample| sample.person >= people) {
            anyhow::bail!("{} is of person {}, but there are {people}", stray.file, stray.person);
        }
        self.nearest.add_by(run, nearest_neighbour)?;
        self.centre.add_by(run, class_centre)?;
        if let Some(head) = head {
            let fold = run.fold;
            self.head
                .add_by_head(run, head)
                .with_context(|| format!("the head of fold {fold}"))?;
        }
        self.held_out.add(run.fold, run.test);
        self.folds.push(run.fold);
        Ok(())
    }

    /// Adds a fold with one person left out: open set by distance, and by `head` where there is one.
    ///
    /// # Errors
    /// When a stranger is in the gallery, a vector does not fit, or the head fails.
    pub fn left_out(&mut self, run: &LeftOutRun<'_>, head: Option<&mut Head<'_>>) -> anyhow::Result<()> {
        check(run.train, run.test)?;
        check(run.train, run.strangers)?;
        self.open_by_distance.add_by_distance(run)?;
        if let Some(head) = head {
            let name = self.about.people.get(run.left_out).map_or("somebody", String::as_str);
            let fold = run.fold;
            self.open_by_head
                .add_by_head(run, head)
                .with_context(|| format!("the head of fold {fold} without {name}"))?;
        }
        Ok(())
    }

    /// Measures the pairs of a pairs file on its photos, which the network must not have been trained on. The rest is as
    /// [`pairs::of_file`] says.
    ///
    /// # Errors
    /// When the file's photos aren't there, or the folds don't fit its pairs.
    pub fn pairs_file(
        &mut self,
        named: &[[PhotoName; 2]],
        photos: &[Sample],
        folds: Option<&HashMap<String, usize>>,
    ) -> anyhow::Result<()> {
        self.labelled_pairs = Some(pairs::of_file(named, photos, folds, self.about.seed)?);
        Ok(())
    }

    /// All figures.
    ///
    /// # Errors
    /// When no fold was added.
    pub fn finish(self) -> anyhow::Result<Report> {
        let (people, seed) = (self.about.people.len(), self.about.seed);
        let nothing = "nothing was measured: no fold has held-out photos";
        let by_nearest_neighbour = self.nearest.figures(people, seed).context(nothing)?;
        let by_class_centre = self.centre.figures(people, seed).context(nothing)?;
        Ok(Report {
            version: VERSION,
            photos: by_nearest_neighbour.photos,
            folds: self.folds.len(),
            about: self.about,
            by_nearest_neighbour,
            by_class_centre,
            by_head: self.head.figures(people, seed),
            reliability: Reliability::of(self.head.scores()),
            open_set_by_distance: self.open_by_distance.figures(seed),
            open_set_by_head: self.open_by_head.figures(seed),
            // One fold, or one photo of each person in a fold: there is nothing to compare, and that is no failure.
            held_out_pairs: self.held_out.figures(seed).ok(),
            labelled_pairs: self.labelled_pairs,
        })
    }
}

/// Every vector has one length and is a unit vector; no photo is on both sides.
fn check(train: &[Sample], asked: &[Sample]) -> anyhow::Result<()> {
    let values = train.first().map_or(0, |sample| sample.embedding.len());
    for sample in train.iter().chain(asked) {
        ensure!(
            sample.embedding.len() == values,
            "the embedding of {} has {} values, others have {values}",
            sample.file,
            sample.embedding.len()
        );
        let length = sample.cosine(sample).sqrt();
        ensure!(
            (length - 1.0).abs() < 1e-3,
            "the embedding of {} has length {length} instead of 1",
            sample.file
        );
    }
    let files: HashSet<&str> = train.iter().map(|sample| sample.file.as_str()).collect();
    if let Some(twice) = asked.iter().find(|sample| files.contains(sample.file.as_str())) {
        anyhow::bail!("{} is in the gallery and held out; the split is broken", twice.file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::super::example::{about, sample};
    use super::*;

    #[test]
    fn what_can_not_be_measured_honestly_is_refused() {
        let refused = |train: &[Sample], test: &[Sample]| {
            let mut measurement = Measurement::new(about(2));
            let run = FoldRun { fold: 0, train, test };
            measurement.fold(&run, None).unwrap_err().to_string()
        };
        let (a, b) = (sample(0, 1, &[1.0, 0.0]), sample(1, 2, &[0.0, 1.0]));
        assert!(refused(&[a.clone(), b.clone()], from_ref(&a)).contains("the split is broken"));
        let long = Sample {
            embedding: vec![2.0, 0.0],
            ..a.clone()
        };
        assert!(refused(from_ref(&b), &[long]).contains("length 2"));
        assert!(refused(from_ref(&b), &[sample(0, 1, &[1.0, 0.0, 0.0])]).contains("3 values"));
        assert!(refused(from_ref(&b), &[sample(2, 1, &[1.0, 0.0])]).contains("there are 2"));
        assert!(refused(from_ref(&b), &[]).contains("no held-out photos"));
        assert!(Measurement::new(about(2)).finish().is_err());
        let mut twice = Measurement::new(about(2));
        let (train, test) = ([b], [a]);
        let run = FoldRun {
            fold: 3,
            train: &train,
            test: &test,
        };
        twice.fold(&run, None).unwrap();
        assert!(
            twice
                .fold(&run, None)
                .unwrap_err()
                .to_string()
                .contains("fold 3 was measured twice")
        );
    }
}
