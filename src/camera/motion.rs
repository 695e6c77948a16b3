//! The motion gate: a picture in which nothing moved since the last look needs no networks. A coarse grey picture is
//! compared with one that slowly follows.

use std::time::{Duration, Instant};

use image::RgbImage;

/// Cells across the picture's width. A face of 40 pixels in 720p, the smallest by default, covers four of them.
const CELLS_ACROSS: u32 = 64;
/// Each so manyth pixel is read, in both directions.
const STEP: u32 = 2;
/// A cell that is so far from what it was, in grey levels of 255, has changed. More than four times what the noise of a
/// cheap sensor at night makes of it; see the tests.
const CHANGED: f32 = 8.0;
/// So many changed cells are a movement.
const CELLS_MOVED: usize = 2;
/// The remembered picture follows with this time constant: a change is seen for about so long.
const FOLLOWS_S: f32 = 4.0;
/// After a movement everything is looked at for so long, since who comes to rest is the one to be recognised.
const AFTERWARDS: Duration = Duration::from_millis(1500);
/// A still scene is looked at now and then all the same.
const NOW_AND_THEN: Duration = Duration::from_secs(3);
/// A face that stands still must stay tracked; well below the time after which a track is lost.
const STANDS: Duration = Duration::from_millis(500);

/// What is tracked at the moment, which decides how long a still picture may be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// Nobody.
    Nobody,
    /// Somebody, and all was said about them.
    Settled,
    /// Somebody about whom there is no verdict yet.
    Undecided,
}

/// Remembers a camera's picture.
#[derive(Debug, Default)]
pub(super) struct Motion {
    /// Width and height of the frames, in pixels; another size begins anew.
    size: (u32, u32),
    /// Mean grey of each cell, row by row.
    followed: Vec<f32>,
    /// As `followed`, of the frame at hand; kept for its memory.
    cells: Vec<f32>,
    /// Frames of this size so far.
    frames: u16,
    last_frame: Option<Instant>,
    last_moved: Option<Instant>,
    last_look: Option<Instant>,
}

impl Motion {
    /// Whether the frame is to be searched. `counts` says which places, as fractions of the frame, matter.
    pub(super) fn look(
        &mut self,
        pixels: &RgbImage,
        at: Instant,
        live: Live,
        counts: impl Fn([f64; 2]) -> bool,
    ) -> bool {
        if self.moved(pixels, at, counts) {
            self.last_moved = Some(at);
        }
        let within = |last: Option<Instant>, time| last.is_some_and(|last| at.saturating_duration_since(last) < time);
        let pause = match live {
            Live::Undecided => Duration::ZERO,
            Live::Settled => STANDS,
            Live::Nobody => NOW_AND_THEN,
        };
        let look = within(self.last_moved, AFTERWARDS) || !within(self.last_look, pause);
        if look {
            self.last_look = Some(at);
        }
        look
    }

    /// Whether the picture is another than the remembered one, which then follows it.
    fn moved(&mut self, pixels: &RgbImage, at: Instant, counts: impl Fn([f64; 2]) -> bool) -> bool {
        let (columns, rows) = self.shrink(pixels);
        let size = pixels.dimensions();
        if self.size != size || self.followed.len() != self.cells.len() {
            self.size = size;
            self.frames = 1;
            self.followed.clone_from(&self.cells);
            self.last_frame = Some(at);
            return true;
        }
        // A camera that adapts to the light changes all cells alike; that is no movement. The median, since somebody
        // close covers much of the picture.
        let mut differences: Vec<f32> = self
            .cells
            .iter()
            .zip(&self.followed)
            .map(|(new, old)| new - old)
            .collect();
        let middle = differences.len() / 2;
        let shift = *differences.select_nth_unstable_by(middle, f32::total_cmp).1;
        let mut changed = 0;
        for (index, (new, old)) in self.cells.iter().zip(&self.followed).enumerate() {
            if (new - old - shift).abs() > CHANGED {
                let (x, y) = (index % columns, index / columns);
                #[expect(clippy::cast_precision_loss, reason = "a few dozen cells")]
                let place = [(x as f64 + 0.5) / columns as f64, (y as f64 + 0.5) / rows as f64];
                changed += usize::from(counts(place));
            }
        }
        let passed_s = self
            .last_frame
            .map_or(0.0, |last| at.saturating_duration_since(last).as_secs_f32());
        self.frames = self.frames.saturating_add(1);
        // At first the mean of all so far, since the noise of a single picture would look like a movement for seconds.
        let share = (1.0 - (-passed_s / FOLLOWS_S).exp()).max(1.0 / f32::from(self.frames));
        for (old, new) in self.followed.iter_mut().zip(&self.cells) {
            *old += share * (new - *old);
        }
        self.last_frame = Some(at);
        changed >= CELLS_MOVED
    }

    /// Fills `cells`; returns how many columns and rows there are.
    fn shrink(&mut self, pixels: &RgbImage) -> (usize, usize) {
        let (width, height) = pixels.dimensions();
        // A multiple of the step, so that every cell has the same number of pixels but for those at the edges.
        let side = width.div_ceil(CELLS_ACROSS).next_multiple_of(STEP).max(STEP);
        let (columns, rows) = (width.div_ceil(side) as usize, height.div_ceil(side) as usize);
        self.cells.clear();
        self.cells.resize(columns * rows, 0.0);
        let row_bytes = width as usize * 3;
        let (step, side) = (STEP as usize, side as usize);
        let mut sums = vec![(0_u32, 0_u32); columns];
        for row in 0..rows {
            sums.fill((0, 0));
            for y in (row * side..((row + 1) * side).min(height as usize)).step_by(step) {
                let Some(line) = pixels.as_raw().get(y * row_bytes..(y + 1) * row_bytes) else {
                    continue;
                };
                for (cell, (sum, count)) in line.chunks(side * 3).zip(&mut sums) {
                    for pixel in cell.chunks_exact(3).step_by(step) {
                        // Luma in quarters: R + 2G + B.
                        *sum += u32::from(pixel[0]) + 2 * u32::from(pixel[1]) + u32::from(pixel[2]);
                        *count += 4;
                    }
                }
            }
            for (cell, (sum, count)) in self.cells[row * columns..].iter_mut().zip(&sums) {
                #[expect(clippy::cast_precision_loss, reason = "sums of a few hundred bytes")]
                {
                    *cell = *sum as f32 / (*count).max(1) as f32;
                }
            }
        }
        (columns, rows)
    }
}

#[cfg(test)]
#[path = "motion_tests.rs"]
mod tests;
