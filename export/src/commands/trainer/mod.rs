//! The trainer's commands, one a file.

pub mod align;
pub mod audit;
pub mod distil;
pub mod embedder;
pub mod evaluate;
pub mod export;
pub mod fit;
pub mod head;
pub mod runtime;
pub mod speed;
pub mod split;
pub mod training;

use clap::Subcommand;

/// How one gets from photos to models; below the list of commands.
pub const IN_ORDER: &str = "From photos to models:
  kith-export align photos faces                  cut out the faces; photos has a folder per person
  kith-export audit faces                         see which photos may be wrong
  kith-export split faces --out split.json        decide which photos are held out together
  kith-export head faces --split split.json --model mobilefacenet --out head
  kith-export export --name family --head head --faces faces --out family-models
  kith heads install family-models
`fit` before `head` fine-tunes the network itself; `evaluate` measures. Each command has a --help.";

/// The commands, in the order that one needs them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find, align and cut out the faces of photos
    Align(align::Args),
    /// Point at photos that may be wrong or double
    Audit(audit::Args),
    /// Divide aligned faces into folds, doubles together
    Split(split::Args),
    /// Teach a network another one's embedding, on faces without names
    Distil(distil::Args),
    /// Fine-tune an embedder on people's photos with the triplet loss
    Fit(fit::Args),
    /// Train a linear head on a frozen embedder
    Head(head::Args),
    /// Measure an embedder, and a head on it, on photos that neither has seen
    Evaluate(evaluate::Args),
    /// Write trained networks as ONNX with a catalogue entry
    Export(export::Args),
    /// Tell how fast a network trains on this machine
    Speed(speed::Args),
}

/// Runs a command.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Align(args) => align::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Split(args) => split::run(args),
        Command::Distil(args) => distil::run(args),
        Command::Fit(args) => fit::run(args),
        Command::Head(args) => head::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Export(args) => export::run(args),
        Command::Speed(args) => speed::run(args),
    }
}
