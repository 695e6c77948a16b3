//! One engine for many cameras, with the real networks: cameras take turns, shots go before frames, and the shots of
//! all cameras that wait are one run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

mod given;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;
use kith::engine::{self, EngineFacts, EngineNews, Meter, Request};
use kith::frame::{CapturedAt, Frame};
use kith::heartbeat::Heartbeats;
use kith::runtime::RuntimeSettings;

/// More than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

struct Engine {
    requests: SyncSender<Request>,
    meter: Arc<Meter>,
}

impl Engine {
    fn start() -> Self {
        let meter = Arc::new(Meter::default());
        let (opened, facts) = channel::<anyhow::Result<EngineFacts>>();
        let (requests, _thread) = engine::start(
            RuntimeSettings::default(),
            Arc::clone(&meter),
            Heartbeats::default(),
            move |news| match news {
                EngineNews::Opened(facts) => opened.send(*facts).unwrap(),
                EngineNews::CardLost(_) | EngineNews::Died => panic!("the networks failed"),
            },
        )
        .unwrap();
        facts.recv_timeout(PATIENCE).unwrap().unwrap();
        Self { requests, meter }
    }

    /// Asks for the faces of `pixels`, and says `name` when they are there.
    fn detect(&self, pixels: &Arc<RgbImage>, name: &'static str, answers: &std::sync::mpsc::Sender<&'static str>) {
        let answers = answers.clone();
        self.requests
            .send(Request::Detect {
                frame: frame(pixels),
                min_face_px: 40,
                answer: Box::new(move |_, faces| {
                    assert!(faces.is_some(), "detection failed");
                    answers.send(name).unwrap();
                }),
            })
            .unwrap();
    }

    fn embed(&self, name: &'static str, answers: &std::sync::mpsc::Sender<&'static str>) {
        let answers = answers.clone();
        self.requests
            .send(Request::Embed {
                aligned: RgbImage::new(112, 112),
                answer: Box::new(move |embedded| {
                    assert!(embedded.is_some(), "embedding failed");
                    answers.send(name).unwrap();
                }),
            })
            .unwrap();
    }
}

fn frame(pixels: &Arc<RgbImage>) -> Frame {
    Frame {
        camera: "door".into(),
        sequence: 0,
        captured_at: CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        },
        pixels: Arc::clone(pixels),
    }
}

fn photo() -> Arc<RgbImage> {
    Arc::new(image::open(given::photos().join("obama.jpg")).unwrap().to_rgb8())
}

fn next(answers: &Receiver<&'static str>) -> &'static str {
    answers.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn cameras_take_turns_however_many_there_are() {
    const CAMERAS: usize = 6;
    const FRAMES: usize = 120;
    let engine = Engine::start();
    // Three cameras with large pictures must not get less than three with small ones.
    let large = photo();
    let small = Arc::new(RgbImage::new(160, 120));
    let left = AtomicUsize::new(FRAMES);
    let counts: Vec<usize> = thread::scope(|scope| {
        let cameras: Vec<_> = (0..CAMERAS)
            .map(|index| {
                let pixels = if index % 2 == 0 { &large } else { &small };
                let (engine, left) = (&engine, &left);
                scope.spawn(move || {
                    let (answers, answered) = channel();
                    let mut done = 0;
                    // As a worker does: the next frame when the last one is back.
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        engine.detect(pixels, "frame", &answers);
                        next(&answered);
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        cameras.into_iter().map(|camera| camera.join().unwrap()).collect()
    });
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert_eq!(counts.iter().sum::<usize>(), FRAMES);
    assert!(most - least <= 4, "shares of {FRAMES} frames: {counts:?}");
}

#[test]
fn a_shot_does_not_wait_behind_frames_and_shots_are_one_run() {
    let engine = Engine::start();
    let pixels = photo();
    let (answers, answered) = channel();
    let engine = Arc::new(engine);
    // While the first frame is answered, shots of three cameras come in, and eleven frames wait already.
    let (shots, said) = (Arc::clone(&engine), answers.clone());
    let (all_sent, begin) = channel::<()>();
    engine
        .requests
        .send(Request::Detect {
            frame: frame(&pixels),
            min_face_px: 40,
            answer: Box::new(move |_, _| {
                begin.recv_timeout(PATIENCE).unwrap();
                for _ in 0..3 {
                    shots.embed("shot", &said);
                }
            }),
        })
        .unwrap();
    for _ in 0..11 {
        engine.detect(&pixels, "frame", &answers);
    }
    all_sent.send(()).unwrap();
    let order: Vec<&str> = (0..14).map(|_| next(&answered)).collect();
    assert!(order.starts_with(&["shot"; 3]), "{order:?}");
    assert_eq!(engine.meter.embeddings.so_far().0, 3);
    assert_eq!(engine.meter.embeddings.runs(), 1);
}
