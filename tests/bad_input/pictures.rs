//! Photos of every sort, made here byte by byte where no encoder makes them.

use std::io::Cursor;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgb, RgbImage};
use mozjpeg::{ColorSpace, Compress};

pub(crate) const RED: [u8; 3] = [200, 30, 30];
pub(crate) const GREEN: [u8; 3] = [30, 180, 40];
pub(crate) const BLUE: [u8; 3] = [30, 40, 210];
pub(crate) const WHITE: [u8; 3] = [240, 240, 240];

/// A quarter each of red, green (upper half), blue, white (lower half), so that every way to turn it is another picture.
pub(crate) fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(match (x < width / 2, y < height / 2) {
            (true, true) => RED,
            (false, true) => GREEN,
            (true, false) => BLUE,
            (false, false) => WHITE,
        })
    })
}

pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

pub(crate) fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95)
        .encode_image(picture)
        .unwrap();
    bytes
}

/// A JPEG by libjpeg: `pixels` in `taken`, stored as `stored`.
pub(crate) fn libjpeg(
    (width, height): (usize, usize),
    pixels: &[u8],
    taken: ColorSpace,
    stored: ColorSpace,
    progressive: bool,
) -> Vec<u8> {
    let mut compress = Compress::new(taken);
    compress.set_size(width, height);
    compress.set_color_space(stored);
    compress.set_quality(95.0);
    if progressive {
        compress.set_progressive_mode();
    }
    let mut started = compress.start_compress(Vec::new()).unwrap();
    started.write_scanlines(pixels).unwrap();
    started.finish().unwrap()
}

pub(crate) fn progressive_jpeg(picture: &RgbImage) -> Vec<u8> {
    let size = (picture.width() as usize, picture.height() as usize);
    libjpeg(size, picture, ColorSpace::JCS_RGB, ColorSpace::JCS_YCbCr, true)
}

/// A progressive JPEG whose last scan comes `times` times more: a small file that takes long to decode.
pub(crate) fn jpeg_of_many_scans(picture: &RgbImage, times: usize) -> Vec<u8> {
    let mut bytes = progressive_jpeg(picture);
    let last = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let end = bytes.len() - 2;
    let scan = bytes[last..end].to_vec();
    bytes.truncate(end);
    for _ in 0..times {
        bytes.extend_from_slice(&scan);
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// A TIFF directory with nothing but an orientation, as EXIF has it.
pub(crate) fn exif(orientation: u16) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0".to_vec();
    tiff.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0]);
    tiff.extend(orientation.to_le_bytes());
    tiff.extend([0; 6]);
    tiff
}

/// `jpeg` with an EXIF segment of this content.
pub(crate) fn with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let length = u16::try_from(2 + 6 + exif.len()).unwrap();
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(b"Exif\0\0");
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

/// A PNG of these chunks; the header's further bytes are depth, colour type, compression, filter, interlacing.
pub(crate) fn png(width: u32, height: u32, header: [u8; 5], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], content: &[u8]| {
        bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let begin = bytes.len();
        bytes.extend(name);
        bytes.extend(content);
        let sum = crc32(&bytes[begin..]);
        bytes.extend(sum.to_be_bytes());
    };
    let mut first = [width.to_be_bytes(), height.to_be_bytes()].concat();
    first.extend(header);
    chunk(b"IHDR", &first);
    for (name, content) in chunks {
        chunk(name, content);
    }
    chunk(b"IEND", &[]);
    bytes
}

/// A zlib stream that holds `content` as it is.
pub(crate) fn stored(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut bytes = vec![0x78, 0x01, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(content);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in content {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    bytes.extend((b << 16 | a).to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

pub(crate) fn animated_gif(pictures: &[RgbImage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    let frames = pictures
        .iter()
        .map(|picture| Frame::new(DynamicImage::ImageRgb8(picture.clone()).into_rgba8()));
    encoder.encode_frames(frames).unwrap();
    drop(encoder);
    bytes
}

/// Each picture becomes an `ANMF` chunk around the `VP8L` chunk of a still file.
pub(crate) fn animated_webp(pictures: &[RgbImage]) -> Vec<u8> {
    let (width, height) = pictures[0].dimensions();
    let u24 = |value: u32| value.to_le_bytes()[..3].to_vec();
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let mut bytes = name.to_vec();
        bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(content);
        bytes.extend(vec![0; content.len() % 2]);
        bytes
    };
    let size = [u24(width - 1), u24(height - 1)].concat();
    let mut body = b"WEBP".to_vec();
    body.extend(chunk(b"VP8X", &[&[2, 0, 0, 0][..], &size].concat()));
    body.extend(chunk(b"ANIM", &[0; 6]));
    for picture in pictures {
        let still = encoded(&DynamicImage::ImageRgb8(picture.clone()), ImageFormat::WebP);
        let mut frame = [u24(0), u24(0), size.clone(), u24(100), vec![0]].concat();
        frame.extend(&still[12..]);
        body.extend(chunk(b"ANMF", &frame));
    }
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(body);
    bytes
}
