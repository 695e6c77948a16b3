//! Tries the file system of a built image as an engine would start it: its own user, a read-only root, no capabilities, no
//! network but loopback, and kith as the first process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bases;
use super::steps::{Entry, Image};
use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup, Tool};

/// What would be mounted: a configuration, photos and a clip.
const GIVEN: &str = "srv";
/// No part of the trial takes longer, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Mounts as compose.yaml does, and becomes the image's user without any rights beyond.
const START: &str = r#"
set -eu
user=$1; shift
for folder in /var/lib/kith /var/cache/kith; do
    mount -t tmpfs -o "mode=700,uid=$user,gid=$user" tmpfs $folder
done
mount -t tmpfs -o mode=1777,size=64m tmpfs /tmp
mount --bind /srv/kith.toml /etc/kith/kith.toml
mount -o remount,bind,ro /
exec setpriv --reuid="$user" --regid="$user" --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"#;

/// A network of its own, with loopback up and a broker on it that has this configuration.
const NETWORK: &str = r#"
set -eu
broker=$1; shift
ip link set lo up
PATH=$PATH:/usr/sbin mosquitto -c "$broker" >/dev/null 2>&1 &
exec "$@"
"#;

/// Tries `image`.
///
/// # Errors
/// With the first thing that is not as it should be.
pub(crate) fn of(image: &Image, checkout: &Checkout, setup: &Setup<'_>, log: &mut Vec<Entry>) -> Result<()> {
    setup.tools(&[Tool::Mosquitto])?;
    setup.packages(&[Role::Photos])?;
    let trial = Trial { image, checkout };
    let megabytes = trial.megabytes()?;
    trial.prepare()?;
    let mut note = |step: &str, outcome: Result<String>, since: Instant| -> Result<()> {
        let outcome = outcome.with_context(|| format!("in the image: {step}"))?;
        eprintln!("    {step}: {outcome}");
        log.push(Entry {
            step: step.to_owned(),
            outcome,
            took: Some(since.elapsed()),
        });
        Ok(())
    };
    note("size of the file system", Ok(format!("{megabytes} MB")), Instant::now())?;
    let since = Instant::now();
    note("kith --version", trial.version(), since)?;
    let since = Instant::now();
    note("writing to the root", trial.cannot_write(), since)?;
    let since = Instant::now();
    note("kith enroll, then kith identify", trial.recognises(), since)?;
    let since = Instant::now();
    note("libraries that the runtime lacks", trial.lacks(), since)?;
    let since = Instant::now();
    note("kith check, beside a broker", trial.checks(), since)?;
    let since = Instant::now();
    note(
        "kith run as process 1, kith health, a decoder killed, SIGTERM",
        trial.runs(),
        since,
    )
}

struct Trial<'a> {
    image: &'a Image,
    checkout: &'a Checkout,
}

impl Trial<'_> {
    fn megabytes(&self) -> Result<String> {
        let mut du = self.checkout.command("du");
        let said = checkout::capture(
            du.args(["--summarize", "--block-size=MB"])
                .arg(self.image.copy.folder()),
        )?;
        Ok(said.split("MB").next().unwrap_or_default().to_owned())
    }

    fn prepare(&self) -> Result<()> {
        let folder = self.image.copy.path(GIVEN);
        for photo in ["obama.jpg", "obama2.jpg"] {
            let from = self.checkout.path(".cache/photos").join(photo);
            fs::copy(&from, folder.join(photo)).with_context(|| format!("can't copy {}", from.display()))?;
        }
        // What the compose file mounts, but for the two addresses.
        let read = |name: &str| {
            let path = self.checkout.path("deploy/docker").join(name);
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        let config = read("kith.toml")?;
        let config = changed(&config, "mqtt://mosquitto:1883", "mqtt://127.0.0.1:1883")?;
        let config = changed(
            &config,
            "\"rtsp://192.0.2.10/stream1\"",
            "\"file:/srv/clip.mp4\"\nloop = true",
        )?;
        fs::write(folder.join("kith.toml"), config)?;
        let broker = read("mosquitto.conf")?;
        let broker = changed(&broker, "persistence true", "persistence false")?;
        fs::write(self.broker(), broker)?;
        // The place that it is mounted over.
        fs::write(self.image.copy.path("etc/kith/kith.toml"), "")?;
        // By the image's own ffmpeg.
        let mut clip = self.image.copy.command("ffmpeg");
        clip.args([
            "-v",
            "error",
            "-loop",
            "1",
            "-i",
            "/srv/obama2.jpg",
            "-t",
            "6",
            "-r",
            "10",
        ]);
        clip.args(["-vf", "scale=960:-2,format=yuv420p", "/srv/clip.mp4"]);
        checkout::capture(&mut clip).context("the image's ffmpeg can't make a clip")?;
        Ok(())
    }

    /// The broker's configuration.
    fn broker(&self) -> PathBuf {
        self.image.copy.path(GIVEN).join("mosquitto.conf")
    }

    /// `arguments` as the image's user, with nothing but loopback and a broker on it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut inner = self.image.copy.command("/bin/sh");
        inner.args(["-c", START, "start", &self.image.user]).args(arguments);
        // What it takes for the network is outside of the image.
        let mut outer = self.checkout.command("unshare");
        outer.args([
            "--net",
            "--pid",
            "--mount-proc",
            "--fork",
            "--kill-child",
            "--",
            "sh",
            "-c",
            NETWORK,
            "network",
        ]);
        outer.arg(self.broker());
        outer.arg(inner.get_program()).args(inner.get_args());
        // Of the image, and nothing of ours.
        outer
            .env_clear()
            .env("PATH", bases::PATH)
            .env("HOME", "/var/lib/kith")
            .envs(&self.image.environment);
        outer
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        checkout::capture(&mut self.command(arguments))
    }

    fn version(&self) -> Result<String> {
        Ok(self.output(&["kith", "--version"])?.trim().to_owned())
    }

    fn cannot_write(&self) -> Result<String> {
        for place in ["/usr/bin/x", "/etc/kith/x", "/x"] {
            if checkout::succeeds(&mut self.command(&["sh", "-c", &format!("echo >{place}")])) {
                bail!("{place} could be written");
            }
        }
        self.output(&[
            "sh",
            "-c",
            "echo >/var/lib/kith/x; echo >/var/cache/kith/x; echo >/tmp/x",
        ])?;
        let who = self.output(&["id"])?;
        if who.contains("uid=0") || !who.contains("(video)") || !who.contains("(render)") {
            bail!("the user is {who}");
        }
        Ok(format!("refused; state, cache and /tmp can be written; {}", who.trim()))
    }

    fn recognises(&self) -> Result<String> {
        let script = "kith enroll 'Barack Obama' /srv/obama.jpg >/dev/null && kith identify /srv/obama2.jpg";
        let said = self.output(&["sh", "-c", script])?;
        if !said.contains("Barack Obama") {
            bail!("it says: {said}");
        }
        Ok(said.trim().replace('\n', "; "))
    }

    /// With CUDA, what is missing has to be the driver, which is the host's.
    fn lacks(&self) -> Result<String> {
        let script = "for file in /usr/lib/kith/libonnxruntime*.so; do ldd $file; done";
        let said = self.output(&["sh", "-c", script])?;
        let mut missing: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("not found"))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        // TensorRT is no part of the image for PCs; its provider is only opened where it is asked for.
        let known = ["libcuda.so.1", "libnvinfer.so.10", "libnvonnxparser.so.10"];
        if let Some(other) = missing.iter().find(|name| !known.contains(name)) {
            bail!("{other} is missing:\n{said}");
        }
        Ok(if missing.is_empty() {
            "none".to_owned()
        } else {
            missing.join(", ")
        })
    }

    fn checks(&self) -> Result<String> {
        let said = self.output(&["kith", "check", "--config", "/etc/kith/kith.toml"])?;
        let fine = said.lines().filter(|line| line.starts_with("ok ")).count();
        let provider = said
            .lines()
            .find(|line| line.starts_with("ok ") && line.contains("provider"));
        let provider = provider.context("it does not say what runs the networks")?;
        Ok(format!(
            "nothing failed, {fine} lines ok; {}",
            provider.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        ))
    }

    fn runs(&self) -> Result<String> {
        let mut command = self.command(&["kith", "run", "--config", "/etc/kith/kith.toml"]);
        let said = self.checkout.path(".cache/debian/trial.log");
        let mut running = Running(command.stderr(fs::File::create(&said)?).stdout(Stdio::null()).spawn()?);
        let outcome = self.watch(&mut running);
        outcome.with_context(|| format!("it said:\n{}", fs::read_to_string(&said).unwrap_or_default()))
    }

    fn watch(&self, running: &mut Running) -> Result<String> {
        let kith = until("kith runs", || running.find("kith"))?;
        let began = Instant::now();
        let healthy = until("kith health says healthy", || {
            let output = self.inside(kith, &["kith", "health"]).output().ok()?;
            let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(line)
        })?;
        let took_s = began.elapsed().as_secs();
        if status(kith, "NSpid").split_whitespace().last() != Some("1") {
            bail!("it is not process 1 of its container");
        }
        let none = ["CapEff", "CapPrm", "CapBnd"]
            .iter()
            .all(|set| status(kith, set).trim_matches('0').is_empty());
        if !none || status(kith, "NoNewPrivs") != "1" {
            bail!("it has capabilities, or may get some");
        }
        // A killed child is reaped, and another one is started.
        let decoder = until("a decoder runs", || running.find("ffmpeg"))?;
        checkout::capture(self.checkout.command("kill").args(["-KILL", &decoder.to_string()]))?;
        until("another decoder runs", || {
            running.find("ffmpeg").filter(|other| *other != decoder)
        })?;
        if let Some(dead) = descendants(kith)
            .into_iter()
            .find(|process| status(*process, "State").starts_with('Z'))
        {
            bail!("process {dead} is dead, and nobody has buried it");
        }
        checkout::capture(self.checkout.command("kill").args(["-TERM", &kith.to_string()]))?;
        let stopped = Instant::now();
        let ended = until("kith ends", || running.0.try_wait().ok().flatten())?;
        if !ended.success() {
            bail!("after SIGTERM it ended with {ended}");
        }
        let stopped_s = stopped.elapsed().as_secs_f64();
        Ok(format!(
            "\"{healthy}\" after {took_s} s; nothing unburied; ended in {stopped_s:.1} s with 0"
        ))
    }

    /// What an engine's `exec` does: in the namespaces of `process`, as the image's user.
    fn inside(&self, process: u32, arguments: &[&str]) -> Command {
        let mut command = self.checkout.command("nsenter");
        let user = &self.image.user;
        command.args([
            &format!("--target={process}"),
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--root",
            "--wd",
        ]);
        command.args([
            "setpriv",
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--init-groups",
            "--",
        ]);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", bases::PATH)
            .envs(&self.image.environment);
        command
    }
}

/// Killed when dropped, with all below it.
struct Running(Child);

impl Running {
    /// The process below with this name.
    fn find(&self, name: &str) -> Option<u32> {
        descendants(self.0.id())
            .into_iter()
            .find(|process| status(*process, "Name") == name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `--kill-child` ends the rest.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All processes below `process`.
fn descendants(process: u32) -> Vec<u32> {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number
            && let Ok(parent) = status(number, "PPid").parse()
        {
            parents.entry(parent).or_default().push(number);
        }
    }
    let mut all = Vec::new();
    let mut next = vec![process];
    while let Some(one) = next.pop() {
        let children = parents.get(&one).cloned().unwrap_or_default();
        all.extend(&children);
        next.extend(children);
    }
    all
}

/// `text` with `from` replaced, which has to be in it.
fn changed(text: &str, from: &str, to: &str) -> Result<String> {
    if !text.contains(from) {
        bail!("{from} is not in deploy/docker/ any more; the trial changes it");
    }
    Ok(text.replacen(from, to, 1))
}

/// A field of the process's status; empty when it has gone.
fn status(process: u32, field: &str) -> String {
    let text = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        thread::park_timeout(Duration::from_millis(200));
    }
}
