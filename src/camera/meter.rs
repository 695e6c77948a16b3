//! What a camera counts and what it really uses, for metrics and `stats`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::Decode;

/// Counted since the start; read at any time by others.
#[derive(Debug, Default)]
pub struct Meter {
    opened: AtomicU64,
    old: AtomicU64,
    still: AtomicU64,
    /// 0 for nothing yet, else one more than the place in [`Decode::NAMES`].
    decode: AtomicU8,
}

/// What a [`Meter`] says at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// How often the camera was opened.
    pub opened: u64,
    /// Frames that came too late and were thrown away.
    pub old: u64,
    /// Frames that were not searched, since nothing moved.
    pub still: u64,
    /// What decodes; `None` until there was a picture, and for cameras without a decoder.
    pub decode: Option<&'static str>,
}

impl Meter {
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn old(&self) {
        self.old.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame was not searched, since nothing moved.
    pub fn still(&self) {
        self.still.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what decodes; returns whether that is news.
    pub(super) fn decodes(&self, decode: Decode) -> bool {
        let place = Decode::NAMES.iter().position(|name| *name == decode.name());
        let code = place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0);
        self.decode.swap(code, Ordering::Relaxed) != code
    }

    /// What it says now.
    pub fn read(&self) -> Reading {
        let decode = usize::from(self.decode.load(Ordering::Relaxed));
        Reading {
            opened: self.opened.load(Ordering::Relaxed),
            old: self.old.load(Ordering::Relaxed),
            still: self.still.load(Ordering::Relaxed),
            decode: decode
                .checked_sub(1)
                .and_then(|place| Decode::NAMES.get(place))
                .copied(),
        }
    }
}
