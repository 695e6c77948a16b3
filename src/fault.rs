//! Faults on demand, for tests: only in builds with the feature `fault`, which no release has. Files in the state folder
//! ask for them, so that a test can do it to the real program at any moment.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;

use crate::card::Card;
use crate::detect::{DetectError, Detector, Face, FaceBox};
use crate::embed::{Embedded, Embedding};
use crate::networks::Networks;
use crate::runtime::Provider;

/// What the files' names begin with. A test looks for this text in the program to tell whether it has faults.
const PREFIX: &str = "kith-fault-";

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Takes orders from files in the state folder from now on.
pub fn listen(state: &Path) {
    if FOLDER.set(state.to_path_buf()).is_ok() {
        tracing::warn!("this build has faults on demand; it is for tests only");
    }
}

fn is_ordered(what: &str) -> bool {
    FOLDER
        .get()
        .is_some_and(|folder| folder.join(format!("{PREFIX}{what}")).exists())
}

/// Stands still as long as there is a file `kith-fault-freeze-WORKER`.
pub fn freeze(worker: &str) {
    if !is_ordered(&format!("freeze-{worker}")) {
        return;
    }
    tracing::warn!(worker, "frozen on demand");
    while is_ordered(&format!("freeze-{worker}")) {
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether every run of a network on `provider` shall fail now: there is a file `kith-fault-run-error`, or one
/// `kith-fault-card-error` and they run on a card.
pub fn run_fails(provider: Provider) -> bool {
    is_ordered("run-error") || (provider != Provider::Cpu && is_ordered("card-error"))
}

/// The networks, said to run on a card while there is a file `kith-fault-card`. They run on the CPU all the same.
pub fn with_a_card(mut networks: Networks) -> Networks {
    if is_ordered("card") {
        tracing::warn!("a card is made up on demand; the networks run on the CPU");
        let in_use = &mut networks.provider;
        in_use.provider = Provider::Cuda;
        in_use.passed_over.clear();
        in_use.card = Some(Card::made_up());
        for proof in &mut in_use.networks {
            proof.provider = Provider::Cuda;
        }
    }
    networks
}

/// Whether faces and vectors are made up instead of asking the networks: there is a file `kith-fault-made-up`.
pub fn makes_up() -> bool {
    is_ordered("made-up")
}

/// The networks, or what makes up their answers.
pub fn in_place_of(networks: Networks) -> Networks {
    if !makes_up() {
        return networks;
    }
    Networks {
        detector: Box::new(MadeUpFaces::default()),
        ..networks
    }
}

/// How long the same people stay.
const STAY_S: u64 = 4;
/// How many people there are to be made up.
const LOOKS: u64 = 50;

/// Makes up faces: none to four, others every few seconds, in step with nothing in the picture.
#[derive(Debug)]
pub struct MadeUpFaces {
    began: Instant,
}

impl Default for MadeUpFaces {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Detector for MadeUpFaces {
    fn detect(&mut self, picture: &RgbImage, _: u32) -> Result<Vec<Face>, DetectError> {
        // Cameras of different sizes are out of step.
        let step = self.began.elapsed().as_secs() / STAY_S + u64::from(picture.width());
        #[expect(clippy::cast_precision_loss, reason = "sizes of pictures")]
        let (side, height) = (picture.width() as f32 / 4.0, picture.height() as f32);
        let side = side.min(height / 1.3);
        let places = [0.0, 1.0, 2.0, 3.0];
        let there = places.into_iter().take(usize::try_from(step % 5).unwrap_or(0));
        Ok(there
            .map(|place| {
                let (left, top) = (place * side, 0.1 * side);
                let at = |x: f32, y: f32| [left + x * side, top + y * 1.2 * side];
                Face {
                    box_in_frame: FaceBox {
                        left,
                        top,
                        right: left + side,
                        bottom: top + 1.2 * side,
                    },
                    probability: 0.999,
                    landmarks: [at(0.3, 0.4), at(0.7, 0.4), at(0.5, 0.6), at(0.35, 0.8), at(0.65, 0.8)],
                }
            })
            .collect())
    }

    fn take_session_time(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// Makes up a vector of so many values for each of `crops`: somebody else every few seconds.
pub fn vectors(crops: usize, values: usize) -> Vec<Embedded> {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let looks = BEGAN.get_or_init(Instant::now).elapsed().as_secs() / STAY_S % LOOKS;
    let mut random = fastrand::Rng::with_seed(looks);
    let raw: Vec<f32> = (0..values).map(|_| random.f32() - 0.5).collect();
    let vector = Embedding::from_raw(&raw).map(Embedded::from);
    vector.into_iter().cycle().take(crops).collect()
}
