//! Which face is which from frame to frame: by the overlap of its box with where the track should be by now.
//!
//! A constant speed, of which half is believed anew at each sight, and the greedy choice of the best overlap. A Kalman
//! filter would bring noise models that nobody measured for a porch camera, and at ten frames a second a face's box
//! overlaps the next one by far more than the prediction could be wrong; what it can't bridge (a hand before the face,
//! a head that turns away) no motion model bridges either, and the embeddings do.

use std::time::{Duration, Instant};

use ulid::Ulid;

use super::shots::Shots;
use crate::detect::{Face, FaceBox};
use crate::frame::CapturedAt;

/// A track that wasn't seen for so long is out of view. In time, not in frames: a busy box looks at fewer frames.
const LOST_AFTER: Duration = Duration::from_millis(1500);
/// A track that wasn't seen for so long has ended: until then its face may come back.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// The least overlap of a face with the place where a track should be.
const LEAST_IOU: f32 = 0.2;
/// How much of the speed between two frames is believed at once.
const SPEED_GAIN: f32 = 0.5;
/// A speed is followed for so long without a new sight of the face.
const FOLLOWED_S: f32 = 0.4;

/// One face's way through the frames.
#[derive(Debug)]
pub struct Track {
    /// Names it in events.
    pub id: Ulid,
    /// When it was seen first.
    pub first: CapturedAt,
    /// When it was seen last.
    pub last: CapturedAt,
    /// Where it was seen last.
    pub face: Face,
    /// Pixels a second, of the box's centre.
    speed: [f32; 2],
    /// Whether it is out of view, and waits for its face to come back.
    pub rests: bool,
    /// The tracks that turned out to be this one.
    pub also: Vec<Ulid>,
    /// What was seen of it.
    pub shots: Shots,
}

impl Track {
    fn new(face: Face, at: CapturedAt) -> Self {
        Self {
            id: Ulid::generate(),
            first: at,
            last: at,
            face,
            speed: [0.0; 2],
            rests: false,
            also: Vec::new(),
            shots: Shots::default(),
        }
    }

    /// Where the box should be at `now`, if the face kept its speed.
    fn expected(&self, now: Instant) -> FaceBox {
        let passed_s = now
            .saturating_duration_since(self.last.monotonic)
            .as_secs_f32()
            .min(FOLLOWED_S);
        let [dx, dy] = self.speed.map(|speed| speed * passed_s);
        let seen = self.face.box_in_frame;
        FaceBox {
            left: seen.left + dx,
            top: seen.top + dy,
            right: seen.right + dx,
            bottom: seen.bottom + dy,
        }
    }

    /// Whether it and `other` may have been in one frame.
    pub fn met(&self, other: &Self) -> bool {
        self.first.monotonic <= other.last.monotonic && other.first.monotonic <= self.last.monotonic
    }

    /// Whether it was seen last before `other` was seen at all.
    pub fn is_before(&self, other: &Self) -> bool {
        self.last.monotonic < other.first.monotonic
    }

    fn see(&mut self, face: Face, at: CapturedAt) {
        let passed_s = at
            .monotonic
            .saturating_duration_since(self.last.monotonic)
            .as_secs_f32();
        if passed_s > 0.0 {
            let (from, to) = (self.face.box_in_frame.centre(), face.box_in_frame.centre());
            for axis in 0..2 {
                let speed = (to[axis] - from[axis]) / passed_s;
                self.speed[axis] += SPEED_GAIN * (speed - self.speed[axis]);
            }
        }
        self.face = face;
        self.last = at;
    }
}

/// The tracks of one camera.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
}

impl Tracker {
    /// Gives each face to the track that it overlaps best, and a new track to each that is left. The greedy choice
    /// differs from the optimal one only in crowds that overlap, where neither is right.
    pub fn see(&mut self, faces: &[Face], at: CapturedAt) {
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (t, track) in self.tracks.iter().enumerate().filter(|(_, track)| !track.rests) {
            let expected = track.expected(at.monotonic);
            for (f, face) in faces.iter().enumerate() {
                let iou = expected
                    .iou(&face.box_in_frame)
                    .max(track.face.box_in_frame.iou(&face.box_in_frame));
                if iou >= LEAST_IOU {
                    pairs.push((iou, t, f));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut track_taken = vec![false; self.tracks.len()];
        let mut face_taken = vec![false; faces.len()];
        for (_, t, f) in pairs {
            if !track_taken[t] && !face_taken[f] {
                (track_taken[t], face_taken[f]) = (true, true);
                self.tracks[t].see(faces[f], at);
            }
        }
        let new = faces.iter().zip(face_taken).filter(|(_, taken)| !taken);
        self.tracks.extend(new.map(|(face, _)| Track::new(*face, at)));
    }

    /// Lets the tracks rest that have not been seen for a while at `now`; returns which.
    pub fn rest_lost(&mut self, now: Instant) -> Vec<Ulid> {
        self.tracks
            .iter_mut()
            .filter(|track| !track.rests && now.saturating_duration_since(track.last.monotonic) > LOST_AFTER)
            .map(|track| {
                track.rests = true;
                track.id
            })
            .collect()
    }

    /// Takes out the resting tracks that nobody comes back to at `now`: it is too late, or there is nothing to know the
    /// face by.
    pub fn take_gone(&mut self, now: Instant) -> Vec<Track> {
        self.tracks
            .extract_if(.., |track| {
                let unseen = now.saturating_duration_since(track.last.monotonic);
                let is_known = track.shots.last().is_some() || track.shots.waits();
                track.rests && (unseen > GONE_AFTER || !is_known)
            })
            .collect()
    }

    /// Takes out one track.
    pub fn take(&mut self, id: Ulid) -> Option<Track> {
        let index = self.tracks.iter().position(|track| track.id == id)?;
        Some(self.tracks.remove(index))
    }

    /// Takes out all tracks.
    pub fn take_all(&mut self) -> Vec<Track> {
        std::mem::take(&mut self.tracks)
    }

    /// Lets another face go on where `id` was, as a track of its own: it was somebody else. The old track rests, seen
    /// last when its last shot was taken. Returns the new one.
    pub fn split(&mut self, id: Ulid, at: CapturedAt) -> Option<Ulid> {
        let old = self.get_mut(id)?;
        let mut new = Track::new(old.face, at);
        new.last = old.last;
        old.rests = true;
        old.last = old.shots.last().map_or(old.first, |shot| shot.captured_at);
        let id = new.id;
        self.tracks.push(new);
        Some(id)
    }

    /// Lets the track `old` go on as `new` does, which is no track of its own any more.
    pub fn join(&mut self, old: Ulid, new: Ulid) {
        let Some(new) = self.take(new) else { return };
        if let Some(old) = self.get_mut(old) {
            old.last = new.last;
            old.face = new.face;
            old.speed = new.speed;
            old.rests = new.rests;
            old.also.push(new.id);
            old.also.extend(new.also);
            old.shots.absorb(new.shots);
        }
    }

    /// The track of this id, or that it turned out to be.
    pub fn get(&self, id: Ulid) -> Option<&Track> {
        self.tracks
            .iter()
            .find(|track| track.id == id || track.also.contains(&id))
    }

    /// The track of this id, or that it turned out to be.
    pub fn get_mut(&mut self, id: Ulid) -> Option<&mut Track> {
        self.tracks
            .iter_mut()
            .find(|track| track.id == id || track.also.contains(&id))
    }

    /// All tracks, the resting ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter()
    }

    /// All tracks.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.tracks.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn face(left: f32, top: f32) -> Face {
        Face {
            box_in_frame: FaceBox {
                left,
                top,
                right: left + 40.0,
                bottom: top + 50.0,
            },
            probability: 0.99,
            landmarks: [[0.0; 2]; 5],
        }
    }

    /// Plays frames 100 ms apart, each with its faces; returns the ids of the tracks that were ever there, in order.
    fn play(frames: &[&[Face]]) -> (Vec<Ulid>, Tracker, Instant) {
        let start = Instant::now();
        let mut tracker = Tracker::default();
        let mut ids = Vec::new();
        let mut now = start;
        for (index, faces) in frames.iter().enumerate() {
            now = start + Duration::from_millis(100) * u32::try_from(index).unwrap();
            tracker.rest_lost(now);
            let at = CapturedAt {
                monotonic: now,
                wall: Timestamp::UNIX_EPOCH,
            };
            tracker.see(faces, at);
            for track in tracker.iter() {
                if !ids.contains(&track.id) {
                    ids.push(track.id);
                }
            }
        }
        (ids, tracker, now)
    }

    #[test]
    fn a_face_that_moves_is_one_track() {
        let frames: Vec<[Face; 1]> = (0..20_u8).map(|i| [face(f32::from(i) * 15.0, 10.0)]).collect();
        let frames: Vec<&[Face]> = frames.iter().map(|faces| &faces[..]).collect();
        assert_eq!(play(&frames).0.len(), 1);
    }

    #[test]
    fn a_fast_face_is_followed_once_its_speed_is_known() {
        // It gains speed until it moves by more than its width from frame to frame.
        let mut x = 0.0;
        let frames: Vec<[Face; 1]> = (0..8_u8)
            .map(|i| {
                x += f32::from(i) * 7.0;
                [face(x, 10.0)]
            })
            .collect();
        let frames: Vec<&[Face]> = frames.iter().map(|faces| &faces[..]).collect();
        assert_eq!(play(&frames).0.len(), 1);
    }

    #[test]
    fn two_faces_side_by_side_stay_apart() {
        let both = [face(0.0, 0.0), face(60.0, 0.0)];
        let swapped = [face(62.0, 1.0), face(2.0, 1.0)];
        let (ids, tracker, _) = play(&[&both, &swapped, &both]);
        assert_eq!(ids.len(), 2);
        let lefts: Vec<f32> = tracker.iter().map(|track| track.face.box_in_frame.left).collect();
        assert_eq!(lefts, [0.0, 60.0]);
    }

    #[test]
    fn a_blink_is_bridged_and_a_gap_is_an_end() {
        let here: &[Face] = &[face(0.0, 0.0)];
        let (ids, mut tracker, now) = play(&[here, &[], &[], here]);
        assert_eq!(ids.len(), 1);
        assert!(tracker.rest_lost(now + LOST_AFTER).is_empty());
        let lost = now + LOST_AFTER + Duration::from_millis(1);
        assert_eq!(tracker.rest_lost(lost), ids);
        assert!(tracker.rest_lost(lost).is_empty(), "said once");
        // Without a shot there is nothing to know the face by when it comes back.
        assert_eq!(tracker.take_gone(lost).len(), 1);
        assert_eq!(tracker.iter().count(), 0);
    }
}
