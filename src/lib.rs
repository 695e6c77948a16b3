//! Kith knows the faces that cameras see. A frame's way through the modules:
//!
//! ```text
//! camera -> detect -> track -> (chosen shots) align -> embed -> identify -> verdict -> event -> publish
//! ```

pub mod align;
pub mod camera;
pub mod commands;
pub mod config;
pub mod detect;
pub mod embed;
pub mod frame;
pub mod model;
pub mod networks;
pub mod paths;
pub mod photo;
pub mod runtime;
pub mod stop;
