//! A course of training: epochs of batches, a bar and a log, the best weights kept, an early end when nothing gets
//! better, and going on after a kill as if there had been none.
//!
//! Whatever is random hangs on the seed, the epoch and the batch, not on what was drawn before; so the state after an
//! epoch is weights, optimiser and counters, and an epoch that a kill cut short is done again from its beginning.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::adam::{Adam, clip_gradients};
use super::batches::{Ahead, random_of};
use super::checkpoint::{self, BEST, LAST};
use super::net::Net;
use super::samples::Pictures;
use super::schedule::Schedule;
use crate::measure::log::LogLine;
use crate::whole_file::{remove_unfinished, write_whole};

/// The log's name in the run's folder.
pub const LOG: &str = "log.jsonl";

/// What is learned from which pictures.
pub trait Objective {
    /// The places of the samples in each batch of an epoch.
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>>;

    /// The samples.
    fn pictures(&self) -> &Pictures<'_>;

    /// The loss of a batch in learning.
    ///
    /// # Errors
    /// When libtorch fails.
    fn loss(&self, net: &Net, input: &Tensor, samples: &[usize], random: &mut StdRng) -> anyhow::Result<Loss>;

    /// Loss and accuracy on samples that are not learned from.
    ///
    /// # Errors
    /// When libtorch fails.
    fn validate(&self, net: &Net) -> anyhow::Result<Validation>;
}

/// Of a batch.
#[derive(Debug)]
pub struct Loss {
    /// A scalar to go down; `None` where the batch has nothing to teach.
    pub loss: Option<Tensor>,
    /// Share of the batch that was right, 0 to 1, as the objective means it.
    pub accuracy: f64,
}

/// On held-out samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// What early stopping goes by; less is better.
    pub loss: f64,
    /// 0 to 1, as the objective means it.
    pub accuracy: f64,
}

impl Validation {
    /// To twelve decimals. So it comes back from JSON as it was, whose reader can miss the last digit of longer ones;
    /// then a resumed run would not be the same.
    fn rounded(self) -> Self {
        let rounded = |value: f64| (value * 1e12).round() / 1e12;
        Self {
            loss: rounded(self.loss),
            accuracy: rounded(self.accuracy),
        }
    }
}

/// How to train; all of it decides the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Passes over the samples, at most.
    pub epochs: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Epochs of a linear rise at the beginning.
    pub warm_up_epochs: usize,
    /// Per step and learning rate.
    pub weight_decay: f64,
    /// Gradients are scaled down to this common length.
    pub clip: f64,
    /// Ends after so many epochs without a better validation loss; `None`: never early.
    pub patience: Option<usize>,
    /// Of everything drawn by chance.
    pub seed: u64,
}

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State<A> {
    /// What is trained on what: a run can only be gone on with when this is the same.
    pub about: A,
    /// How.
    pub course: Course,
    /// Whole epochs done.
    pub epochs_done: usize,
    /// Steps done.
    pub steps: i32,
    /// The best so far, and in which epoch, from 1; epoch 0 is before the first step.
    pub best: (usize, Validation),
}

/// How a course ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Whole epochs done.
    pub epochs_done: usize,
    /// Which epoch was the best, from 1; 0: the weights that it began with.
    pub best_epoch: usize,
    /// Validation there.
    pub best: Validation,
    /// Faces learned from in each second, validation not counted; `None` where nothing was left to do.
    pub faces_per_s: Option<f64>,
    /// Share of the training time that the training thread waited for batches, 0 to 1.
    pub waited_share: f64,
}

/// Trains `net`, which begins with the weights that it has, and leaves the best weights in it and in
/// `folder/best.safetensors`. With `resume`, goes on from `folder/last.safetensors` where that is.
///
/// # Errors
/// When the folder holds another run, the disk is full, or libtorch fails. What was written before stays whole.
pub fn run<A: Clone + PartialEq + Serialize + serde::de::DeserializeOwned>(
    net: &mut Net,
    objective: &impl Objective,
    course: &Course,
    about: &A,
    folder: &Path,
    resume: bool,
) -> anyhow::Result<Outcome> {
    fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
    remove_unfinished(folder);
    let last = folder.join(LAST);
    let mut adam = Adam::new(course.weight_decay);
    let steps_per_epoch = objective.batches(0).len();
    ensure!(steps_per_epoch > 0, "there is nothing to train on");
    let mut state = if last.exists() {
        ensure!(
            resume,
            "{} holds a run already; --resume goes on with it, or name another folder with --out",
            folder.display()
        );
        let (weights, moments, mut state) = checkpoint::read_state::<State<A>>(&last).with_context(|| {
            format!(
                "can't go on with the run in {}; another one can begin with its best weights, --start {}",
                folder.display(),
                folder.join(BEST).display()
            )
        })?;
        if !is_same(&state, about, course)? {
            bail!(
                "the run in {} was started with other settings or other faces, so going on with it would be neither; \
                 repeat its settings, or name another folder with --out",
                folder.display()
            );
        }
        (state.about, state.course) = (about.clone(), course.clone());
        net.set_weights(&weights)?;
        adam = Adam::resume(course.weight_decay, state.steps, moments)
            .map_err(|what| anyhow::anyhow!("{} is damaged: {what}", last.display()))?;
        state
    } else {
        spare_best(folder, course, about, resume)?;
        let state = State {
            about: about.clone(),
            course: course.clone(),
            epochs_done: 0,
            steps: 0,
            best: (0, objective.validate(net)?.rounded()),
        };
        checkpoint::write_weights(&folder.join(BEST), net, &state)?;
        state
    };
    let schedule = Schedule {
        peak: course.learning_rate,
        warm_up_steps: course.warm_up_epochs * steps_per_epoch,
        steps: course.epochs * steps_per_epoch,
    };
    let mut log = open_log(&folder.join(LOG), state.epochs_done)?;
    let bar = bar(course.epochs * steps_per_epoch, state.epochs_done * steps_per_epoch);
    let (mut faces, mut trained_s, mut waited_s) = (0, 0.0, 0.0);
    while state.epochs_done < course.epochs && !is_over(course, &state) {
        let epoch = state.epochs_done;
        let done = one_epoch(net, &mut adam, objective, course, &schedule, epoch, &bar)?;
        let validation = objective.validate(net)?.rounded();
        state.epochs_done += 1;
        state.steps = adam.steps();
        if validation.loss < state.best.1.loss {
            state.best = (state.epochs_done, validation);
            checkpoint::write_weights(&folder.join(BEST), net, &state)?;
        }
        let line = LogLine {
            epoch: u32::try_from(state.epochs_done)?,
            loss: done.loss,
            accuracy: Some(done.accuracy),
            val_loss: Some(validation.loss),
            val_accuracy: Some(validation.accuracy),
            learning_rate: Some(done.learning_rate),
            faces_per_second: Some(done.faces as f64 / done.seconds),
            waited: Some(done.waited_s / done.seconds),
            seconds: Some(done.seconds),
        };
        writeln!(log, "{}", serde_json::to_string(&line)?).context("can't write the log")?;
        // Last of all: from here on the epoch counts.
        checkpoint::write_state(&last, net, &adam, &state)?;
        bar.println(format!(
            "epoch {:>3}  loss {:.4}  accuracy {:5.1} %  held out: loss {:.4}  accuracy {:5.1} %{}",
            state.epochs_done,
            done.loss,
            100.0 * done.accuracy,
            validation.loss,
            100.0 * validation.accuracy,
            if state.best.0 == state.epochs_done {
                "  best"
            } else {
                ""
            }
        ));
        faces += done.faces;
        trained_s += done.seconds;
        waited_s += done.waited_s;
    }
    bar.finish_and_clear();
    let (weights, _) = checkpoint::read_weights::<State<A>>(&folder.join(BEST))?;
    net.set_weights(&weights)?;
    Ok(Outcome {
        epochs_done: state.epochs_done,
        best_epoch: state.best.0,
        best: state.best.1,
        faces_per_s: (trained_s > 0.0).then(|| faces as f64 / trained_s),
        waited_share: if trained_s > 0.0 { waited_s / trained_s } else { 0.0 },
    })
}

/// Refuses to begin where that would write over the best weights of another run. What is no loss: the weights that a run
/// began with, and, for who resumes, those of a first epoch that a kill cut off and that will be done again.
fn spare_best<A: PartialEq + Serialize + serde::de::DeserializeOwned>(
    folder: &Path,
    course: &Course,
    about: &A,
    resume: bool,
) -> anyhow::Result<()> {
    let best = folder.join(BEST);
    if !best.exists() {
        return Ok(());
    }
    let (_, state) = checkpoint::read_weights::<State<A>>(&best)?;
    let will_be_the_same = resume && state.epochs_done == 1 && is_same(&state, about, course)?;
    ensure!(
        will_be_the_same || state.epochs_done == 0,
        "{} holds the best weights of a run that can't be gone on with, since {LAST} is not there; name another folder \
         with --out",
        folder.display()
    );
    Ok(())
}

/// Whether a state that was read is of the same training. What is compared has been through JSON on both sides.
fn is_same<A: PartialEq + Serialize + serde::de::DeserializeOwned>(
    state: &State<A>,
    about: &A,
    course: &Course,
) -> anyhow::Result<bool> {
    let about: A = serde_json::from_str(&serde_json::to_string(about)?)?;
    let course: Course = serde_json::from_str(&serde_json::to_string(course)?)?;
    Ok(state.about == about && state.course == course)
}

fn is_over<A>(course: &Course, state: &State<A>) -> bool {
    course
        .patience
        .is_some_and(|patience| state.epochs_done >= state.best.0 + patience.max(1))
}

/// What an epoch came to.
struct Epoch {
    loss: f64,
    accuracy: f64,
    learning_rate: f64,
    faces: usize,
    seconds: f64,
    waited_s: f64,
}

/// A batch as the loaders hand it over.
pub(super) struct Batch {
    /// Places among the objective's pictures.
    pub(super) samples: Vec<usize>,
    planes: Vec<f32>,
}

impl Batch {
    /// Draws the pictures of `samples`, batch `number` of an epoch.
    pub(super) fn draw(pictures: &Pictures<'_>, samples: Vec<usize>, seed: u64, epoch: usize, number: usize) -> Self {
        let values: usize = pictures.preprocessing.shape().iter().product();
        let mut planes = vec![0.0; samples.len() * values];
        for (place, (sample, planes)) in samples.iter().zip(planes.chunks_exact_mut(values)).enumerate() {
            let mut random = random_of(&[seed, epoch as u64, number as u64, place as u64]);
            pictures.picture(*sample, &mut random, planes);
        }
        Self { samples, planes }
    }

    /// One step of learning on it, the `number`-th of an epoch; gives loss and accuracy.
    ///
    /// # Errors
    /// When the loss is no number any more, or libtorch fails.
    pub(super) fn learn(
        &self,
        net: &Net,
        adam: &mut Adam,
        objective: &impl Objective,
        course: &Course,
        (epoch, number): (usize, usize),
        learning_rate: f64,
    ) -> anyhow::Result<(f64, f64)> {
        let [channels, height, width] = objective.pictures().preprocessing.shape();
        let shape = [self.samples.len(), channels, height, width].map(|length| i64::try_from(length).unwrap_or(0));
        let input = Tensor::f_from_slice(&self.planes)?
            .f_reshape(shape)?
            .f_to_device(net.device())?;
        // Apart from the numbers that the pictures were drawn with.
        let mut random = random_of(&[course.seed, epoch as u64, number as u64, u64::MAX]);
        let step = objective.loss(net, &input, &self.samples, &mut random)?;
        let Some(scalar) = step.loss else {
            return Ok((0.0, step.accuracy));
        };
        let loss = scalar.double_value(&[]);
        ensure!(
            loss.is_finite(),
            "the loss is no number any more (epoch {}, batch {number}); a lower --learning-rate helps",
            epoch + 1
        );
        scalar.f_backward()?;
        clip_gradients(net.learned().map(|(_, tensor)| tensor), course.clip)?;
        adam.step(net.learned(), learning_rate)?;
        Ok((loss, step.accuracy))
    }
}

fn one_epoch(
    net: &Net,
    adam: &mut Adam,
    objective: &impl Objective,
    course: &Course,
    schedule: &Schedule,
    epoch: usize,
    bar: &ProgressBar,
) -> anyhow::Result<Epoch> {
    let batches = objective.batches(epoch);
    let pictures = objective.pictures();
    let make = |number: usize| {
        let samples = batches.get(number).cloned().unwrap_or_default();
        Batch::draw(pictures, samples, course.seed, epoch, number)
    };
    let began = Instant::now();
    let (mut loss_sum, mut accuracy_sum, mut faces, mut learning_rate) = (0.0, 0.0, 0, 0.0);
    let waited_s = std::thread::scope(|scope| -> anyhow::Result<f64> {
        let mut ahead = Ahead::start(scope, loader_threads(), batches.len(), &make)?;
        for (number, batch) in ahead.by_ref().enumerate() {
            learning_rate = schedule.rate(epoch * batches.len() + number);
            let (loss, accuracy) = batch.learn(net, adam, objective, course, (epoch, number), learning_rate)?;
            loss_sum += loss;
            accuracy_sum += accuracy;
            faces += batch.samples.len();
            bar.inc(1);
            bar.set_message(format!(
                "epoch {}/{}  loss {:.4}  accuracy {:.1} %",
                epoch + 1,
                course.epochs,
                loss_sum / (number + 1) as f64,
                100.0 * accuracy_sum / (number + 1) as f64
            ));
        }
        Ok(ahead.waited().as_secs_f64())
    })?;
    let count = batches.len().max(1) as f64;
    Ok(Epoch {
        loss: loss_sum / count,
        accuracy: accuracy_sum / count,
        learning_rate,
        faces,
        seconds: began.elapsed().as_secs_f64(),
        waited_s,
    })
}

/// Threads that make batches. They work while libtorch does, on the same cores.
pub(super) fn loader_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Opens the log for appending, without the lines of epochs that will be done again.
fn open_log(path: &Path, epochs_done: usize) -> anyhow::Result<File> {
    let failed = || format!("can't write {}", path.display());
    let mut kept = String::new();
    if let Ok(file) = File::open(path) {
        for line in BufReader::new(file).lines() {
            let line = line.with_context(failed)?;
            let is_done = serde_json::from_str::<LogLine>(&line).is_ok_and(|line| line.epoch as usize <= epochs_done);
            if is_done {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    }
    write_whole(path, kept.as_bytes())?;
    OpenOptions::new().append(true).open(path).with_context(failed)
}

fn bar(steps: usize, done: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left");
    let bar = ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(done as u64);
    bar.reset_eta();
    bar
}
