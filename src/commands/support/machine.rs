//! What this machine is, without what names it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::camera::find_program;
use crate::card::Card;

/// Kernel, distribution, processor, memory, cards, FFmpeg.
pub(super) fn machine() -> String {
    let uname = rustix::system::uname();
    let mut lines = vec![
        format!("kith      {} ({})", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH),
        format!(
            "kernel    {} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
    ];
    lines.extend(value_of("/etc/os-release", "PRETTY_NAME=", "system   "));
    lines.extend(value_of("/proc/cpuinfo", "model name", "processor"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    lines.push(format!("cores     {cores}"));
    lines.extend(value_of("/proc/meminfo", "MemTotal:", "memory   "));
    lines.extend(value_of("/proc/meminfo", "MemAvailable:", "free     "));
    if let Ok(board) = fs::read_to_string("/proc/device-tree/model") {
        lines.push(format!("board     {}", board.trim_matches(['\0', '\n'])));
    }
    let card = Card::find().map_or("none".to_owned(), |card| card.to_string());
    lines.push(format!("card      {card}"));
    lines.push(format!("sqlite    {}", rusqlite::version()));
    let ffmpeg = output("ffmpeg", &["-version"]);
    lines.extend(ffmpeg.and_then(|said| Some(format!("decoder   {}", said.lines().next()?))));
    lines.join("\n") + "\n"
}

/// The first line of `file` that begins with `key`.
fn value_of(file: &str, key: &str, label: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(format!("{label} {}", line.trim_matches([' ', '\t', ':', '"'])))
}

/// Names, sizes and permissions in the state folder.
pub(super) fn files(state: &Path) -> Result<String, String> {
    let folder = fs::metadata(state).map_err(|error| error.to_string())?;
    let mut lines = vec![format!(
        "{:03o} uid {:<5} the folder itself",
        folder.mode() & 0o777,
        folder.uid()
    )];
    let mut entries: Vec<_> = fs::read_dir(state)
        .map_err(|error| error.to_string())?
        .flatten()
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(metadata) = entry.metadata() else { continue };
        lines.push(format!(
            "{:03o} uid {:<5} {:>12} bytes  {}",
            metadata.mode() & 0o777,
            metadata.uid(),
            metadata.len(),
            entry.file_name().to_string_lossy()
        ));
    }
    Ok(lines.join("\n") + "\n")
}

/// What a program says, if it is there and ends well.
pub(super) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(find_program(program)?)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}
