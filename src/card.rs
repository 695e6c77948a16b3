//! The NVIDIA graphics card of this machine, as its driver describes it.
//!
//! Asked of the driver's own program `nvidia-smi`, which may hang with its card and is given up then, rather than of its
//! library in our process. A Jetson, whose program says little, is described by its device tree.

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

/// A graphics card. A machine with several is described by its first, on which the networks run.
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
    /// The card of this machine; `None` where there is none, or its driver does not answer.
    pub fn find() -> Option<Self> {
        Self::look(&Places::default())
    }

    fn look(places: &Places) -> Option<Self> {
        jetson(places).or_else(|| smi(places)).or_else(|| kernel(places))
    }
}

/// Where to look.
struct Places {
    smi: PathBuf,
    device_tree: PathBuf,
    tegra_release: PathBuf,
    driver: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            smi: "nvidia-smi".into(),
            device_tree: "/proc/device-tree".into(),
            tegra_release: "/etc/nv_tegra_release".into(),
            driver: "/proc/driver/nvidia".into(),
        }
    }
}

/// A Jetson says its name in the device tree, and the version of its Linux in a file.
fn jetson(places: &Places) -> Option<Card> {
    let model = fs::read_to_string(places.device_tree.join("model")).ok()?;
    let name = model.trim_end_matches('\0').trim();
    if !name.contains("NVIDIA") && !name.contains("Jetson") {
        return None;
    }
    let release = fs::read_to_string(&places.tegra_release).ok();
    Some(Card {
        name: name.to_owned(),
        memory_mib: None,
        driver: release
            .as_deref()
            .and_then(tegra_version)
            .unwrap_or_else(|| "unknown".to_owned()),
        compute_capability: None,
    })
}

/// `# R36 (release), REVISION: 4.0, GCID: …` is `R36.4.0`.
fn tegra_version(release: &str) -> Option<String> {
    let major = release.trim_start_matches('#').split_whitespace().next()?;
    let (_, rest) = release.split_once("REVISION: ")?;
    let minor = rest.split([',', '\n']).next()?.trim();
    Some(format!("{major}.{minor}"))
}

/// The driver's program.
fn smi(places: &Places) -> Option<Card> {
    let asked = Command::new(&places.smi)
        .args([
            "--query-gpu=name,memory.total,driver_version,compute_cap",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let answer = answer_within(asked.ok()?, PATIENCE)?;
    let mut values = answer.lines().next()?.split(", ").map(str::trim);
    let mut value = || {
        values
            .next()
            .filter(|value| !value.is_empty() && !value.starts_with('['))
    };
    let (name, memory, driver, compute_capability) = (value(), value(), value(), value());
    Some(Card {
        name: name?.to_owned(),
        memory_mib: memory.and_then(|memory| memory.parse().ok()),
        driver: driver.unwrap_or("unknown").to_owned(),
        compute_capability: compute_capability.map(str::to_owned),
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
fn kernel(places: &Places) -> Option<Card> {
    let gpus = fs::read_dir(places.driver.join("gpus")).ok()?;
    let mut folders: Vec<PathBuf> = gpus.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let information = fs::read_to_string(folders.first()?.join("information")).ok()?;
    let name = information.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(Card {
        name: name.trim().to_owned(),
        memory_mib: None,
        driver: kernel_driver(&places.driver.join("version")).unwrap_or_else(|| "unknown".to_owned()),
        compute_capability: None,
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
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A machine in a folder; `smi` is the script of its `nvidia-smi`.
    fn machine(files: &[(&str, &str)], smi: &str) -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, text) in files {
            fs::create_dir_all(place(name).parent().unwrap()).unwrap();
            fs::write(place(name), text).unwrap();
        }
        if !smi.is_empty() {
            fs::write(place("nvidia-smi"), format!("#!/bin/sh\n{smi}\n")).unwrap();
            fs::set_permissions(place("nvidia-smi"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let places = Places {
            smi: place("nvidia-smi"),
            device_tree: place("device-tree"),
            tegra_release: place("nv_tegra_release"),
            driver: place("driver"),
        };
        (folder, places)
    }

    #[test]
    fn a_machine_without_a_card_has_none() {
        assert_eq!(Card::look(&machine(&[], "").1), None);
        // The program is there, the card isn't.
        assert_eq!(Card::look(&machine(&[], "echo No devices were found; exit 6").1), None);
        // Another board with a device tree.
        let pi = [("device-tree/model", "Raspberry Pi 5 Model B\0")];
        assert_eq!(Card::look(&machine(&pi, "").1), None);
    }

    #[test]
    fn the_drivers_program_describes_the_first_card() {
        let (_folder, places) = machine(
            &[],
            "echo 'NVIDIA GeForce RTX 3060, 12288, 550.90.07, 8.6'; echo 'Another, 1, 2, 3'",
        );
        let card = Card::look(&places).unwrap();
        assert_eq!(card.to_string(), "NVIDIA GeForce RTX 3060, 12288 MiB, driver 550.90.07");
        assert_eq!(card.compute_capability.as_deref(), Some("8.6"));
        // What it does not know is in brackets.
        let (_folder, places) = machine(&[], "echo 'Some card, [N/A], 540.4.0, [N/A]'");
        let card = Card::look(&places).unwrap();
        assert_eq!((card.memory_mib, card.compute_capability), (None, None));
    }

    #[test]
    fn a_driver_that_hangs_is_given_up() {
        let child = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(answer_within(child, Duration::from_millis(50)), None);
    }

    #[test]
    fn without_the_program_the_drivers_files_say_the_name() {
        let files = [
            (
                "driver/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA H200\nIRQ: 5\n",
            ),
            (
                "driver/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\nGCC version: 12.2.0\n",
            ),
        ];
        let card = Card::look(&machine(&files, "").1).unwrap();
        assert_eq!(card.to_string(), "NVIDIA H200, driver 550.90.07");
    }

    #[test]
    fn a_jetson_is_described_by_its_device_tree() {
        let files = [
            ("device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
            ("nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 37537400\n"),
        ];
        let card = Card::look(&machine(&files, "echo 'Orin (nvgpu), [N/A], 540.4.0, 8.7'").1).unwrap();
        assert_eq!(
            card.to_string(),
            "NVIDIA Jetson Orin Nano Developer Kit, driver R36.4.0"
        );
    }
}
