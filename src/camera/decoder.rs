//! The running decoder: one or two children under their limits, and what they say.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::command_line::{CommandLine, command_lines};
use super::sandbox::{self, Needs, Sandbox, SandboxWish};
use super::{Address, CameraError, Decode, Meter};
use crate::config::CameraSettings;

/// All of the environment that decoders get: where programs, libraries and drivers are. The rest may hold secrets.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "LD_LIBRARY_PATH",
    "LIBVA_DRIVER_NAME",
    "LIBVA_DRIVERS_PATH",
    "CUDA_VISIBLE_DEVICES",
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_SYSTEM_PATH",
];

/// What FFmpeg says when hardware can't decode a stream and it goes on without.
const GAVE_UP_HARDWARE: &[&str] = &[
    "Failed setup for format",
    "No support for codec",
    "hwaccel initialisation returned error",
];

/// Between two lines of what a child said.
const NEXT: &str = " | ";

/// The running children; killed and reaped when dropped.
pub(super) struct Decoder {
    /// The last one writes pictures; one before it feeds it.
    children: Vec<Child>,
    words: Arc<Mutex<String>>,
    relays: Vec<thread::JoinHandle<()>>,
}

impl Decoder {
    /// Starts what decodes the camera by `decode`; the pictures come out of the pipe.
    ///
    /// # Errors
    /// When a program is missing or can't be limited as the settings require.
    pub(super) fn start(
        settings: &CameraSettings,
        decode: Decode,
        meter: &Arc<Meter>,
    ) -> Result<(Self, ChildStdout), CameraError> {
        let mut decoder = Self {
            children: Vec::new(),
            words: Arc::default(),
            relays: Vec::new(),
        };
        let mut input = Stdio::null();
        let mut output = None;
        for (index, line) in command_lines(settings, decode).iter().enumerate() {
            let mut child = start(line, settings, input)?;
            // Its own input comes from the child before, which alone needs the camera.
            let stdout = child.stdout.take();
            let stderr = child.stderr.take();
            decoder.children.push(child);
            let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
                return Err(CameraError::Decoder("it has no pipes".to_owned()));
            };
            let relay = Relay {
                program: line.program,
                address: settings.address.clone(),
                words: Arc::clone(&decoder.words),
                meter: Arc::clone(meter),
            };
            let span = tracing::Span::current();
            let thread = thread::Builder::new()
                .name(format!("say-{index}-{}", settings.id))
                .spawn(move || span.in_scope(|| relay.run(stderr)));
            decoder.relays.extend(thread.ok());
            input = Stdio::null();
            match output.replace(stdout) {
                None if line.feeds => input = output.take().map_or_else(Stdio::null, Stdio::from),
                _ => {}
            }
        }
        let output = output.ok_or_else(|| CameraError::Decoder("it has no pipes".to_owned()))?;
        Ok((decoder, output))
    }

    /// Waits for the end of a child that closed its pipe.
    ///
    /// # Errors
    /// With what it said, when it did not end well.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let Some(last) = self.children.last_mut() else {
            return Ok(());
        };
        let status = last.wait().map_err(|error| error.to_string())?;
        self.end();
        if status.success() {
            return Ok(());
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        Err(if words.is_empty() {
            status.to_string()
        } else {
            words.clone()
        })
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.end();
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to have the child die with us, however we die, and to limit it"
)]
fn start(line: &CommandLine, settings: &CameraSettings, input: Stdio) -> Result<Child, CameraError> {
    let missing = || CameraError::NoDecoder {
        program: line.program,
        source: io::ErrorKind::NotFound.into(),
    };
    let program = sandbox::find(line.program).ok_or_else(missing)?;
    let needs = Needs {
        program: program.clone(),
        ..line.needs.clone()
    };
    let limits = limits(line, settings, &needs)?;
    let mut command = Command::new(&program);
    command
        .args(&line.arguments)
        .env_clear()
        .envs(
            ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(line.environment.iter().copied())
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec only async-signal-safe system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            limits.as_ref().map_or(Ok(()), Sandbox::apply)
        });
    }
    command.spawn().map_err(|source| CameraError::NoDecoder {
        program: line.program,
        source,
    })
}

/// The limits that the settings want.
fn limits(line: &CommandLine, settings: &CameraSettings, needs: &Needs) -> Result<Option<Sandbox>, CameraError> {
    if settings.sandbox == SandboxWish::Off {
        return Ok(None);
    }
    let (limits, lacking) = Sandbox::new(needs).map_err(|error| CameraError::Unlimited(error.to_string()))?;
    if lacking.is_empty() {
        return Ok(Some(limits));
    }
    let lacking = lacking.join(" and ");
    if settings.sandbox == SandboxWish::Required {
        return Err(CameraError::Unlimited(format!("this kernel has no {lacking}")));
    }
    tracing::warn!(
        program = line.program,
        lacking,
        "the decoder has fewer limits than it should, since this kernel lacks them"
    );
    Ok(Some(limits))
}

/// Passes on what a child says, without passwords, and remembers the last two lines of it.
struct Relay {
    program: &'static str,
    address: Address,
    words: Arc<Mutex<String>>,
    meter: Arc<Meter>,
}

impl Relay {
    fn run(&self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A child that sends a line without an end must not fill the memory.
            match lines.by_ref().take(4096).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let said = self.address.redact(String::from_utf8_lossy(&line).trim());
            if said.is_empty() {
                continue;
            }
            tracing::debug!(said, program = self.program, "the decoder says");
            if GAVE_UP_HARDWARE.iter().any(|words| said.contains(words)) && self.meter.decodes(Decode::Cpu) {
                tracing::warn!(said, "the hardware can't decode this stream; the processor does");
            }
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            // The reason is often in the line before the last.
            *words = match words.rsplit(NEXT).next() {
                Some(before) if !before.is_empty() && before != said => format!("{before}{NEXT}{said}"),
                _ => said,
            };
        }
    }
}
