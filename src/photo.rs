//! Photos given by people: strict decoding within limits, upright.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Largest width and height, in pixels.
pub const MAX_SIDE_PX: u32 = 4096;

/// Most scans of a JPEG. Encoders make about ten; each costs a pass over the whole picture but only a few bytes, so that
/// a small file could keep a decoder busy for hours.
const MAX_JPEG_SCANS: usize = 100;

/// Why a photo was refused. The messages don't repeat the path.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// The file could not be opened or read.
    #[error("can't read it: {0}")]
    Unreadable(std::io::Error),
    /// It is a folder, and no photo was found in it.
    #[error("there are no photos in this folder (names that end in .jpg, .png, .webp, .gif, .bmp, .tif)")]
    Folder,
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than [`MAX_BYTES`].
    #[error("the file has more than {} MB; save it smaller", MAX_BYTES / 1024 / 1024)]
    TooManyBytes,
    /// A side is longer than [`MAX_SIDE_PX`].
    #[error("the picture is {width}x{height}; at most {MAX_SIDE_PX} px a side are read, so shrink it first")]
    TooManyPixels {
        /// Pixels from left to right, as stored.
        width: u32,
        /// Pixels from top to bottom, as stored.
        height: u32,
    },
    /// The content is none of the formats that are read.
    #[error("not a picture that is read here (JPEG, PNG, WebP, GIF, BMP, TIFF)")]
    UnknownFormat,
    /// The decoder gave up: truncated, damaged, or a rare variant of the format.
    #[error("the {format} data is damaged or cut off: {reason}")]
    Damaged {
        /// Such as `JPEG`.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
}

impl From<std::io::Error> for PhotoError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::IsADirectory => Self::Folder,
            _ => Self::Unreadable(error),
        }
    }
}

/// Reads a photo: at most [`MAX_BYTES`] and [`MAX_SIDE_PX`], whole (a truncated file is refused), any colour type
/// converted to 8-bit RGB, EXIF orientation applied, the first picture of an animation.
///
/// # Errors
/// See [`PhotoError`].
pub fn read(path: &Path) -> Result<RgbImage, PhotoError> {
    decode(&read_bytes(path)?)
}

/// The bytes of a photo's file, or one byte more than is allowed, which tells [`decode`] that there are too many.
///
/// # Errors
/// [`PhotoError::Unreadable`], [`PhotoError::Folder`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, PhotoError> {
    let mut bytes = Vec::new();
    // Bounded while reading: a file may grow, and a pipe has no size.
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`read`], from memory.
///
/// # Errors
/// See [`PhotoError`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PhotoError> {
    if bytes.is_empty() {
        return Err(PhotoError::Empty);
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(PhotoError::TooManyBytes);
    }
    let format = image::guess_format(bytes).map_err(|_| PhotoError::UnknownFormat)?;
    let (mut picture, orientation) = match format {
        ImageFormat::Jpeg => decode_jpeg(bytes)?,
        _ => decode_other(bytes, format)?,
    };
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

fn check_size(width: u32, height: u32) -> Result<(), PhotoError> {
    if width > MAX_SIDE_PX || height > MAX_SIDE_PX {
        return Err(PhotoError::TooManyPixels { width, height });
    }
    Ok(())
}

/// JPEG in two steps: zune-jpeg in strict mode says whether the file is whole (libjpeg and the `image` crate give out
/// grey where data is missing), then libjpeg decodes it, since the reference detections were made from its pixels.
fn decode_jpeg(bytes: &[u8]) -> Result<(DynamicImage, Orientation), PhotoError> {
    let damaged = |reason: String| PhotoError::Damaged { format: "JPEG", reason };
    let Segments { scans, has_end } = segments(bytes);
    if scans > MAX_JPEG_SCANS {
        return Err(damaged(format!("it has more than {MAX_JPEG_SCANS} scans")));
    }
    if !has_end {
        return Err(damaged("its end is missing".into()));
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut strict = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    strict.decode_headers().map_err(|error| damaged(error.to_string()))?;
    let info = strict.info().ok_or_else(|| damaged("no frame header".into()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width, height)?;
    let strictly = strict.decode().map_err(|error| damaged(error.to_string()))?;
    let orientation = strict
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    let pixels = match strict.input_colorspace() {
        // libjpeg does not convert these to RGB.
        Some(ColorSpace::CMYK | ColorSpace::YCCK) => strictly,
        _ => libjpeg_pixels(bytes).map_err(damaged)?,
    };
    let picture =
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| damaged("fewer pixels than announced".into()))?;
    Ok((DynamicImage::ImageRgb8(picture), orientation))
}

/// What a JPEG's segments say about it.
struct Segments {
    scans: usize,
    /// Whether the end mark is there. Decoders fill up what is missing before it.
    has_end: bool,
}

/// Walks a JPEG's segments by their lengths up to its end mark (ITU-T T.81, annex B). What is in a segment (a preview
/// with scans and an end of its own) or behind the end (phones put films there) is not looked at.
fn segments(bytes: &[u8]) -> Segments {
    let (mut scans, mut at) = (0, 2);
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        // Coded data, where 0xff is followed by 0x00 or a restart mark; fill bytes.
        if first != 0xff || matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff) {
            at += if first == 0xff && marker != 0xff { 2 } else { 1 };
            continue;
        }
        if marker == 0xd9 {
            return Segments { scans, has_end: true };
        }
        scans += usize::from(marker == 0xda);
        let length = bytes
            .get(at + 2..at + 4)
            .map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
        at += 2 + length;
    }
    Segments { scans, has_end: false }
}

/// The RGB pixels of a JPEG, as libjpeg decodes them.
fn libjpeg_pixels(bytes: &[u8]) -> Result<Vec<u8>, String> {
    // libjpeg reports errors by unwinding (without the panic hook), so that they have to be caught here.
    std::panic::catch_unwind(|| -> std::io::Result<Vec<u8>> {
        let mut started = mozjpeg::Decompress::new_mem(bytes)?.rgb()?;
        let pixels: Vec<[u8; 3]> = started.read_scanlines()?;
        started.finish()?;
        Ok(pixels.into_flattened())
    })
    .map_err(|_| "libjpeg gave up".to_string())?
    .map_err(|error| error.to_string())
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), PhotoError> {
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => return Err(PhotoError::UnknownFormat),
    };
    let damaged = |error: image::ImageError| PhotoError::Damaged {
        format: name,
        reason: error.to_string(),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Sizes are checked below, with a better message; this bounds what a decoder may allocate beside the picture.
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(u64::from(MAX_SIDE_PX) * u64::from(MAX_SIDE_PX) * 16);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation))
}
