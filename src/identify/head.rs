//! A trained head: a linear layer on what the embedder says, which tells a fixed set of people apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Answer, Candidate, Doubt, Identification, Identifier, MAX_RANKED, SimilarTo, Strictness};
use crate::embed::Embedded;
use crate::gallery::Person;
use crate::model::{Catalogue, HeadModel, Reads};
use crate::runtime::{Lane, Runtime, RuntimeError};

/// The names of the network's input and output.
const INPUT: &str = "features";
const OUTPUT: &str = "logits";

/// Why a head can't be run.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The runtime refuses the file.
    #[error("the head {head} can't be opened: {source}")]
    Refused {
        /// The head's name.
        head: String,
        /// What the runtime said.
        source: RuntimeError,
    },
    /// The file is not what the entry says.
    #[error(
        "the network of the head {head} does not take {values} values as {INPUT:?} and give {classes} as {OUTPUT:?}, \
         as its entry says{}",
        because(reason)
    )]
    OtherForm {
        /// The head's name.
        head: String,
        /// Values of the embedder's output.
        values: usize,
        /// Number of its classes.
        classes: usize,
        /// What the runtime said, or nothing.
        reason: String,
    },
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

/// An open head. Clones share the network.
#[derive(Clone)]
pub struct Head {
    model: Arc<HeadModel>,
    /// One session for the workers of all cameras: a run takes microseconds, so nobody waits long for the lock, and a
    /// session for each would have to be opened for each.
    network: Arc<Mutex<Lane>>,
}

impl Head {
    /// Opens the head's network, on the CPU whatever runs the others, and tries whether it has the form that its entry
    /// says.
    ///
    /// # Errors
    /// When the file is not the catalogue's, the runtime refuses it, or it has another form.
    pub fn open(catalogue: &Catalogue, model: HeadModel, runtime: &Runtime) -> anyhow::Result<Self> {
        let onnx = catalogue.read_file(&model.file)?;
        let network = runtime
            .open_small("head", &onnx, INPUT)
            .map_err(|source| HeadError::Refused {
                head: model.name.clone(),
                source,
            })?;
        let head = Self {
            network: Arc::new(Mutex::new(network)),
            model: Arc::new(model),
        };
        head.probabilities(&vec![0.0; head.model.values])?;
        Ok(head)
    }

    /// Its entry.
    pub fn model(&self) -> &HeadModel {
        &self.model
    }

    /// An identifier that names the people whom `classes` stand for, as [`Gallery::class_people`] has them.
    ///
    /// [`Gallery::class_people`]: crate::gallery::Gallery::class_people
    pub fn identifier(&self, classes: Vec<(String, Option<Person>)>) -> HeadIdentifier {
        let mut mapped: HashMap<String, Person> = classes
            .into_iter()
            .filter_map(|(class, person)| Some((class, person?)))
            .collect();
        let people = self
            .model
            .classes
            .iter()
            .map(|class| mapped.remove(class).map(Arc::new));
        HeadIdentifier {
            people: people.collect(),
            head: self.clone(),
        }
    }

    /// The probability of each class.
    fn probabilities(&self, values: &[f32]) -> Result<Vec<f64>, HeadError> {
        let classes = self.model.classes.len();
        let other_form = |reason: String| HeadError::OtherForm {
            head: self.model.name.clone(),
            values: self.model.values,
            classes,
            reason,
        };
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let logits = network
            .run([1, values.len()], values, |outputs| {
                let (_, logits) = outputs.get(OUTPUT)?.try_extract_tensor::<f32>().ok()?;
                (logits.len() == classes && logits.iter().all(|logit| logit.is_finite())).then(|| logits.to_vec())
            })
            .map_err(|error| other_form(error.to_string()))?;
        Ok(softmax(&logits.ok_or_else(|| other_form(String::new()))?))
    }
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    // The largest is taken off first, so that no power overflows.
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Names the people whom a head was trained on.
pub struct HeadIdentifier {
    head: Head,
    /// For each class who it is; `None` where the person was removed from the gallery.
    people: Vec<Option<Arc<Person>>>,
}

impl HeadIdentifier {
    /// From which probability on a face is this person's.
    fn least_probability(&self, person: &Person, strictness: &Strictness) -> f64 {
        person
            .threshold_probability
            .or(strictness.threshold_probability)
            .unwrap_or(self.head.model.rejection.probability)
    }

    fn answer(&self, probabilities: &[f64], strictness: &Strictness) -> Identification {
        let mut by_probability: Vec<(f64, Option<&Arc<Person>>)> = probabilities
            .iter()
            .zip(&self.people)
            .map(|(probability, person)| (*probability, person.as_ref()))
            .collect();
        // Stable: of equals, the first class.
        by_probability.sort_by(|a, b| b.0.total_cmp(&a.0));
        let named = by_probability.iter().filter_map(|(probability, person)| {
            #[expect(clippy::cast_possible_truncation, reason = "a probability, for explaining")]
            person.map(|person| Candidate {
                person: Arc::clone(person),
                similarity: *probability as f32,
                ruled_out_by: None,
            })
        });
        let ranked = named.take(MAX_RANKED).collect();
        // Somebody whose face the head knows but who is to be known no longer is nobody, and like nobody else either.
        let (best, person) = by_probability.first().copied().unwrap_or((0.0, None));
        #[expect(clippy::cast_possible_truncation, reason = "probabilities, for explaining")]
        let doubt = match person {
            Some(person) if best >= self.least_probability(person, strictness) => None,
            Some(person) => Some(Doubt::BelowThreshold {
                similarity: best as f32,
                threshold: self.least_probability(person, strictness) as f32,
            }),
            None if self.people() == 0 => Some(Doubt::NobodyEnrolled),
            None => Some(Doubt::Removed),
        };
        let answer = match person {
            Some(person) if doubt.is_none() => Answer::Known {
                person: Arc::clone(person),
                confidence: best,
            },
            Some(person) => Answer::Unknown {
                confidence: 1.0 - best,
                similar_to: Some(SimilarTo {
                    person: Arc::clone(person),
                    confidence: best,
                }),
            },
            None => {
                let people = by_probability.iter().filter(|(_, person)| person.is_some());
                let likeliest = people.map(|(probability, _)| *probability).fold(0.0, f64::max);
                Answer::Unknown {
                    confidence: 1.0 - likeliest,
                    similar_to: None,
                }
            }
        };
        Identification { answer, ranked, doubt }
    }
}

impl Identifier for HeadIdentifier {
    fn identify(&self, embedded: &Embedded, strictness: &Strictness) -> Identification {
        let values = match self.head.model.reads {
            Reads::Embedding => Some(embedded.embedding.as_slice()),
            Reads::Features => embedded.features.as_deref(),
        };
        let outcome = values.map(|values| self.head.probabilities(values));
        match outcome {
            Some(Ok(probabilities)) => self.answer(&probabilities, strictness),
            failed => {
                // The form was tried at opening, so this is the runtime failing, or an embedder of another form.
                let error = failed.and_then(Result::err);
                let error = error.map_or_else(
                    || "the embedder gives no features".to_owned(),
                    |error| error.to_string(),
                );
                tracing::error!(head = self.head.model.name, error, "a head failed");
                Identification {
                    answer: Answer::Unknown {
                        confidence: 0.0,
                        similar_to: None,
                    },
                    ranked: Vec::new(),
                    doubt: Some(Doubt::Failed),
                }
            }
        }
    }

    fn people(&self) -> usize {
        self.people.iter().flatten().count()
    }
}
