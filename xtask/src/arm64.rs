//! `cargo xtask arm64`: a cross-build for 64-bit ARM with Debian's own Rust, and its programs under qemu.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::root::{Copy, Recipe, Root};
use crate::setup::{Role, Setup};
use crate::{models, progress};

/// The Debian release whose Rust is new enough, and has the standard library of other architectures.
const SUITE: &str = "sid";
const PACKAGES: [&str; 11] = [
    "cargo",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "libc6-dev",
    "libc6-dev-arm64-cross",
    "libgcc-s1:arm64",
    "libstd-rust-dev:arm64",
    "libstdc++6:arm64",
    "make",
    "qemu-user",
    "rustc",
];
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Cargo's configuration inside.
const VENDORED: &str = "\
[source.crates-io]
replace-with = \"vendored\"
[source.vendored]
directory = \"/vendor\"
";
/// Where the programs go; absolute inside the root, too.
const OUT: &str = "target/arm64";

/// Build the programs for 64-bit ARM in a Debian sid root, and recognise somebody with them under qemu
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask arm64        needs root; leaves kith and kith-export in target/arm64")]
pub(crate) struct Args {
    /// Only try the programs that are in target/arm64 already
    #[arg(long)]
    no_build: bool,
}

/// # Errors
/// When the root can't be made, the build fails, or the programs don't recognise who is on the photos.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.packages(&[Role::Photos])?;
    models::make(checkout, &setup)?;
    let runtime = setup.runtime_of("aarch64")?;
    let recipe = Recipe {
        suite: SUITE,
        foreign: &["arm64"],
        packages: &PACKAGES,
    };
    let copy = Root::prepare(checkout, &setup, &recipe)?.unpack(checkout)?;
    if !args.no_build {
        build(checkout, &copy)?;
    }
    try_out(checkout, &copy, runtime)?;
    Ok(ExitCode::SUCCESS)
}

fn build(checkout: &Checkout, copy: &Copy) -> Result<()> {
    progress::headline("building for arm64 (many minutes)");
    let since = Instant::now();
    eprint!("{}", checkout::capture(copy.command_offline("rustc").arg("--version"))?);
    let source = copy.path("src");
    fs::create_dir_all(&source)?;
    // What git knows of the working tree, so that neither builds nor caches travel.
    let mut pack = checkout.command("sh");
    pack.args([
        "-c",
        "git ls-files -z | tar --create --null --files-from=- --file=- | tar --extract --directory=\"$0\"",
    ])
    .arg(&source);
    checkout::capture(&mut pack)?;
    // Debian's cargo gets the crates as files: it needs no network, and no registry's certificates.
    checkout::capture(
        checkout
            .cargo()
            .args(["vendor", "--locked", "--quiet"])
            .arg(copy.path("vendor")),
    )?;
    fs::write(source.join(".cargo/config.toml"), VENDORED)
        .context("can't write cargo's configuration into the root")?;
    let mut cargo = copy.command_offline("cargo");
    cargo
        .args(["build", "--release", "--frozen", "--bins", "--target", TARGET])
        .args([
            "--package",
            "kith",
            "--package",
            "kith-export",
            "--manifest-path",
            "/src/Cargo.toml",
        ])
        .env("CARGO_HOME", "/cargo")
        .env("CARGO_TARGET_DIR", "/build")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .env("AR_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-ar");
    checkout::run(&mut cargo)?;
    let out = checkout.path(OUT);
    fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    for program in ["kith", "kith-export"] {
        fs::copy(
            copy.path("build").join(TARGET).join("release").join(program),
            out.join(program),
        )
        .with_context(|| format!("can't take {program} out of the root"))?;
    }
    eprintln!("    built in {}", progress::seconds(since.elapsed()));
    Ok(())
}

fn try_out(checkout: &Checkout, copy: &Copy, runtime: PathBuf) -> Result<()> {
    progress::headline("under qemu");
    let arm = copy.path("arm");
    fs::create_dir_all(arm.join("models"))?;
    let mut put: Vec<(PathBuf, String)> = vec![(runtime, "libonnxruntime.so".to_owned())];
    for program in ["kith", "kith-export"] {
        put.push((checkout.path(OUT).join(program), program.to_owned()));
    }
    for model in [
        "models.toml",
        "mtcnn-pnet.onnx",
        "mtcnn-rnet.onnx",
        "mtcnn-onet.onnx",
        "mobilefacenet.onnx",
    ] {
        put.push((checkout.path("onnx").join(model), format!("models/{model}")));
    }
    for photo in ["obama.jpg", "obama2.jpg", "biden.jpg"] {
        put.push((checkout.path(".cache/photos").join(photo), photo.to_owned()));
    }
    for (from, to) in put {
        fs::copy(&from, arm.join(to)).with_context(|| format!("can't put {} into the root", from.display()))?;
    }
    let qemu = |program: &str, arguments: &[&str]| -> Result<String> {
        let since = Instant::now();
        let mut command: Command = copy.command_offline("qemu-aarch64");
        command
            .arg(format!("/arm/{program}"))
            .args(arguments)
            .env("KITH_STATE", "/arm/state")
            .env("KITH_MODELS", "/arm/models")
            .env("KITH_RUNTIME_LIBRARY", "/arm/libonnxruntime.so");
        let said = checkout::capture(&mut command)?;
        eprintln!(
            "    {program} {}: {} ({})",
            arguments.join(" "),
            said.trim_end(),
            progress::seconds(since.elapsed())
        );
        Ok(said)
    };
    qemu("kith", &["--version"])?;
    qemu("kith-export", &["--version"])?;
    qemu("kith", &["enroll", "Obama", "/arm/obama.jpg"])?;
    if !qemu("kith", &["identify", "/arm/obama2.jpg"])?.contains("Obama") {
        bail!("the arm64 program did not recognise the person on the other photo");
    }
    if qemu("kith", &["identify", "/arm/biden.jpg"])?.contains("Obama") {
        bail!("the arm64 program took a stranger for the person");
    }
    Ok(())
}
