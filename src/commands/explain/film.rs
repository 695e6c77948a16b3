//! The explanation drawn into a copy of the clip or photo.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use image::{ImageFormat, RgbImage};

use crate::commands::identify::{percent, save};
use crate::config::CameraSettings;
use crate::draw::{Mark, Pen, Tone};
use crate::explanation::{Reason, Spoken};
use crate::playback::{Outcome, Playback, Reel, Seen, Visit};

/// Checks before anything is computed that `out` can take the drawing of `reels`.
pub(super) fn check(out: &Path, reels: &[Reel]) -> anyhow::Result<()> {
    let [reel] = reels else {
        bail!(
            "--out takes the drawing of one clip or photo, and there are {}",
            reels.len()
        );
    };
    let source = reel.file(0).and_then(|file| file.canonicalize().ok());
    if source.is_some() && out.canonicalize().ok() == source {
        bail!("{} is the {} itself; draw into another file", out.display(), kind(reel));
    }
    let is_picture = ImageFormat::from_path(out).is_ok_and(|format| format.writing_enabled());
    match reel {
        Reel::Photos(_) if !is_picture => bail!(
            "{} has no ending of a picture format that is written here, such as .jpg or .png",
            out.display()
        ),
        Reel::Clip(_) if is_picture || out.extension().is_none() => bail!(
            "{} has no ending of a video format, such as .mp4 or .mkv",
            out.display()
        ),
        _ => Ok(()),
    }
}

fn kind(reel: &Reel) -> &'static str {
    match reel {
        Reel::Clip(_) => "clip",
        Reel::Photos(_) => "photo",
    }
}

/// Draws what was played into a copy.
///
/// # Errors
/// When the reel can't be read again, or the copy can't be written.
pub(super) fn draw(out: &Path, reel: &Reel, played: &Playback, camera: &CameraSettings) -> anyhow::Result<()> {
    let pen = Pen::new().context("the built-in font")?;
    let is_photo = matches!(reel, Reel::Photos(_));
    let faces = by_frame(played);
    let mut film = None;
    reel.frames(camera, &mut |frame, at_s| {
        let mut picture = RgbImage::clone(&frame.pixels);
        let here = faces.get(&frame.sequence).map(Vec::as_slice).unwrap_or_default();
        let until_s = if is_photo { f64::INFINITY } else { at_s };
        let marks: Vec<Mark<'_>> = here
            .iter()
            .map(|(visit, seen)| mark(&pen, *visit, seen, until_s))
            .collect();
        pen.draw(&mut picture, &marks);
        if is_photo {
            return save(&picture, out);
        }
        let film = match &mut film {
            Some(film) => film,
            None => film.insert(Film::start(out, picture.dimensions(), camera.frames_per_second)?),
        };
        film.add(&picture)
    })?;
    film.map_or(Ok(()), Film::finish)
}

type Faces<'a> = HashMap<u64, Vec<(Option<&'a Visit>, &'a Seen)>>;

/// All faces, by the number of their frame.
fn by_frame(played: &Playback) -> Faces<'_> {
    let mut faces: Faces<'_> = HashMap::new();
    for seen in &played.unwatched {
        faces.entry(seen.frame).or_default().push((None, seen));
    }
    for visit in &played.visits {
        for seen in &visit.faces {
            faces.entry(seen.frame).or_default().push((Some(visit), seen));
        }
    }
    faces
}

fn mark<'a>(pen: &Pen, visit: Option<&Visit>, seen: &'a Seen, until_s: f64) -> Mark<'a> {
    let said = visit.map_or(Spoken::Nothing, |visit| Spoken::until(visit, until_s));
    let why = Reason::of_face(&seen.outcome, seen.face.box_in_frame.height());
    let why = why.map(|reason| reason.short()).unwrap_or_default();
    let mark = |label: String, note: String, tone| Mark {
        face: &seen.face,
        label,
        note,
        tone,
    };
    match said {
        Spoken::Name {
            person,
            confidence,
            preliminary,
        } => {
            let name = pen.writable(person.name.as_str(), &person.id);
            let perhaps = if preliminary { "?" } else { "" };
            mark(format!("{name}{perhaps}  {} %", percent(confidence)), why, Tone::Known)
        }
        Spoken::Unknown { preliminary, .. } => {
            let perhaps = if preliminary { "?" } else { "" };
            let note = if why.is_empty() { nearest(pen, seen) } else { why };
            mark(format!("unknown{perhaps}"), note, Tone::Unknown)
        }
        Spoken::Nothing => mark(String::new(), why, Tone::PassedOver),
    }
}

/// Who is nearest to a shot.
fn nearest(pen: &Pen, seen: &Seen) -> String {
    let Outcome::Shot { said: Some(said), .. } = &seen.outcome else {
        return String::new();
    };
    said.ranked.first().map_or_else(String::new, |nearest| {
        let person = &nearest.person;
        format!(
            "{} {:.2}",
            pen.writable(person.name.as_str(), &person.id),
            nearest.similarity
        )
    })
}

/// A video that FFmpeg encodes, beside its place until it is whole.
struct Film {
    ffmpeg: Child,
    size: (u32, u32),
    unfinished: tempfile::TempPath,
    out: PathBuf,
}

impl Film {
    fn start(out: &Path, size: (u32, u32), frames_per_second: f64) -> anyhow::Result<Self> {
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut ending = OsString::from(".");
        ending.push(out.extension().unwrap_or_default());
        let unfinished = tempfile::Builder::new()
            .prefix(".kith-explain-")
            .suffix(&ending)
            // As readable as any other new file (the umask applies), unlike what a temporary file starts with.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?
            .into_temp_path();
        let (width, height) = size;
        let mut target = OsString::from("file:");
        target.push(&unfinished);
        let ffmpeg = Command::new("ffmpeg")
            .args(["-hide_banner", "-nostats", "-loglevel", "error", "-y"])
            .args(["-f", "rawvideo", "-pixel_format", "rgb24"])
            .args(["-video_size", &format!("{width}x{height}")])
            .args(["-framerate", &frames_per_second.to_string()])
            .args(["-protocol_whitelist", "pipe", "-i", "pipe:0"])
            // Common video formats take even sides only.
            .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"])
            .arg(target)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start ffmpeg")?;
        Ok(Self {
            ffmpeg,
            size,
            unfinished,
            out: out.to_path_buf(),
        })
    }

    fn add(&mut self, picture: &RgbImage) -> anyhow::Result<()> {
        if picture.dimensions() != self.size {
            bail!("the clip changes its size, which one video can't show");
        }
        let Some(input) = self.ffmpeg.stdin.as_mut() else {
            bail!("ffmpeg has no input");
        };
        if input.write_all(picture.as_raw()).is_err() {
            // It closed its input: what it says about that is worth more.
            bail!("{}", self.last_words()?);
        }
        Ok(())
    }

    fn last_words(&mut self) -> anyhow::Result<String> {
        drop(self.ffmpeg.stdin.take());
        let mut words = String::new();
        if let Some(stderr) = self.ffmpeg.stderr.as_mut() {
            std::io::Read::read_to_string(stderr, &mut words)?;
        }
        let status = self.ffmpeg.wait()?;
        let last = words.lines().last().unwrap_or_default().trim();
        Ok(format!("ffmpeg ended with {status}: {last}"))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let words = self.last_words()?;
        if !self.ffmpeg.wait()?.success() {
            bail!("{words}");
        }
        fs::rename(&self.unfinished, &self.out)?;
        Ok(())
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
    }
}
