//! Two photos at a time: one person or two?
//!
//! With a pairs file, as Labeled Faces in the Wild does it: accuracy on its pairs, by folds of people that no pair
//! connects (those of a folds file, else ten), each fold judged by the threshold that is best on the others. TAR at FAR comes from all pairs of all
//! photos, since a few hundred pairs can't tell one in a thousand.
//!
//! Without one: all pairs of the held-out photos of a fold; vectors of two folds come from two networks and are never
//! compared. The folds are then those of the photos, and the same few people are in all of them.

use std::collections::{BTreeMap, HashMap};

use kith::verification::Estimate;
use kith::verification::pairs::{Pair, accuracy};
use kith::verification::pairs_file::PhotoName;
use kith::verification::rates::AllPairs;
use serde::Serialize;

use super::Sample;
use super::interval::RESAMPLES_OF_PAIRS;
use super::rates::{CurvePoint, curve};

/// Folds of people that a pairs file is divided into.
const FOLDS: usize = 10;
/// The false accept rates that are reported where there are enough pairs to tell.
const RATES: [f64; 2] = [0.01, 0.001];
/// Bins of the similarity histogram, from -1 to 1.
pub const HISTOGRAM_BINS: usize = 100;

/// The pairs measured.
#[derive(Debug, Clone, Serialize)]
pub struct Pairs {
    /// Pairs of one person behind the accuracy.
    pub same: usize,
    /// Pairs of two people behind the accuracy.
    pub different: usize,
    /// Pairs of the file with a photo in which no face was found; they count as two people.
    pub without_face: usize,
    /// Folds behind the accuracy.
    pub folds: usize,
    /// Whether nobody is in two folds.
    pub folds_are_of_people: bool,
    /// Mean over the folds; interval by person.
    pub accuracy: Estimate,
    /// TAR at FAR, of all pairs.
    pub rates: Vec<RateAt>,
    /// Of all pairs.
    pub roc: Vec<CurvePoint>,
    /// Of all pairs: counts by similarity, [`HISTOGRAM_BINS`] bins from -1 to 1.
    pub same_histogram: Vec<usize>,
    /// The same of pairs of two people.
    pub different_histogram: Vec<usize>,
}

/// The true accept rate where a stated share of pairs of two people passes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RateAt {
    /// The stated FAR.
    pub false_accept_rate: f64,
    /// The similarity above which that share lies.
    pub threshold_cosine: f32,
    /// TAR; interval by person.
    pub true_accept_rate: Estimate,
}

/// Measures the pairs of a file among `photos`, whose files are named `NAME/NAME_0001.jpg`.
///
/// `folds` says the fold of each person, as `kith::verification::pairs_file::parse_folds` reads it; without it, the
/// groups of people that pairs connect are packed into ten.
///
/// # Errors
/// When there are no pairs of one of the two kinds, none of the photos is there, or a pair is in no fold or in two.
pub fn of_file(
    named: &[[PhotoName; 2]],
    photos: &[Sample],
    folds: Option<&HashMap<String, usize>>,
    seed: u64,
) -> anyhow::Result<Pairs> {
    let by_file: HashMap<&str, &Sample> = photos.iter().map(|photo| (photo.file.as_str(), photo)).collect();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in named.iter().flatten() {
        let next = numbers.len();
        numbers.entry(name.person.as_str()).or_insert(next);
    }
    let people: Vec<[usize; 2]> = named
        .iter()
        .map(|pair| {
            [0, 1].map(|side: usize| {
                pair.get(side)
                    .and_then(|name| numbers.get(name.person.as_str()))
                    .copied()
                    .unwrap_or(0)
            })
        })
        .collect();
    let fold_of = match folds {
        Some(folds) => stated_folds(named, &numbers, folds)?,
        None => disjoint_folds(&people, numbers.len()),
    };
    let mut without_face = 0;
    let pairs: Vec<Pair> = named
        .iter()
        .zip(&people)
        .map(|([a, b], people)| {
            let similarity = match (by_file.get(a.file().as_str()), by_file.get(b.file().as_str())) {
                (Some(a), Some(b)) => a.cosine(b),
                _ => {
                    without_face += 1;
                    -1.0
                }
            };
            let fold = fold_of.get(people[0]).copied().unwrap_or(0);
            Pair {
                people: *people,
                similarity,
                fold,
            }
        })
        .collect();
    anyhow::ensure!(
        without_face < pairs.len(),
        "no pair of the pairs file has both photos in the folder; is it the folder with a folder for each person?"
    );
    let folds = fold_of.iter().max().map_or(0, |last| last + 1);
    let mut measured = figures(&pairs, numbers.len(), folds, true, &Compared::of(photos), seed)?;
    measured.without_face = without_face;
    Ok(measured)
}

/// The held-out photos of all folds, and their pairs.
#[derive(Debug, Default)]
pub struct HeldOut {
    compared: Compared,
    pairs: Vec<Pair>,
    folds: usize,
}

impl HeldOut {
    /// Adds the held-out photos of a fold.
    pub fn add(&mut self, fold: usize, test: &[Sample]) {
        for (index, a) in test.iter().enumerate() {
            for b in test.iter().skip(index + 1) {
                self.pairs.push(Pair {
                    people: [a.person, b.person],
                    similarity: a.cosine(b),
                    fold,
                });
            }
        }
        self.compared.add(test);
        self.folds = self.folds.max(fold + 1);
    }

    /// The figures. With a single fold the threshold is judged by no other one, which is an error.
    ///
    /// # Errors
    /// When there are no pairs of one of the two kinds.
    pub fn figures(&self, seed: u64) -> anyhow::Result<Pairs> {
        figures(
            &self.pairs,
            self.compared.people,
            self.folds,
            false,
            &self.compared,
            seed,
        )
    }
}

/// All pairs of photos, by kind.
#[derive(Debug, Default)]
struct Compared {
    same: Vec<(f32, u32)>,
    different: Vec<(f32, [u32; 2])>,
    people: usize,
}

impl Compared {
    fn of(photos: &[Sample]) -> Self {
        let mut compared = Self::default();
        compared.add(photos);
        compared
    }

    fn add(&mut self, photos: &[Sample]) {
        let number = |sample: &Sample| u32::try_from(sample.person).unwrap_or(u32::MAX);
        for (index, a) in photos.iter().enumerate() {
            self.people = self.people.max(a.person + 1);
            for b in photos.iter().skip(index + 1) {
                if a.person == b.person {
                    self.same.push((a.cosine(b), number(a)));
                } else {
                    self.different.push((a.cosine(b), [number(a), number(b)]));
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
fn figures(
    pairs: &[Pair],
    people: usize,
    folds: usize,
    folds_are_of_people: bool,
    compared: &Compared,
    seed: u64,
) -> anyhow::Result<Pairs> {
    let same = pairs.iter().filter(|pair| pair.people[0] == pair.people[1]).count();
    let different = pairs.len() - same;
    let both = |same: usize, different: usize| {
        anyhow::ensure!(
            same > 0 && different > 0,
            "pairs need two photos of one person and photos of two people; here are {same} pairs of one person and \
             {different} of two"
        );
        Ok(())
    };
    both(same, different)?;
    both(compared.same.len(), compared.different.len())?;
    anyhow::ensure!(
        folds > 1,
        "the pairs of one fold have no others to choose a threshold on"
    );
    let all = AllPairs::from_similarities(compared.same.clone(), compared.different.clone(), compared.people);
    let rates = RATES
        .into_iter()
        .filter(|rate| rate * all.different.len() as f64 >= 1.0)
        .map(|rate| RateAt {
            false_accept_rate: rate,
            threshold_cosine: all.threshold_at(rate),
            true_accept_rate: all.true_accept_rate_at(rate, RESAMPLES_OF_PAIRS, seed),
        })
        .collect();
    let same_scores: Vec<f32> = all.same.iter().map(|(similarity, _)| *similarity).collect();
    let different_scores: Vec<f32> = all.different.iter().map(|(similarity, _)| *similarity).collect();
    Ok(Pairs {
        same,
        different,
        without_face: 0,
        folds,
        folds_are_of_people,
        accuracy: accuracy(pairs, folds, people, RESAMPLES_OF_PAIRS, seed),
        rates,
        roc: curve(&same_scores, same_scores.len(), &different_scores),
        same_histogram: histogram(&same_scores),
        different_histogram: histogram(&different_scores),
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bin's number"
)]
fn histogram(similarities: &[f32]) -> Vec<usize> {
    let mut counts = vec![0; HISTOGRAM_BINS];
    for similarity in similarities {
        let bin = ((similarity + 1.0) / 2.0 * HISTOGRAM_BINS as f32).max(0.0) as usize;
        if let Some(count) = counts.get_mut(bin.min(HISTOGRAM_BINS - 1)) {
            *count += 1;
        }
    }
    counts
}

/// The fold of each person as a folds file has it.
fn stated_folds(
    named: &[[PhotoName; 2]],
    numbers: &BTreeMap<&str, usize>,
    folds: &HashMap<String, usize>,
) -> anyhow::Result<Vec<usize>> {
    let fold = |person: &str| {
        let fold = folds.get(person).copied();
        fold.ok_or_else(|| anyhow::anyhow!("{person} is in the pairs file and in no fold of the folds file"))
    };
    for [a, b] in named {
        anyhow::ensure!(
            fold(&a.person)? == fold(&b.person)?,
            "{} and {} are a pair, but in two folds",
            a.person,
            b.person
        );
    }
    let mut fold_of = vec![0; numbers.len()];
    for (person, number) in numbers {
        if let Some(place) = fold_of.get_mut(*number) {
            *place = fold(person)?;
        }
    }
    Ok(fold_of)
}

/// The fold of each person: groups of people that pairs connect stay together, and go, largest first, to the fold with
/// the fewest pairs.
fn disjoint_folds(pairs: &[[usize; 2]], people: usize) -> Vec<usize> {
    let mut group: Vec<usize> = (0..people).collect();
    for [a, b] in pairs {
        let (from, to) = (group[*a].max(group[*b]), group[*a].min(group[*b]));
        for member in &mut group {
            if *member == from {
                *member = to;
            }
        }
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for [a, _] in pairs {
        *sizes.entry(group[*a]).or_default() += 1;
    }
    let mut groups: Vec<(usize, usize)> = sizes.into_iter().map(|(group, pairs)| (pairs, group)).collect();
    groups.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut filled = [0; FOLDS];
    let mut fold_of_group = BTreeMap::new();
    for (pairs, group) in groups {
        let fold = (0..FOLDS).min_by_key(|fold| filled[*fold]).unwrap_or(0);
        filled[fold] += pairs;
        fold_of_group.insert(group, fold);
    }
    group
        .iter()
        .map(|group| fold_of_group.get(group).copied().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::example::samples;
    use super::*;

    #[test]
    fn a_file_of_pairs_is_measured_and_missing_photos_count_as_two_people() {
        let mut photos = samples(8, 4, 0.2, 1);
        for (index, photo) in photos.iter_mut().enumerate() {
            photo.file = format!("P{0}/P{0}_{1:04}.jpg", photo.person, index / 8 + 1);
        }
        let mut text = String::from("counts\n");
        for person in 0..8 {
            text += &format!("P{person}\t1\t2\nP{person}\t3\tP{}\t4\n", person ^ 1);
        }
        let named = kith::verification::pairs_file::parse(&text).unwrap();
        let measured = of_file(&named, &photos, None, 1).unwrap();
        assert_eq!((measured.same, measured.different, measured.without_face), (8, 8, 0));
        assert!((measured.accuracy.value - 1.0).abs() < 1e-9, "{measured:?}");
        // Stated folds: pairs are of an even person and the next one.
        let folds: HashMap<String, usize> = (0..8).map(|person| (format!("P{person}"), person / 4)).collect();
        assert_eq!(of_file(&named, &photos, Some(&folds), 1).unwrap().folds, 2);
        let cut = HashMap::from_iter((0..8).map(|person| (format!("P{person}"), person % 2)));
        let error = of_file(&named, &photos, Some(&cut), 1).unwrap_err().to_string();
        assert!(error.contains("P0 and P1"), "{error}");
        assert!(of_file(&named, &photos, Some(&HashMap::new()), 1).is_err());
        let missing: Vec<Sample> = photos
            .iter()
            .filter(|photo| !photo.file.ends_with("P0_0001.jpg"))
            .cloned()
            .collect();
        let measured = of_file(&named, &missing, None, 1).unwrap();
        assert_eq!(measured.without_face, 1);
        assert!(measured.accuracy.value < 1.0);
        assert!(of_file(&named, &[], None, 1).is_err());
    }

    #[test]
    fn held_out_pairs_never_cross_folds_and_agree_with_counting() {
        let all = samples(4, 10, 0.9, 2);
        let mut held_out = HeldOut::default();
        held_out.add(0, &all[..20]);
        held_out.add(1, &all[20..]);
        let measured = held_out.figures(1).unwrap();
        // Four people with five photos in each fold: 4 * 10 pairs of one person of 190.
        assert_eq!((measured.same, measured.different), (80, 300));
        assert_eq!(measured.same_histogram.iter().sum::<usize>(), 80);
        let [one_percent] = &measured.rates[..] else {
            panic!("{:?}", measured.rates)
        };
        let naive = |same: bool| -> Vec<f32> {
            let mut scores = Vec::new();
            for fold in [&all[..20], &all[20..]] {
                for i in 0..20 {
                    for j in 0..i {
                        if (fold[i].person == fold[j].person) == same {
                            scores.push(fold[i].cosine(&fold[j]));
                        }
                    }
                }
            }
            scores
        };
        let above = |scores: &[f32]| scores.iter().filter(|s| **s > one_percent.threshold_cosine).count() as f64;
        assert_eq!(above(&naive(false)), 3.0);
        assert!((above(&naive(true)) / 80.0 - one_percent.true_accept_rate.value).abs() < 1e-9);
    }

    #[test]
    fn one_person_or_one_fold_is_no_measurement() {
        let mut alone = HeldOut::default();
        alone.add(0, &samples(1, 4, 0.1, 1));
        assert!(
            alone
                .figures(1)
                .unwrap_err()
                .to_string()
                .contains("6 pairs of one person and 0 of two")
        );
        let mut one_fold = HeldOut::default();
        one_fold.add(0, &samples(2, 4, 0.1, 1));
        assert!(one_fold.figures(1).is_err());
    }

    proptest! {
        #[test]
        fn folds_of_people_cut_no_pair(pairs in prop::collection::vec([0_usize..30, 0_usize..30], 1..60)) {
            let fold_of = disjoint_folds(&pairs, 30);
            for [a, b] in pairs {
                prop_assert_eq!(fold_of[a], fold_of[b]);
            }
            prop_assert!(fold_of.iter().all(|fold| *fold < FOLDS));
        }
    }
}
