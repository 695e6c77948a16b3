//! Photos that are cut off, changed or made to harm: each is refused or gives the picture that it has; nothing panics,
//! and nothing takes long.

use std::fs;
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use kith::photo::{self, MAX_BYTES, PhotoError};
use proptest::prelude::*;

use crate::given;
use crate::pictures::{
    animated_gif, animated_webp, encoded, jpeg, jpeg_of_many_scans, png, progressive_jpeg, quarters, stored,
};

/// Far more than decoding takes, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(20);

fn small_photos() -> Vec<(&'static str, Vec<u8>)> {
    let picture = RgbImage::from_fn(48, 40, |x, y| Rgb([(x * 5) as u8, (y * 6) as u8, (x * y) as u8]));
    let rgb = DynamicImage::ImageRgb8(picture.clone());
    vec![
        ("JPEG", jpeg(&picture)),
        ("progressive JPEG", progressive_jpeg(&picture)),
        ("PNG", encoded(&rgb, ImageFormat::Png)),
        ("GIF", encoded(&rgb, ImageFormat::Gif)),
        ("animated GIF", animated_gif(&[picture.clone(), quarters(48, 40)])),
        ("WebP", encoded(&rgb, ImageFormat::WebP)),
        ("animated WebP", animated_webp(&[picture.clone(), quarters(48, 40)])),
        ("BMP", encoded(&rgb, ImageFormat::Bmp)),
        ("TIFF", encoded(&rgb, ImageFormat::Tiff)),
    ]
}

#[test]
fn a_truncated_jpeg_is_refused_wherever_it_is_cut() {
    let bytes = fs::read(given::photos().join("obama3.jpg")).unwrap();
    photo::decode(&bytes).unwrap();
    for cut in 0..200 {
        let length = bytes.len() * cut / 200;
        let refused = photo::decode(&bytes[..length]);
        assert!(refused.is_err(), "cut to {length} of {} bytes", bytes.len());
    }
    assert!(
        photo::decode(&bytes[..bytes.len() - 1]).is_err(),
        "without the last byte"
    );
}

/// What is missing may be needless: the end mark, or the second picture of an animation.
#[test]
fn a_truncated_photo_is_refused_or_gives_the_whole_picture() {
    for (name, bytes) in small_photos() {
        let whole = photo::decode(&bytes).unwrap();
        let mut first_accepted = bytes.len();
        for length in (0..bytes.len()).rev() {
            match photo::decode(&bytes[..length]) {
                Ok(picture) => {
                    assert!(picture == whole, "{name} cut to {length} of {} bytes", bytes.len());
                    first_accepted = length;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        println!("{name}: {first_accepted} of {} bytes are needed", bytes.len());
        if name.contains("JPEG") {
            assert_eq!(first_accepted, bytes.len(), "{name}");
        }
    }
}

#[test]
fn nothing_and_something_else() {
    assert!(matches!(photo::decode(b""), Err(PhotoError::Empty)));
    for other in [
        &b"Dear diary, this is not a photo."[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"%PDF-1.7\n",
        b"P6\n1 1\n255\nabc",
    ] {
        assert!(matches!(photo::decode(other), Err(PhotoError::UnknownFormat)));
    }
}

#[test]
fn too_many_bytes() {
    let mut bytes = jpeg(&quarters(64, 48));
    bytes.resize(MAX_BYTES as usize + 1, 0);
    assert!(matches!(photo::decode(&bytes), Err(PhotoError::TooManyBytes)));
}

/// A header is quickly written; what it announces must not be reserved.
#[test]
fn huge_sizes_are_refused_from_the_header() {
    let nothing = stored(&[]);
    let rgb = [8, 2, 0, 0, 0];
    let mut gif = b"GIF89a\xff\xff\xff\xff\0\0\0".to_vec();
    gif.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;");
    let mut bmp = encoded(&quarters(8, 8).into(), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    let mut large = jpeg(&quarters(64, 48));
    let frame = large.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    for (name, bytes) in [
        ("PNG", png(100_000, 100_000, rgb, &[(b"IDAT", &nothing)])),
        ("flat PNG", png(4097, 1, rgb, &[(b"IDAT", &nothing)])),
        ("deep PNG", png(1, i32::MAX as u32, rgb, &[(b"IDAT", &nothing)])),
        ("GIF", gif),
        ("BMP", bmp),
        ("JPEG", large),
        ("WebP", encoded(&RgbImage::new(16_000, 1).into(), ImageFormat::WebP)),
        ("TIFF", encoded(&RgbImage::new(1, 5000).into(), ImageFormat::Tiff)),
    ] {
        let begun = Instant::now();
        let error = photo::decode(&bytes).unwrap_err();
        assert!(matches!(error, PhotoError::TooManyPixels { .. }), "{name}: {error}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_small_jpeg_of_very_many_scans_does_not_hold_up_the_rest() {
    let bytes = jpeg_of_many_scans(&RgbImage::new(4096, 4096), 20_000);
    println!("{} bytes", bytes.len());
    let begun = Instant::now();
    let refused = photo::decode(&bytes).unwrap_err().to_string();
    assert!(refused.contains("scans"), "{refused}");
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    // A few more than usual are no harm.
    photo::decode(&jpeg_of_many_scans(&quarters(64, 48), 3)).unwrap();
}

/// Any answer but a panic, soon.
fn check_harmless(bytes: &[u8]) -> Result<(), TestCaseError> {
    let begun = Instant::now();
    let decoded = photo::decode(bytes);
    prop_assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    if let Ok(picture) = decoded {
        prop_assert!(picture.width().max(picture.height()) <= photo::MAX_SIDE_PX);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_harmless(
        which in 0..9_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let (_, mut bytes) = PHOTOS.with(|photos| photos[which].clone());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check_harmless(&bytes)?;
    }

    /// Sizes, lengths and tables stand at the beginning.
    #[test]
    fn changed_headers_are_harmless(
        which in 0..9_usize,
        changes in prop::collection::vec((0..64_usize, any::<u8>()), 1..6),
    ) {
        let (_, mut bytes) = PHOTOS.with(|photos| photos[which].clone());
        for (at, value) in changes {
            bytes[at] = value;
        }
        check_harmless(&bytes)?;
    }

    #[test]
    fn random_bytes_behind_a_right_beginning_are_harmless(
        which in 0..9_usize,
        kept in 8..200_usize,
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (_, mut bytes) = PHOTOS.with(|photos| photos[which].clone());
        bytes.truncate(kept);
        bytes.extend(rest);
        check_harmless(&bytes)?;
    }
}

thread_local! {
    static PHOTOS: Vec<(&'static str, Vec<u8>)> = small_photos();
}
