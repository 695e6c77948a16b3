//! Perceptual hashes: pictures that look alike have hashes that differ in few bits.

use image::RgbImage;
use image_hasher::{FilterType, HashAlg, Hasher, HasherConfig};

/// Coefficients in each direction.
const SIDE: u32 = 16;
/// Bits of a hash.
const BITS: u32 = SIDE * SIDE;
const BYTES: usize = (BITS / 8) as usize;

/// 256 bits: for each of the lowest 16x16 frequencies of a picture's grey values whether it is above their median (the
/// DCT hash of <https://phash.org>, with more frequencies, since faces framed alike agree in the lowest ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Phash([u8; BYTES]);

impl Phash {
    /// Bits that differ, 0 to 256; about 128 for pictures that have nothing to do with each other.
    pub fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// The form that [`Phash::hex`] gave.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        if hex.len() != 2 * BYTES {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// 64 digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Lower-case digits, two for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes hashes; holds the tables for it.
pub struct Phasher(Hasher<[u8; BYTES]>);

impl Default for Phasher {
    fn default() -> Self {
        let config = HasherConfig::with_bytes_type::<[u8; BYTES]>();
        let config = config.hash_size(SIDE, SIDE).hash_alg(HashAlg::Median).preproc_dct();
        Self(config.resize_filter(FilterType::Triangle).to_hasher())
    }
}

impl Phasher {
    /// The hash of a picture of any size.
    pub fn hash(&self, picture: &RgbImage) -> Phash {
        let mut bytes = [0; BYTES];
        let hash = self.0.hash_image(picture);
        for (byte, hashed) in bytes.iter_mut().zip(hash.as_bytes()) {
            *byte = *hashed;
        }
        Phash(bytes)
    }
}
