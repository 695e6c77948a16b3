//! Photos in, aligned faces out: what training and measuring work on.
//!
//! ```text
//! photos -> align -> folder of aligned faces -> audit -> disputed list
//!                                            -> split -> folds
//!                                            -> augment, for each look that a network takes
//! ```

mod align;
pub mod augment;
mod folder;
mod phash;
mod photos;

pub use align::{Aligner, Outcome, align};
pub use folder::{AlignedFace, AlignedFolder, FolderError, Shot, Skipped};
pub use phash::{Phash, Phasher};
pub use photos::{Labels, Photo, PhotoSet};
