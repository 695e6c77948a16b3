//! The NVIDIA graphics card of this machine, as its driver describes it.
//!
//! Asked of the driver's own program `nvidia-smi`, which may hang with its card and is given up then, rather than of its
//! library in our process. A Jetson, whose program says little, is described by its device tree, or in a container, which
//! does not see that, by what the kernel says of its chip.
//!
//! With several cards, the networks run on the first that `CUDA_VISIBLE_DEVICES` leaves. CUDA would count them by speed
//! and the driver's program by their place on the bus; so [`count_by_bus`] makes CUDA count by place too.

use std::env;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A card that is well answers within a second or two, also when its driver has to wake up first.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it has answered.
const LOOK: Duration = Duration::from_millis(10);

/// What says which cards CUDA sees, and in which order.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// What a Jetson is called where it does not say its name.
const A_JETSON: &str = "NVIDIA Jetson";

/// Makes CUDA count the cards as the driver's program does. To be called before anything loads CUDA.
///
/// # Safety
/// No other thread may run yet: the C library reads the environment without a lock.
#[expect(unsafe_code, reason = "CUDA knows no other switch")]
pub unsafe fn count_by_bus() {
    // SAFETY: no other thread runs, by this function's own contract.
    unsafe { env::set_var("CUDA_DEVICE_ORDER", "PCI_BUS_ID") }
}

/// A graphics card. A machine with several is described by the one on which the networks run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Such as `NVIDIA GeForce RTX 3060` or `NVIDIA Jetson Orin Nano Developer Kit`.
    pub name: String,
    /// Its own memory in MiB; `None` on a Jetson, where it is the machine's.
    pub memory_mib: Option<u64>,
    /// The driver's version, on a Jetson that of its Linux, such as `R36.4.0`.
    pub driver: String,
    /// CUDA's compute capability, such as `8.6`, where the driver says it.
    pub compute_capability: Option<String>,
    /// Which one of its kind, such as `GPU-8932f937-d72c-4106-c12f-20bd9faed9f6`, where the driver says it.
    pub uuid: Option<String>,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(memory_mib) = self.memory_mib {
            write!(f, ", {memory_mib} MiB")?;
        }
        write!(f, ", driver {}", self.driver)
    }
}

impl Card {
    /// The card of this machine on which CUDA runs; `None` where there is none, or its driver does not answer.
    pub fn find() -> Option<Self> {
        let visible = env::var(VISIBLE).ok();
        Self::look(&Places::default(), &Choice::of(visible.as_deref()))
    }

    /// One that no machine has, for tests and faults on demand.
    #[cfg(any(test, feature = "fault"))]
    pub fn made_up() -> Self {
        Self {
            name: "made-up card".to_owned(),
            memory_mib: Some(8192),
            driver: "550.1".to_owned(),
            compute_capability: Some("8.6".to_owned()),
            uuid: None,
        }
    }

    fn look(places: &Places, choice: &Choice) -> Option<Self> {
        if *choice == Choice::Hidden {
            return None;
        }
        jetson(places)
            .or_else(|| smi(places, choice))
            .or_else(|| kernel(places, choice))
            .or_else(|| some_jetson(places))
    }
}

/// Which of a machine's cards CUDA takes first.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The first on the bus.
    First,
    /// The one with this place on the bus, from 0.
    Index(usize),
    /// The one whose UUID begins so.
    Uuid(String),
    /// CUDA sees none, or only a part (MIG) of one, of which nothing is known here.
    Hidden,
}

impl Choice {
    /// What `CUDA_VISIBLE_DEVICES` says: indexes or UUIDs, of which the first counts. CUDA sees no card after one that it
    /// does not know.
    fn of(visible: Option<&str>) -> Self {
        let Some(visible) = visible else {
            return Self::First;
        };
        let first = visible.split(',').next().unwrap_or_default().trim();
        match first.parse() {
            Ok(index) => Self::Index(index),
            Err(_) if first.starts_with("GPU-") => Self::Uuid(first.to_owned()),
            Err(_) => Self::Hidden,
        }
    }

    /// The one of `cards`, which are in the order of the bus.
    fn among<T>(&self, cards: Vec<T>, uuid: impl Fn(&T) -> Option<String>) -> Option<T> {
        let mut cards = cards.into_iter();
        match self {
            Self::First => cards.next(),
            Self::Index(index) => cards.nth(*index),
            Self::Uuid(wanted) => cards.find(|card| uuid(card).is_some_and(|uuid| uuid.starts_with(wanted))),
            Self::Hidden => None,
        }
    }
}

/// Where to look.
struct Places {
    smi: PathBuf,
    device_tree: PathBuf,
    tegra_release: PathBuf,
    chip: PathBuf,
    driver: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            smi: "nvidia-smi".into(),
            device_tree: "/proc/device-tree".into(),
            tegra_release: "/etc/nv_tegra_release".into(),
            chip: "/sys/devices/soc0".into(),
            driver: "/proc/driver/nvidia".into(),
        }
    }
}

/// A Jetson says its name in the device tree, which a container does not see, and as the name of its chip's machine.
fn jetson(places: &Places) -> Option<Card> {
    let files = [places.device_tree.join("model"), places.chip.join("machine")];
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let name = text.trim_end_matches('\0').trim();
        (name.contains("NVIDIA") || name.contains("Jetson")).then(|| tegra(name, places))
    })
}

/// One that says no name has its Linux' version all the same, which its container runtime shows in containers too.
fn some_jetson(places: &Places) -> Option<Card> {
    places.tegra_release.exists().then(|| tegra(A_JETSON, places))
}

/// A Jetson of that name; the version of its Linux is in a file.
fn tegra(name: &str, places: &Places) -> Card {
    let release = fs::read_to_string(&places.tegra_release).ok();
    Card {
        name: name.to_owned(),
        memory_mib: None,
        driver: release
            .as_deref()
            .and_then(tegra_version)
            .unwrap_or_else(|| "unknown".to_owned()),
        compute_capability: None,
        uuid: None,
    }
}

/// `# R36 (release), REVISION: 4.0, GCID: …` is `R36.4.0`.
fn tegra_version(release: &str) -> Option<String> {
    let major = release.trim_start_matches('#').split_whitespace().next()?;
    let (_, rest) = release.split_once("REVISION: ")?;
    let minor = rest.split([',', '\n']).next()?.trim();
    Some(format!("{major}.{minor}"))
}

/// The driver's program.
fn smi(places: &Places, choice: &Choice) -> Option<Card> {
    let mut command = Command::new(&places.smi);
    // Only the one is asked for: another that is broken makes the program fail.
    if let Choice::Index(index) = choice {
        command.arg(format!("--id={index}"));
    }
    let asked = command
        .args([
            "--query-gpu=uuid,name,memory.total,driver_version,compute_cap",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let answer = answer_within(asked.ok()?, PATIENCE)?;
    let cards: Vec<Card> = answer.lines().filter_map(of_smi).collect();
    match choice {
        Choice::Index(_) => cards.into_iter().next(),
        _ => choice.among(cards, |card| card.uuid.clone()),
    }
}

/// A line of the driver's program. What it does not know is in brackets.
fn of_smi(line: &str) -> Option<Card> {
    let mut values = line.split(", ").map(str::trim);
    let mut value = || {
        values
            .next()
            .filter(|value| !value.is_empty() && !value.starts_with('['))
    };
    let (uuid, name, memory, driver, compute_capability) = (value(), value(), value(), value(), value());
    Some(Card {
        name: name?.to_owned(),
        memory_mib: memory.and_then(|memory| memory.parse().ok()),
        driver: driver.unwrap_or("unknown").to_owned(),
        compute_capability: compute_capability.map(str::to_owned),
        uuid: uuid.map(str::to_owned),
    })
}

/// What `child` writes, if it ends well in time. It is ended otherwise.
fn answer_within(mut child: Child, patience: Duration) -> Option<String> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(None) if Instant::now() < until => thread::park_timeout(LOOK),
            // A program that hangs inside the driver can't be ended; it is left to the system then.
            _ => {
                let _ = child.kill();
                let _ = child.try_wait();
                return None;
            }
        }
    }
    // A few hundred bytes, which fit into the pipe before anybody reads them.
    let mut answer = String::new();
    child.stdout.take()?.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The driver's files, where its program is missing, as in a slim container.
fn kernel(places: &Places, choice: &Choice) -> Option<Card> {
    let gpus = fs::read_dir(places.driver.join("gpus")).ok()?;
    let mut folders: Vec<PathBuf> = gpus.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let about = |information: &str, what: &str| {
        let value = information.lines().find_map(|line| line.strip_prefix(what))?;
        Some(value.trim().to_owned())
    };
    let uuid = |information: &String| about(information, "GPU UUID:").filter(|uuid| !uuid.contains('?'));
    let cards = folders
        .iter()
        .map(|folder| fs::read_to_string(folder.join("information")).unwrap_or_default())
        .collect();
    let information = choice.among(cards, uuid)?;
    Some(Card {
        name: about(&information, "Model:")?,
        memory_mib: None,
        driver: kernel_driver(&places.driver.join("version")).unwrap_or_else(|| "unknown".to_owned()),
        compute_capability: None,
        uuid: uuid(&information),
    })
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri …`: the first word that is a number with points.
fn kernel_driver(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines()
        .next()?
        .split_whitespace()
        .find(is_version)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
