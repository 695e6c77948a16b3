//! Rare but whole photos: every one of them gives its picture.

use std::time::{Duration, Instant};

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage};
use kith::photo;
use mozjpeg::ColorSpace;

use crate::pictures::{
    BLUE, GREEN, RED, WHITE, animated_gif, animated_webp, encoded, exif, jpeg, libjpeg, png, progressive_jpeg,
    quarters, stored, with_exif,
};

/// `bytes` give the four quarters of [`quarters`] in this size; a few grey levels are lost to compression.
#[track_caller]
fn check_quarters(bytes: &[u8], (width, height): (u32, u32), off: u8) {
    let picture = photo::decode(bytes).unwrap();
    assert_eq!(picture.dimensions(), (width, height));
    for (at, expected) in [
        ((width / 4, height / 4), RED),
        ((width * 3 / 4, height / 4), GREEN),
        ((width / 4, height * 3 / 4), BLUE),
        ((width * 3 / 4, height * 3 / 4), WHITE),
    ] {
        let Rgb(found) = *picture.get_pixel(at.0, at.1);
        let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= off);
        assert!(near, "{found:?} instead of {expected:?} at {at:?}");
    }
}

#[test]
fn every_format_and_colour_type() {
    let rgb = DynamicImage::ImageRgb8(quarters(64, 48));
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        check_quarters(&encoded(&rgb, format), (64, 48), 4);
    }
    check_quarters(&encoded(&rgb.to_rgba8().into(), ImageFormat::Png), (64, 48), 0);
    check_quarters(&encoded(&rgb.to_rgb16().into(), ImageFormat::Png), (64, 48), 0);
    check_quarters(&encoded(&rgb.to_rgba16().into(), ImageFormat::Png), (64, 48), 0);
    check_quarters(&encoded(&rgb.to_rgb32f().into(), ImageFormat::Tiff), (64, 48), 0);
    check_quarters(&jpeg(&quarters(64, 48)), (64, 48), 8);
    check_quarters(&progressive_jpeg(&quarters(64, 48)), (64, 48), 8);
}

#[test]
fn grey_with_and_without_alpha() {
    let grey = GrayImage::from_pixel(31, 17, Luma([90]));
    let grey_alpha = ImageBuffer::from_pixel(31, 17, LumaA([90_u8, 128]));
    let grey_16 = ImageBuffer::from_pixel(31, 17, Luma([90_u16 * 257]));
    for bytes in [
        encoded(&grey.clone().into(), ImageFormat::Png),
        encoded(&grey.into(), ImageFormat::Jpeg),
        encoded(&DynamicImage::ImageLumaA8(grey_alpha), ImageFormat::Png),
        encoded(&DynamicImage::ImageLuma16(grey_16), ImageFormat::Png),
    ] {
        let picture = photo::decode(&bytes).unwrap();
        assert_eq!(picture, RgbImage::from_pixel(31, 17, Rgb([90; 3])));
    }
}

#[test]
fn a_palette() {
    let mut rows = Vec::new();
    for y in 0..8 {
        rows.push(0);
        rows.extend((0..8).map(|x| u8::from(x >= 4) + 2 * u8::from(y >= 4)));
    }
    let palette = [RED, GREEN, BLUE, WHITE].concat();
    let bytes = png(8, 8, [8, 3, 0, 0, 0], &[(b"PLTE", &palette), (b"IDAT", &stored(&rows))]);
    check_quarters(&bytes, (8, 8), 0);
}

/// Adobe's convention, which every program follows: the inks are stored inverted.
#[test]
fn cmyk_and_ycck_jpegs() {
    let inks: Vec<u8> = quarters(64, 48)
        .pixels()
        .flat_map(|Rgb([red, green, blue])| [*red, *green, *blue, 255])
        .collect();
    for stored in [ColorSpace::JCS_CMYK, ColorSpace::JCS_YCCK] {
        let bytes = libjpeg((64, 48), &inks, ColorSpace::JCS_CMYK, stored, false);
        check_quarters(&bytes, (64, 48), 8);
    }
}

#[test]
fn an_animation_gives_its_first_picture() {
    let pictures = [
        quarters(40, 30),
        RgbImage::from_pixel(40, 30, Rgb([1, 2, 3])),
        RgbImage::from_pixel(40, 30, Rgb([9, 9, 9])),
    ];
    check_quarters(&animated_gif(&pictures), (40, 30), 4);
    // The decoder lays each picture over a background, which rounds.
    check_quarters(&animated_webp(&pictures), (40, 30), 1);
}

#[test]
fn sizes_at_the_edge() {
    for (width, height) in [(1, 1), (1, 4000), (4000, 1), (1, photo::MAX_SIDE_PX)] {
        let picture = RgbImage::from_pixel(width, height, Rgb([7, 70, 170]));
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
            assert_eq!(
                photo::decode(&encoded(&picture.clone().into(), format)).unwrap(),
                picture
            );
        }
        assert_eq!(photo::decode(&jpeg(&picture)).unwrap().dimensions(), (width, height));
    }
}

/// A picture as a camera stores it that marks it with `orientation`, after the figure in the EXIF standard.
fn stored_as(upright: &RgbImage, orientation: u16) -> RgbImage {
    let (width, height) = upright.dimensions();
    let (right, bottom) = (width - 1, height - 1);
    let size = if orientation < 5 {
        (width, height)
    } else {
        (height, width)
    };
    RgbImage::from_fn(size.0, size.1, |x, y| {
        let (x, y) = match orientation {
            1 => (x, y),
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (right - y, x),
            7 => (right - y, bottom - x),
            _ => (y, bottom - x),
        };
        *upright.get_pixel(x, y)
    })
}

#[test]
fn every_orientation_gives_the_same_upright_picture() {
    let upright = quarters(64, 48);
    for orientation in 1..=8 {
        let stored = stored_as(&upright, orientation);
        let bytes = with_exif(&jpeg(&stored), &exif(orientation));
        check_quarters(&bytes, (64, 48), 8);
        let png = encoded(&stored.into(), ImageFormat::Png);
        let header_ends = 8 + 12 + 13;
        let with_chunk = crate::pictures::png(1, 1, [8, 2, 0, 0, 0], &[(b"eXIf", &exif(orientation))]);
        let chunk = &with_chunk[header_ends..with_chunk.len() - 12];
        let bytes = [&png[..header_ends], chunk, &png[header_ends..]].concat();
        check_quarters(&bytes, (64, 48), 0);
    }
}

#[test]
fn senseless_exif_is_passed_over() {
    let plain = jpeg(&quarters(64, 48));
    let mut looped = exif(6);
    // The next directory is this one.
    let length = looped.len();
    looped[length - 4] = 8;
    looped[10] = 0;
    for content in [
        exif(0),
        exif(9),
        exif(u16::MAX),
        exif(6)[..11].to_vec(),
        b"II*\0\xff\xff\xff\xff".to_vec(),
        b"MM".to_vec(),
        Vec::new(),
        vec![0xff; 300],
        looped,
    ] {
        check_quarters(&with_exif(&plain, &content), (64, 48), 8);
    }
}

/// Phones put a preview before the picture, and a film or a second picture behind it: both may look like the beginning
/// of a scan or the end of a picture.
#[test]
fn what_lies_around_the_picture_of_a_jpeg_is_passed_over() {
    let plain = jpeg(&quarters(64, 48));
    let film = b"\0\0\0\x18ftypmp42\xff\xd9 \xff\xda\0\x0c\x03";
    check_quarters(&[&plain[..], film].concat(), (64, 48), 8);
    let with_preview = with_exif(&plain, &[exif(1), jpeg(&quarters(16, 16))].concat());
    check_quarters(&with_preview, (64, 48), 8);
    assert!(photo::decode(&with_preview[..with_preview.len() - 2]).is_err());
}

#[test]
fn the_largest_picture_takes_little_time() {
    let flat = RgbImage::from_pixel(photo::MAX_SIDE_PX, photo::MAX_SIDE_PX, Rgb([10, 20, 30]));
    let bytes = encoded(&flat.into(), ImageFormat::Png);
    assert!(bytes.len() < 500_000, "48 MB packed into {} bytes", bytes.len());
    let begun = Instant::now();
    assert_eq!(*photo::decode(&bytes).unwrap().get_pixel(4000, 4000), Rgb([10, 20, 30]));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
