//! How true the confidences are: expected calibration error of simulated visits.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::LabelledPhoto;
use crate::embed::Embedding;

/// What an identifier said of a visitor.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// Index of the person among the enrolled; `None`: nobody enrolled.
    pub person: Option<usize>,
    /// The probability, 0 to 1, that this is right.
    pub confidence: f64,
}

/// The outcome of simulated visits.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CalibrationError {
    /// People enrolled, one photo each.
    pub enrolled: usize,
    /// Visits simulated; half of the visitors are enrolled.
    pub visits: usize,
    /// Mean over ten equally wide bins, weighted by their visits, of |share right - mean confidence|.
    pub expected_error: f64,
    /// Share of verdicts that were right.
    pub right: f64,
    /// Of the visits by strangers, the share that was given somebody's name.
    pub strangers_named: f64,
    /// Of the visits by enrolled people, the share that was given the right name.
    pub known_named: f64,
    /// Of the visits by enrolled people, the share that was given another one's name.
    pub known_misnamed: f64,
}

/// Enrols `enrolled` people by one photo each, again and again, and lets visitors come by with another photo: with
/// probability `prior_known` an enrolled person, else a stranger.
///
/// `identify` answers for a gallery and a visitor. `photos` of people with one photo serve as strangers and as further
/// enrolled people. `None` when the photos don't suffice.
pub fn measure(
    photos: &[LabelledPhoto],
    enrolled: usize,
    visits: usize,
    prior_known: f64,
    seed: u64,
    identify: impl Fn(&[&Embedding], &Embedding) -> Said,
) -> Option<CalibrationError> {
    let mut by_person: Vec<Vec<&Embedding>> = Vec::new();
    for photo in photos {
        if by_person.len() <= photo.person {
            by_person.resize(photo.person + 1, Vec::new());
        }
        by_person[photo.person].extend(photo.embedding.as_ref());
    }
    by_person.retain(|photos| !photos.is_empty());
    let several = by_person.iter().filter(|photos| photos.len() > 1).count();
    if several == 0 || by_person.len() <= enrolled {
        return None;
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut bins = [(0_u32, 0.0_f64, 0_u32); 10];
    let (mut right, mut strangers, mut strangers_named) = (0_u32, 0_u32, 0_u32);
    let (mut known, mut known_named, mut known_misnamed) = (0_u32, 0_u32, 0_u32);
    let mut order: Vec<usize> = (0..by_person.len()).collect();
    for _ in 0..visits {
        order.shuffle(&mut random);
        let comes_known = random.random_bool(prior_known);
        // A known visitor needs a second photo; whoever has one moves to the front.
        let visitor = if comes_known {
            let place = order.iter().position(|&person| by_person[person].len() > 1)?;
            order.swap(0, place);
            Some(0)
        } else {
            None
        };
        let mut photo_of = |person: usize| {
            let photos = &by_person[person];
            photos[random.random_range(0..photos.len())]
        };
        let gallery: Vec<&Embedding> = order[..enrolled].iter().map(|&person| photo_of(person)).collect();
        let probe = match visitor {
            Some(place) => by_person[order[place]]
                .iter()
                .copied()
                .find(|photo| !std::ptr::eq(*photo, gallery[place]))?,
            None => photo_of(order[enrolled]),
        };
        let said = identify(&gallery, probe);
        let is_right = said.person == visitor;
        match visitor {
            Some(_) => {
                known += 1;
                known_named += u32::from(is_right);
                known_misnamed += u32::from(said.person.is_some() && !is_right);
            }
            None => {
                strangers += 1;
                strangers_named += u32::from(said.person.is_some());
            }
        }
        right += u32::from(is_right);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9")]
        let bin = &mut bins[((said.confidence * 10.0) as usize).min(9)];
        bin.0 += 1;
        bin.1 += said.confidence;
        bin.2 += u32::from(is_right);
    }
    let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
    #[expect(clippy::cast_precision_loss, reason = "a number of visits")]
    let expected_error = bins
        .iter()
        .map(|(_, confidence, right)| (f64::from(*right) - confidence).abs())
        .sum::<f64>()
        / visits as f64;
    Some(CalibrationError {
        enrolled,
        visits,
        expected_error,
        right: share(right, known + strangers),
        strangers_named: share(strangers_named, strangers),
        known_named: share(known_named, known),
        known_misnamed: share(known_misnamed, known),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty people in forty directions, two photos each, the same but for a little turn.
    fn photos() -> Vec<LabelledPhoto> {
        (0..80)
            .map(|index| {
                let mut raw = vec![0.0; 40];
                raw[index / 2] = 1.0;
                raw[(index / 2 + 1) % 40] = if index % 2 == 0 { 0.1 } else { -0.1 };
                LabelledPhoto {
                    person: index / 2,
                    embedding: Embedding::from_raw(&raw),
                }
            })
            .collect()
    }

    fn nearest(gallery: &[&Embedding], probe: &Embedding, confidence: f64) -> Said {
        let best = (0..gallery.len()).max_by(|a, b| probe.cosine(gallery[*a]).total_cmp(&probe.cosine(gallery[*b])));
        Said {
            person: best.filter(|best| probe.cosine(gallery[*best]) > 0.5),
            confidence,
        }
    }

    #[test]
    fn a_perfect_identifier_that_is_sure_has_no_error_and_one_that_doubts_has() {
        let sure = measure(&photos(), 5, 500, 0.5, 1, |gallery, probe| nearest(gallery, probe, 1.0)).unwrap();
        assert!(
            sure.expected_error < 1e-9 && sure.right > 0.999 && sure.strangers_named == 0.0,
            "{sure:?}"
        );
        let doubting = measure(&photos(), 5, 500, 0.5, 1, |gallery, probe| nearest(gallery, probe, 0.7)).unwrap();
        assert!((doubting.expected_error - 0.3).abs() < 1e-6, "{doubting:?}");
    }

    #[test]
    fn too_few_people_are_no_measurement() {
        assert!(
            measure(&photos(), 40, 10, 0.5, 1, |_, _| Said {
                person: None,
                confidence: 1.0
            })
            .is_none()
        );
    }
}
