//! What decodes a stream: the processor, or hardware that is tried first and given up when it delivers nothing.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::Address;

/// The render device that VA-API uses.
pub(super) const RENDER_DEVICE: &str = "/dev/dri/renderD128";
/// NVIDIA's driver answers here, on cards.
const NVIDIA_DEVICE: &str = "/dev/nvidiactl";
/// Names the board; Jetsons say so here.
const BOARD: &str = "/proc/device-tree/model";

/// How a camera is to be decoded, as the configuration says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// What is there, then the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// VA-API, Intel's and AMD's.
    Vaapi,
    /// NVIDIA's decoder on a card.
    Nvdec,
    /// NVIDIA's decoder on a Jetson, through GStreamer.
    Jetson,
}

impl Decode {
    /// The words of the configuration.
    pub const NAMES: &'static [&'static str] = &["auto", "cpu", "vaapi", "nvdec", "jetson"];

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Vaapi => "vaapi",
            Self::Nvdec => "nvdec",
            Self::Jetson => "jetson",
        }
    }

    /// Whether it can decode what comes from `address` at all.
    pub(crate) fn fits(self, address: &Address) -> bool {
        match self {
            Self::Auto | Self::Cpu => true,
            Self::Vaapi | Self::Nvdec => matches!(address, Address::File(_) | Address::Clip(_) | Address::Rtsp(_)),
            Self::Jetson => matches!(address, Address::Rtsp(_)),
        }
    }
}

impl fmt::Display for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ways that are tried one after the other; a way that delivers stays.
#[derive(Debug)]
pub(super) struct Ways {
    ways: Vec<Decode>,
    at: usize,
}

impl Ways {
    /// What `decode` means for `address` on this machine.
    pub(super) fn new(decode: Decode, address: &Address) -> Self {
        Self::among(decode, address, |way| match way {
            Decode::Vaapi => Path::new(RENDER_DEVICE).exists(),
            Decode::Nvdec => Path::new(NVIDIA_DEVICE).exists(),
            Decode::Jetson => std::fs::read(BOARD).is_ok_and(|name| {
                let name = String::from_utf8_lossy(&name);
                name.contains("Jetson") || name.contains("NVIDIA")
            }),
            Decode::Auto | Decode::Cpu => true,
        })
    }

    fn among(decode: Decode, address: &Address, is_there: impl Fn(Decode) -> bool) -> Self {
        let ways = match decode {
            Decode::Auto => [Decode::Jetson, Decode::Nvdec, Decode::Vaapi, Decode::Cpu]
                .into_iter()
                .filter(|way| way.fits(address) && is_there(*way))
                .collect(),
            one => vec![one],
        };
        Self { ways, at: 0 }
    }

    /// The way to try now.
    pub(super) fn current(&self) -> Decode {
        self.ways.get(self.at).copied().unwrap_or(Decode::Cpu)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.ways.len()
    }

    /// The way delivered nothing. The next is tried, and after the last the first again: it may have been the camera.
    /// Returns the next one if it is another.
    pub(super) fn failed(&mut self) -> Option<Decode> {
        self.at = (self.at + 1) % self.ways.len().max(1);
        (self.ways.len() > 1).then(|| self.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(decode: Decode, address: &str, there: &[Decode], times: usize) -> Vec<Decode> {
        let address = Address::parse(address, Path::new("/")).unwrap();
        let mut ways = Ways::among(decode, &address, |way| way == Decode::Cpu || there.contains(&way));
        let mut tried = vec![ways.current()];
        for _ in 1..times {
            ways.failed();
            tried.push(ways.current());
        }
        tried
    }

    #[test]
    fn what_is_there_comes_before_the_processor() {
        use Decode::{Auto, Cpu, Jetson, Nvdec, Vaapi};
        let rtsp = "rtsp://cam/x";
        assert_eq!(tried(Auto, rtsp, &[], 2), [Cpu, Cpu]);
        assert_eq!(tried(Auto, rtsp, &[Vaapi], 3), [Vaapi, Cpu, Vaapi]);
        assert_eq!(
            tried(Auto, rtsp, &[Vaapi, Nvdec, Jetson], 4),
            [Jetson, Nvdec, Vaapi, Cpu]
        );
        assert_eq!(tried(Auto, "file:/x.mp4", &[Jetson, Nvdec], 2), [Nvdec, Cpu]);
        assert_eq!(tried(Auto, "v4l2:/dev/video0", &[Jetson, Nvdec, Vaapi], 1), [Cpu]);
    }

    #[test]
    fn what_is_asked_for_by_name_is_had_or_fails() {
        assert_eq!(tried(Decode::Vaapi, "rtsp://cam/x", &[], 3), [Decode::Vaapi; 3]);
    }
}
