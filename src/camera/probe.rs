//! Opens a camera for a moment, as the daemon would, and says what it delivers: for `kith check`.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::{CameraError, Meter, Opening};
use crate::config::CameraSettings;
use crate::stop::Stop;

/// Every so many pixels one is looked at to tell a black picture.
const SAMPLE_EVERY: usize = 97;

/// What a camera delivered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probed {
    /// Whether it waits for what others send; then no picture is no fault.
    pub waits: bool,
    /// Width and height of the first picture, in pixels.
    pub size_px: Option<(u32, u32)>,
    /// From opening to the first picture.
    pub first_after: Duration,
    /// Pictures a second after the first one, at most what the configuration asks for; `None` for a single picture.
    pub rate_hz: Option<f64>,
    /// What decodes; `None` for a camera without a decoder.
    pub decode: Option<&'static str>,
    /// The mean of all three colours over the first picture, 0 (black) to 255.
    pub brightness: u8,
}

/// Opens the camera of `settings`, waits `patience` at most for its first picture and looks on for `look`. Each way to
/// decode it that this machine has is tried, as the daemon does.
///
/// # Errors
/// When it delivers nothing; [`CameraError::Stalled`] when `patience` is over.
pub fn probe(settings: &CameraSettings, patience: Duration, look: Duration) -> Result<Probed, CameraError> {
    let stop = Stop::default();
    let (pictures, seen) = channel();
    let limit = stop.clone();
    // A source that waits for a picture looks at nothing but the wish to stop.
    let timer = thread::spawn(move || {
        let more = match seen.recv_timeout(patience) {
            Ok(()) => seen.recv_timeout(look),
            Err(end) => Err(end),
        };
        if more != Err(RecvTimeoutError::Disconnected) {
            limit.set();
        }
    });
    let meter = Arc::<Meter>::default();
    let mut opening = Opening::new(settings, Arc::clone(&meter), &stop);
    let mut tries = opening.ways();
    let outcome = loop {
        tries -= 1;
        match watch(&mut opening, &pictures, look) {
            Err(CameraError::Stopped) => break Err(CameraError::Stalled(patience.as_secs())),
            Err(_) if tries > 0 && !stop.is_set() => {}
            other => break other,
        }
    };
    drop(pictures);
    // It never panics.
    let _ = timer.join();
    Ok(Probed {
        decode: meter.read().decode,
        ..outcome?
    })
}

fn watch(opening: &mut Opening, pictures: &Sender<()>, look: Duration) -> Result<Probed, CameraError> {
    let began = Instant::now();
    let mut source = opening.open()?;
    let waits = source.waits();
    if waits {
        // It is subscribed; a picture may come or not.
        let _ = pictures.send(());
    }
    let first = match source.next_picture() {
        Ok(Some(picture)) => picture,
        Ok(None) => return Err(CameraError::Ended),
        Err(CameraError::Stopped) if waits => {
            return Ok(Probed {
                waits,
                ..Probed::default()
            });
        }
        Err(error) => return Err(error),
    };
    let first_at = Instant::now();
    if !waits {
        let _ = pictures.send(());
    }
    let mut probed = Probed {
        waits,
        size_px: Some(first.pixels.dimensions()),
        first_after: first_at - began,
        brightness: brightness(&first.pixels),
        ..Probed::default()
    };
    drop(first);
    let mut more = 0_u32;
    while first_at.elapsed() < look {
        match source.next_picture() {
            Ok(Some(_)) => {
                more += 1;
                probed.rate_hz = Some(f64::from(more) / first_at.elapsed().as_secs_f64());
            }
            Ok(None) | Err(CameraError::Stopped) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(probed)
}

fn brightness(picture: &RgbImage) -> u8 {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for value in picture.as_raw().iter().step_by(SAMPLE_EVERY) {
        sum += u64::from(*value);
        count += 1;
    }
    u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::camera::Address;

    fn folder(shade: u8) -> (tempfile::TempDir, CameraSettings) {
        let folder = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(64, 48, image::Rgb([shade; 3]));
        for name in ["a.png", "b.png", "c.png"] {
            picture.save(folder.path().join(name)).unwrap();
        }
        let address = Address::parse("dir:.", folder.path()).unwrap();
        (folder, CameraSettings::of(address))
    }

    #[test]
    fn size_rate_and_light_are_measured() {
        let (_folder, settings) = folder(0);
        let probed = probe(&settings, Duration::from_secs(10), Duration::from_secs(5)).unwrap();
        assert_eq!(probed.size_px, Some((64, 48)));
        assert_eq!((probed.brightness, probed.waits), (0, false));
        // Ten pictures a second are what is asked for.
        let rate = probed.rate_hz.unwrap();
        assert!((1.0..=11.0).contains(&rate), "{rate}");
        let (_folder, settings) = folder(200);
        let probed = probe(&settings, Duration::from_secs(10), Duration::ZERO).unwrap();
        assert_eq!(probed.brightness, 200);
    }

    /// A camera that accepts the connection and then says nothing.
    #[test]
    fn a_silent_camera_does_not_hold_the_probe_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rtsp://{}/live", listener.local_addr().unwrap());
        let settings = CameraSettings::of(Address::parse(&url, Path::new("/")).unwrap());
        let began = Instant::now();
        let error = probe(&settings, Duration::from_secs(1), Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, CameraError::Stalled(1)), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
