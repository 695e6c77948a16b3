//! `kith identify`: who is on photos.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufWriter, Write, stdout};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use serde::Serialize;

use super::Common;
use super::photos::{FaceLine, PhotoLine, collect, decode_ahead, tell_failed, write_json};
use super::terminal::complain;
use crate::detect::{Face, detect_in_photo};
use crate::draw::{Mark, Pen, Tone};
use crate::enrolment;
use crate::gallery::{Gallery, Person};
use crate::identify::{Answer, Identifier, IdentifierSource, IdentifyBy, Strictness};
use crate::networks::Networks;
use crate::paths;

/// Quality of the pictures that are drawn.
const JPEG_QUALITY: u8 = 92;

/// What the detector believes less is left out of sentences and drawings: half of it is no face. `--json` has it all.
const MIN_PROBABILITY: f32 = 0.9;

/// The arguments of `kith identify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith identify party.jpg                     party.jpg: Alice (97.3 %), unknown, most like Bob (4 %)
  kith identify party.jpg --draw who.jpg      also draws boxes, landmarks and names
  kith identify party.jpg --by head:family    asks a trained head instead of comparing with the enrolled photos
  kith identify --json album/                 one JSON object a line, in order")]
pub struct Args {
    /// Photos, or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// Write the picture with boxes, landmarks and names: a file for one photo, a folder for several
    #[arg(long, value_name = "OUT")]
    pub draw: Option<PathBuf>,
    /// What names faces: the enrolled photos (gallery), or a trained head (head:NAME)
    #[arg(long, value_name = "WHAT", default_value = "gallery")]
    pub by: IdentifyBy,
    /// Height of the smallest face to look for, in pixels
    #[arg(long, default_value_t = 20, value_name = "PX", value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face: u32,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

#[derive(Serialize)]
struct IdentifiedFaceLine<'a> {
    #[serde(flatten)]
    face: FaceLine,
    /// `null` for somebody unknown.
    person: Option<PersonEntry<'a>>,
    /// Probability that the answer is right, to a ten-thousandth; `null` when the face can't be compared.
    confidence: Option<f64>,
    /// Who is nearest to somebody unknown; `null` otherwise.
    similar_to: Option<PersonEntry<'a>>,
}

#[derive(Serialize)]
pub(super) struct PersonEntry<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Person> for PersonEntry<'a> {
    fn from(person: &'a Person) -> Self {
        Self {
            id: &person.id,
            name: person.name.as_str(),
        }
    }
}

/// Runs `kith identify`. Exit code 1 when a photo could not be read.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let photos = collect(&args.images);
    let mut drawings = args
        .draw
        .as_deref()
        .map(|out| Drawings::plan(out, &photos))
        .transpose()?;
    let mut settings = common.runtime_settings(args.threads);
    let source = IdentifierSource::open(&args.by, &mut settings)?;
    let mut networks = Networks::open(&settings)?;
    let identifier = open_identifier(&source, &paths::state_dir(common.state.as_deref()), &mut networks)?;
    let mut out = BufWriter::new(stdout().lock());
    let mut code = ExitCode::SUCCESS;
    decode_ahead(&photos, |image, decoded| {
        let mut picture = match decoded {
            Ok(picture) => picture,
            Err(error) => {
                code = ExitCode::FAILURE;
                return tell_failed(&mut out, image, &error, args.json);
            }
        };
        let faces = detect_in_photo(networks.detector.as_mut(), &picture, args.min_face)?;
        let embedded = networks.embed_faces(&picture, &faces)?;
        let answers = embedded.iter().map(|face| {
            face.as_ref()
                .map(|face| identifier.identify(face, &Strictness::default()).answer)
        });
        let mut answered: Vec<(Face, Option<Answer>)> = faces.into_iter().zip(answers).collect();
        if args.json {
            let (width, height) = picture.dimensions();
            let faces = answered
                .iter()
                .map(|(face, answer)| face_line(face, answer.as_ref()))
                .collect();
            write_json(
                &mut out,
                &PhotoLine {
                    image,
                    width,
                    height,
                    faces,
                },
            )?;
        }
        answered.retain(|(face, _)| face.probability >= MIN_PROBABILITY);
        if !args.json {
            writeln!(out, "{}: {}", image.display(), sentence(&answered))?;
        }
        if let Some(drawings) = &mut drawings {
            drawings.draw(image, &mut picture, &answered)?;
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(code)
}

/// An identifier over the gallery in `state_dir`, after re-embedding what a new model can take from kept crops. Says on
/// stderr when there is nobody to name.
pub(super) fn open_identifier(
    source: &IdentifierSource,
    state_dir: &Path,
    networks: &mut Networks,
) -> anyhow::Result<Arc<dyn Identifier>> {
    let head = match source {
        IdentifierSource::Head(head) => Some(head),
        IdentifierSource::Gallery { .. } => None,
    };
    // Looking makes no gallery, but a head's people have to be somewhere.
    let mut gallery = (head.is_some() || Gallery::exists(state_dir))
        .then(|| Gallery::open(state_dir))
        .transpose()?;
    if let Some(gallery) = gallery.as_mut() {
        source.prepare(gallery)?;
        let reembedded = if head.is_none() {
            enrolment::reembed(gallery, networks)?
        } else {
            0
        };
        if reembedded > 0 {
            complain(format_args!(
                "kith: {reembedded} enrolled faces were embedded again for {}",
                networks.embedder.space()
            ));
        }
    }
    let identifier = source.identifier(gallery.as_ref())?;
    if identifier.people() == 0 {
        complain(match head {
            Some(head) => format!(
                "kith: everybody whom the head {} knows was removed from {}, so everybody is unknown; \
                 `kith heads install` brings them back",
                head.model().name,
                state_dir.display()
            ),
            None => format!(
                "kith: nobody is enrolled in {}, so everybody is unknown; kith enroll NAME IMAGE… adds people",
                state_dir.display()
            ),
        });
    }
    Ok(identifier)
}

fn face_line<'a>(face: &Face, answer: Option<&'a Answer>) -> IdentifiedFaceLine<'a> {
    let similar_to = match answer {
        Some(Answer::Unknown {
            similar_to: Some(similar),
            ..
        }) => Some(similar.person.as_ref().into()),
        _ => None,
    };
    IdentifiedFaceLine {
        face: face.into(),
        person: answer.and_then(Answer::person).map(|person| person.as_ref().into()),
        confidence: answer.map(|answer| (answer.confidence() * 1e4).round() / 1e4),
        similar_to,
    }
}

/// The answers from left to right.
fn sentence(answered: &[(Face, Option<Answer>)]) -> String {
    if answered.is_empty() {
        return "no face".into();
    }
    let mut from_left: Vec<_> = answered.iter().collect();
    from_left.sort_by(|(a, _), (b, _)| a.box_in_frame.left.total_cmp(&b.box_in_frame.left));
    from_left
        .into_iter()
        .map(|(_, answer)| phrase(answer.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn phrase(answer: Option<&Answer>) -> String {
    match answer {
        Some(Answer::Known { person, confidence }) => format!("{} ({} %)", person.name, percent(*confidence)),
        Some(Answer::Unknown {
            similar_to: Some(similar),
            ..
        }) => {
            format!(
                "unknown, most like {} ({} %)",
                similar.person.name,
                (similar.confidence * 100.0).round()
            )
        }
        _ => "unknown".into(),
    }
}

/// Per cent to a tenth, never more certain than it is: 99.97 % is 99.9.
pub(super) fn percent(probability: f64) -> String {
    // The little is for 0.57, which times 1000 is a hair less than 570.
    format!("{:.1}", (probability * 1000.0 + 1e-9).floor() / 10.0)
}

/// Where the drawn pictures go.
struct Drawings {
    pen: Pen,
    out: PathBuf,
    is_folder: bool,
    /// The photos themselves, which must not be overwritten, and what was written already.
    taken: HashSet<PathBuf>,
}

impl Drawings {
    /// Checks before anything is computed that `out` can take pictures.
    fn plan(out: &Path, photos: &[PathBuf]) -> anyhow::Result<Self> {
        let is_folder = photos.len() != 1 || out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/");
        if is_folder {
            fs::create_dir_all(out).with_context(|| format!("can't make the folder {}", out.display()))?;
        } else if ImageFormat::from_path(out)
            .ok()
            .is_none_or(|format| !format.writing_enabled())
        {
            bail!(
                "{} has no ending of a picture format that is written here, such as .jpg or .png",
                out.display()
            );
        }
        let taken = photos.iter().filter_map(|photo| photo.canonicalize().ok()).collect();
        let pen = Pen::new().context("the built-in font")?;
        Ok(Self {
            pen,
            out: out.to_path_buf(),
            is_folder,
            taken,
        })
    }

    fn draw(
        &mut self,
        image: &Path,
        picture: &mut RgbImage,
        answered: &[(Face, Option<Answer>)],
    ) -> anyhow::Result<()> {
        let marks: Vec<Mark<'_>> = answered
            .iter()
            .map(|(face, answer)| {
                let known = match answer {
                    Some(Answer::Known { person, confidence }) => Some((person, *confidence)),
                    _ => None,
                };
                let label = known.map_or_else(
                    || "unknown".to_string(),
                    |(person, confidence)| {
                        let name = self.pen.writable(person.name.as_str(), &person.id);
                        format!("{name}  {} %", percent(confidence))
                    },
                );
                Mark {
                    face,
                    label,
                    note: String::new(),
                    tone: if known.is_some() { Tone::Known } else { Tone::Unknown },
                }
            })
            .collect();
        self.pen.draw(picture, &marks);
        let target = self.target(image)?;
        save(picture, &target).with_context(|| format!("can't write {}", target.display()))
    }

    /// Where the picture of `image` goes: never over one of the photos or another picture of this run.
    fn target(&mut self, image: &Path) -> anyhow::Result<PathBuf> {
        let is_free = |path: &Path, taken: &HashSet<PathBuf>| {
            !taken.contains(path) && path.canonicalize().ok().is_none_or(|path| !taken.contains(&path))
        };
        if !self.is_folder {
            if !is_free(&self.out, &self.taken) {
                bail!("{} is the photo itself; draw into another file", self.out.display());
            }
            return Ok(self.out.clone());
        }
        let stem = image
            .file_stem()
            .unwrap_or(OsStr::new("photo"))
            .to_string_lossy()
            .into_owned();
        let mut target = self.out.join(format!("{stem}.jpg"));
        let mut number = 2;
        while !is_free(&target, &self.taken) {
            target = self.out.join(format!("{stem}-{number}.jpg"));
            number += 1;
        }
        self.taken.insert(target.clone());
        Ok(target)
    }
}

/// Writes beside its place and moves it there when whole.
pub(super) fn save(picture: &RgbImage, target: &Path) -> anyhow::Result<()> {
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // As readable as any other new file (the umask applies), unlike what a temporary file starts with.
    let permissions = fs::Permissions::from_mode(0o666);
    let unfinished = tempfile::Builder::new()
        .prefix(".kith-draw-")
        .permissions(permissions)
        .tempfile_in(folder)?;
    let mut writer = BufWriter::new(unfinished);
    match ImageFormat::from_path(target)? {
        ImageFormat::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut writer, JPEG_QUALITY))?,
        format => picture.write_to(&mut writer, format)?,
    }
    let unfinished = writer.into_inner().map_err(|error| error.into_error())?;
    unfinished.persist(target).map_err(|error| error.error)?;
    Ok(())
}
