//! Kith knows the faces that cameras see. A frame's way through the modules:
//!
//! ```text
//! camera -> detect -> track -> (chosen shots) align -> embed -> identify -> verdict -> event -> publish
//! ```

// They panic when the terminal is closed or the disk is full; `commands::terminal` doesn't.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod align;
pub mod announce;
pub mod backup;
pub mod camera;
pub mod card;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod draw;
pub mod embed;
pub mod engine;
pub mod enrolment;
pub mod evaluation;
pub mod event;
pub mod explanation;
#[cfg(feature = "fault")]
pub mod fault;
pub mod frame;
pub mod gallery;
pub mod heads;
pub mod heartbeat;
pub mod http;
pub mod identify;
pub mod log;
pub mod metrics;
pub mod model;
pub mod networks;
pub mod paths;
pub mod photo;
pub mod playback;
pub mod publish;
pub mod quality;
pub mod runtime;
pub mod sightings;
pub mod state_dir;
pub mod stop;
pub mod track;
pub mod verdict;
pub mod verification;
pub mod visits;
pub mod watcher;
