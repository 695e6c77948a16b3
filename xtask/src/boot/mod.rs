//! `cargo xtask boot`: Debian 12 with its own systemd and the unit of `deploy/systemd/`, booted in qemu. What
//! `tests/deploy/` can only do by hand is done by systemd here: users, directories, credentials, restarts, limits.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::root::{Copy, Recipe, Root};
use crate::setup::{Role, Setup, Tool};
use crate::{models, progress, test};

/// Boot Debian with the systemd unit in qemu, and check that the unit keeps what it promises
#[derive(clap::Args)]
#[command(
    after_help = "Needs root, for the Debian root that it makes. With /dev/kvm a minute or two, emulated some more; \
                        the first time Debian is fetched."
)]
pub(crate) struct Args {
    /// Emulate the processor even where /dev/kvm is
    #[arg(long)]
    emulated: bool,
    /// Use the program that an earlier run built
    #[arg(long)]
    no_build: bool,
}

/// What the machine consists of.
const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "mosquitto",
    "mosquitto-clients",
    "ffmpeg",
    "jq",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
];
/// Where image and console log are kept.
const FOLDER: &str = ".cache/boot";
/// The broker's password for kith, in the machine that lives for minutes.
const PASSWORD: &str = "tr1cky-pass";
/// When nothing was said for so long, the machine hangs.
const SILENCE: Duration = Duration::from_secs(300);
/// By then its kernel has written something to the console.
const FIRST_SIGN: Duration = Duration::from_secs(30);

/// Runs `cargo xtask boot`. Exit code 1 when a check failed.
///
/// # Errors
/// When the machine can't be made or doesn't boot.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.tools(&[Tool::Ffmpeg, Tool::Qemu])?;
    setup.packages(&[Role::Photos, Role::Runtime])?;
    models::make(checkout, &setup)?;
    let folder = checkout.path(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let program = folder.join("kith");
    if !args.no_build || !program.exists() {
        build(checkout, &program)?;
    }
    progress::headline("machine");
    let copy = Root::prepare(checkout, &setup, &Recipe::bookworm(PACKAGES))?.unpack(checkout)?;
    furnish(checkout, &copy, &program)?;
    let machine = Machine::make(checkout, &copy, &folder)?;
    drop(copy);
    progress::headline("checks");
    let well = machine.boot(checkout, args.emulated)?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program with faults on demand, so that a worker can be made to hang; nothing else in it differs.
fn build(checkout: &Checkout, program: &Path) -> Result<()> {
    progress::headline("building kith");
    let mut build = checkout.cargo();
    build.args([
        "build",
        "--package",
        "kith",
        "--bin",
        "kith",
        "--message-format=json-render-diagnostics",
    ]);
    let said = checkout::capture(build.args(test::FAULT_FEATURE).stderr(Stdio::inherit()))?;
    let built = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .next_back()
        .context("cargo names no program")?;
    fs::copy(&built, program).with_context(|| format!("can't copy {}", built.display()))?;
    Ok(())
}

/// Puts Kith where its package would, a broker with passwords, a clip, and the checks.
fn furnish(checkout: &Checkout, copy: &Copy, program: &Path) -> Result<()> {
    let put = |from: &Path, to: &str, mode: u32| put(copy, from, to, mode);
    put(program, "/usr/bin/kith", 0o755)?;
    let library = checkout.path(".cache/onnxruntime/libonnxruntime.so");
    put(&library, "/usr/lib/kith/libonnxruntime.so", 0o644)?;
    let models = checkout.path("onnx");
    for entry in fs::read_dir(&models).with_context(|| format!("can't list {}", models.display()))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "models.toml" || name.ends_with(".onnx") {
            put(&file, &format!("/usr/share/kith/models/{name}"), 0o644)?;
        }
    }
    let deploy = checkout.path("deploy/systemd");
    put(
        &deploy.join("kith.service"),
        "/usr/lib/systemd/system/kith.service",
        0o644,
    )?;
    put(&deploy.join("kith.sysusers"), "/usr/lib/sysusers.d/kith.conf", 0o644)?;
    put(&deploy.join("cpu.conf"), "/srv/cpu.conf", 0o644)?;
    put(
        &checkout.path(".cache/photos/obama.jpg"),
        "/srv/photos/obama.jpg",
        0o644,
    )?;
    let clip = copy.path("/srv/clips/obama.mp4");
    fs::create_dir_all(copy.path("/srv/clips"))?;
    make_clip(checkout, &checkout.path(".cache/photos/obama2.jpg"), &clip)?;

    let write = |to: &str, text: &str, mode: u32| write(copy, to, text, mode);
    let here = checkout.path("xtask/src/boot");
    put(&here.join("kith.toml"), "/etc/kith/kith.toml", 0o644)?;
    write("/etc/kith/credentials/mqtt-password", PASSWORD, 0o600)?;
    write(
        "/etc/systemd/system/kith.service.d/credentials.conf",
        "[Service]\nLoadCredential=mqtt-password:/etc/kith/credentials/mqtt-password\n",
        0o644,
    )?;
    write(
        "/etc/mosquitto/conf.d/kith.conf",
        "listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\n",
        0o644,
    )?;
    checkout::capture(copy.command("mosquitto_passwd").args([
        "-b",
        "-c",
        "/etc/mosquitto/passwords",
        "kith",
        PASSWORD,
    ]))?;
    checkout::capture(copy.command("chown").args(["mosquitto:", "/etc/mosquitto/passwords"]))?;
    checkout::capture(copy.command("systemd-sysusers").arg("kith.conf"))?;
    // A member of the group, and somebody else.
    checkout::capture(
        copy.command("useradd")
            .args(["--create-home", "--groups", "kith", "ada"]),
    )?;
    checkout::capture(copy.command("useradd").args(["--create-home", "eve"]))?;
    write("/home/ada/secret", "x", 0o644)?;
    checkout::capture(copy.command("chmod").args(["755", "/home/ada"]))?;
    // Else the first boot asks a person for language and time zone.
    write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444)?;
    put(&here.join("guest.sh"), "/usr/local/sbin/kith-boot-checks", 0o755)?;
    write(
        "/etc/systemd/system/kith-boot-checks.service",
        "[Unit]\nAfter=mosquitto.service\n[Service]\nType=simple\nExecStart=/usr/local/sbin/kith-boot-checks\n\
         ExecStopPost=systemctl poweroff --no-block\nStandardOutput=file:/dev/ttyS1\nStandardError=file:/dev/ttyS0\n",
        0o644,
    )?;
    symlink(
        "../kith-boot-checks.service",
        copy.path("/etc/systemd/system/multi-user.target.wants/kith-boot-checks.service"),
    )
    .context("can't order the checks")
}

fn put(copy: &Copy, from: &Path, to: &str, mode: u32) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
    place(copy, to, &content, mode)
}

fn write(copy: &Copy, to: &str, text: &str, mode: u32) -> Result<()> {
    place(copy, to, text.as_bytes(), mode)
}

fn place(copy: &Copy, to: &str, content: &[u8], mode: u32) -> Result<()> {
    let to = copy.path(to);
    let failed = || format!("can't write {}", to.display());
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    fs::write(&to, content).with_context(failed)?;
    fs::set_permissions(&to, Permissions::from_mode(mode)).with_context(failed)
}

/// Somebody before the camera for four seconds, and nobody before and after.
fn make_clip(checkout: &Checkout, photo: &Path, clip: &Path) -> Result<()> {
    let mut ffmpeg = checkout.command("ffmpeg");
    ffmpeg.args([
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-t",
        "2",
        "-i",
        "color=gray:s=640x480:r=10",
    ]);
    ffmpeg
        .args(["-loop", "1", "-framerate", "10", "-t", "4", "-i"])
        .arg(photo);
    ffmpeg.args([
        "-filter_complex",
        "[1:v]crop=iw:min(ih\\,iw*1.2):0:0,scale=-2:480,pad=720:480:(ow-iw)/2:0:gray,\
         crop=640:480:x='40+20*sin(t)':y=0,setsar=1,format=yuv420p[p];[0:v]split[a][b];[a][p][b]concat=n=3[out]",
        "-map",
        "[out]",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-pix_fmt",
        "yuv420p",
    ]);
    checkout::capture(ffmpeg.arg(clip)).map(drop)
}

/// What qemu needs.
struct Machine {
    image: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
    console: PathBuf,
}

impl Machine {
    /// Makes an image of the root, without mounting anything.
    fn make(checkout: &Checkout, copy: &Copy, folder: &Path) -> Result<Self> {
        let of_boot = |begins: &str| -> Result<PathBuf> {
            let entries = fs::read_dir(copy.path("/boot"))?.flatten();
            let found = entries.map(|entry| entry.path()).find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(begins))
            });
            let found = found.with_context(|| format!("the Debian root has no /boot/{begins}*"))?;
            let kept = folder.join(begins);
            fs::copy(&found, &kept).with_context(|| format!("can't copy {}", found.display()))?;
            Ok(kept)
        };
        let (kernel, initrd) = (of_boot("vmlinuz")?, of_boot("initrd.img")?);
        let image = folder.join("root.img");
        let _spinner = progress::Spinner::start("making its disk");
        let _ = fs::remove_file(&image);
        checkout::capture(
            checkout
                .command("mke2fs")
                .args(["-q", "-t", "ext4", "-d"])
                .arg(copy.folder())
                .arg(&image)
                .arg("3G"),
        )?;
        Ok(Self {
            image,
            kernel,
            initrd,
            console: folder.join("console.log"),
        })
    }

    /// Runs it until it has said all; returns whether all checks were passed.
    fn boot(&self, checkout: &Checkout, emulated: bool) -> Result<bool> {
        let may = || fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if !emulated && may() {
            if let Some(well) = self.boot_by(checkout, true)? {
                return Ok(well);
            }
            eprintln!("    /dev/kvm is there and does not work, so the processor is emulated");
        }
        let well = self.boot_by(checkout, false)?;
        well.context("the machine has not written a line to its console")
    }

    /// `None` when it is as good as dead.
    fn boot_by(&self, checkout: &Checkout, kvm: bool) -> Result<Option<bool>> {
        let since = Instant::now();
        let how = if kvm { "with KVM" } else { "emulated" };
        eprintln!("    {how}; its console is in {}", self.console.display());
        let mut qemu = checkout.command("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-nic",
            "none",
        ]);
        let accelerator = if kvm { "kvm" } else { "tcg,thread=multi" };
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            accelerator,
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "3G",
        ]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        qemu.args([
            "-append",
            "root=/dev/vda rw console=ttyS0 systemd.show_status=0 systemd.getty_auto=no panic=-1",
        ]);
        let drive = format!("file={},if=virtio,format=raw,cache=unsafe", self.image.display());
        qemu.args(["-drive", &drive, "-device", "virtio-rng-pci"]);
        qemu.args([
            "-serial",
            &format!("file:{}", self.console.display()),
            "-serial",
            "stdio",
        ]);
        let child = qemu
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start qemu-system-x86_64")?;
        let mut child = Killed(child);
        let stdout = child.0.stdout.take().context("qemu has no output")?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let (mut passed, mut failed, mut whole) = (0, 0, false);
        let mut alive = false;
        loop {
            let patience = if alive { SILENCE } else { FIRST_SIGN };
            match told.recv_timeout(patience) {
                Ok(line) => {
                    let line = line.trim();
                    passed += usize::from(line.starts_with("ok: "));
                    failed += usize::from(line.starts_with("FAILED: "));
                    whole |= line == "done";
                    if !line.is_empty() && !whole {
                        println!("    {line}");
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) if !alive => {
                    alive = fs::metadata(&self.console).is_ok_and(|console| console.len() > 0);
                    if !alive {
                        return Ok(None);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => bail!(
                    "the machine has said nothing for {}; {} tells more",
                    progress::seconds(SILENCE),
                    self.console.display()
                ),
            }
        }
        std::io::stdout().flush()?;
        if !whole {
            bail!(
                "the machine ended before its checks did; {} tells more",
                self.console.display()
            );
        }
        let took = progress::seconds(since.elapsed());
        eprintln!("    {passed} checks passed, {failed} failed, {how}, in {took}");
        Ok(Some(failed == 0))
    }
}

/// Ends with us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
