//! A box with people, a configuration and a head, and what a backup of it is made with.

use std::fs;
use std::path::PathBuf;

use kith::gallery::Gallery;

use crate::given::enrolment::enrolment;
use crate::given::head::deliver_as;
use crate::given::onnx::mean_colour;
use crate::kith::{Desk, Said};

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// An embedder of the user's own.
pub(crate) const COLOUR: &str = "alignment = \"box-96-v1\"\nembedding_space = \"colour\"\n\
    input = { channels = \"rgb\", width_px = 96, height_px = 96, mean = 0.0, scale = 1.0 }\n\
    outputs.embedding = { name = \"embedding\", values = 3 }\n";

/// A box: a state folder, `etc/kith.toml`, `etc/models.d`.
pub(crate) struct House {
    pub(crate) desk: Desk,
}

impl House {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { desk: Desk::new() }
    }

    /// With a configuration and an embedder of its own.
    pub(crate) fn furnished() -> Self {
        let house = Self::new();
        house.desk.write("etc/mqtt.password", b"hunter2hunter2");
        house.desk.write("etc/clip.mp4", b"");
        house.desk.write(
            "etc/kith.toml",
            b"# Our house.\nnode = \"hall\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1883\"\nusername = \"kith\"\n\
              password_file = \"mqtt.password\"\n[[camera]]\nid = \"door\"\nurl = \"rtsp://u:secret@127.0.0.1/x\"\n",
        );
        deliver_as(&house.models_d(), "colour", "embedder", &mean_colour(96), COLOUR);
        house
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.desk.path("state")
    }

    pub(crate) fn models_d(&self) -> PathBuf {
        self.desk.path("etc/models.d")
    }

    pub(crate) fn gallery(&self) -> Gallery {
        Gallery::open(&self.state()).unwrap()
    }

    /// Enrols made-up people with these numbers; see [`enrolment`].
    pub(crate) fn people(&self, numbers: impl IntoIterator<Item = u16>) {
        let enrolments: Vec<_> = numbers.into_iter().map(enrolment).collect();
        self.gallery().enrol("made-up", &enrolments).unwrap();
    }

    /// The ids of everybody, once the gallery was found whole.
    pub(crate) fn ids(&self) -> Vec<String> {
        let gallery = self.gallery();
        gallery.check().unwrap();
        let people = gallery.people().unwrap().into_iter();
        people.map(|one| one.person.id).collect()
    }

    /// Runs `kith` with the configuration and models of this box, and its passphrase in a file.
    pub(crate) fn kith(&self, args: &[&str]) -> Said {
        self.desk.kith(self.arguments(args))
    }

    /// As [`Self::kith`], in a shell; see [`Desk::shell`].
    pub(crate) fn shell(&self, script: &str, args: &[&str]) -> Said {
        self.desk.shell(script, self.arguments(args))
    }

    /// `args`, and where this box has its things.
    pub(crate) fn arguments(&self, args: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let models_d = self.models_d();
        all.extend(["--provider", "cpu", "--models-d", models_d.to_str().unwrap()].map(str::to_owned));
        let is_ours = matches!(args.first(), Some(&("backup" | "restore")));
        let is_there = self.desk.path("etc/kith.toml").exists();
        if is_ours && (is_there || args[0] == "restore") {
            let config = self.desk.path("etc/kith.toml");
            all.extend(["--config", config.to_str().unwrap()].map(str::to_owned));
        }
        if is_ours && !args.contains(&"--plain") && !args.contains(&"--ask") {
            let file = self.desk.write("passphrase", PASSPHRASE.as_bytes());
            rustix::fs::chmod(&file, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
            all.extend(["--passphrase-file", file.to_str().unwrap()].map(str::to_owned));
        }
        all.retain(|arg| arg != "--ask");
        all
    }

    /// The names in a folder, hidden ones too, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.desk.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
