//! A linear head: multinomial logistic regression on what a frozen network gives, with its probabilities made true and a
//! limit below which it says unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::adam::Adam;
use crate::measure::log::LogLine;
use crate::weights::{self, Weights};

/// Where the spread of an input value counts as none, so that it is not blown up.
const LEAST_SPREAD: f64 = 1e-6;

/// How a head is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadCourse {
    /// Steps over all samples at once.
    pub steps: usize,
    /// Highest learning rate; it falls to zero along half a cosine.
    pub learning_rate: f64,
    /// Weight of the squared length of the weights, per sample, in units of standardised inputs. Keeps a head of few
    /// photos from being sure of itself.
    pub ridge: f64,
    /// Whether a class counts the same however many photos it has.
    pub class_weights: bool,
    /// Weight of being unsure of other people's faces, beside naming the right person (Hendrycks, Mazeika and Dietterich
    /// 2019, "Deep anomaly detection with outlier exposure", arXiv 1812.04606).
    pub others_weight: f64,
}

impl Default for HeadCourse {
    fn default() -> Self {
        Self {
            steps: 300,
            learning_rate: 0.05,
            ridge: 1e-3,
            class_weights: true,
            others_weight: 1.0,
        }
    }
}

/// A trained head: `logits = weight * input + bias`, divided by the temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// One row for each class.
    pub weight: Vec<Vec<f32>>,
    /// One for each class.
    pub bias: Vec<f32>,
}

impl Head {
    /// The logits of each class for an input, before the temperature.
    pub fn logits(&self, input: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| {
            row.iter()
                .zip(input)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum::<f64>()
        };
        #[expect(clippy::cast_possible_truncation, reason = "a logit")]
        self.weight
            .iter()
            .zip(&self.bias)
            .map(|(row, bias)| (dot(row) + f64::from(*bias)) as f32)
            .collect()
    }

    /// The weights for [`crate::nets::head`], whose logits are those of [`Self::logits`] divided by `temperature`.
    #[expect(clippy::cast_possible_truncation, reason = "weights")]
    pub fn weights(&self, temperature: f64) -> Weights {
        let cooled = |value: &f32| (f64::from(*value) / temperature) as f32;
        let shape = vec![self.weight.len(), self.weight.first().map_or(0, Vec::len)];
        BTreeMap::from([
            (
                "linear.weight".to_owned(),
                weights::Tensor {
                    shape,
                    values: self.weight.iter().flatten().map(cooled).collect(),
                },
            ),
            (
                "linear.bias".to_owned(),
                weights::Tensor {
                    shape: vec![self.bias.len()],
                    values: self.bias.iter().map(cooled).collect(),
                },
            ),
        ])
    }
}

/// Trains a head on `inputs`, all of one length, whose classes are `classes`, `0..class_count`, each there at least
/// once. Of `others`, faces of nobody among them, it learns to think every class as probable as any other. `each_step` is
/// told how it goes. The same inputs give the same head.
///
/// # Errors
/// When there is nothing to tell apart, or libtorch fails.
pub fn train(
    inputs: &[&[f32]],
    classes: &[usize],
    class_count: usize,
    others: &[&[f32]],
    course: &HeadCourse,
    mut each_step: impl FnMut(LogLine),
) -> anyhow::Result<Head> {
    let values = inputs.first().map_or(0, |input| input.len());
    anyhow::ensure!(
        class_count > 1 && values > 0 && inputs.len() == classes.len(),
        "a head needs the photos of at least two people to tell apart"
    );
    let mut photos = vec![0_usize; class_count];
    for class in classes {
        *photos
            .get_mut(*class)
            .ok_or_else(|| anyhow::anyhow!("class {class} is not among the {class_count}"))? += 1;
    }
    anyhow::ensure!(
        photos.iter().all(|&count| count > 0),
        "somebody among the {class_count} people has no photo to learn from"
    );
    let flat: Vec<f32> = inputs.iter().flat_map(|input| input.iter().copied()).collect();
    let shape = [i64::try_from(inputs.len())?, i64::try_from(values)?];
    let raw = Tensor::f_from_slice(&flat)?.f_reshape(shape)?;
    let mean = raw.f_mean_dim([0i64].as_slice(), true, Kind::Float)?;
    let spread = raw
        .f_std_dim([0i64].as_slice(), false, true)?
        .f_clamp_min(LEAST_SPREAD)?;
    let input = (raw - &mean) / &spread;
    let other_input = if others.is_empty() {
        None
    } else {
        let flat: Vec<f32> = others.iter().flat_map(|other| other.iter().copied()).collect();
        let raw = Tensor::f_from_slice(&flat)?.f_reshape([i64::try_from(others.len())?, shape[1]])?;
        Some((raw - &mean) / &spread)
    };
    let target: Vec<i64> = classes.iter().map(|class| i64::try_from(*class).unwrap_or(0)).collect();
    let target = Tensor::f_from_slice(&target)?;
    let class_weight: Vec<f32> = photos
        .iter()
        .map(|&count| {
            let even = classes.len() as f32 / (class_count * count) as f32;
            if course.class_weights { even } else { 1.0 }
        })
        .collect();
    let class_weight = Tensor::f_from_slice(&class_weight)?;
    let weight = Tensor::f_zeros([i64::try_from(class_count)?, shape[1]], (Kind::Float, tch::Device::Cpu))?
        .f_set_requires_grad(true)?;
    let bias =
        Tensor::f_zeros([i64::try_from(class_count)?], (Kind::Float, tch::Device::Cpu))?.f_set_requires_grad(true)?;
    let mut adam = Adam::new(0.0);
    for step in 0..course.steps {
        let logits = input.f_linear(&weight, Some(&bias))?;
        let fit = logits.f_cross_entropy_loss(&target, Some(&class_weight), tch::Reduction::Mean, -100, 0.0)?;
        let mut loss = &fit + weight.f_square()?.f_sum(Kind::Float)? * course.ridge;
        if let Some(others) = &other_input {
            // Cross-entropy to the even distribution.
            let unsure = others.f_linear(&weight, Some(&bias))?.f_log_softmax(1, None::<Kind>)?;
            loss -= unsure.f_mean(Kind::Float)? * course.others_weight;
        }
        loss.f_backward()?;
        let learning_rate =
            course.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / course.steps as f64).cos());
        adam.step([("bias", &bias), ("weight", &weight)].into_iter(), learning_rate)?;
        let right = logits
            .f_argmax(1, false)?
            .f_eq_tensor(&target)?
            .f_to_kind(Kind::Float)?;
        each_step(LogLine {
            epoch: u32::try_from(step + 1)?,
            loss: fit.double_value(&[]),
            accuracy: Some(right.f_mean(Kind::Float)?.double_value(&[])),
            learning_rate: Some(learning_rate),
            ..LogLine::default()
        });
    }
    unstandardised(&weight, &bias, &mean, &spread).map_err(Into::into)
}

/// The head for inputs as they come: the standardisation goes into weights and bias.
fn unstandardised(weight: &Tensor, bias: &Tensor, mean: &Tensor, spread: &Tensor) -> Result<Head, TchError> {
    tch::no_grad(|| {
        let weight = weight.f_div(spread)?;
        let bias = bias
            - weight
                .f_mul(mean)?
                .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        Ok(Head {
            weight: super::samples::rows_of(&weight)?,
            bias: Vec::<f32>::try_from(bias)?,
        })
    })
}

/// A head with the temperature that makes its probabilities true.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueHead {
    /// The head, trained on all samples.
    pub head: Head,
    /// What its logits are divided by.
    pub temperature: f64,
    /// Share of photos that heads without their fold named rightly, 0 to 1.
    pub accuracy_held_out: f64,
}

/// One photo, in one of the forms in which a head may learn it.
#[derive(Debug, Clone, Copy)]
pub struct Lesson<'a> {
    /// What the head reads.
    pub input: &'a [f32],
    /// Whom it shows, `0..class_count`.
    pub class: usize,
    /// The photo's fold.
    pub fold: usize,
    /// Whether it is the photo itself. What was made of it is learned from, but nothing is measured on it.
    pub is_photo: bool,
}

impl TrueHead {
    /// Trains a head on all `lessons`, and finds its temperature on photos that heads without their fold have not seen.
    ///
    /// # Errors
    /// As [`train`]; also when the photos are all in one fold.
    pub fn train(
        lessons: &[Lesson<'_>],
        class_count: usize,
        others: &[&[f32]],
        course: &HeadCourse,
        each_step: impl FnMut(LogLine),
    ) -> anyhow::Result<Self> {
        let folds: std::collections::BTreeSet<usize> = lessons.iter().map(|lesson| lesson.fold).collect();
        let (mut logits, mut truth) = (Vec::new(), Vec::new());
        for held_out in folds {
            let (asked, learned): (Vec<&Lesson>, Vec<&Lesson>) =
                lessons.iter().partition(|lesson| lesson.fold == held_out);
            // Somebody whose photos are all in one fold can't be learned without it.
            let Ok(head) = train_on(&learned, class_count, others, course, |_| ()) else {
                continue;
            };
            for lesson in asked.into_iter().filter(|lesson| lesson.is_photo) {
                logits.push(head.logits(lesson.input));
                truth.push(lesson.class);
            }
        }
        anyhow::ensure!(
            !logits.is_empty(),
            "somebody's photos are all in one fold, so there is nothing to find a temperature with; split again with \
             fewer folds or add photos"
        );
        let is_right = |(logits, truth): (&Vec<f32>, &usize)| logits.iter().all(|logit| *logit <= logits[*truth]);
        let right = logits.iter().zip(&truth).filter(|pair| is_right(*pair)).count();
        let head = train_on(
            &lessons.iter().collect::<Vec<_>>(),
            class_count,
            others,
            course,
            each_step,
        )?;
        Ok(Self {
            accuracy_held_out: right as f64 / logits.len() as f64,
            temperature: crate::measure::temperature::fit_temperature(&logits, &truth)?,
            head,
        })
    }

    /// How probable each class is for an input; they add up to 1.
    pub fn probabilities(&self, input: &[f32]) -> Vec<f32> {
        let cooled: Vec<f64> = self
            .head
            .logits(input)
            .iter()
            .map(|z| f64::from(*z) / self.temperature)
            .collect();
        let most = cooled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = cooled.iter().map(|z| (z - most).exp()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        cooled.iter().map(|z| ((z - most).exp() / sum) as f32).collect()
    }
}

fn train_on(
    lessons: &[&Lesson<'_>],
    class_count: usize,
    others: &[&[f32]],
    course: &HeadCourse,
    each_step: impl FnMut(LogLine),
) -> anyhow::Result<Head> {
    let inputs: Vec<&[f32]> = lessons.iter().map(|lesson| lesson.input).collect();
    let classes: Vec<usize> = lessons.iter().map(|lesson| lesson.class).collect();
    train(&inputs, &classes, class_count, others, course, each_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clusters in the plane, far from the origin and of different spread.
    fn clusters() -> (Vec<[f32; 2]>, Vec<usize>) {
        let centres = [[10.0_f32, 0.1], [11.0, 0.1], [10.5, 0.3]];
        (0..60)
            .map(|i| {
                let (class, turn) = (i % 3, i as f32);
                let [x, y] = centres[class];
                ([x + 0.2 * turn.sin(), y + 0.03 * (1.7 * turn).cos()], class)
            })
            .unzip()
    }

    #[test]
    fn clusters_are_told_apart_and_the_answer_does_not_change() {
        let (points, classes) = clusters();
        let inputs: Vec<&[f32]> = points.iter().map(|point| point.as_slice()).collect();
        let mut log = Vec::new();
        let head = train(&inputs, &classes, 3, &[], &HeadCourse::default(), |line| log.push(line)).unwrap();
        let right = inputs.iter().zip(&classes).filter(|(input, class)| {
            let logits = head.logits(input);
            logits.iter().all(|logit| *logit <= logits[**class])
        });
        assert_eq!(right.count(), 60);
        assert!(log.last().unwrap().loss < 0.5 * log[0].loss);
        assert_eq!(
            head,
            train(&inputs, &classes, 3, &[], &HeadCourse::default(), |_| ()).unwrap()
        );
    }

    #[test]
    fn of_others_it_is_unsure() {
        let (points, classes) = clusters();
        let inputs: Vec<&[f32]> = points.iter().map(|point| point.as_slice()).collect();
        let strange = [[9.0_f32, 0.6], [9.2, 0.5], [9.1, 0.7]];
        let others: Vec<&[f32]> = strange.iter().map(|point| point.as_slice()).collect();
        let highest = |others: &[&[f32]], asked: &[f32]| {
            let head = train(&inputs, &classes, 3, others, &HeadCourse::default(), |_| ()).unwrap();
            TrueHead {
                head,
                temperature: 1.0,
                accuracy_held_out: 1.0,
            }
            .probabilities(asked)
            .into_iter()
            .fold(0.0, f32::max)
        };
        assert!(highest(&others, &[9.1, 0.6]) + 0.2 < highest(&[], &[9.1, 0.6]));
    }

    #[test]
    fn the_temperature_divides_the_logits() {
        let head = Head {
            weight: vec![vec![1.0, 2.0], vec![-1.0, 0.5]],
            bias: vec![0.25, -4.0],
        };
        let weights = head.weights(2.0);
        assert_eq!(weights["linear.weight"].values, [0.5, 1.0, -0.5, 0.25]);
        assert_eq!(weights["linear.bias"].values, [0.125, -2.0]);
        assert_eq!(weights["linear.weight"].shape, [2, 2]);
    }

    #[test]
    fn one_class_or_an_empty_one_is_refused() {
        let inputs: [&[f32]; 2] = [&[1.0], &[2.0]];
        let refused = |classes: &[usize], count| {
            train(&inputs, classes, count, &[], &HeadCourse::default(), |_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[0, 0], 1).contains("two people"));
        assert!(refused(&[0, 1], 3).contains("no photo"));
    }
}
