use std::io::Cursor;
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// What FFmpeg makes of its own test picture.
fn from_ffmpeg(size: &str, frames: u32) -> Vec<u8> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &format!("testsrc=s={size}:r=10")])
        .args([
            "-frames:v",
            &frames.to_string(),
            "-pix_fmt",
            "rgb24",
            "-c:v",
            "rawvideo",
            "-f",
            "nut",
            "pipe:1",
        ])
        .output()
        .expect("ffmpeg is missing; `cargo xtask test` sets it up");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// Reads all pictures; returns their times.
fn read_all(bytes: &[u8]) -> Result<(Shape, Vec<f64>), NutError> {
    let mut reader = NutReader::open(Cursor::new(bytes), 0)?;
    let shape = reader.shape();
    // Wild headers may name sizes that would fill the memory; only the pictures of a sane one are read.
    let mut pixels = vec![0; shape.bytes().min(1 << 20)];
    let mut times = Vec::new();
    while let Some(time) = reader.read_picture(&mut pixels)? {
        times.push(time);
    }
    Ok((shape, times))
}

#[test]
fn pictures_and_times_of_ffmpeg_are_read() {
    let bytes = from_ffmpeg("64x48", 25);
    let (shape, times) = read_all(&bytes).unwrap();
    assert_eq!(shape, Shape { width: 64, height: 48 });
    assert_eq!(times.len(), 25);
    for (index, time) in times.iter().enumerate() {
        assert!((time - index as f64 / 10.0).abs() < 1e-6, "picture {index} at {time}");
    }
    let mut reader = NutReader::open(Cursor::new(&bytes), 0).unwrap();
    let mut pixels = vec![0; shape.bytes()];
    reader.read_picture(&mut pixels).unwrap();
    let raw = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=s=64x48:r=10",
            "-frames:v",
            "1",
        ])
        .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"])
        .output()
        .unwrap();
    assert_eq!(pixels, raw.stdout);
}

#[test]
fn a_truncated_stream_is_an_error_or_an_earlier_end() {
    let bytes = from_ffmpeg("16x16", 3);
    let whole = read_all(&bytes).unwrap().1;
    for end in 0..bytes.len() {
        match read_all(&bytes[..end]) {
            Ok((_, times)) => assert!(whole.starts_with(&times), "cut at {end}"),
            Err(NutError::Pipe(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {end}"),
            Err(other) => panic!("cut at {end}: {other}"),
        }
    }
}

#[test]
fn a_picture_of_another_length_is_a_changed_size() {
    let mut bytes = from_ffmpeg("16x16", 1);
    let other = from_ffmpeg("32x16", 1);
    // The second stream's first frame begins after its sync point, as a frame of the first stream would.
    let frame_at = |bytes: &[u8]| {
        let sync = bytes
            .windows(8)
            .position(|window| window == SYNCPOINT.to_be_bytes())
            .unwrap();
        sync + 9 + usize::from(bytes[sync + 8])
    };
    bytes.truncate(frame_at(&bytes));
    bytes.extend_from_slice(&other[frame_at(&other)..]);
    assert!(matches!(
        read_all(&bytes),
        Err(NutError::SizeChanged {
            expected: 768,
            got: 1536
        })
    ));
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn random_headers_do_no_harm(code in 0_usize..5, body in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = FILE_ID.to_vec();
        bytes.extend([MAIN, STREAM, SYNCPOINT, INDEX, INFO][code].to_be_bytes());
        bytes.extend(body);
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 25_usize..800, value in any::<u8>()) {
        let mut bytes = FLIPPED.with(Clone::clone);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = read_all(&bytes);
    }
}

thread_local! {
    static FLIPPED: Vec<u8> = from_ffmpeg("16x16", 2);
}
